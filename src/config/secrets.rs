//! `[secrets]`: what every other key comes from.
//! Never a key of its own.

use super::Secret;
use super::layers::ConfigError;
use serde::{Deserialize, Serialize};

/// The fewest characters of a master secret: 128 bits, even if only hexadecimal digits are used.
const MASTER_CHARACTERS: usize = 32;

/// `[secrets]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// What every other key comes from; empty is a file in the data folder.
    pub master: Secret,
}

impl Secrets {
    pub(super) fn check(&self, wrong: &mut ConfigError) {
        if !self.master.is_empty() && self.master.expose().chars().count() < MASTER_CHARACTERS {
            wrong.add("secrets.master", format!("must have {MASTER_CHARACTERS} characters at least"));
        }
    }
}
