//! What is run for each scenario, long or quick.

use super::server::Bench;
use super::{Which, kill};
use anyhow::Result;
use serde_json::Value;
use std::path::Path;

/// One round of the reference.
pub fn reference(bench: &Bench, which: Which) -> Result<Value> {
    let server = bench.start_raw(which == Which::Pairs)?;
    bench.generate(&server, &arguments(which, bench.quick()))
}

/// One round of the node, on a fresh data folder.
pub fn node(bench: &Bench, which: Which) -> Result<Value> {
    let data = bench.fresh("data");
    std::fs::create_dir_all(&data)?;
    let people = bench.seed(&data, users(which, bench.quick()))?;
    let result =
        if which == Which::Kill { kill::run(bench, &data, &people) } else { generate(bench, which, &data, &people) };
    // Ten thousand users' data is not kept until the end of the run.
    let _ = std::fs::remove_dir_all(&data);
    result
}

fn generate(bench: &Bench, which: Which, data: &Path, people: &Path) -> Result<Value> {
    let rooms = bench.fresh("rooms.json");
    let (people, rooms) = (people.display().to_string(), rooms.display().to_string());
    let mut args: Vec<String> =
        ["--adapter", "quckchat", "--people", &people, "--rooms", &rooms].map(Into::into).into();
    args.extend(arguments(which, bench.quick()));
    // A node that has set up thousands of conversations has memory to spare; one that has just started
    // shows what the connections cost.
    let server = bench.start_node(data)?;
    let mut prepare = args.clone();
    prepare.push("--prepare-only".into());
    bench.generate(&server, &prepare)?;
    server.kill()?;
    let server = bench.start_node(data)?;
    bench.generate(&server, &args)
}

/// How many connections the idle scenario holds.
fn idle(quick: bool) -> usize {
    if quick { 2_000 } else { 10_000 }
}

fn users(which: Which, quick: bool) -> usize {
    match which {
        Which::Fanout1000 | Which::Slow => 1_000,
        Which::Fanout5000 => 5_000,
        Which::Pairs => 1_000,
        Which::Idle => idle(quick),
        Which::Kill => kill::users(),
    }
}

fn arguments(which: Which, quick: bool) -> Vec<String> {
    let pick = |long: &'static str, short: &'static str| if quick { short } else { long };
    let idle = idle(quick).to_string();
    let (secs, ramp) = (pick("3", "1"), pick("8", "4"));
    let args: &[&str] = match which {
        Which::Fanout1000 => &["fanout", "--subs", "1000", "--secs", secs, "--ramp", ramp],
        Which::Fanout5000 => &["fanout", "--subs", "5000", "--secs", secs, "--ramp", ramp],
        Which::Pairs => &["pairs", "--pairs", "500", "--secs", pick("8", "2")],
        Which::Idle => &["idle", "--storm", "--count", &idle],
        Which::Slow => &["slow", "--subs", "1000", "--secs", pick("60", "25")],
        Which::Kill => &[],
    };
    args.iter().map(ToString::to_string).collect()
}
