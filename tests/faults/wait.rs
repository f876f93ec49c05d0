//! How a run lets time pass: the pace of the crowd, the length of a fault, and deadlines on conditions.
//! Never a pause for luck: what must come true is looked at until it is, or until the deadline.

use std::time::{Duration, Instant};

/// What takes longer than this, while nothing is broken, does not happen any more.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(25);

/// Lets this much time pass.
#[expect(clippy::disallowed_methods, reason = "a crowd has a pace, and a fault a length")]
pub async fn pause(length: Duration) {
    tokio::time::sleep(length).await;
}

/// Looks until something is there; `None` at the deadline.
pub async fn until<T>(deadline: Instant, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    loop {
        if let Some(found) = look().await {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause(LOOK).await;
    }
}

/// Looks until something that must happen has happened.
pub async fn must<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = until(Instant::now() + PATIENCE, look).await;
    found.unwrap_or_else(|| panic!("waited in vain for {what}"))
}
