//! A clock that stands still until a test lets time pass, and wakes whoever has waited long enough.
//! Never the machine's time.

use super::{Arc, Duration, Timestamp, within};
use actors::clock::{Clock, random_bytes};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

/// Some moment of 2026.
const BEGINNING: i64 = 1_770_000_000_000;

/// Ids rise over all clocks of the process, as those of UUIDv7 do.
static DRAWN: AtomicU64 = AtomicU64::new(1);

/// The clock of a test's nodes.
pub struct FakeClock {
    state: Mutex<State>,
    asked: Notify,
}

struct State {
    now: i64,
    /// By when they wake, and in the order in which they lay down.
    sleepers: BTreeMap<(i64, u64), oneshot::Sender<()>>,
    count: u64,
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
        let later = (state.now + 1, 0);
        let still = state.sleepers.split_off(&later);
        let awake = std::mem::replace(&mut state.sleepers, still);
        drop(state);
        for (_, sleeper) in awake {
            // Whoever gave up meanwhile need not be woken.
            let _ = sleeper.send(());
        }
    }

    /// Sets the clock, without waking anybody.
    pub fn set_back(&self, by: Duration) {
        self.state.lock().now -= i64::try_from(by.as_millis()).unwrap();
    }

    /// Lets this much time pass as soon as somebody waits for exactly that.
    pub async fn let_pass(&self, wait: Duration) {
        let enough = async {
            loop {
                let asked = self.asked.notified();
                tokio::pin!(asked);
                asked.as_mut().enable();
                if self.sleeps(wait) {
                    return;
                }
                asked.await;
            }
        };
        within(enough, &format!("somebody to wait for {wait:?}")).await;
        self.advance(wait);
    }

    /// Whether somebody waits for exactly this long from now.
    pub fn sleeps(&self, wait: Duration) -> bool {
        let state = self.state.lock();
        let until = state.now + i64::try_from(wait.as_millis()).unwrap();
        state.sleepers.range((until, 0)..(until + 1, 0)).any(|(_, sleeper)| !sleeper.is_closed())
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.state.lock().now)
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let (sender, woken) = oneshot::channel();
        let mut state = self.state.lock();
        if at.millis() <= state.now {
            return Box::pin(std::future::ready(()));
        }
        state.count += 1;
        let place = (at.millis(), state.count);
        state.sleepers.insert(place, sender);
        drop(state);
        self.asked.notify_waiters();
        Box::pin(async move {
            // The clock goes before its sleepers only when a test is over.
            if woken.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }

    fn uuid(&self) -> Uuid {
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
        Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 + u128::from(drawn))
    }

    fn fill(&self, bytes: &mut [u8]) {
        random_bytes(bytes);
    }
}
