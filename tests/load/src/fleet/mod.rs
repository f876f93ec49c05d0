//! What a fleet costs: two nodes against one on PostgreSQL and Redis, a delivery between nodes against a bare hop over
//! Redis, and what each part of it uses. One table at the end.
//!
//! It builds nothing, and ends only the nodes that it started.

mod around;

use crate::compare::server::{Bench, Place, Server};
use crate::stats::Procs;
use anyhow::{Context, Result};
use around::Around;
use clap::Parser;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const LIMITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/limits.toml");
const PAIRS: usize = 500;

#[derive(Parser)]
#[command(name = "fleet", about = "Two nodes against one, and what a fleet costs")]
struct Cli {
    /// The maintenance database of a PostgreSQL server, as a user who may make databases.
    #[arg(long)]
    postgres: String,
    /// A Redis on this machine.
    #[arg(long)]
    redis: String,
    /// The node's program; by default `quckchat` beside this one.
    #[arg(long)]
    node: Option<PathBuf>,
    /// Shorter steps, one round: to see that all works, not to quote.
    #[arg(long)]
    quick: bool,
    /// How often one node and two take turns; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Folders are made, and removed, in this folder.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    work: PathBuf,
}

/// Measures and prints; the exit code is a failure's if something missed what it must reach.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let cli = Cli::parse_from(args);
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("quckchat"));
    let place = Place {
        node: Some(cli.node.clone().or_else(beside).context("--node PATH")?.canonicalize()?),
        config: LIMITS.into(),
        work: cli.work.clone(),
        envelope: 0,
        quick: cli.quick,
        deadline: Instant::now() + Duration::from_secs(1800),
    };
    // Everything shares the machine's cores, in all steps alike.
    let bench = Bench::pinning(place, false)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let around = Around::open(&cli.postgres, &cli.redis).await?;
        let measured = measure(&cli, &bench, &around).await;
        around.close().await?;
        let rows = rows(&measured?);
        let mut out = std::io::stdout();
        writeln!(out, "| what | one | other | ratio | must | aim |\n|---|---|---|---|---|---|")?;
        rows.iter().try_for_each(|row| writeln!(out, "{}", row.line()))?;
        let failed = rows.iter().any(|row| !row.reached);
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    })
}

/// What was measured.
struct Measured {
    hop: Duration,
    /// Medians of a message's way, in milliseconds: within a node, and between two.
    same: f64,
    cross: f64,
    /// Messages a second of 500 pairs.
    one: f64,
    two: f64,
    /// Publishes on Redis for one message to 1 other, and to 199.
    published: [f64; 2],
    deadlocks: i64,
    /// Percents of a core for 1000 messages a second, by server.
    cost: BTreeMap<&'static str, f64>,
    /// Bytes for a connection at the nodes, and in Redis.
    idle: [f64; 2],
}

/// Two nodes on one database, or one.
struct Fleet<'a> {
    bench: &'a Bench,
    around: &'a Around,
    servers: Vec<Server>,
}

/// The settings of a node of this fleet.
fn settings<'a>(around: &'a Around, redis: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("QUCKCHAT__DATABASE__URL", &around.database),
        ("QUCKCHAT__CLUSTER__URL", redis),
        ("QUCKCHAT__CLUSTER__PREFIX", "load:"),
        ("QUCKCHAT__SECRETS__MASTER", "a secret of the benchmark's own, for nobody else"),
    ]
}

