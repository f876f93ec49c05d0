//! Time, ids and randomness: the only place that they come from.
//! Never a policy of retrying or expiring: it only tells and waits.

use entities::{AuditEventId, ConversationId, MessageId, SessionId, Timestamp, UserId};
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Tells the time of the database, waits, and draws ids and random bytes.
pub trait Clock: Send + Sync + 'static {
    /// Now, by the database's clock.
    fn now(&self) -> Timestamp;
    /// Ends when `now` has reached `at`.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
    /// A new UUIDv7 (RFC 9562).
    fn uuid(&self) -> Uuid;
    /// Fills `bytes` from a CSPRNG.
    fn fill(&self, bytes: &mut [u8]);
    /// How far the database's clock is ahead of this machine's, in milliseconds.
    fn offset_ms(&self) -> i64 {
        0
    }
    /// Tells how far the database's clock is ahead of this machine's.
    fn set_offset_ms(&self, _offset_ms: i64) {}
}

impl dyn Clock {
    /// Ends when `wait` has passed.
    pub fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(self.now().plus(wait))
    }

    /// A new id.
    pub fn user_id(&self) -> UserId {
        UserId::from_uuid(self.uuid())
    }

    /// A new id.
    pub fn session_id(&self) -> SessionId {
        SessionId::from_uuid(self.uuid())
    }

    /// A new id.
    pub fn conversation_id(&self) -> ConversationId {
        ConversationId::from_uuid(self.uuid())
    }

    /// A new id.
    pub fn message_id(&self) -> MessageId {
        MessageId::from_uuid(self.uuid())
    }

    /// A new id.
    pub fn audit_event_id(&self) -> AuditEventId {
        AuditEventId::from_uuid(self.uuid())
    }

    /// `N` random bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A uniform number in `0..bound`, for a `bound` from 1 to 2^32.
    pub fn below(&self, bound: u64) -> u64 {
        // Lemire's method on 64 random bits: the bias is below 2^-32.
        let bits = u64::from_le_bytes(self.random());
        ((u128::from(bits) * u128::from(bound)) >> 64) as u64
    }
}

/// The machine's clock, corrected by the database's.
#[derive(Default)]
pub struct SystemClock {
    offset_ms: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
        let machine = jiff::Timestamp::now().as_millisecond();
        Timestamp::from_millis(machine + self.offset_ms.load(Ordering::Relaxed))
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let wait = u64::try_from(at.millis() - self.now().millis()).unwrap_or(0);
        #[expect(clippy::disallowed_methods, reason = "the one place that waits")]
        let sleep = tokio::time::sleep(Duration::from_millis(wait));
        Box::pin(sleep)
    }

    fn uuid(&self) -> Uuid {
        #[expect(clippy::disallowed_methods, reason = "the one place that draws ids")]
        Uuid::now_v7()
    }

    fn fill(&self, bytes: &mut [u8]) {
        random_bytes(bytes);
    }

    fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

/// Fills `bytes` from the CSPRNG of the crypto library.
pub fn random_bytes(bytes: &mut [u8]) {
    if aws_lc_rs::rand::fill(bytes).is_err() {
        // Without randomness nothing that follows is safe.
        std::process::abort();
    }
}
