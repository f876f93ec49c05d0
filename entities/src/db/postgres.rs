//! PostgreSQL as this schema needs it: first contact, the pool, and a connection that looks how the server is.
//!
//! Never here: SQLite.

use super::refusal::{check_server, place};
use super::standing::Signs;
use super::{Options, Refusal};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sea_orm::sqlx::{self, AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// A connection that was idle for longer is tried before it is used.
const PING_AFTER_IDLE: Duration = Duration::from_secs(15);

/// How a server is.
pub(super) struct Looks {
    /// It takes no writes.
    pub reads_only: bool,
    /// How far its log is written; a standby does not say.
    pub written_to: Option<String>,
}

/// The primary.
pub(super) struct Server {
    options: PgConnectOptions,
    /// Not of the pool: it says how the server is, also while the pool is used up.
    watch: Mutex<Option<PgConnection>>,
    /// How long it may take to connect to it, and to answer.
    within: Duration,
}

/// How to connect to a server, with the limits that every session has.
pub(super) fn connect_options(options: &Options, url: &str) -> Result<PgConnectOptions, Refusal> {
    // The error is not told: it may hold the URL, and that a password.
    let parsed = url.parse::<PgConnectOptions>();
    let parsed = parsed.map_err(|_| Refusal::new("it is no URL: write postgres://user:password@host/name"))?;
    let millis = |limit: Duration| limit.as_millis().to_string();
    let named = parsed.get_application_name().is_some();
    let parsed = if named { parsed } else { parsed.application_name(&options.application) };
    Ok(parsed
        .statement_cache_capacity(super::STATEMENT_CACHE)
        .options([
            ("lock_timeout", millis(options.lock_timeout)),
            ("idle_in_transaction_session_timeout", millis(options.idle_in_transaction_timeout)),
            ("statement_timeout", millis(options.statement_timeout)),
        ])
        .disable_statement_logging())
}

/// A pool that connects when it must. Connections that are older than the last loss are not used again.
pub(super) fn pool(options: &Options, connect: PgConnectOptions, signs: &Arc<Signs>) -> PgPool {
    let (taking, giving) = (signs.clone(), signs.clone());
    PgPoolOptions::new()
        .max_connections(options.max_connections.max(1))
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(move |connection, state| {
            let signs = taking.clone();
            Box::pin(async move {
                if state.idle_for > PING_AFTER_IDLE && connection.ping().await.is_err() {
                    signs.distrust();
                }
                Ok(signs.trusts(state.age))
            })
        })
        // The driver would ask it how it is, and a server that has vanished does not answer.
        .after_release(move |_, state| {
            let trusted = giving.trusts(state.age);
            Box::pin(async move { Ok(trusted) })
        })
        .connect_lazy_with(connect)
}

impl Server {
    /// Makes the first contact, so that what is wrong is told by its name.
    pub async fn meet(connect: PgConnectOptions, within: Duration) -> Result<Server, Refusal> {
        let greeting = async {
            let mut connection = connect.connect().await?;
            let sql = "SELECT current_setting('server_version_num')::int, pg_is_in_recovery()";
            let row = sqlx::query(sql).fetch_one(&mut connection).await?;
            Ok((connection, row.try_get(0)?, row.try_get(1)?))
        };
        match tokio::time::timeout(within, greeting).await {
            Err(_) => Err(Refusal::silent(&connect)),
            Ok(Err(error)) => Err(Refusal::of_server(&connect, &error)),
            Ok(Ok((connection, version, standby))) => {
                check_server(&place(&connect), version, standby)?;
                Ok(Server { options: connect, watch: Mutex::new(Some(connection)), within })
            }
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        place(&self.options)
    }

    /// Looks how the server is; `afresh` by a new connection, whose settings are those of today. One that has vanished
    /// from the network does not say so: it is not waited for.
    pub async fn look(&self, afresh: bool) -> Result<Looks, sqlx::Error> {
        let mut kept = self.watch.lock().await;
        // Taken out: whoever gives up waiting leaves no connection behind that is in the middle of something.
        if let Some(mut connection) = kept.take().filter(|_| !afresh)
            && let Ok(looks) = self.in_time(looks(&mut connection)).await
        {
            *kept = Some(connection);
            return Ok(looks);
        }
        let greeting = async {
            let mut connection = self.options.connect().await?;
            let looks = looks(&mut connection).await?;
            Ok((connection, looks))
        };
        let (connection, looks) = self.in_time(greeting).await?;
        *kept = Some(connection);
        Ok(looks)
    }

    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
        let silent = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        tokio::time::timeout(self.within, answer).await.map_err(silent)?
    }

    pub async fn close(&self) {
        if let Some(connection) = self.watch.lock().await.take() {
            let _ = self.in_time(connection.close()).await;
        }
    }
}

async fn looks(connection: &mut PgConnection) -> Result<Looks, sqlx::Error> {
    const SQL: &str = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', \
                       CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_lsn()::text END";
    let row = sqlx::query(AssertSqlSafe(SQL)).fetch_one(connection).await?;
    Ok(Looks { reads_only: row.try_get(0)?, written_to: row.try_get(1)? })
}
