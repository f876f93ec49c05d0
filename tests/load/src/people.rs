//! Who signs in: what `quckchat admin seed` printed.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

/// One seeded user.
#[derive(Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// The user's id.
    pub user_id: String,
    /// Valid for the whole run.
    pub access_token: String,
}

/// Reads one JSON object a line; lines that begin otherwise (a log's) are passed over.
pub fn read(path: &Path) -> Result<Vec<Person>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("people of {}", path.display()))?;
    text.lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).with_context(|| format!("no person: {line}")))
        .collect()
}
