//! SQLite as this schema needs it: one connection that writes, several that read, one that empties the log.
//!
//! Never here: PostgreSQL.

use super::{Options, Refusal};
use sea_orm::sqlx::ConnectOptions as _;
use sea_orm::sqlx::Connection as _;
use sea_orm::sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long SQLite waits for another process that holds a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a checkpoint waits for readers: commits wait behind it, and it can be had again.
const CHECKPOINT_BUSY_TIMEOUT: Duration = Duration::from_millis(100);
/// What a page of the file takes.
const PAGE_BYTES: u32 = 4096;

/// How hard a checkpoint tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointMode {
    /// Copy what can be copied; nobody waits.
    Passive,
    /// Copy everything and let the next commit begin the log anew. Writers wait; for readers it waits 100 ms at most.
    Restart,
}

/// What a checkpoint did. All zero on PostgreSQL, which makes its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// It gave way to a reader or writer before it was done.
    pub busy: bool,
    /// Pages in the log.
    pub wal_pages: u64,
    /// Those of them that are in the database file by now.
    pub copied_pages: u64,
}

/// The write-ahead log.
#[derive(Clone)]
pub(super) struct Log {
    /// A connection of its own, so that a passive checkpoint runs beside the commits.
    pub connection: DatabaseConnection,
    path: PathBuf,
}

/// What there is to a file that was opened: where to write, where to read, and its log.
pub(super) struct File {
    pub write: SqlitePool,
    pub read: SqlitePool,
    pub log: Log,
}

pub(super) async fn open(options: &Options, path: &Path) -> Result<File, Refusal> {
    if path.file_name().is_none() || path == Path::new(":memory:") {
        return Err(Refusal::new("it must name a file: sqlite://path/to/file"));
    }
    let shown = path.display();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| Refusal::of_file(&shown, error))?;
    }
    let shared = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(false)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(super::STATEMENT_CACHE)
        .pragma("temp_store", "memory")
        .disable_statement_logging();
    let mut writer = shared
        .clone()
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "0")
        .pragma("journal_size_limit", options.wal_limit_bytes.to_string())
        .pragma("cache_size", format!("-{}", options.cache_bytes / 1024));
    if options.max_bytes > 0 {
        writer = writer.pragma("max_page_count", (options.max_bytes / u64::from(PAGE_BYTES)).max(1).to_string());
    }
    // Not read-only: that one could not checkpoint. The journal mode is in the file by the time that it opens.
    let checkpointer = shared
        .clone()
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", "0")
        .busy_timeout(CHECKPOINT_BUSY_TIMEOUT);
    let reader = shared.read_only(true);

    let refused = |error| Refusal::of_file(&shown, error);
    let write = pool(options, 1).connect_with(writer).await.map_err(refused)?;
    let read = pool(options, options.max_connections.max(1)).connect_with(reader).await.map_err(refused)?;
    let connection = pool(options, 1).connect_lazy_with(checkpointer).into();
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Ok(File { write, read, log: Log { connection, path: log.into() } })
}

/// A connection's caches are worth keeping, and a file does not hang up: connections live as long as the pool.
fn pool(options: &Options, size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // On a full disk SQLite may roll back by itself; the ROLLBACK after it fails, and the driver takes every later
        // transaction for one within that one, which begins as a savepoint and not IMMEDIATE. So it is made anew.
        .before_acquire(|connection, _| {
            let usable = !connection.is_in_transaction();
            Box::pin(async move { Ok(usable) })
        })
}

impl Log {
    pub async fn checkpoint(&self, mode: CheckpointMode) -> Result<Checkpoint, DbErr> {
        let sql = match mode {
            CheckpointMode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            CheckpointMode::Restart => "PRAGMA wal_checkpoint(RESTART)",
        };
        let row = self.connection.query_one_raw(Statement::from_string(DbBackend::Sqlite, sql)).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?;
        // SQLite answers -1 where it knows no number.
        let pages = |index| row.try_get_by_index::<i64>(index).map(|pages| u64::try_from(pages).unwrap_or(0));
        Ok(Checkpoint { busy: pages(0)? != 0, wal_pages: pages(1)?, copied_pages: pages(2)? })
    }

    pub fn bytes(&self) -> u64 {
        // Only ever `stat`: to open and close one of SQLite's files would drop the locks that this process has on it.
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }
}
