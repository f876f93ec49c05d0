//! How busy this process is.
//! Never a decision: operators and balancers read it.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// Knows what was used when it was asked last.
#[derive(Default)]
pub struct Load(Option<(Instant, Duration)>);

impl Load {
    /// What the process has used of the processor since it was asked last, in percent of one core; two busy cores are
    /// 200. `None` the first time.
    pub fn percent(&mut self) -> Option<i64> {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let spent = Duration::from_secs(u64::try_from(spent.tv_sec).unwrap_or(0))
            + Duration::from_nanos(u64::try_from(spent.tv_nsec).unwrap_or(0));
        let now = Instant::now();
        let (then, before) = self.0.replace((now, spent))?;
        let passed = now.duration_since(then).max(Duration::from_millis(1));
        Some((spent.saturating_sub(before).as_secs_f64() / passed.as_secs_f64() * 100.0).round() as i64)
    }
}
