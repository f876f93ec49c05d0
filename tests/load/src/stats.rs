//! Latency histograms, and what the processes under test use.

use anyhow::Result;
use hdrhistogram::Histogram;
use memchr::memmem::Finder;
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Precedes the send time (20 digits of nanoseconds) in every body.
pub const MARK: &[u8] = b"~ts:";

/// Made once: making a finder costs more than using it.
static FIND_MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(MARK));

/// Nanoseconds since the run began; what bodies carry.
pub struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since the start.
    pub fn nanos(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

/// Puts a body of `size` bytes (at least 25) that carries its send time into `out`.
pub fn body(sent_ns: u64, size: usize, out: &mut String) {
    out.clear();
    let _ = write!(out, "~ts:{sent_ns:020}~");
    while out.len() < size {
        out.push_str("the quick brown fox jumps over the lazy dog ");
    }
    out.truncate(size.max(25));
}

/// The send time in the first body found in `text`.
pub fn sent_at(text: &[u8]) -> Option<u64> {
    let at = FIND_MARK.find(text)? + MARK.len();
    let mut n = 0u64;
    for d in text.get(at..at + 20)? {
        n = n.wrapping_mul(10).wrapping_add(u64::from(d.wrapping_sub(b'0')));
    }
    Some(n)
}

/// A latency histogram: microseconds up to two minutes.
pub struct Latency(Histogram<u64>);

impl Latency {
    /// An empty histogram.
    pub fn new() -> Result<Latency> {
        Ok(Latency(Histogram::new_with_bounds(1, 120_000_000, 3)?))
    }

    /// Adds one latency in nanoseconds.
    pub fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record((ns / 1000).max(1));
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The quantile `q` (0 to 1) in milliseconds.
    pub fn ms(&self, q: f64) -> f64 {
        self.0.value_at_quantile(q) as f64 / 1000.0
    }

    /// Median, 99th percentile, greatest, and how many.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"p50_ms": self.ms(0.5), "p99_ms": self.ms(0.99),
            "max_ms": self.0.max() as f64 / 1000.0, "n": self.0.len()})
    }
}

/// The servers under test, by process id.
#[derive(Clone, Default)]
pub struct Procs(pub Vec<u32>);

impl Procs {
    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        let of = |pid: &u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        self.0.iter().filter_map(of).sum::<u64>() * 1024
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Duration {
        self.0.iter().map(|p| cpu_of(&p.to_string())).sum()
    }
}

/// Linux counts in hundredths of a second on every architecture that we build for.
const TICK_MS: u64 = 10;

fn cpu_of(pid: &str) -> Duration {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Duration::ZERO;
    };
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|i| fields.get(*i)?.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * TICK_MS)
}

/// Time that all processes of the machine have used so far.
fn all_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or("").split_whitespace().skip(1);
    // user, nice, system: interrupts are left out, since nobody is charged with them.
    let ticks: u64 = fields.take(3).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * TICK_MS)
}

/// CPU use over a span.
pub struct Meter {
    began: Instant,
    before: [Duration; 3],
    procs: Procs,
}

impl Meter {
    /// Starts a span.
    pub fn start(procs: &Procs) -> Meter {
        let before = used(procs);
        Meter { began: Instant::now(), before, procs: procs.clone() }
    }

    /// Percents of one core used since the start: by the server, by this process, and by everybody else on
    /// the machine, who spoil the figures.
    pub fn read(&self) -> serde_json::Value {
        let (secs, now) = (self.began.elapsed().as_secs_f64(), used(&self.procs));
        let share = |i: usize| now[i].saturating_sub(self.before[i]).as_secs_f64() / secs * 100.0;
        let [server, own, all] = [0, 1, 2].map(share);
        let others = (all - server - own).max(0.0);
        serde_json::json!({"server": server.round(), "generator": own.round(), "others": others.round()})
    }
}

fn used(procs: &Procs) -> [Duration; 3] {
    [procs.cpu(), cpu_of("self"), all_cpu()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_carries_its_send_time_and_has_its_size() {
        let mut text = String::new();
        for size in [0, 25, 26, 200, 4000] {
            body(1_234_567_890_123, size, &mut text);
            assert_eq!(text.len(), size.max(25));
            assert_eq!(sent_at(text.as_bytes()), Some(1_234_567_890_123));
        }
        assert_eq!(sent_at(b"no mark"), None);
        assert_eq!(sent_at(b"~ts:123"), None);
    }
}
