//! The table: figures, ratios, and what they are held against.

use super::{Measured, Rounds, Which};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

const KB: f64 = 1024.0;

/// One line of the table.
pub struct Row {
    what: &'static str,
    raw: String,
    node: String,
    ratio: Option<f64>,
    must: &'static str,
    aim: &'static str,
    verdict: Verdict,
}

#[derive(PartialEq)]
enum Verdict {
    Aim,
    Must,
    Missed,
    NotMeasured,
    /// The node was left out.
    Reference,
}

/// A figure that is held against the reference's.
struct Figure {
    what: &'static str,
    which: Which,
    /// Where it stands in a result (a JSON pointer).
    at: &'static str,
    unit: fn(f64) -> String,
    must: (&'static str, f64),
    aim: (&'static str, f64),
    /// More is better; otherwise less.
    more: bool,
    /// Of the node's figure itself, not of its ratio, are `must` and `aim`.
    absolute: bool,
}

const FIGURES: [Figure; 7] = [
    Figure {
        what: "fan-out 1000, one message at a time, deliveries/s",
        which: Which::Fanout1000,
        at: "/flat/0/deliveries_s",
        unit: thousands,
        must: ("0.45", 0.45),
        aim: ("0.70", 0.70),
        more: true,
        absolute: false,
    },
    Figure {
        what: "fan-out 1000, highest rate with p99 under 250 ms, deliveries/s",
        which: Which::Fanout1000,
        at: "/sustained/deliveries_s",
        unit: thousands,
        must: ("0.40", 0.40),
        aim: ("0.80", 0.80),
        more: true,
        absolute: false,
    },
    Figure {
        what: "fan-out 5000, one message at a time, deliveries/s",
        which: Which::Fanout5000,
        at: "/flat/0/deliveries_s",
        unit: thousands,
        must: ("0.25", 0.25),
        aim: ("0.50", 0.50),
        more: true,
        absolute: false,
    },
    Figure {
        what: "fan-out 5000, highest rate with p99 under 250 ms, deliveries/s",
        which: Which::Fanout5000,
        at: "/sustained/deliveries_s",
        unit: thousands,
        must: ("0.25", 0.25),
        aim: ("0.50", 0.50),
        more: true,
        absolute: false,
    },
    Figure {
        what: "500 pairs ping-pong, stored before acknowledged, messages/s",
        which: Which::Pairs,
        at: "/messages_s",
        unit: thousands,
        must: ("0.20", 0.20),
        aim: ("0.35", 0.35),
        more: true,
        absolute: false,
    },
    Figure {
        what: "memory an idle connection",
        which: Which::Idle,
        at: "/bytes_per_conn",
        unit: kilobytes,
        must: ("20 KB", 20.0 * KB),
        aim: ("10 KB", 10.0 * KB),
        more: false,
        absolute: true,
    },
    Figure {
        what: "all reconnect at once, until everyone is `ready`",
        which: Which::Idle,
        at: "/storm/all_back_s",
        unit: seconds,
        must: ("4x", 4.0),
        aim: ("2x", 2.0),
        more: false,
        absolute: false,
    },
];

fn thousands(n: f64) -> String {
    if n < 1e6 { format!("{:.1}k", n / 1e3) } else { format!("{:.2}M", n / 1e6) }
}

fn kilobytes(n: f64) -> String {
    format!("{:.1} KB", n / KB)
}

fn seconds(n: f64) -> String {
    format!("{n:.2} s")
}

/// The table's lines, for what was measured.
pub fn rows(measured: &Measured) -> Vec<Row> {
    let asked = |which| measured.raw.contains_key(&which) || measured.node.contains_key(&which);
    let mut rows: Vec<Row> = FIGURES.iter().filter(|f| asked(f.which)).map(|f| f.row(measured)).collect();
    rows.extend(measured.node.get(&Which::Slow).map(slow));
    rows.extend(measured.node.get(&Which::Kill).map(killed));
    rows
}

/// The median over the rounds, if every round gave a figure.
fn median(all: &BTreeMap<Which, Rounds>, which: Which, at: &str) -> Option<f64> {
    let figure = |one: &Result<Value, String>| one.as_ref().ok()?.pointer(at)?.as_f64();
    let mut figures = all.get(&which)?.iter().map(figure).collect::<Option<Vec<f64>>>()?;
    figures.sort_by(f64::total_cmp);
    let mid = figures.len() / 2;
    let upper = *figures.get(mid)?;
    Some(if figures.len() % 2 == 1 { upper } else { (figures[mid - 1] + upper) / 2.0 })
}

impl Figure {
    fn row(&self, measured: &Measured) -> Row {
        let raw = median(&measured.raw, self.which, self.at);
        let node = median(&measured.node, self.which, self.at);
        let ratio = raw.zip(node).map(|(raw, node)| node / raw);
        let held = if self.absolute { node } else { ratio };
        let reaches = |mark: f64| held.map(|x| if self.more { x >= mark } else { x <= mark });
        let verdict = match (reaches(self.aim.1), reaches(self.must.1)) {
            _ if !measured.node.contains_key(&self.which) => Verdict::Reference,
            (Some(true), _) => Verdict::Aim,
            (_, Some(true)) => Verdict::Must,
            (_, Some(false)) => Verdict::Missed,
            (_, None) => Verdict::NotMeasured,
        };
        let cell = |figure: Option<f64>| figure.map_or("-".to_owned(), self.unit);
        Row {
            what: self.what,
            raw: cell(raw),
            node: cell(node),
            ratio: ratio.filter(|_| !self.absolute),
            must: self.must.0,
            aim: self.aim.0,
            verdict,
        }
    }
}

fn slow(rounds: &Rounds) -> Row {
    let result = rounds.first().and_then(|r| r.as_ref().ok());
    let figure = |at: &str| result?.pointer(at)?.as_f64();
    let (without, with) = (figure("/without/latency/p99_ms"), figure("/with/latency/p99_ms"));
    let grown = figure("/grown_with_bytes");
    let usual = figure("/grown_without_bytes").unwrap_or(0.0);
    let ratio = without.zip(with).map(|(without, with)| with / without);
    // Half a MB is what a heap's growth by chance comes to.
    let bounded = figure("/queue_bytes").zip(grown).map(|(bound, grown)| grown <= bound + usual + 512.0 * KB);
    let cell = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("p99 {ms:.1} ms"));
    let growth = |bytes: f64| format!("+{:.1} MB", bytes / KB / KB);
    Row {
        what: "one client of 1000 stops reading: the others' p99 (first: without), the node's growth",
        raw: format!("{}, {}", cell(without), growth(usual)),
        node: format!("{}, {}", cell(with), grown.map_or("-".to_owned(), growth)),
        ratio,
        must: "1.2x; the queue's bound",
        aim: "",
        verdict: match (ratio, bounded) {
            (Some(ratio), Some(true)) if ratio <= 1.2 => Verdict::Must,
            (Some(_), Some(_)) => Verdict::Missed,
            _ => Verdict::NotMeasured,
        },
    }
}

fn killed(rounds: &Rounds) -> Row {
    let result = rounds.first().and_then(|r| r.as_ref().ok());
    let count = |at: &str| result?.get(at)?.as_u64();
    let counts = ["missing", "withdrawn", "duplicated", "gaps", "acknowledged"].map(count);
    let [Some(missing), Some(withdrawn), Some(duplicated), Some(gaps), Some(all)] = counts else {
        return Row {
            what: KILL,
            raw: String::new(),
            node: "-".to_owned(),
            ratio: None,
            must: "0, 0, 0",
            aim: "",
            verdict: Verdict::NotMeasured,
        };
    };
    let clean = missing + withdrawn + duplicated + gaps == 0 && all > 0;
    Row {
        what: KILL,
        raw: String::new(),
        node: format!("{missing}, {duplicated}, {gaps} of {all}"),
        ratio: None,
        must: "0, 0, 0",
        aim: "",
        verdict: if clean { Verdict::Must } else { Verdict::Missed },
    }
}

const KILL: &str = "SIGKILL under load, restart: acknowledged messages missing, duplicated, `seq` gaps";

impl Row {
    /// Whether this line should fail the run.
    pub fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Missed | Verdict::NotMeasured)
    }
}

/// The table and its notes.
pub fn markdown(rows: &[Row], notes: &[String]) -> String {
    let mut out = String::from("| what | raw | node | ratio | must | aim | |\n|---|---|---|---|---|---|---|\n");
    for row in rows {
        let verdict = match row.verdict {
            Verdict::Aim => "aim reached",
            Verdict::Must => "must reached",
            Verdict::Missed => "**missed**",
            Verdict::NotMeasured => "**not measured**",
            Verdict::Reference => "reference only",
        };
        let ratio = row.ratio.map_or(String::new(), |r| format!("{r:.2}"));
        let Row { what, raw, node, must, aim, .. } = row;
        let _ = writeln!(out, "| {what} | {raw} | {node} | {ratio} | {must} | {aim} | {verdict} |");
    }
    for note in notes {
        let _ = write!(out, "\n- {note}");
    }
    out
}
