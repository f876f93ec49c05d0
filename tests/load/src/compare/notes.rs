//! What a reader of the table must know: how it was run, and everything that went wrong.

use super::server::Bench;
use super::{Measured, Which};
use serde_json::Value;

/// Above this share of its core the generator, not the server, may have set the figure.
const GENERATOR_BUSY: f64 = 95.0;
/// Above this share of a core the rest of the machine has spoilt the figure.
const OTHERS_BUSY: f64 = 15.0;

/// A line each.
pub fn notes(measured: &Measured, bench: &Bench) -> Vec<String> {
    let mut notes = vec![if bench.pinned() {
        "Server on core 0, generator on core 1; medians over the rounds.".to_owned()
    } else {
        "Not pinned to cores: rough.".to_owned()
    }];
    if bench.envelope() > 0 {
        notes.push(format!("raw told every message with {} bytes more.", bench.envelope()));
    }
    for (server, all) in [("raw", &measured.raw), ("node", &measured.node)] {
        for (which, rounds) in all {
            let said = rounds.iter().flat_map(|one| match one {
                Err(e) => vec![format!("failed: {}", e.replace('\n', " / "))],
                Ok(result) => remarks(*which, result),
            });
            let name = which.name();
            notes.extend(said.map(|what| format!("{name}, {server}: {what}")));
        }
    }
    notes
}

fn remarks(which: Which, result: &Value) -> Vec<String> {
    let mut remarks = vec![];
    trouble(&result["trouble"], &mut remarks);
    trouble(&result["storm"]["trouble"], &mut remarks);
    let steps = || result["flat"].as_array().into_iter().flatten();
    let steps = steps().chain([&result["with"], &result["without"]]);
    let missing: u64 = steps.filter_map(|step| step["missing"].as_u64()).sum();
    if missing > 0 {
        remarks.push(format!("{missing} deliveries never came"));
    }
    // At too high a rate a server may refuse and cut off; it may not miscount.
    let search = result["search"].as_array().into_iter().flatten();
    let count = |step: &Value| step["trouble"]["out_of_step"].as_u64();
    let out_of_step = search.filter_map(count).max().unwrap_or(0);
    if out_of_step > 0 {
        remarks.push(format!("in the search {out_of_step} heartbeats out of step"));
    }
    let figures = [&result["flat"][0], &result["sustained"], &result["storm"], result];
    let most = |who: &str| {
        let shares = figures.iter().filter_map(|figure| figure["cpu"][who].as_f64());
        shares.fold(0.0, f64::max)
    };
    if most("generator") >= GENERATOR_BUSY {
        let busy = most("generator");
        remarks.push(format!("the generator used {busy} % of its core: perhaps its limit, not the server's"));
    }
    if most("others") >= OTHERS_BUSY {
        remarks.push(format!("other processes used {} % of a core: rough", most("others")));
    }
    match which {
        Which::Slow => remarks.push(format!("the laggard: {}", result["laggard"])),
        Which::Kill => remarks.push(result.to_string()),
        _ => {}
    }
    remarks
}

fn trouble(trouble: &Value, remarks: &mut Vec<String>) {
    let count = |what: &str| trouble[what].as_u64().unwrap_or(0);
    let (refused, out_of_step) = (count("refused"), count("out_of_step"));
    if refused > 0 {
        remarks.push(format!("{refused} refused, first {}", trouble["refusal"]));
    }
    if out_of_step > 0 {
        remarks.push(format!("{out_of_step} heartbeats out of step"));
    }
    let closed = &trouble["closed"];
    if closed.as_object().is_some_and(|closed| !closed.is_empty()) {
        remarks.push(format!("connections closed by the server, by code (0: none): {closed}"));
    }
}
