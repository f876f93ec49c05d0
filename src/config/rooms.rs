//! `[journal]`, `[rooms]`, `[sockets]` and `[presence]`: the pace of what lives, and what may wait in it.
//! Never what a client may ask for: see `limits`.

use super::layers::ConfigError;
use super::rules::{DAY, KIB, MANY, MIB, MINUTE, SECOND, lasts, within};
use super::values::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[journal]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// Transactions at once on PostgreSQL.
    pub lanes: usize,
    /// What may wait, in changes.
    pub queue_items: usize,
    /// What may wait, in bytes.
    pub queue_bytes: usize,
    /// The most changes of one transaction.
    pub batch_items: usize,
    /// How long what was committed stays listed.
    #[serde(with = "duration")]
    pub outbox_keep: Duration,
}

impl Journal {
    pub(super) fn check(&self, wrong: &mut ConfigError) {
        within(wrong, "journal.lanes", self.lanes, 1..=64);
        within(wrong, "journal.queue_items", self.queue_items, 1..=MANY);
        within(wrong, "journal.queue_bytes", self.queue_bytes, MIB..=1 << 34);
        within(wrong, "journal.batch_items", self.batch_items, 1..=4096);
        lasts(wrong, "journal.outbox_keep", self.outbox_keep, MINUTE..=30 * DAY);
    }
}

/// `[rooms]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rooms {
    /// A room without commands is closed after this.
    #[serde(with = "duration")]
    pub idle: Duration,
    /// What may wait in one room, in commands.
    pub queue_items: usize,
    /// What may wait in one room, in bytes.
    pub queue_bytes: usize,
    /// How long early frames are held.
    #[serde(with = "duration")]
    pub gap_wait: Duration,
    /// How often unreported changes are looked for.
    #[serde(with = "duration")]
    pub sweep: Duration,
}

impl Rooms {
    pub(super) fn check(&self, wrong: &mut ConfigError) {
        within(wrong, "rooms.queue_items", self.queue_items, 1..=MANY);
        within(wrong, "rooms.queue_bytes", self.queue_bytes, 64 * KIB..=1 << 34);
        lasts(wrong, "rooms.idle", self.idle, SECOND..=DAY);
        lasts(wrong, "rooms.gap_wait", self.gap_wait, Duration::from_millis(1)..=5 * SECOND);
        lasts(wrong, "rooms.sweep", self.sweep, SECOND / 10..=10 * MINUTE);
    }
}

/// `[sockets]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sockets {
    /// The hello must come within this.
    #[serde(with = "duration")]
    pub hello_within: Duration,
    /// How often a heartbeat is sent.
    #[serde(with = "duration")]
    pub heartbeat: Duration,
    /// How long its answer may take.
    #[serde(with = "duration")]
    pub heartbeat_answer: Duration,
}

impl Sockets {
    pub(super) fn check(&self, wrong: &mut ConfigError) {
        lasts(wrong, "sockets.hello_within", self.hello_within, SECOND / 10..=MINUTE);
        lasts(wrong, "sockets.heartbeat", self.heartbeat, SECOND..=10 * MINUTE);
        lasts(wrong, "sockets.heartbeat_answer", self.heartbeat_answer, SECOND..=10 * MINUTE);
    }
}

/// `[presence]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Presence {
    /// How long somebody without a socket is still shown as there.
    #[serde(with = "duration")]
    pub grace: Duration,
}

impl Presence {
    pub(super) fn check(&self, wrong: &mut ConfigError) {
        lasts(wrong, "presence.grace", self.grace, Duration::ZERO..=10 * MINUTE);
    }
}
