//! What the runner asks for, and where it wants to be told what came of it.
//! Never a default that differs from what a plain `cargo test` does.

use std::fs::File;
use std::io::Write;

/// What the runner asks for.
pub struct Asked {
    /// A run each.
    pub seeds: Vec<u64>,
    /// Whether faults last as long as they do in life, or only so long that everybody notices.
    pub at_length: bool,
    table: Option<File>,
}

impl Asked {
    /// `QUCKCHAT_TEST_SEED` names one seed; `QUCKCHAT_TEST_FAULTS` asks for so many, at length;
    /// `QUCKCHAT_TEST_FAULTS_TABLE` names a file for a row of each run.
    pub fn by_runner() -> Asked {
        let number = |name: &str| {
            told(name).map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
        };
        let count = number("QUCKCHAT_TEST_FAULTS");
        let seeds = match number("QUCKCHAT_TEST_SEED") {
            Some(seed) => vec![seed],
            None => (0..count.unwrap_or(1)).map(|_| fastrand::u64(..1_000_000)).collect(),
        };
        let file = |path| File::options().create(true).append(true).open(path).unwrap();
        Asked { seeds, at_length: count.is_some(), table: told("QUCKCHAT_TEST_FAULTS_TABLE").map(file) }
    }

    /// Adds a row to the table.
    pub fn notes(&mut self, row: &str) {
        println!("{row}");
        if let Some(table) = &mut self.table {
            writeln!(table, "{row}").unwrap();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the test runner says which runs it wants")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
