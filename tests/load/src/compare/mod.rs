//! The run that compares: for each scenario the reference and the node in turn, each on a fresh data folder
//! and a free port, the server on core 0 and the generator on core 1; then the table.
//!
//! It builds nothing, measures nothing by itself, and ends only what it started.

mod kill;
mod ledger;
mod notes;
pub mod server;
mod steps;
mod table;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use server::Bench;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Where `limits.toml` is, as built.
const LIMITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/limits.toml");

#[derive(Parser)]
#[command(name = "compare", about = "Node and reference in turn, and the table of ratios")]
struct Cli {
    /// The node's program; by default `quckchat` beside this one.
    #[arg(long)]
    node: Option<PathBuf>,
    /// The node's configuration.
    #[arg(long, default_value = LIMITS)]
    config: PathBuf,
    /// Only these scenarios.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Which>,
    /// Shorter steps, fewer connections, one round: to see that all works, not to quote.
    #[arg(long)]
    quick: bool,
    /// How often reference and node take turns; the median counts.
    #[arg(long)]
    rounds: Option<usize>,
    /// Leave the node out.
    #[arg(long)]
    reference_only: bool,
    /// The reference tells every message with so many bytes more, as the node tells it with its fields. 0 is
    /// what the table is defined with; about 400 compares at equal bytes.
    #[arg(long, default_value_t = 0)]
    envelope: usize,
    /// Write all results here as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Data folders are made, and removed, in this folder.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    work: PathBuf,
    /// All must be over after so many minutes.
    #[arg(long, default_value_t = 45)]
    minutes: u64,
}

/// A scenario, or two that share their servers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Which {
    /// Fan-out to 1000.
    Fanout1000,
    /// Fan-out to 5000.
    Fanout5000,
    /// 500 pairs, stored before acknowledged.
    Pairs,
    /// Memory an idle connection, and the reconnect storm.
    Idle,
    /// One client that stops reading.
    Slow,
    /// SIGKILL under load.
    Kill,
}

/// What one kind of server gave in each round: a result or what went wrong.
type Rounds = Vec<Result<Value, String>>;

/// All that was measured.
#[derive(Default)]
struct Measured {
    raw: BTreeMap<Which, Rounds>,
    node: BTreeMap<Which, Rounds>,
}

/// Runs the comparison and prints the table; the exit code is a failure's if something could not be measured
/// or missed its `must`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let cli = Cli::parse_from(args);
    let bench = Bench::new(server::Place {
        node: node_of(&cli)?,
        config: cli.config.clone(),
        work: cli.work.clone(),
        envelope: cli.envelope,
        quick: cli.quick,
        deadline: Instant::now() + Duration::from_secs(cli.minutes * 60),
    })?;
    let which = if cli.only.is_empty() { Which::value_variants().to_vec() } else { cli.only };
    let rounds = cli.rounds.unwrap_or(if cli.quick { 1 } else { 2 }).max(1);
    let mut measured = Measured::default();
    for which in which {
        for round in 1..=rounds {
            measured.round(&bench, which, round);
        }
    }
    let rows = table::rows(&measured);
    let mut out = std::io::stdout();
    if cli.quick {
        writeln!(out, "(--quick: not to be quoted)\n")?;
    }
    writeln!(out, "{}", table::markdown(&rows, &notes::notes(&measured, &bench)))?;
    if let Some(path) = cli.json {
        let all = json!({"raw": by_name(&measured.raw), "node": by_name(&measured.node)});
        std::fs::write(&path, serde_json::to_vec_pretty(&all)?).with_context(|| path.display().to_string())?;
    }
    let failed = rows.iter().any(table::Row::failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn node_of(cli: &Cli) -> Result<Option<PathBuf>> {
    if cli.reference_only {
        return Ok(None);
    }
    let beside = || Some(std::env::current_exe().ok()?.parent()?.join("quckchat"));
    let node = cli.node.clone().or_else(beside).context("--node PATH")?;
    anyhow::ensure!(node.is_file(), "there is no {}: `cargo build --release` first, or --node PATH", node.display());
    Ok(Some(node.canonicalize()?))
}

fn by_name(all: &BTreeMap<Which, Rounds>) -> Value {
    let rounds = |rounds: &Rounds| {
        let value = |one: &Result<Value, String>| match one {
            Ok(value) => value.clone(),
            Err(e) => json!({"failed": e}),
        };
        rounds.iter().map(value).collect::<Vec<_>>()
    };
    all.iter().map(|(which, all)| (which.name(), json!(rounds(all)))).collect()
}

impl Which {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
    }

    /// Whether the reference takes part.
    fn has_reference(self) -> bool {
        !matches!(self, Which::Slow | Which::Kill)
    }

    /// Whether it is worth doing once only.
    fn once(self) -> bool {
        matches!(self, Which::Slow | Which::Kill)
    }
}

impl Measured {
    fn round(&mut self, bench: &Bench, which: Which, round: usize) {
        if round > 1 && which.once() {
            return;
        }
        if which.has_reference() {
            eprintln!("{} against raw, round {round}", which.name());
            let result = steps::reference(bench, which).map_err(|e| format!("{e:#}"));
            put(&mut self.raw, which, result);
        }
        if bench.node().is_some() {
            eprintln!("{} against the node, round {round}", which.name());
            let result = steps::node(bench, which).map_err(|e| format!("{e:#}"));
            put(&mut self.node, which, result);
        }
    }
}

fn put(all: &mut BTreeMap<Which, Rounds>, which: Which, result: Result<Value, String>) {
    if let Err(e) = &result {
        eprintln!("  failed: {e}");
    }
    all.entry(which).or_default().push(result);
}
