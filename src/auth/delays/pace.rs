//! How a delay grows with each wrong try, and how wrong tries are forgiven.
//! Never what they are counted for: numbers in, numbers out.

use entities::Timestamp;
use std::time::Duration;

/// The first delay; each one after it is twice as long.
const FIRST: Duration = Duration::from_secs(1);

/// How fast delays grow, and how long they may.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Wrong tries that make nobody wait.
    pub free: i32,
    /// The longest delay.
    pub longest: Duration,
}

/// What was wrong under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How many, less those that are forgiven.
    pub failures: i32,
    /// From when the next is forgiven.
    pub since: Timestamp,
    /// When the next try is looked at.
    pub next: Timestamp,
}

impl Count {
    /// Nothing.
    pub const NONE: Count = Count { failures: 0, since: Timestamp::from_millis(0), next: Timestamp::from_millis(0) };
}

impl Pace {
    /// How long whoever has failed so often waits.
    pub fn delay(self, failures: i32) -> Duration {
        let doubled = u32::try_from(failures - self.free - 1).map(|times| 1_u32.checked_shl(times).unwrap_or(u32::MAX));
        doubled.map_or(Duration::ZERO, |times| FIRST.saturating_mul(times).min(self.longest))
    }

    /// As many failures as make the longest delay: more are not counted.
    pub fn most(self) -> i32 {
        let doublings = self.longest.as_secs().max(1).next_power_of_two().ilog2();
        self.free.saturating_add(1 + doublings as i32)
    }

    /// After this long all is forgiven.
    pub fn memory(self) -> Duration {
        self.longest.saturating_mul(self.most().unsigned_abs())
    }

    /// One more.
    pub fn failed(self, count: Count, now: Timestamp) -> Count {
        let longest = self.longest.as_millis().max(1);
        let forgiven = now.since(count.since).as_millis() / longest;
        let left = i32::try_from(forgiven).map_or(0, |forgiven| count.failures.saturating_sub(forgiven).max(0));
        let since = match left {
            0 => now,
            // What has passed of the next longest delay still counts.
            _ => now.minus(Duration::from_millis((now.since(count.since).as_millis() % longest) as u64)),
        };
        let failures = (left + 1).min(self.most());
        // Without a delay it stays, and is not now: another node's clock may be behind this one's.
        let next = match self.delay(failures) {
            Duration::ZERO => count.next,
            delay => now.plus(delay),
        };
        Count { failures, since, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn delays_begin_after_the_free_tries_and_double_up_to_the_longest() {
        let pace = Pace { free: 5, longest: 15 * MINUTE };
        for (failures, secs) in
            [(0, 0), (5, 0), (6, 1), (7, 2), (8, 4), (15, 512), (16, 900), (17, 900), (40, 900), (i32::MAX, 900)]
        {
            assert_eq!(pace.delay(failures), Duration::from_secs(secs), "{failures}");
        }
        assert_eq!(pace.delay(pace.most()), pace.longest);
        assert!(pace.delay(pace.most() - 1) < pace.longest);
    }

    #[test]
    fn each_longest_delay_that_passes_forgives_one() {
        let pace = Pace { free: 5, longest: MINUTE };
        let start = Timestamp::from_millis(1_770_000_000_000);
        let mut count = Count::NONE;
        for _ in 0..8 {
            count = pace.failed(count, start);
        }
        assert_eq!((count.failures, count.next), (8, start.plus(4 * SECOND)));
        // A minute and a half: one is forgiven, one more counted, and the half minute still stands.
        count = pace.failed(count, start.plus(90 * SECOND));
        assert_eq!((count.failures, count.since), (8, start.plus(MINUTE)));
        count = pace.failed(count, start.plus(120 * SECOND));
        assert_eq!(count.failures, 8);
        count = pace.failed(count, start.plus(60 * MINUTE));
        assert_eq!((count.failures, count.since), (1, start.plus(60 * MINUTE)));
    }
}