impl<'a> Fleet<'a> {
    fn start(bench: &'a Bench, around: &'a Around, redis: &str, count: usize) -> Result<Fleet<'a>> {
        let start = |_| {
            let data = bench.fresh("data");
            std::fs::create_dir_all(&data)?;
            bench.start_node_with(&data, &settings(around, redis))
        };
        Ok(Fleet { bench, around, servers: (0..count).map(start).collect::<Result<_>>()? })
    }

    fn generate(&self, people: &Path, rooms: &Path, args: &[&str]) -> Result<Value> {
        let mut all: Vec<String> = ["--adapter", "quckchat", "--people"].map(Into::into).into();
        all.extend([people.display().to_string(), "--rooms".into(), rooms.display().to_string()]);
        if let Some(second) = self.servers.get(1) {
            all.extend(["--second".into(), second.addr.to_string(), "--server-pid".into(), second.pid().to_string()]);
        }
        all.extend(args.iter().map(ToString::to_string));
        let first = self.servers.first().context("no node")?;
        self.bench.generate(first, &all)
    }

    /// Publishes on Redis for each message that this generates.
    async fn published(&self, people: &Path, rooms: &Path, args: &[&str]) -> Result<f64> {
        let before = (self.around.published().await?, self.around.messages().await?);
        self.generate(people, rooms, args)?;
        let after = (self.around.published().await?, self.around.messages().await?);
        Ok((after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64)
    }
}

async fn measure(cli: &Cli, bench: &Bench, around: &Around) -> Result<Measured> {
    let quick = cli.quick;
    let secs = if quick { "2" } else { "8" };
    let rounds = if quick { 1 } else { cli.rounds.max(1) };
    let hop = around.hop(if quick { 500 } else { 5000 })?;

    let (data, idle) = (bench.fresh("data"), if quick { 500 } else { 4000 });
    std::fs::create_dir_all(&data)?;
    let people = bench.seed_with(&data, idle.max(2 * PAIRS), &settings(around, &cli.redis))?;
    let rooms = bench.fresh("pairs.json");
    let count = PAIRS.to_string();
    let pairs = ["pairs", "--pairs", &count, "--secs", secs];
    let prepare = ["pairs", "--pairs", &count, "--prepare-only"];
    Fleet::start(bench, around, &cli.redis, 1)?.generate(&people, &rooms, &prepare)?;

    let (mut one, mut two, mut cost) = (Vec::new(), Vec::new(), BTreeMap::new());
    for round in 1..=rounds {
        eprintln!("500 pairs at one node and at two, round {round}");
        let fleet = Fleet::start(bench, around, &cli.redis, 1)?;
        one.push(rate(&fleet.generate(&people, &rooms, &pairs)?)?);
        drop(fleet);
        let fleet = Fleet::start(bench, around, &cli.redis, 2)?;
        let before = used(around, &fleet).await?;
        let began = (Instant::now(), around.messages().await?);
        let result = fleet.generate(&people, &rooms, &pairs)?;
        let sent = (around.messages().await? - began.1) as f64;
        two.push(rate(&result)?);
        for (name, after) in used(around, &fleet).await? {
            let spent = after.saturating_sub(before.get(name).copied().unwrap_or_default());
            // Of a core, for 1000 a second: seconds of CPU for 1000 messages.
            cost.entry(name).or_insert_with(Vec::new).push(spent.as_secs_f64() / sent * 1000.0 * 100.0);
        }
    }

    eprintln!("one message at a time, within a node and between two");
    let fleet = Fleet::start(bench, around, &cli.redis, 2)?;
    // Two listen where the sender is, and two at the other node: the same message, at the same moment.
    let four = bench.fresh("four.json");
    let alone = ["fanout", "--subs", "4", "--senders", "1", "--secs", secs, "--ramp", "0"];
    fleet.generate(&people, &four, &["fanout", "--subs", "4", "--prepare-only"])?;
    let way = |result: &Value, server: &str| {
        result.pointer(&format!("/flat/0/by_server/{server}/p50_ms")).and_then(Value::as_f64).context("no latency")
    };
    let (mut same, mut cross) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let result = fleet.generate(&people, &four, &alone)?;
        same.push(way(&result, "0")?);
        cross.push(way(&result, "1")?);
    }

    eprintln!("publishes on Redis");
    let to_one = fleet.published(&people, &rooms, &pairs).await?;
    let group = bench.fresh("group.json");
    let to_many = ["fanout", "--subs", "200", "--secs", "1", "--ramp", "1"];
    fleet.generate(&people, &group, &["fanout", "--subs", "200", "--prepare-only"])?;
    let to_many = fleet.published(&people, &group, &to_many).await?;
    drop(fleet);

    eprintln!("idle connections");
    let fleet = Fleet::start(bench, around, &cli.redis, 2)?;
    let (lonely, count) = (bench.fresh("idle.json"), idle.to_string());
    fleet.generate(&people, &lonely, &["idle", "--count", &count, "--prepare-only"])?;
    drop(fleet);
    let fleet = Fleet::start(bench, around, &cli.redis, 2)?;
    let growth = around.watch_redis()?;
    let result = fleet.generate(&people, &lonely, &["idle", "--count", &count])?;
    let in_redis = growth.end()? as f64 / idle as f64;
    let at_nodes = result["bytes_per_conn"].as_f64().context("no memory")?;
    let deadlocks = around.deadlocks().await?;
    let cost = cost.into_iter().map(|(name, rounds)| (name, median(rounds))).collect();
    Ok(Measured {
        hop,
        same: median(same),
        cross: median(cross),
        one: median(one),
        two: median(two),
        published: [to_one, to_many],
        deadlocks,
        cost,
        idle: [at_nodes, in_redis],
    })
}

