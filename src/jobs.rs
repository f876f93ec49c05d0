//! Work that waits in rows and that no request does: claimed by one node, taken over by another when that one is gone.
//! Never what the work is: each job says how it claims, and does, its next piece.
//!
//! # Why a claim is a row with a time
//! A node may die at any instant, and may stand still for any time. So a claim ends by itself, whoever works renews it as
//! they go, and each renewal says which claim it renews: of two who believe that it is theirs, one learns that it is not.

use actors::clock::Clock;
use actors::guard::guarded;
use actors::protocol::{Error, Fault, Outcome};
use entities::Timestamp;
use futures_util::future::select;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::Notify;

/// How long a claim stands that is not renewed.
pub const LEASE: Duration = Duration::from_secs(60);
/// How often rows are looked through for work that nobody told of: what is due by now, and what another left undone.
pub const EVERY: Duration = Duration::from_secs(61);

/// One kind of work.
#[allow(async_fn_in_trait, reason = "jobs run on one thread; nobody names the future")]
pub trait Job {
    /// For the log.
    const NAME: &'static str;

    /// Claims the next piece of work and does it; tells whether there was any.
    ///
    /// # Errors
    /// A fault, or that another has taken the piece over. It is tried again when its claim has ended.
    async fn next(&self) -> Outcome<bool>;

    /// Ends when there may be work.
    async fn woken(&self);
}

/// Does what there is to do, again and again, for as long as it is polled.
pub async fn keep<J: Job>(job: &J, clock: &dyn Clock) {
    loop {
        // Boxed, for work is large, and lives on the stack of whoever waits for it otherwise.
        match guarded(J::NAME, Box::pin(job.next())).await {
            Some(Ok(true)) => continue,
            Some(Ok(false)) | None => {}
            Some(Err(error)) => tracing::warn!(job = J::NAME, %error, "work was left undone; it is tried again"),
        }
        select(clock.sleep(EVERY), pin!(job.woken())).await;
    }
}

/// Until when a claim stands that is made or renewed now.
pub fn lease(now: Timestamp) -> Timestamp {
    now.plus(LEASE)
}

/// Whether a claim that stands until then is old enough to be renewed.
pub fn is_ageing(until: Timestamp, now: Timestamp) -> bool {
    until.since(now) < LEASE * 2 / 3
}

/// What whoever works hears when the claim is not theirs any more.
pub fn lost() -> Error {
    Fault::new("another has taken this work over, or it is not wanted any more").into()
}

/// Wakes one kind of job; what was told while it worked counts too.
#[derive(Default)]
pub struct Bell(Notify);

impl Bell {
    /// There may be work.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Ends when it rings, or if it has rung since it was last heard.
    pub async fn heard(&self) {
        self.0.notified().await;
    }
}
