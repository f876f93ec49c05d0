//! The database: opens SQLite or PostgreSQL the way that this schema needs it, and hides which one it is.
//!
//! Never here: a query on a table, or the schema.

mod locks;
mod options;
mod postgres;
mod reader;
mod refusal;
mod replicas;
mod sql;
mod sqlite;
mod standing;
mod trouble;

pub use locks::{key_of, lock_key};
pub use options::Options;
pub use reader::Reader;
pub use refusal::Refusal;
pub use sql::{parameter, parameters, values_list};
pub use sqlite::{Checkpoint, CheckpointMode};
pub use standing::Standing;
pub use trouble::Trouble;

use postgres::Server;
use replicas::Replicas;
use sea_orm::sqlx;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IsolationLevel, RuntimeErr,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};
use standing::Signs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Above the some fifty shapes of statement that the node has, times the sizes that a batch comes in.
const STATEMENT_CACHE: usize = 512;
/// How much longer than its own limit a server may be silent about a statement.
const SILENCE: Duration = Duration::from_secs(2);

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

    /// The one that a URL names, if it names one.
    pub fn of_url(url: &str) -> Option<Self> {
        match url.split_once("://")?.0 {
            "sqlite" => Some(Self::Sqlite),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
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

/// The open database. A clone shares the connections.
///
/// # Why SQLite has one writer
/// SQLite lets one connection write at a time, and the others poll for their turn. In a queue for one connection
/// everybody is served in order, and its page cache is always the newest.
#[derive(Clone)]
pub struct Db {
    write: DatabaseConnection,
    read: Reader,
    backend: Backend,
    log: Option<sqlite::Log>,
    shared: Arc<Shared>,
}

struct Shared {
    signs: Arc<Signs>,
    server: Option<Server>,
    replicas: Replicas,
    retries: (u32, Duration),
    /// How long a server may be silent, where there is a network in between.
    patience: Option<Duration>,
    /// The same for the beginning of a transaction, at which a server has nothing to do.
    patience_to_begin: Option<Duration>,
}

impl Db {
    /// Opens the database; SQLite's file and its folder are made if they are missing. Migrates nothing.
    ///
    /// # Errors
    /// If the URL names neither database, nobody answers there, or who answers cannot be a node's database.
    pub async fn open(options: &Options) -> Result<Self, Refusal> {
        match Backend::of_url(&options.url) {
            Some(Backend::Sqlite) => Self::open_sqlite(options).await,
            Some(Backend::Postgres) => Self::open_postgres(options).await,
            None => Err(Refusal::new("it must begin with sqlite:// or postgres://")),
        }
    }

    async fn open_sqlite(options: &Options) -> Result<Self, Refusal> {
        let path = options.url.strip_prefix("sqlite://").unwrap_or_default();
        let file = sqlite::open(options, Path::new(path)).await?;
        let signs = Arc::new(Signs::new());
        Ok(Self {
            write: file.write.into(),
            read: Reader::new(file.read.into(), &signs, None),
            backend: Backend::Sqlite,
            log: Some(file.log),
            shared: Arc::new(Shared {
                signs,
                server: None,
                replicas: Replicas::new(&Options { replicas: Vec::new(), ..options.clone() })?,
                retries: (options.retries, options.retry_within),
                patience: None,
                patience_to_begin: None,
            }),
        })
    }

    async fn open_postgres(options: &Options) -> Result<Self, Refusal> {
        let connect = postgres::connect_options(options, &options.url)?;
        let replicas = Replicas::new(options)?;
        let server = Server::meet(connect.clone(), options.acquire_timeout).await?;
        let signs = Arc::new(Signs::new());
        let write = DatabaseConnection::from(postgres::pool(options, connect, &signs));
        let patience_to_begin = options.acquire_timeout + SILENCE;
        let patience = Some(patience_to_begin + options.statement_timeout);
        Ok(Self {
            read: Reader::new(write.clone(), &signs, patience),
            write,
            backend: Backend::Postgres,
            log: None,
            shared: Arc::new(Shared {
                signs,
                server: Some(server),
                replicas,
                retries: (options.retries, options.retry_within),
                patience,
                patience_to_begin: Some(patience_to_begin),
            }),
        })
    }

    /// Where to write. On SQLite one connection: for several statements that belong together, `begin_write`.
    pub fn write(&self) -> &DatabaseConnection {
        &self.write
    }

    /// Where to read. On SQLite a write there fails. It sees everything that was committed before it began.
    pub fn read(&self) -> &Reader {
        &self.read
    }

    /// Which database it is.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Where it is, for people, without a password.
    pub fn place(&self) -> String {
        self.shared
            .server
            .as_ref()
            .map_or_else(|| "SQLite".to_owned(), |server| format!("PostgreSQL at {}", server.place()))
    }

    /// A transaction that will write. On SQLite it has the write lock from its beginning (`BEGIN IMMEDIATE`), so it
    /// never fails half-way because another one wrote.
    pub async fn begin_write(&self) -> Result<DatabaseTransaction, DbErr> {
        let options = || TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.begin(&self.write, options).await
    }

    /// Reads all of one moment; where the connection was found dead, once more on another one.
    pub async fn read_at_once<T>(
        &self,
        read: impl AsyncFn(&DatabaseTransaction) -> Result<T, DbErr>,
    ) -> Result<T, DbErr> {
        let reading = async || {
            let moment = self.begin_read().await?;
            read(&moment).await
        };
        match self.heard(reading()).await {
            Err(error) if self.is_lost(&error) => self.heard(reading()).await,
            done => done,
        }
    }

    /// A transaction whose reads all see one and the same moment.
    pub async fn begin_read(&self) -> Result<DatabaseTransaction, DbErr> {
        self.begin(&self.read.connection, || reading(self.backend)).await
    }

    /// Reads on a replica, if one is near: all of one moment, but of one that may have passed. None where that failed.
    pub async fn read_aside<T>(&self, read: impl AsyncFnOnce(&DatabaseTransaction) -> Result<T, DbErr>) -> Option<T> {
        let replica = self.shared.replicas.pick()?;
        let reading = async {
            let moment = replica.connection.begin_with_options(reading(self.backend)).await?;
            read(&moment).await
        };
        reader::heard(replicas::PATIENCE, reading).await.inspect_err(|error| replica.failed(error)).ok()
    }

    /// Begins; on another connection where the first one was dead, for nothing was done on it.
    async fn begin(
        &self,
        connection: &DatabaseConnection,
        options: impl Fn() -> TransactionOptions,
    ) -> Result<DatabaseTransaction, DbErr> {
        let patience = self.shared.patience_to_begin;
        match self.heard_within(patience, connection.begin_with_options(options())).await {
            Err(error) if self.is_lost(&error) => {
                self.heard_within(patience, connection.begin_with_options(options())).await
            }
            begun => begun,
        }
    }

    /// Whether a server's connection was found dead.
    fn is_lost(&self, error: &DbErr) -> bool {
        self.backend == Backend::Postgres && Trouble::of(error) == Trouble::Lost
    }

    /// Awaits what the database answers, but not for ever: a server that has vanished from the network does not say
    /// so. Learns from an error: a connection that was given up is not used again.
    pub async fn heard<T>(&self, answer: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        self.heard_within(self.shared.patience, answer).await
    }

    async fn heard_within<T>(
        &self,
        patience: Option<Duration>,
        answer: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let answered = match patience {
            Some(patience) => reader::heard(patience, answer).await,
            None => answer.await,
        };
        answered.inspect_err(|error| {
            self.shared.signs.note(error);
        })
    }

    /// Learns that somebody gave up waiting: no connection that exists by now is used again.
    pub fn was_silent(&self) {
        self.shared.signs.distrust();
    }

    /// Learns that a write was committed.
    pub fn wrote(&self) {
        self.shared.signs.wrote();
    }

    /// How often, and for how long, a transaction that was surely rolled back is tried again at most.
    pub fn retries(&self) -> (u32, Duration) {
        self.shared.retries
    }

    /// Whether the database answers, and how it is if it does.
    pub async fn examine(&self) -> Result<Standing, DbErr> {
        let Shared { server, signs, .. } = &*self.shared;
        match server {
            Some(server) => drop(self.look(server).await?),
            None => {
                self.read.connection.ping().await?;
                self.write.ping().await?;
            }
        }
        Ok(signs.standing())
    }

    /// Looks after what errors do not show: whether a server that only read writes again, and how near its replicas
    /// are. To be called every second.
    pub async fn watch(&self) {
        let Shared { server, signs, replicas, .. } = &*self.shared;
        let Some(server) = server else { return };
        if signs.is_read_only() || !replicas.is_empty() {
            // While the primary is silent nothing is written, and what a replica had to reach stays as it was.
            let written_to = self.look(server).await.ok().flatten();
            replicas.look(written_to).await;
        }
    }

    /// Looks how the primary is; gives how far its log is written.
    async fn look(&self, server: &Server) -> Result<Option<String>, DbErr> {
        let signs = &self.shared.signs;
        let was_read_only = signs.is_read_only();
        let looks = server.look(was_read_only).await.map_err(connection_error)?;
        if looks.reads_only {
            signs.reads_only();
        } else if was_read_only {
            signs.wrote();
        }
        Ok(looks.written_to)
    }

    /// How many replicas there are, and how many of them may be read from.
    pub fn replicas(&self) -> (usize, usize) {
        self.shared.replicas.count()
    }

    /// How many connections are open.
    pub fn pool_size(&self) -> u32 {
        match self.backend {
            Backend::Sqlite => {
                self.write.get_sqlite_connection_pool().size()
                    + self.read.connection.get_sqlite_connection_pool().size()
            }
            Backend::Postgres => self.write.get_postgres_connection_pool().size(),
        }
    }

    /// How many of them nobody uses.
    pub fn pool_idle(&self) -> usize {
        // A pool counts a connection as idle only after it has put it among the idle: whoever takes it in between counts
        // it off first, and for that moment there is one less than none.
        let counted = |idle: usize| if idle > u32::MAX as usize { 0 } else { idle };
        match self.backend {
            Backend::Sqlite => {
                counted(self.write.get_sqlite_connection_pool().num_idle())
                    + counted(self.read.connection.get_sqlite_connection_pool().num_idle())
            }
            Backend::Postgres => counted(self.write.get_postgres_connection_pool().num_idle()),
        }
    }

    /// Copies SQLite's write-ahead log into the database file. Does nothing on PostgreSQL.
    ///
    /// A passive one runs beside the commits. A restart belongs between two of them.
    pub async fn checkpoint(&self, mode: CheckpointMode) -> Result<Checkpoint, DbErr> {
        match &self.log {
            Some(log) => log.checkpoint(mode).await,
            None => Ok(Checkpoint::default()),
        }
    }

    /// The length of SQLite's write-ahead log in bytes; 0 on PostgreSQL. One look at the folder, no query.
    ///
    /// A restart lets it shrink to `Options::wal_limit_bytes` with the next commit, not at once.
    pub fn wal_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, sqlite::Log::bytes)
    }

    /// Closes every connection, after what they are at. SQLite's writer is the last: it empties the log.
    pub async fn close(&self) -> Result<(), DbErr> {
        if let Some(server) = &self.shared.server {
            server.close().await;
        }
        self.shared.replicas.close().await;
        self.read.connection.close_by_ref().await?;
        if let Some(log) = &self.log {
            log.connection.close_by_ref().await?;
        }
        self.write.close_by_ref().await
    }
}

/// A transaction whose reads all see one and the same moment.
fn reading(backend: Backend) -> TransactionOptions {
    match backend {
        Backend::Sqlite => TransactionOptions::default(),
        Backend::Postgres => TransactionOptions {
            isolation_level: Some(IsolationLevel::RepeatableRead),
            access_mode: Some(AccessMode::ReadOnly),
            ..TransactionOptions::default()
        },
    }
}

fn connection_error(error: sqlx::Error) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(error.into()))
}
