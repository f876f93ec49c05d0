//! How to open the database.
//!
//! Never here: where the values come from, or which are allowed.

use std::time::Duration;

/// How to open the database. It has no `Debug`: the URLs may hold passwords.
#[derive(Clone)]
pub struct Options {
    /// `sqlite://path/to/file` or `postgres://user:password@host/name`.
    pub url: String,
    /// PostgreSQL: what the server shows as the name of who is connected, unless the URL says so.
    pub application: String,
    /// PostgreSQL: connections at most. SQLite: readers at most, besides the one writer.
    pub max_connections: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// PostgreSQL gives up a statement after this.
    pub statement_timeout: Duration,
    /// PostgreSQL gives up waiting for a row that another transaction holds after this.
    pub lock_timeout: Duration,
    /// PostgreSQL ends a transaction whose node is silent for this long: a stopped process must not hold rows.
    pub idle_in_transaction_timeout: Duration,
    /// How often a transaction that was surely rolled back is tried again at most.
    pub retries: u32,
    /// For how long it is tried again at most.
    pub retry_within: Duration,
    /// PostgreSQL: servers that follow the one of `url`; pages of history and searches for people are read from them.
    pub replicas: Vec<String>,
    /// A replica that is further behind is passed over.
    pub replica_lag: Duration,
    /// SQLite: how large the file may grow; 0 is as large as it can.
    pub max_bytes: u64,
    /// SQLite: the length at which the write-ahead log is to be restarted. A log that was restarted is cut to it, so
    /// `Db::wal_bytes` is above it only while the live log is.
    pub wal_limit_bytes: u64,
    /// SQLite: the writer's page cache.
    pub cache_bytes: u64,
}

impl Options {
    /// 8 connections; 5 s for one, 10 s for a statement, 1 s for a lock; no replicas; 64 MiB of log and of cache.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            application: "quckchat".to_owned(),
            max_connections: 8,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(1),
            idle_in_transaction_timeout: Duration::from_secs(2),
            retries: 5,
            retry_within: Duration::from_secs(4),
            replicas: Vec::new(),
            replica_lag: Duration::from_secs(5),
            max_bytes: 0,
            wal_limit_bytes: 64 << 20,
            cache_bytes: 64 << 20,
        }
    }
}
