//! What signing in costs: sign-ins a second by code, the medians of known and unknown, and 10,000 wrong tries against
//! one account, with the memory that they take. One table at the end.
//!
//! It builds nothing, and ends only the nodes that it started. The codes come from the node's log, where its
//! development sender prints them.

mod attack;
mod client;
mod medians;

use crate::compare::server::{Bench, Place, Server};
use crate::stats::{Meter, Procs};
use anyhow::{Context, Result};
use clap::Parser;
use client::Client;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const LIMITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/limits.toml");
/// Connections at once.
const LANES: usize = 16;
const MUST_SIGN_INS: f64 = 500.0;
const MUST_MEDIANS: f64 = 0.05;
const MUST_GROW: u64 = 20 << 20;
/// What all nodes of this run are run with. Codes go to many numbers from one machine.
const SETTINGS: [(&str, &str); 6] = [
    ("QUCKCHAT__GATEWAY__TRUSTED_PROXIES", "127.0.0.0/8"),
    ("QUCKCHAT__AUTH__OTP_PER_HOUR", "1000"),
    ("QUCKCHAT__AUTH__OTP_PER_DAY", "10000"),
    ("QUCKCHAT__AUTH__OTP_PER_COUNTRY_PER_DAY", "1000000"),
    ("QUCKCHAT__AUTH__OTP_IN_ALL_PER_DAY", "1000000"),
    ("QUCKCHAT__LOG__FORMAT", "json"),
];

#[derive(Parser)]
#[command(name = "signin", about = "What signing in costs, and what guessing comes to")]
struct Cli {
    /// The node's program; by default `quckchat` beside this one.
    #[arg(long)]
    node: Option<PathBuf>,
    /// Fewer of everything: to see that all works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Folders are made, and removed, in this folder.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    work: PathBuf,
}

/// A line of the table.
struct Row {
    what: String,
    measured: String,
    must: String,
    /// Whether it is what it must be.
    reached: bool,
}

/// Measures and prints; the exit code is a failure's if something missed what it must reach.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let cli = Cli::parse_from(args);
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("quckchat"));
    let place = Place {
        node: Some(cli.node.clone().or_else(beside).context("--node PATH")?.canonicalize()?),
        config: LIMITS.into(),
        work: cli.work,
        envelope: 0,
        quick: cli.quick,
        deadline: Instant::now() + Duration::from_secs(900),
    };
    let bench = Bench::new(place)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(async {
        let data = bench.fresh("data");
        std::fs::create_dir_all(&data)?;
        let mut rows = sign_ins(&bench, &data).await?;
        rows.extend(medians::measure(&bench, &data).await?);
        rows.extend(attack::measure(&bench, &data).await?);
        anyhow::Ok(rows)
    })?;
    let mut out = std::io::stdout();
    writeln!(out, "| what | measured | must |\n|---|---|---|")?;
    for Row { what, measured, must, reached } in &rows {
        let mark = if *reached { "" } else { " MISSED" };
        writeln!(out, "| {what} | {measured}{mark} | {must} |")?;
    }
    let reached = rows.iter().all(|row| row.reached);
    Ok(if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A number that no other index has.
fn number(index: usize) -> String {
    format!("+49151{:08}", 12_000_000 + index)
}

/// An address that is nobody's else for a while.
fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + u32::try_from(index % (1 << 23)).unwrap_or(0))
}

/// The codes that a node has printed, by verification.
fn codes(log: &Path) -> Result<HashMap<String, String>> {
    let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
    let one = |line: &str| {
        let (_, rest) = line.split_once("otp: code ")?;
        let (code, rest) = rest.split_once(' ')?;
        let (_, id) = rest.split_once("(verification ")?;
        Some((id.split(')').next()?.to_owned(), code.to_owned()))
    };
    Ok(text.lines().filter_map(one).collect())
}

/// Does `work` for all of `0..count` over several connections; how many a second.
async fn rate(server: &Server, count: usize, work: impl AsyncFn(&mut Client, usize) -> Result<()>) -> Result<f64> {
    let mut clients = try_join_all((0..LANES).map(|_| Client::open(server.addr))).await?;
    let began = Instant::now();
    let lanes = clients.iter_mut().enumerate().map(|(lane, client)| {
        let work = &work;
        async move {
            for index in (lane..count).step_by(LANES) {
                work(client, index).await?;
            }
            anyhow::Ok(())
        }
    });
    try_join_all(lanes).await?;
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// Codes asked for, and codes tried, by people whom the node knows.
async fn sign_ins(bench: &Bench, data: &Path) -> Result<Vec<Row>> {
    let count = if bench.quick() { 200 } else { 5000 };
    let server = bench.start_node_with(data, &SETTINGS)?;
    let procs = Procs(vec![server.pid()]);
    let mut rates = [0.0; 2];
    let mut used = Value::Null;
    // Everybody registers in the first round; the second is measured.
    for _ in 0..2 {
        let verifications = std::cell::RefCell::new(vec![String::new(); count]);
        rates[0] = rate(&server, count, async |client, index| {
            let asked = json!({ "phoneNumber": number(index) });
            let sent = client.post("/auth/send-otp", address(index), &asked).await?.ok()?;
            verifications.borrow_mut()[index] = sent["verificationId"].as_str().context("no verification")?.to_owned();
            Ok(())
        })
        .await?;
        let codes = codes(server.log())?;
        let meter = Meter::start(&procs);
        rates[1] = rate(&server, count, async |client, index| {
            let id = verifications.borrow()[index].clone();
            let code = codes.get(&id).context("a code that was not printed")?;
            let tried = json!({ "verificationId": id, "code": code });
            client.post("/auth/verify-otp", address(index), &tried).await?.ok()?;
            Ok(())
        })
        .await?;
        used = meter.read();
    }
    server.kill()?;
    let both = 1.0 / (1.0 / rates[0] + 1.0 / rates[1]);
    let figure = |what: &str, rate: f64, must: f64| Row {
        what: what.to_owned(),
        measured: format!("{rate:.0}/s"),
        must: if must > 0.0 { format!("{must:.0}/s") } else { String::new() },
        reached: bench.quick() || rate >= must,
    };
    let pinned = if bench.pinned() { "one core" } else { "all cores" };
    Ok(vec![
        figure(&format!("sign-ins by code, SQLite, {pinned} (server {}%)", used["server"]), rates[1], MUST_SIGN_INS),
        figure("codes asked for", rates[0], 0.0),
        figure("both, one after the other", both, 0.0),
    ])
}
