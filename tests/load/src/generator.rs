//! The generator's command line. One thread; one scenario a run; one line of JSON for a result.

use crate::adapters::{self, Options, Target};
use crate::crowd::Plan;
use crate::scenarios::{self, Run};
use crate::stats::Procs;
use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use std::ffi::OsString;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
struct Common {
    /// Server address; must be loopback.
    #[arg(long, global = true, default_value = "127.0.0.1:9000")]
    addr: SocketAddr,
    /// A second server of the same fleet; users of odd numbers go there. Must be loopback.
    #[arg(long, global = true)]
    second: Option<SocketAddr>,
    /// The protocol: plain (the reference server's) or quckchat.
    #[arg(long, global = true, default_value = "plain")]
    adapter: String,
    /// WebSocket path.
    #[arg(long, global = true, default_value = "/ws")]
    path: String,
    /// quckchat: the output of `quckchat admin seed`.
    #[arg(long, global = true)]
    people: Option<PathBuf>,
    /// quckchat: take the conversations from this file if it exists, otherwise write it.
    #[arg(long, global = true)]
    rooms: Option<PathBuf>,
    /// Make the conversations and stop.
    #[arg(long, global = true)]
    prepare_only: bool,
    /// Processes whose memory and CPU are charged to the server.
    #[arg(long, global = true, value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Logins under way at once.
    #[arg(long, global = true, default_value_t = 64)]
    parallel: usize,
    /// Seconds within which everyone must be online.
    #[arg(long, global = true, default_value_t = 120)]
    connect_deadline: u64,
    /// Number of the first user.
    #[arg(long, global = true, default_value_t = 0)]
    first_user: usize,
    /// Append the JSON result here as well.
    #[arg(long, global = true)]
    out: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Scenario {
    /// One room, many subscribers: deliveries a second, and the highest rate with p99 under 250 ms.
    Fanout(scenarios::Fanout),
    /// Pairs that ping-pong: messages a second.
    Pairs(scenarios::Pairs),
    /// Idle clients: memory a connection; with --storm also everyone reconnecting at once.
    Idle(scenarios::Idle),
    /// A fan-out in which one client stops reading: what the others and the server feel.
    Slow(scenarios::Slow),
}

#[derive(Parser)]
#[command(name = "loadgen", about = "Bounded, loopback-only load for chat servers")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    scenario: Scenario,
}

/// Runs one scenario and prints its result; fails if it could not be carried out.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let Cli { common, scenario } = Cli::parse_from(args);
    let mut all = [common.addr].into_iter().chain(common.second);
    anyhow::ensure!(all.all(|addr| addr.ip().is_loopback()), "loopback targets only");
    let options = Options { path: common.path, people: common.people, rooms: common.rooms };
    let target = Target { addr: common.addr, second: common.second, recv_buffer: None };
    let run = Run {
        adapter: adapters::named(&common.adapter, options)?,
        plan: Plan {
            target,
            count: 0,
            first_user: common.first_user,
            parallel: common.parallel,
            deadline: Duration::from_secs(common.connect_deadline),
        },
        procs: Procs(common.server_pid),
    };
    let rooms = match &scenario {
        Scenario::Fanout(s) => s.rooms(&run),
        Scenario::Pairs(s) => s.rooms(&run),
        Scenario::Idle(s) => s.rooms(&run),
        Scenario::Slow(s) => s.rooms(&run),
    };
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = tokio::task::LocalSet::new().block_on(&rt, async {
        run.adapter.prepare(target, &rooms).await?;
        if common.prepare_only {
            return Ok(json!({"prepared": true}));
        }
        match &scenario {
            Scenario::Fanout(s) => s.run(&run).await,
            Scenario::Pairs(s) => s.run(&run).await,
            Scenario::Idle(s) => s.run(&run).await,
            Scenario::Slow(s) => s.run(&run).await,
        }
    })?;
    writeln!(std::io::stdout(), "{result}")?;
    if let Some(path) = common.out {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{result}")?;
    }
    Ok(())
}
