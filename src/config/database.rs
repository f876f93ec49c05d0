//! `[database]`: where the rows are, and how long one waits for them.
//! Never whether they can be reached.

use super::layers::ConfigError;
use super::rules::{HOUR, MIB, MINUTE, SECOND, lasts, within};
use super::values::{DatabaseUrl, duration};
use entities::Backend;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[database]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Empty is SQLite in the data folder. See `Config::database`.
    pub url: DatabaseUrl,
    /// SQLite: connections that read.
    pub readers: u32,
    /// SQLite: how large its file may grow; 0 is as large as it can.
    pub max_bytes: u64,
    /// PostgreSQL: connections at most, to each server.
    pub connections: u32,
    /// How long to wait for a free connection.
    #[serde(with = "duration")]
    pub acquire_timeout: Duration,
    /// PostgreSQL: a statement is given up after this.
    #[serde(with = "duration")]
    pub statement_timeout: Duration,
    /// PostgreSQL: waiting for a row is given up after this.
    #[serde(with = "duration")]
    pub lock_timeout: Duration,
    /// PostgreSQL: a transaction whose node is silent for this long is ended.
    #[serde(with = "duration")]
    pub idle_in_transaction_timeout: Duration,
    /// How often a transaction that was surely rolled back is tried again.
    pub retries: u32,
    /// For how long it is.
    #[serde(with = "duration")]
    pub retry_within: Duration,
    /// PostgreSQL: hot standbys that pages of history and searches for people come from.
    pub replicas: Vec<DatabaseUrl>,
    /// A replica that is further behind is passed over.
    #[serde(with = "duration")]
    pub replica_lag: Duration,
}

impl Database {
    /// Whether it is a PostgreSQL, which several nodes may share.
    pub(super) fn is_server(&self) -> bool {
        is_server(&self.url)
    }

    pub(super) fn check(&self, wrong: &mut ConfigError) {
        within(wrong, "database.readers", self.readers, 1..=256);
        within(wrong, "database.connections", self.connections, 2..=10_000);
        within(wrong, "database.retries", self.retries, 0..=100);
        if self.max_bytes > 0 {
            within(wrong, "database.max_bytes", self.max_bytes, MIB as u64..=1 << 47);
        }
        lasts(wrong, "database.statement_timeout", self.statement_timeout, SECOND..=10 * MINUTE);
        lasts(wrong, "database.acquire_timeout", self.acquire_timeout, SECOND / 10..=MINUTE);
        let statement = self.statement_timeout.max(SECOND);
        lasts(wrong, "database.lock_timeout", self.lock_timeout, SECOND / 100..=statement);
        lasts(wrong, "database.idle_in_transaction_timeout", self.idle_in_transaction_timeout, SECOND..=MINUTE);
        lasts(wrong, "database.retry_within", self.retry_within, Duration::ZERO..=MINUTE);
        lasts(wrong, "database.replica_lag", self.replica_lag, SECOND..=HOUR);
        let url = self.url.expose();
        if !url.is_empty() && Backend::of_url(url).is_none() {
            wrong.add("database.url", "must begin with sqlite:// or postgres://, or be empty");
        }
        if !self.replicas.is_empty() && !self.is_server() {
            wrong.add("database.replicas", "only PostgreSQL has replicas, and database.url names none");
        }
        for replica in self.replicas.iter().filter(|url| !is_server(url)) {
            wrong.add("database.replicas", format!("{} must begin with postgres://", replica.shown()));
        }
    }
}

/// Whether a URL names a PostgreSQL.
fn is_server(url: &DatabaseUrl) -> bool {
    Backend::of_url(url.expose()) == Some(Backend::Postgres)
}
