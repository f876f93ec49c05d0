//! `[log]`: what is logged, and how it is written.
//! Never the writing.

use super::layers::ConfigError;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// `[log]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// What is logged, as tracing's `EnvFilter` reads it.
    pub filter: String,
    /// How it is written.
    pub format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

impl Log {
    pub(super) fn check(&self, wrong: &mut ConfigError) {
        if let Err(err) = EnvFilter::builder().parse(&self.filter) {
            wrong.add("log.filter", err);
        }
    }
}
