//! The database: opens SQLite or PostgreSQL the way that this schema needs it, and hides which one it is.
//!
//! Never here: a query on a table, or the schema.

use sea_orm::sqlx;
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sea_orm::sqlx::{ConnectOptions as _, Connection as _};
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, RuntimeErr,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Above the some fifty shapes of statement that the node has, times the sizes that a batch comes in.
const STATEMENT_CACHE: usize = 512;
/// How long SQLite waits for another process that holds a lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a checkpoint waits for readers: commits wait behind it, and it can be had again.
const CHECKPOINT_BUSY_TIMEOUT: Duration = Duration::from_millis(100);
/// How long a PostgreSQL statement waits for a row that another one holds.
const LOCK_TIMEOUT: &str = "1s";
/// How long a stopped process may hold rows on PostgreSQL.
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "2s";
/// A connection to PostgreSQL that was idle for longer is tried before it is used.
const PING_AFTER_IDLE: Duration = Duration::from_secs(15);

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// SQLite, one file.
    Sqlite,
    /// PostgreSQL 15 or newer.
    Postgres,
}

impl Backend {
    /// The one that a connection or transaction talks to.
    pub fn of(connection: &impl ConnectionTrait) -> Self {
        match connection.get_database_backend() {
            DbBackend::Postgres => Self::Postgres,
            _ => Self::Sqlite,
        }
    }

    /// A statement in this database's words, for what SeaORM cannot say.
    pub fn statement(self, sql: impl Into<String>, values: impl IntoIterator<Item = sea_orm::Value>) -> Statement {
        Statement::from_sql_and_values(self.into(), sql, values)
    }
}

impl From<Backend> for DbBackend {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::Sqlite,
            Backend::Postgres => Self::Postgres,
        }
    }
}

/// How to open the database. It has no `Debug`: the URL may hold a password.
#[derive(Clone)]
pub struct Options {
    /// `sqlite://path/to/file` or `postgres://user:password@host/name`.
    pub url: String,
    /// PostgreSQL: connections at most. SQLite: readers at most, besides the one writer.
    pub max_connections: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// PostgreSQL gives up a statement after this.
    pub statement_timeout: Duration,
    /// SQLite: the length at which the write-ahead log is to be restarted. A log that was restarted is cut to it, so
    /// `Db::wal_bytes` is above it only while the live log is.
    pub wal_limit_bytes: u64,
    /// SQLite: the writer's page cache.
    pub cache_bytes: u64,
}

impl Options {
    /// 8 connections; 5 s for one, 10 s for a statement; 64 MiB of log and of cache.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            max_connections: 8,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            wal_limit_bytes: 64 << 20,
            cache_bytes: 64 << 20,
        }
    }
}

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

/// The open database. A clone shares the connections.
///
/// # Why SQLite has one writer
/// SQLite lets one connection write at a time, and the others poll for their turn. In a queue for one connection
/// everybody is served in order, and its page cache is always the newest.
#[derive(Clone)]
pub struct Db {
    write: DatabaseConnection,
    read: DatabaseConnection,
    backend: Backend,
    /// SQLite only: a connection for checkpoints, so that a passive one runs beside the commits, and the log's path.
    wal: Option<(DatabaseConnection, PathBuf)>,
}

impl Db {
    /// Opens the database; SQLite's file and its folder are made if they are missing. Migrates nothing.
    ///
    /// # Errors
    /// `DbErr::Conn` if the URL names neither database, or nobody answers there.
    pub async fn open(options: &Options) -> Result<Self, DbErr> {
        if let Some(path) = options.url.strip_prefix("sqlite://") {
            Self::open_sqlite(options, Path::new(path)).await
        } else if options.url.starts_with("postgres://") || options.url.starts_with("postgresql://") {
            Self::open_postgres(options).await
        } else {
            Err(refused("the database's URL must begin with sqlite:// or postgres://"))
        }
    }

