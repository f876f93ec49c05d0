//! `[limits]`: what clients may ask for, how often, and how much of it may wait.
//! Never who is refused beyond it.

use super::layers::ConfigError;
use super::rules::{KIB, MANY, MIB, within};
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// So many a second.
const RATE: RangeInclusive<u32> = 1..=100_000_000;

/// `[limits]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientLimits {
    /// Members of a group.
    pub participants: usize,
    /// Different emoji on one message.
    pub reactions: usize,
    /// The largest frame from a client.
    pub frame_bytes: usize,
    /// The largest hello.
    pub hello_bytes: usize,
    /// Commands a second on one socket, over time.
    pub commands_per_sec: u32,
    /// Commands at once on one socket.
    pub command_burst: u32,
    /// Commands under way on one socket.
    pub in_flight: usize,
    /// Sockets of one user on this node.
    pub sockets_per_user: usize,
    /// Sockets of one address that have not said hello yet.
    pub waiting_hellos_per_address: usize,
    /// Devices of one user.
    pub devices: usize,
    /// Reports of one user in 24 hours.
    pub reports_per_day: u32,
    /// What may wait for one socket.
    pub queue_bytes: usize,
    /// The longest reply.
    pub reply_bytes: usize,
    /// REST requests of one user a second, over time.
    pub rest_per_user_per_sec: u32,
    /// REST requests of one user at once.
    pub rest_per_user_burst: u32,
    /// REST requests of one address a second, over time.
    pub rest_per_address_per_sec: u32,
    /// REST requests of one address at once.
    pub rest_per_address_burst: u32,
    /// Syncs of one user's address book a second, over time.
    pub syncs_per_user_per_sec: u32,
    /// Syncs of one user's address book at once.
    pub syncs_per_user_burst: u32,
}

impl ClientLimits {
    pub(super) fn check(&self, wrong: &mut ConfigError) {
        within(wrong, "limits.participants", self.participants, 2..=1_000_000);
        within(wrong, "limits.reactions", self.reactions, 1..=1000);
        within(wrong, "limits.frame_bytes", self.frame_bytes, 16 * KIB..=16 * MIB);
        within(wrong, "limits.hello_bytes", self.hello_bytes, 16 * KIB..=16 * MIB);
        within(wrong, "limits.commands_per_sec", self.commands_per_sec, RATE);
        within(wrong, "limits.command_burst", self.command_burst, RATE);
        within(wrong, "limits.in_flight", self.in_flight, 1..=MANY);
        within(wrong, "limits.sockets_per_user", self.sockets_per_user, 1..=MANY);
        within(wrong, "limits.waiting_hellos_per_address", self.waiting_hellos_per_address, 1..=MANY);
        within(wrong, "limits.devices", self.devices, 1..=1000);
        within(wrong, "limits.reports_per_day", self.reports_per_day, 1..=1_000_000);
        within(wrong, "limits.queue_bytes", self.queue_bytes, 64 * KIB..=1 << 30);
        within(wrong, "limits.reply_bytes", self.reply_bytes, 32 * KIB..=self.queue_bytes);
        within(wrong, "limits.rest_per_user_per_sec", self.rest_per_user_per_sec, RATE);
        within(wrong, "limits.rest_per_user_burst", self.rest_per_user_burst, RATE);
        within(wrong, "limits.rest_per_address_per_sec", self.rest_per_address_per_sec, RATE);
        within(wrong, "limits.rest_per_address_burst", self.rest_per_address_burst, RATE);
        within(wrong, "limits.syncs_per_user_per_sec", self.syncs_per_user_per_sec, RATE);
        within(wrong, "limits.syncs_per_user_burst", self.syncs_per_user_burst, RATE);
    }
}
