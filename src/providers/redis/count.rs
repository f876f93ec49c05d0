//! Counts that hold over all nodes: how often somebody may, by Redis's own clock.
//! Never what is limited, and never a refusal.

use super::link::Wire;
use actors::cluster::{Rate, Tally};
use redis::Script;
use std::sync::Arc;
use std::time::Duration;

/// A request waits no longer for its count: this node's own is there at once. Whether the link is lost, the link finds
/// out by itself.
const PATIENCE: Duration = Duration::from_millis(200);

/// The generic cell rate algorithm (ITU-T I.371, annex A), one step: a key holds when its next request would be due.
pub const GCRA: &str = r"
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local next_due = due + interval
local early = next_due - interval * burst - now
if early > 0 then
    return {0, due - now, early}
end
redis.call('SET', KEYS[1], string.format('%.0f', next_due), 'PX', math.ceil((next_due - now) / 1000))
return {math.floor(-early / interval), next_due - now, -1}
";

/// The counts, of all nodes alike.
pub struct Counts {
    wire: Arc<Wire>,
    script: Script,
}

impl Counts {
    pub fn new(wire: Arc<Wire>) -> Counts {
        Counts { wire, script: Script::new(GCRA) }
    }

    /// One more of `key`; `None` if Redis is away, or slow.
    pub async fn count(&self, key: &str, rate: Rate) -> Option<Tally> {
        let mut live = self.wire.live()?;
        let interval = 1_000_000 / u64::from(rate.per_sec.max(1));
        let mut step = self.script.key(format!("{}rate:{key}", self.wire.prefix));
        step.arg(interval.max(1)).arg(rate.burst.max(1));
        let counted = step.invoke_async::<(u32, i64, i64)>(&mut live.commands);
        match tokio::time::timeout(PATIENCE, counted).await.ok()? {
            Ok((remaining, reset, wait)) => {
                let micros = |micros: i64| Duration::from_micros(micros.try_into().unwrap_or(0));
                Some(Tally { remaining, reset: micros(reset), wait: (wait >= 0).then(|| micros(wait)) })
            }
            Err(error) => {
                self.wire.fault(&live, &error);
                None
            }
        }
    }
}
