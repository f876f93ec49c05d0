//! How the database answered when it was asked last.
//! Never what follows from it.

use crate::app::App;
use entities::{Standing, Timestamp, Trouble};
use futures_util::future::{Either, select};
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long the database may take to answer.
const PING_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer is good.
const PING_KEPT: Duration = Duration::from_secs(1);

/// The database's last answer.
#[derive(Default)]
pub struct DatabaseHealth {
    last: Mutex<Option<Answer>>,
}

/// What the database answered, and when.
#[derive(Debug, Clone, Copy)]
struct Answer {
    answered_at: Timestamp,
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

impl DatabaseHealth {
    /// How the database is. Asked once a second at most, by one at a time.
    pub(super) async fn read(&self, app: &App) -> Seen {
        let mut last = self.last.lock().await;
        if let Some(answer) = last.filter(|answer| app.clock.now().since(answer.answered_at) < PING_KEPT) {
            return answer.seen;
        }
        let was_heard = last.is_none_or(|answer| answer.seen.is_ok());
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
        // From now on, however long it took: whoever waited for the lock has the answer too.
        *last = Some(Answer { answered_at: app.clock.now(), seen });
        seen
    }
}
