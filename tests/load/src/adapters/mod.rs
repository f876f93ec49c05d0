//! One adapter per protocol. To add one: implement [`Adapter`] in a new file here, and name it in [`named`].

mod plain;
mod quckchat;

use crate::wire::Client;
use anyhow::{Result, bail};
use async_trait::async_trait;
pub use plain::Plain;
pub use quckchat::{Options, Quckchat, as_reply, ask};
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;

/// What one incoming text means to the scenarios.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    /// A chat message with one of our bodies in it: when that was sent, in the clock of the run.
    Delivery(u64),
    /// Several of them in one frame.
    Deliveries(Vec<u64>),
    /// The server has taken (and, where it can, stored) our oldest unacknowledged message.
    Ack,
    /// The server refused one of our commands.
    Refused,
    /// Keep-alive: send this text back. `in_step` is false where the server has counted other deliveries
    /// than we have.
    Reply {
        /// The text to send.
        text: Vec<u8>,
        /// Whether both sides have counted the same.
        in_step: bool,
    },
    /// Nothing that counts.
    Other,
}

/// The conversations that a scenario needs.
#[derive(Clone)]
pub enum Rooms {
    /// All of these users in one; its messages count for everyone, the sender too.
    One(Range<usize>),
    /// Neighbours (an even distance from the start and the next) in one each; one's own do not count.
    Pairs(Range<usize>),
}

/// Whom a message is for.
#[derive(Clone, Copy)]
pub enum To {
    /// The one room.
    Everyone,
    /// The other of a pair.
    Peer(usize),
}

/// Which server, and how to connect to it.
#[derive(Clone, Copy)]
pub struct Target {
    /// The server; must be loopback.
    pub addr: SocketAddr,
    /// Where users of odd numbers go instead, if there are two.
    pub second: Option<SocketAddr>,
    /// A receive buffer of this many bytes instead of the system's.
    pub recv_buffer: Option<u32>,
}

impl Target {
    /// Where a user goes.
    pub fn of(&self, user: usize) -> SocketAddr {
        self.second.filter(|_| user % 2 == 1).unwrap_or(self.addr)
    }
}

/// Somebody who is online.
pub struct Login {
    /// The connection.
    pub client: Client,
    /// What understands the texts that come over it.
    pub ear: Box<dyn Ear>,
}

/// Understands what comes over one connection; may keep count.
pub trait Ear {
    /// What `text` means. The hot path: it must not allocate for a delivery.
    fn hear(&mut self, text: &[u8]) -> Incoming;
}

/// One protocol, spoken by all users of a run.
#[async_trait(?Send)]
pub trait Adapter {
    /// Makes the conversations, before anybody is online.
    async fn prepare(&self, target: Target, rooms: &Rooms) -> Result<()>;
    /// Connects and authenticates; on return the user is online and hears the conversation.
    async fn login(&self, target: Target, user: usize) -> Result<Login>;
    /// Appends the frame that says `body`. `id` differs for every message of a run.
    fn message(&self, user: usize, to: To, id: u64, body: &str, out: &mut Vec<u8>);
    /// How many bytes the server says may wait for one client, if it has said so.
    fn queue_bytes(&self) -> Option<u64> {
        None
    }
}

/// The adapter with this name.
pub fn named(name: &str, options: Options) -> Result<Rc<dyn Adapter>> {
    Ok(match name {
        "plain" => Rc::new(Plain { path: options.path }),
        "quckchat" => Rc::new(Quckchat::new(options)?),
        other => bail!("no adapter is named {other}: plain or quckchat"),
    })
}
