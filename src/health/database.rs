//! Whether the node wants more work, and how the database answered when it was asked last.
//! Never what follows from it.

use crate::app::App;
use entities::{Standing, Timestamp, Trouble};
use futures_util::future::{Either, select};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long the database may take to answer.
const PING_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer is good.
const PING_KEPT: Duration = Duration::from_secs(1);

/// Whether this node wants more work, and when the database answered last.
#[derive(Default)]
pub struct Readiness {
    draining: AtomicBool,
    database: Mutex<Option<Answer>>,
}

/// What the database answered, and when it was asked.
#[derive(Debug, Clone, Copy)]
struct Answer {
    asked_at: Timestamp,
    seen: Seen,
}

/// How the database is; what is wrong with it, if it does not answer.
pub(super) type Seen = Result<Answered, &'static str>;

/// How the database is, if it answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub took: Duration,
    pub standing: Standing,
    /// How many replicas there are, and how many of them may be read from.
    pub replicas: (usize, usize),
}

impl Readiness {
    /// From now on the node is not ready: it is going away.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the node is going away.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// How the database is. Asked once a second at most, by one at a time.
    pub(super) async fn database(&self, app: &App) -> Seen {
        let mut last = self.database.lock().await;
        if let Some(answer) = last.filter(|answer| app.clock.now().since(answer.asked_at) < PING_KEPT) {
            return answer.seen;
        }
        let was_heard = last.is_none_or(|answer| answer.seen.is_ok());
        let asked_at = app.clock.now();
        let started = Instant::now();
        let seen = match select(pin!(app.db.examine()), app.clock.sleep(PING_WITHIN)).await {
            Either::Left((Ok(standing), _)) => {
                Ok(Answered { took: started.elapsed(), standing, replicas: app.db.replicas() })
            }
            Either::Left((Err(error), _)) => {
                if was_heard {
                    tracing::warn!(%error, database = app.db.place(), "the database does not answer");
                }
                Err(match Trouble::of(&error) {
                    Trouble::Crowded => "the database takes no more connections",
                    _ => "the database does not answer",
                })
            }
            Either::Right(_) => {
                if was_heard {
                    tracing::warn!(within = ?PING_WITHIN, database = app.db.place(), "the database does not answer in time");
                }
                Err("the database does not answer")
            }
        };
        if seen.is_ok() && !was_heard {
            tracing::info!(database = app.db.place(), "the database answers again");
        }
        *last = Some(Answer { asked_at, seen });
        seen
    }
}
