//! The nouns: one file a table, with the finders that read it, scoped by owner.
//!
//! Never here: rules, transactions, the clock, randomness, or anything that a client sees.

pub mod audit_event;
pub mod conversation;
pub mod db;
pub mod ids;
pub mod mention;
pub mod message;
pub mod node;
pub mod otp_verification;
pub mod outbox;
pub mod participant;
pub mod reaction;
pub mod refresh_token;
pub mod session;
pub mod signing_key;
pub mod time;
pub mod user;
pub mod user_role;

pub use conversation::ConversationKind;
pub use db::{Backend, Checkpoint, CheckpointMode, Db, Options, Standing, Trouble};
pub use ids::{AuditEventId, ConversationId, MessageId, SessionId, UserId};
pub use message::MessageKind;
pub use participant::Role;
pub use time::Timestamp;