    async fn open_sqlite(options: &Options, path: &Path) -> Result<Self, DbErr> {
        if path.file_name().is_none() || path == Path::new(":memory:") {
            return Err(refused("the database's URL must name a file: sqlite://path/to/file"));
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|err| connection_error(err.into()))?;
        }
        let shared = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(false)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENT_CACHE)
            .pragma("temp_store", "memory")
            .disable_statement_logging();
        let writer = shared
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "0")
            .pragma("journal_size_limit", options.wal_limit_bytes.to_string())
            .pragma("cache_size", format!("-{}", options.cache_bytes / 1024));
        // Not read-only: that one could not checkpoint. The journal mode is in the file by the time that it opens.
        let checkpointer = shared
            .clone()
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "0")
            .busy_timeout(CHECKPOINT_BUSY_TIMEOUT);
        let reader = shared.read_only(true);

        // A connection's caches are worth keeping, and a file does not hang up: they live as long as the pool.
        let pool = |size: u32| {
            SqlitePoolOptions::new()
                .max_connections(size)
                .acquire_timeout(options.acquire_timeout)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let write = pool(1).connect_with(writer).await.map_err(connection_error)?;
        let read = pool(options.max_connections.max(1)).connect_with(reader).await.map_err(connection_error)?;
        let checkpoints = pool(1).connect_lazy_with(checkpointer);
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(Self {
            write: write.into(),
            read: read.into(),
            backend: Backend::Sqlite,
            wal: Some((checkpoints.into(), log.into())),
        })
    }

    async fn open_postgres(options: &Options) -> Result<Self, DbErr> {
        let connect = options
            .url
            .parse::<PgConnectOptions>()
            .map_err(connection_error)?
            .statement_cache_capacity(STATEMENT_CACHE)
            .options([
                ("lock_timeout", LOCK_TIMEOUT.to_owned()),
                ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT.to_owned()),
                ("statement_timeout", options.statement_timeout.as_millis().to_string()),
            ])
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections.max(1))
            .acquire_timeout(options.acquire_timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move {
                    if state.idle_for > PING_AFTER_IDLE {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_with(connect)
            .await
            .map_err(connection_error)?;
        let connection = DatabaseConnection::from(pool);
        Ok(Self { write: connection.clone(), read: connection, backend: Backend::Postgres, wal: None })
    }

    /// Where to write, and to read what one has just written. On SQLite one connection: for several statements that
    /// belong together, `begin_write`.
    pub fn write(&self) -> &DatabaseConnection {
        &self.write
    }

    /// Where to read. On SQLite a write there fails. It sees everything that was committed before it began.
    pub fn read(&self) -> &DatabaseConnection {
        &self.read
    }

    /// Which database it is.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// A transaction that will write. On SQLite it has the write lock from its beginning (`BEGIN IMMEDIATE`), so it
    /// never fails half-way because another one wrote.
    pub async fn begin_write(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.write.begin_with_options(options).await
    }

    /// A transaction whose reads all see one and the same moment.
    pub async fn begin_read(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = match self.backend {
            Backend::Sqlite => TransactionOptions::default(),
            Backend::Postgres => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                ..TransactionOptions::default()
            },
        };
        self.read.begin_with_options(options).await
    }

    /// Whether the database answers, on the reading and on the writing side.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.read.ping().await?;
        if self.backend == Backend::Sqlite {
            self.write.ping().await?;
        }
        Ok(())
    }

    /// How many connections are open.
    pub fn pool_size(&self) -> u32 {
        match self.backend {
            Backend::Sqlite => {
                self.write.get_sqlite_connection_pool().size() + self.read.get_sqlite_connection_pool().size()
            }
            Backend::Postgres => self.write.get_postgres_connection_pool().size(),
        }
    }

    /// How many of them nobody uses.
    pub fn pool_idle(&self) -> usize {
        match self.backend {
            Backend::Sqlite => {
                self.write.get_sqlite_connection_pool().num_idle() + self.read.get_sqlite_connection_pool().num_idle()
            }
            Backend::Postgres => self.write.get_postgres_connection_pool().num_idle(),
        }
    }

    /// Copies SQLite's write-ahead log into the database file. Does nothing on PostgreSQL.
    ///
    /// A passive one runs beside the commits. A restart belongs between two of them.
    pub async fn checkpoint(&self, mode: CheckpointMode) -> Result<Checkpoint, DbErr> {
        let Some((connection, _)) = &self.wal else {
            return Ok(Checkpoint::default());
        };
        let sql = match mode {
            CheckpointMode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            CheckpointMode::Restart => "PRAGMA wal_checkpoint(RESTART)",
        };
        let row = connection.query_one_raw(Statement::from_string(DbBackend::Sqlite, sql)).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?;
        // SQLite answers -1 where it knows no number.
        let pages = |index| row.try_get_by_index::<i64>(index).map(|pages| u64::try_from(pages).unwrap_or(0));
        Ok(Checkpoint { busy: pages(0)? != 0, wal_pages: pages(1)?, copied_pages: pages(2)? })
    }

    /// The length of SQLite's write-ahead log in bytes; 0 on PostgreSQL. One look at the folder, no query.
    ///
    /// A restart lets it shrink to `Options::wal_limit_bytes` with the next commit, not at once.
    pub fn wal_bytes(&self) -> u64 {
        // Only ever `stat`: to open and close one of SQLite's files would drop the locks that this process has on it.
        let length = |log: &Path| std::fs::metadata(log).map_or(0, |file| file.len());
        self.wal.as_ref().map_or(0, |(_, log)| length(log))
    }

    /// Closes every connection, after what they are at. SQLite's writer is the last: it empties the log.
    pub async fn close(&self) -> Result<(), DbErr> {
        self.read.close_by_ref().await?;
        if let Some((connection, _)) = &self.wal {
            connection.close_by_ref().await?;
        }
        self.write.close_by_ref().await
    }
}

