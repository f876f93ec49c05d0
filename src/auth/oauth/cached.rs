//! What was fetched and is believed for a while: by one at a time, and not again and again from who does not answer.
//! Never what it is.

use actors::clock::Clock;
use actors::protocol::Outcome;
use entities::Timestamp;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;

/// How long nobody asks again who has just failed to answer.
const PAUSE: Duration = Duration::from_secs(5);

/// One thing that is fetched.
pub struct Cached<T> {
    held: RwLock<Option<(Timestamp, Arc<T>)>>,
    /// When nobody answered last; held while one is asking.
    failed: tokio::sync::Mutex<Option<Timestamp>>,
}

impl<T> Cached<T> {
    /// Nothing yet.
    pub fn new() -> Cached<T> {
        Cached { held: RwLock::new(None), failed: tokio::sync::Mutex::new(None) }
    }

    /// The thing, at most so old; older if whoever has it does not answer.
    ///
    /// Whoever goes away while asking leaves nothing behind: the next one asks.
    ///
    /// # Errors
    /// Those of `fetch`, where there is nothing from before; within a pause after it, what `away` says.
    pub async fn get(
        &self,
        clock: &dyn Clock,
        at_most: Duration,
        fetch: impl AsyncFnOnce() -> Outcome<T>,
        away: impl FnOnce() -> actors::protocol::Error,
    ) -> Outcome<Arc<T>> {
        if let Some(held) = self.fresh(clock.now(), at_most) {
            return Ok(held);
        }
        let mut failed = self.failed.lock().await;
        // Whoever was here meanwhile may have brought it.
        let now = clock.now();
        if let Some(held) = self.fresh(now, at_most) {
            return Ok(held);
        }
        let stale = self.held.read().as_ref().map(|(_, held)| held.clone());
        if failed.is_some_and(|failed| now.since(failed) < PAUSE) {
            return stale.ok_or_else(away);
        }
        match fetch().await {
            Ok(fetched) => {
                let fetched = Arc::new(fetched);
                *self.held.write() = Some((now, fetched.clone()));
                Ok(fetched)
            }
            Err(error) => {
                *failed = Some(now);
                stale.ok_or(error)
            }
        }
    }

    /// The thing, if one is held that is not older.
    pub fn fresh(&self, now: Timestamp, at_most: Duration) -> Option<Arc<T>> {
        let held = self.held.read();
        held.as_ref().filter(|(at, _)| now.since(*at) < at_most).map(|(_, held)| held.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::FakeClock;
    use actors::protocol::ErrorCode;
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use std::cell::Cell;

    const HOUR: Duration = Duration::from_secs(3600);

    #[actix_web::test]
    async fn whoever_hangs_up_while_asking_stops_nobody() {
        let (clock, cached) = (FakeClock::new(), Cached::new());
        let away = || ErrorCode::AuthProviderUnavailable.into();
        let hangs_up = cached.get(&*clock, HOUR, async || std::future::pending().await, away);
        assert!(hangs_up.now_or_never().is_none());
        assert_eq!(*cached.get(&*clock, HOUR, async || Ok(7), away).await.unwrap(), 7);
    }

    #[actix_web::test]
    async fn it_is_fetched_once_and_kept_where_nobody_answers() {
        let (clock, cached, asked) = (FakeClock::new(), Cached::new(), Cell::new(0));
        let get = async |answers: bool, at_most| {
            let fetch = async || {
                asked.set(asked.get() + 1);
                tokio::task::yield_now().await;
                if answers { Ok(asked.get()) } else { Err(ErrorCode::AuthProviderUnavailable.into()) }
            };
            cached.get(&*clock, at_most, fetch, || ErrorCode::AuthProviderUnavailable.into()).await.ok().map(|got| *got)
        };
        // Nobody answers: one asks, and the others do not wait in line.
        assert!(join_all((0..3).map(|_| get(false, HOUR))).await.iter().all(Option::is_none));
        assert_eq!((get(true, HOUR).await, asked.get()), (None, 1), "not so soon again");
        clock.advance(PAUSE);
        assert!(join_all((0..3).map(|_| get(true, HOUR))).await.iter().all(|got| *got == Some(2)));
        clock.advance(HOUR);
        assert_eq!((get(false, HOUR).await, asked.get()), (Some(2), 3), "the old one is better than none");
        clock.advance(PAUSE);
        assert_eq!(get(true, HOUR).await, Some(4));
    }
}