fn rate(result: &Value) -> Result<f64> {
    result["messages_s"].as_f64().context("no rate")
}

/// CPU time that each kind of server has used so far.
async fn used(around: &Around, fleet: &Fleet<'_>) -> Result<BTreeMap<&'static str, Duration>> {
    let mut processes = around.processes().await?;
    processes.insert("nodes", fleet.servers.iter().map(Server::pid).collect());
    Ok(processes.into_iter().map(|(name, pids)| (name, Procs(pids).cpu())).collect())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One line of the table.
struct Row {
    what: String,
    one: String,
    other: String,
    ratio: String,
    held: [&'static str; 2],
    reached: bool,
}

impl Row {
    fn line(&self) -> String {
        let Row { what, one, other, ratio, held: [must, aim], reached } = self;
        let missed = if *reached { "" } else { " **missed**" };
        format!("| {what} | {one} | {other} | {ratio}{missed} | {must} | {aim} |")
    }
}

fn rows(measured: &Measured) -> Vec<Row> {
    let Measured { hop, same, cross, one, two, published, deadlocks, cost, idle } = measured;
    let row = |what: &str, one: String, other: String, ratio: String, held, reached| Row {
        what: what.to_owned(),
        one,
        other,
        ratio,
        held,
        reached,
    };
    let hop = hop.as_secs_f64() * 1000.0;
    let added = (cross - same) / hop;
    let [to_one, to_many] = published.map(|published| format!("{published:.3}"));
    let [at_nodes, in_redis] = idle.map(|bytes| format!("{:.1} KB", bytes / 1024.0));
    let mut rows = vec![
        row(
            "a message's way to those at its sender's node, and to those at the other: p50; what is added, in bare hops over Redis",
            format!("{same:.3} ms"),
            format!("{cross:.3} ms"),
            format!("{added:.2} of {hop:.3} ms"),
            ["4", "2"],
            added <= 4.0,
        ),
        row(
            "500 pairs ping-pong on PostgreSQL, committed before `ok`, at one node, and over two: messages/s",
            format!("{one:.0}"),
            format!("{two:.0}"),
            format!("{:.2}", two / one),
            ["0.7", "1.0"],
            two / one >= 0.7,
        ),
        row(
            "publishes on Redis for a message to 1 other, and to 199",
            to_one,
            to_many,
            String::new(),
            ["1", "1"],
            published.iter().all(|published| *published <= 1.01),
        ),
        row(
            "deadlocks in PostgreSQL",
            String::new(),
            deadlocks.to_string(),
            String::new(),
            ["0", "0"],
            *deadlocks == 0,
        ),
        row(
            "memory of an idle connection: at its node, and in Redis",
            at_nodes,
            in_redis,
            String::new(),
            ["", ""],
            true,
        ),
    ];
    for (name, percent) in cost {
        let what = format!("CPU for 1000 messages/s of pairs over two nodes: {name}");
        rows.push(row(&what, String::new(), format!("{percent:.1} % of a core"), String::new(), ["", ""], true));
    }
    rows
}