/// The parameter of this number (from 1): `$3::uuid` on PostgreSQL, `?` on SQLite. An empty cast is none.
///
/// SQLite numbers by position, so values must be bound in the order in which their parameters stand in the text.
pub fn parameter(backend: Backend, number: usize, cast: &str) -> String {
    let mut sql = String::new();
    push_parameter(&mut sql, backend, number, cast);
    sql
}

/// `count` parameters from `first` on, for an `IN (...)`: `$1::uuid,$2::uuid` or `?,?`.
pub fn parameters(backend: Backend, first: usize, count: usize, cast: &str) -> String {
    let mut sql = String::with_capacity(count * (cast.len() + 8));
    for number in first..first + count {
        if number > first {
            sql.push(',');
        }
        push_parameter(&mut sql, backend, number, cast);
    }
    sql
}

/// The rows of a `VALUES`, their parameters numbered from `first` on, one column for each of `casts`:
/// `($1::uuid,$2::bigint),($3::uuid,$4::bigint)` or `(?,?),(?,?)`.
pub fn values_list(backend: Backend, first: usize, rows: usize, casts: &[&str]) -> String {
    let mut sql = String::with_capacity(rows * casts.len() * 16);
    let mut number = first;
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ",(" });
        for (column, cast) in casts.iter().enumerate() {
            if column > 0 {
                sql.push(',');
            }
            push_parameter(&mut sql, backend, number, cast);
            number += 1;
        }
        sql.push(')');
    }
    sql
}

fn push_parameter(sql: &mut String, backend: Backend, number: usize, cast: &str) {
    match backend {
        Backend::Sqlite => sql.push('?'),
        Backend::Postgres => {
            sql.push('$');
            sql.push_str(&number.to_string());
            if !cast.is_empty() {
                sql.push_str("::");
                sql.push_str(cast);
            }
        }
    }
}

fn connection_error(err: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(err.into()))
}

fn refused(reason: &str) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_on_postgres_only() {
        let casts = ["uuid", "", "bigint"];
        assert_eq!(values_list(Backend::Postgres, 2, 2, &casts), "($2::uuid,$3,$4::bigint),($5::uuid,$6,$7::bigint)");
        assert_eq!(values_list(Backend::Sqlite, 2, 2, &casts), "(?,?,?),(?,?,?)");
        assert_eq!(parameters(Backend::Postgres, 3, 2, "uuid"), "$3::uuid,$4::uuid");
        assert_eq!(parameters(Backend::Sqlite, 3, 2, "uuid"), "?,?");
        assert_eq!(parameter(Backend::Postgres, 1, "text"), "$1::text");
    }
}
