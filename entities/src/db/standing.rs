//! How the database is, as far as its own errors show: what writes met last, and which connections are still good.
//!
//! Never here: a question to the database.

use super::trouble::Trouble;
use sea_orm::DbErr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long it shows that a connection was waited for in vain.
const CROWDED_FOR: Duration = Duration::from_secs(10);

/// How a database that answers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It reads and writes.
    Well,
    /// It reads and writes, but somebody waited for a connection in vain a moment ago.
    Crowded,
    /// It only reads.
    ReadOnly,
    /// The last write found no room on the disk.
    Full,
}

const WRITES: u8 = 0;
const READ_ONLY: u8 = 1;
const FULL: u8 = 2;

/// What was noticed.
pub(super) struct Signs {
    began: Instant,
    /// Connections that were made before this are not used again, in microseconds since the beginning.
    trusted_since: AtomicU64,
    writing: AtomicU8,
    /// When a connection was waited for in vain, in microseconds since the beginning; 0 is never.
    crowded_at: AtomicU64,
}

impl Signs {
    pub fn new() -> Signs {
        Signs {
            began: Instant::now(),
            trusted_since: AtomicU64::new(0),
            writing: AtomicU8::new(WRITES),
            crowded_at: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Learns from an error; gives what it means.
    pub fn note(&self, error: &DbErr) -> Trouble {
        let trouble = Trouble::of(error);
        match trouble {
            Trouble::Lost => self.distrust(),
            Trouble::Crowded => self.crowded_at.store(self.now().max(1), Ordering::Relaxed),
            Trouble::ReadOnly => self.set_writing(READ_ONLY),
            Trouble::Full => self.set_writing(FULL),
            Trouble::Conflict | Trouble::Statement | Trouble::Failed => {}
        }
        trouble
    }

    /// Learns that a write was committed. Sessions that began while the database only read do so for good, whoever is the
    /// first to find that it writes again.
    pub fn wrote(&self) {
        if self.is_read_only() {
            self.distrust();
        }
        self.set_writing(WRITES);
    }

    pub fn reads_only(&self) {
        self.set_writing(READ_ONLY);
    }

    fn set_writing(&self, now: u8) {
        if self.writing.load(Ordering::Relaxed) == now {
            return;
        }
        let before = self.writing.swap(now, Ordering::Relaxed);
        match now {
            READ_ONLY if before != READ_ONLY => tracing::error!("the database is read-only"),
            FULL if before != FULL => tracing::error!("the database has no room left on its disk"),
            WRITES if before != WRITES => tracing::info!("the database writes again"),
            _ => {}
        }
    }

    /// No connection that exists by now is used again: its server may be another one by now, or gone.
    pub fn distrust(&self) {
        self.trusted_since.store(self.now().max(1), Ordering::Relaxed);
    }

    /// Whether a connection of this age may be used.
    pub fn trusts(&self, age: Duration) -> bool {
        let since = self.trusted_since.load(Ordering::Relaxed);
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        since == 0 || self.now().saturating_sub(age) > since
    }

    pub fn is_read_only(&self) -> bool {
        self.writing.load(Ordering::Relaxed) == READ_ONLY
    }

    pub fn standing(&self) -> Standing {
        let crowded_at = self.crowded_at.load(Ordering::Relaxed);
        let crowded = crowded_at > 0 && self.now() - crowded_at.min(self.now()) < CROWDED_FOR.as_micros() as u64;
        match self.writing.load(Ordering::Relaxed) {
            READ_ONLY => Standing::ReadOnly,
            FULL => Standing::Full,
            _ if crowded => Standing::Crowded,
            _ => Standing::Well,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_makes_every_older_connection_worthless() {
        let signs = Signs::new();
        assert!(signs.trusts(Duration::ZERO) && signs.trusts(Duration::from_secs(60)));
        signs.distrust();
        assert!(!signs.trusts(Duration::from_secs(60)));
        while signs.now() <= signs.trusted_since.load(Ordering::Relaxed) {}
        assert!(signs.trusts(Duration::ZERO));
    }

    #[test]
    fn sessions_that_only_read_are_worthless_once_somebody_wrote() {
        let signs = Signs::new();
        signs.wrote();
        assert!(signs.trusts(Duration::from_secs(60)), "nothing was wrong");
        signs.reads_only();
        assert!(signs.trusts(Duration::from_secs(60)), "it reads");
        signs.wrote();
        assert!(!signs.trusts(Duration::from_secs(60)));
    }

    #[test]
    fn what_writes_meet_shows_until_one_succeeds() {
        let signs = Signs::new();
        assert_eq!(signs.standing(), Standing::Well);
        signs.reads_only();
        assert_eq!(signs.standing(), Standing::ReadOnly);
        signs.wrote();
        assert_eq!(signs.standing(), Standing::Well);
        signs.note(&DbErr::ConnectionAcquire(sea_orm::ConnAcquireErr::Timeout));
        assert_eq!(signs.standing(), Standing::Crowded);
    }
}
