//! A clock that stands still until a story lets time pass, and wakes whoever has waited long enough.
//! Never the machine's time.

use actors::clock::{Clock, random_bytes};
use entities::Timestamp;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

/// Some moment of 2026.
const BEGINNING: i64 = 1_770_000_000_000;

/// The clock of a story's nodes.
pub struct FakeClock {
    state: Mutex<State>,
    asked: Notify,
}

struct State {
    now: i64,
    /// By when they wake, and in the order in which they lay down.
    sleepers: BTreeMap<(i64, u64), Sleeper>,
    count: u64,
}

struct Sleeper {
    since: i64,
    wake: oneshot::Sender<()>,
}

impl FakeClock {
    pub fn new() -> Arc<FakeClock> {
        let state = State { now: BEGINNING, sleepers: BTreeMap::new(), count: 0 };
        Arc::new(FakeClock { state: Mutex::new(state), asked: Notify::new() })
    }

    /// Lets this much time pass at once.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        state.now += i64::try_from(by.as_millis()).unwrap();
        let asleep = state.now + 1;
        let awake = {
            let later = state.sleepers.split_off(&(asleep, 0));
            std::mem::replace(&mut state.sleepers, later)
        };
        drop(state);
        for (_, sleeper) in awake {
            // Whoever gave up meanwhile need not be woken.
            let _ = sleeper.wake.send(());
        }
    }

    /// Lets this much time pass as soon as somebody has just begun to wait for exactly that.
    pub async fn let_pass(&self, wait: Duration) {
        self.let_pass_for(1, wait).await;
    }

    /// The same, as soon as so many wait for it.
    pub async fn let_pass_for(&self, sleepers: usize, wait: Duration) {
        super::within(self.until_asked(sleepers, wait), &format!("{sleepers} to wait for {wait:?}")).await;
        self.advance(wait);
    }

    /// Lets this much time pass whenever somebody has just begun to wait for exactly that, until something happens.
    pub async fn pass_until<T>(&self, wait: Duration, happening: impl Future<Output = T>) -> T {
        tokio::pin!(happening);
        loop {
            tokio::select! {
                biased;
                happened = &mut happening => return happened,
                () = self.until_asked(1, wait) => self.advance(wait),
            }
        }
    }

    /// Lets rounds pass until something happens: so many tasks that pause for `pause` between theirs, and may wait for
    /// `moment` amid one. The next pause passes when all have come to theirs, so time does not run away from them.
    pub async fn pass_rounds_until<T>(
        &self,
        tasks: usize,
        (pause, moment): (Duration, Duration),
        happening: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(happening);
        loop {
            let passes = async {
                loop {
                    let asked = self.asked.notified();
                    tokio::pin!(asked);
                    asked.as_mut().enable();
                    if self.asleep_for(moment) > 0 {
                        return moment;
                    }
                    if self.asleep_for(pause) >= tasks {
                        return pause;
                    }
                    asked.await;
                }
            };
            tokio::select! {
                biased;
                happened = &mut happening => return happened,
                wait = passes => self.advance(wait),
            }
        }
    }

    /// How many wait for exactly this long in all, since whenever.
    fn asleep_for(&self, wait: Duration) -> usize {
        let wait = i64::try_from(wait.as_millis()).unwrap();
        let state = self.state.lock();
        let asleep = state.sleepers.iter().filter(|((until, _), sleeper)| until - sleeper.since == wait);
        asleep.filter(|(_, sleeper)| !sleeper.wake.is_closed()).count()
    }

    async fn until_asked(&self, sleepers: usize, wait: Duration) {
        loop {
            let asked = self.asked.notified();
            tokio::pin!(asked);
            asked.as_mut().enable();
            if self.sleepers(wait) >= sleepers {
                return;
            }
            asked.await;
        }
    }

    /// How many have just begun to wait for exactly this long.
    fn sleepers(&self, wait: Duration) -> usize {
        let state = self.state.lock();
        let until = state.now + i64::try_from(wait.as_millis()).unwrap();
        let waking = state.sleepers.range((until, 0)..(until + 1, 0)).map(|(_, sleeper)| sleeper);
        waking.filter(|sleeper| sleeper.since == state.now && !sleeper.wake.is_closed()).count()
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.state.lock().now)
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let (wake, woken) = oneshot::channel();
        let mut state = self.state.lock();
        if at.millis() <= state.now {
            return Box::pin(std::future::ready(()));
        }
        state.count += 1;
        let place = (at.millis(), state.count);
        let since = state.now;
        state.sleepers.insert(place, Sleeper { since, wake });
        drop(state);
        self.asked.notify_waiters();
        Box::pin(async move {
            // The clock goes before its sleepers only when a story is over.
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "it is the clock")]
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn fill(&self, bytes: &mut [u8]) {
        random_bytes(bytes);
    }
}
