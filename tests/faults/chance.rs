//! Seeds: where a run's chances come from, and how one run is told again.
//! Never the system's randomness once a run has begun.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The chances of one part of a run. Parts do not share one, so that the order in which they ask does not matter.
pub struct Chance(fastrand::Rng);

impl Chance {
    /// Those of a part, by its number, of the run with this seed.
    pub fn of(seed: u64, part: u64) -> Chance {
        Chance(fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(part)))
    }

    /// Below this.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.usize(..bound)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, percent: u32) -> bool {
        self.0.u32(..100) < percent
    }

    /// Some time between these.
    pub fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.0.u64(range))
    }

    /// One of these, if there is any.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        if of.is_empty() { None } else { Some(&of[self.below(of.len())]) }
    }

    /// A name that no other part of this run gives.
    pub fn name(&mut self) -> String {
        format!("{:016x}", self.0.u64(..))
    }
}
