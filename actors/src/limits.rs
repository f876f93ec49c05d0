//! The numbers that rooms, queues and sockets keep to; the node fills them from its configuration.
//! Never a default: those stand in `config.toml`.

use std::time::Duration;

/// Every bound of this crate.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most participants of a group.
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
    /// What may wait for one socket.
    pub queue_bytes: usize,
    /// The longest reply.
    pub reply_bytes: usize,
    /// What may wait in one room, in commands.
    pub room_items: usize,
    /// What may wait in one room, in bytes.
    pub room_bytes: usize,
    /// What may wait for the journal, in items.
    pub journal_items: usize,
    /// What may wait for the journal, in bytes.
    pub journal_bytes: usize,
    /// The most items of one transaction.
    pub batch_items: usize,
    /// How many transactions at once, on PostgreSQL.
    pub lanes: usize,
    /// A room without commands is closed after this.
    pub room_idle: Duration,
    /// How long frames above a gap are held before the gap is read.
    pub gap_wait: Duration,
    /// How long a node lives, for the others, after it was heard of last.
    pub lease: Duration,
    /// How often entries are compared with the rows.
    pub sweep: Duration,
    /// A socket's hello must come within this.
    pub hello_within: Duration,
    /// How often the node sends a heartbeat.
    pub heartbeat: Duration,
    /// How long a heartbeat may go unanswered, once it was drained.
    pub heartbeat_answer: Duration,
    /// How long somebody without sockets still counts as there.
    pub presence_grace: Duration,
    /// How long outbox rows are kept.
    pub outbox_keep: Duration,
}
