//! How many sockets each user has on this node, and which sessions were too slow of late.
//! Never the sockets themselves: they belong to their threads.

use entities::{SessionId, Timestamp, UserId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Being too slow is remembered for this long.
const SLOW_FOR: Duration = Duration::from_secs(60);

#[derive(Default)]
struct State {
    counts: HashMap<UserId, usize>,
    slow: HashMap<SessionId, Vec<Timestamp>>,
}

/// The counts of one node.
#[derive(Clone, Default)]
pub struct Sockets(Arc<Mutex<State>>);

/// One socket's place in its user's count, given back when dropped.
pub struct Place {
    sockets: Sockets,
    user: UserId,
}

impl Sockets {
    /// Counts one more of a user; `None` when there are `most` already.
    pub fn take(&self, user: UserId, most: usize) -> Option<Place> {
        let mut state = self.0.lock();
        let count = state.counts.entry(user).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { sockets: self.clone(), user })
    }

    /// A socket of this session was closed as too slow.
    pub fn was_slow(&self, session: SessionId, now: Timestamp) {
        let mut state = self.0.lock();
        state.slow.retain(|_, times| times.last().is_some_and(|at| at.plus(SLOW_FOR) > now));
        state.slow.entry(session).or_default().push(now);
    }

    /// Whether that happened twice within a minute.
    pub fn is_slow(&self, session: SessionId, now: Timestamp) -> bool {
        let state = self.0.lock();
        state.slow.get(&session).is_some_and(|times| times.iter().filter(|at| at.plus(SLOW_FOR) > now).count() >= 2)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.sockets.0.lock();
        if let Some(count) = state.counts.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                state.counts.remove(&self.user);
            }
        }
    }
}
