//! What is alive in a QuckChat node, and the words that it speaks.
//! Never a door and never a provider: those stand above, in `quckchat`.

pub mod caller;
pub mod clock;
pub mod cluster;
pub mod contacts;
pub mod conversation;
pub mod entry;
pub mod greeter;
pub mod guard;
pub mod hub;
pub mod journal;
pub mod limits;
pub mod mender;
pub mod metrics;
pub mod nodes;
pub mod outbox;
pub mod presence;
pub mod privacy;
pub mod protocol;
pub mod quiet;
pub mod retry;
mod review;
pub mod room;
pub mod session;
pub mod sockets;
pub mod sql;
