//! Servers that follow the primary: which of them may be read from at the moment.
//!
//! Never here: what is read, or whether it is new enough for whoever asks.
//!
//! # Why positions and not times
//! A replica tells when the last transaction was that it replayed, which says nothing while nothing is written. So the
//! primary's position is noted every second; a replica is near enough if it has reached the one of `replica_lag` ago.

use super::postgres::{connect_options, pool};
use super::refusal::place;
use super::standing::Signs;
use super::{Options, Refusal};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgPool};
use sea_orm::sqlx::{self, Row as _};
use sea_orm::{DatabaseConnection, DbErr};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a replica may take, also to be connected to: the primary does it as well.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// It was not looked at yet.
const UNKNOWN: u8 = 0;
/// It may be read from.
const NEAR: u8 = 1;
/// It is passed over, which was said in the log.
const PASSED_OVER: u8 = 2;

/// One of them.
pub(super) struct Replica {
    options: PgConnectOptions,
    pool: PgPool,
    pub connection: DatabaseConnection,
    signs: Arc<Signs>,
    state: AtomicU8,
}

/// All of them.
pub(super) struct Replicas {
    all: Vec<Replica>,
    lag: Duration,
    next: AtomicUsize,
    /// Where the primary was, and when.
    primary: Mutex<VecDeque<(Instant, String)>>,
}

impl Replicas {
    /// Connects to nothing yet: until it was looked at, a replica is passed over.
    pub fn new(options: &Options) -> Result<Replicas, Refusal> {
        let options = &Options { acquire_timeout: options.acquire_timeout.min(PATIENCE), ..options.clone() };
        let mut all = Vec::with_capacity(options.replicas.len());
        for url in &options.replicas {
            let connect = connect_options(options, url).map_err(Refusal::of_replica)?;
            let signs = Arc::new(Signs::new());
            let pool = pool(options, connect.clone(), &signs);
            all.push(Replica {
                options: connect,
                connection: pool.clone().into(),
                pool,
                signs,
                state: AtomicU8::new(UNKNOWN),
            });
        }
        Ok(Replicas { all, lag: options.replica_lag, next: AtomicUsize::new(0), primary: Mutex::default() })
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One that may be read from, each in its turn.
    pub fn pick(&self) -> Option<&Replica> {
        if self.all.is_empty() {
            return None;
        }
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = (0..self.all.len()).map(|at| &self.all[(first + at) % self.all.len()]);
        turn.into_iter().find(|replica| replica.is_near())
    }

    /// How many there are, and how many of them may be read from.
    pub fn count(&self) -> (usize, usize) {
        (self.all.len(), self.all.iter().filter(|replica| replica.is_near()).count())
    }

    /// Looks at each. `primary` is where the primary is, if it says so.
    pub async fn look(&self, primary: Option<String>) {
        let Some(due) = self.due(primary) else { return };
        for replica in &self.all {
            let look = replica.has_reached(&due);
            match tokio::time::timeout(PATIENCE, look).await {
                Ok(Ok(true)) => replica.comes(),
                Ok(Ok(false)) => replica.goes("it is too far behind, or no replica"),
                Ok(Err(error)) => {
                    let why = Refusal::of_server(&replica.options, &error).of_replica().to_string();
                    replica.signs.note(&DbErr::Conn(sea_orm::RuntimeErr::SqlxError(Arc::new(error))));
                    replica.goes(&why);
                }
                Err(_) => {
                    replica.signs.distrust();
                    replica.goes("it does not answer in time");
                }
            }
        }
    }

    /// Notes where the primary is; gives where a replica must be by now.
    fn due(&self, primary: Option<String>) -> Option<String> {
        let now = Instant::now();
        let mut noted = self.primary.lock().unwrap_or_else(PoisonError::into_inner);
        noted.extend(primary.map(|position| (now, position)));
        // The newest of those that are old enough; without one, the oldest that there is.
        while noted.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= self.lag) {
            noted.pop_front();
        }
        noted.front().map(|(_, position)| position.clone())
    }

    pub async fn close(&self) {
        for replica in &self.all {
            replica.pool.close().await;
        }
    }
}

impl Replica {
    async fn has_reached(&self, position: &str) -> Result<bool, sqlx::Error> {
        let sql = "SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        let row = sqlx::query(sql).bind(position).fetch_one(&self.pool).await?;
        Ok(row.try_get::<Option<bool>, _>(0)?.unwrap_or(false))
    }

    fn is_near(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NEAR
    }

    fn comes(&self) {
        if self.state.swap(NEAR, Ordering::Relaxed) != NEAR {
            tracing::info!(replica = place(&self.options), "a replica is read from");
        }
    }

    fn goes(&self, why: &str) {
        if self.state.swap(PASSED_OVER, Ordering::Relaxed) != PASSED_OVER {
            tracing::warn!(replica = place(&self.options), why, "a replica is passed over");
        }
    }

    /// Learns from an error that a read met.
    pub fn failed(&self, error: &DbErr) {
        if self.signs.note(error) != super::Trouble::Conflict {
            self.goes("a read failed there");
        }
    }
}
