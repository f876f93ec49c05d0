//! What keeps a loop going when one of its rounds panics: the round is lost and told of, the next one comes.
//! Never a repair: what a round left undone the next one finds, in the rows.

use futures_util::FutureExt as _;
use std::panic::AssertUnwindSafe;

/// Does one round of what goes on as long as the node does. `None` if it panicked, which is a fault of the program.
pub async fn guarded<T>(what: &'static str, round: impl Future<Output = T>) -> Option<T> {
    let done = AssertUnwindSafe(round).catch_unwind().await;
    done.inspect_err(|_| tracing::error!(what, "a round of what goes on all the time panicked; going on")).ok()
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[actix_rt::test]
    async fn a_panic_ends_the_round_alone() {
        assert_eq!(guarded("a test", async { 1 }).await, Some(1));
        assert_eq!(guarded("a test", async { panic!("on purpose") as u8 }).await, None);
    }
}
