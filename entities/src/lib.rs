//! The nouns: one file a table, with the finders that read it, scoped by owner.
//!
//! Never here: rules, transactions, the clock, randomness, or anything that a client sees.

pub mod arrival;
pub mod audit_event;
pub mod backup_code;
pub mod block;
pub mod challenge;
pub mod contact;
pub mod contact_number;
pub mod conversation;
pub mod db;
pub mod device;
pub mod export;
pub mod export_part;
pub mod identity;
pub mod ids;
pub mod mention;
pub mod message;
pub mod node;
pub mod otp_count;
pub mod otp_verification;
pub mod outbox;
pub mod participant;
pub mod password;
pub mod privacy;
pub mod reaction;
pub mod refresh_token;
pub mod report;
pub mod sealing_key;
pub mod second_factor;
pub mod session;
pub mod settings;
pub mod sign_in_delay;
pub mod signing_key;
pub mod time;
pub mod user;
pub mod user_role;

pub use conversation::ConversationKind;
pub use db::{Backend, Checkpoint, CheckpointMode, Db, Options, Standing, Trouble};
pub use export::ExportState;
pub use ids::{AuditEventId, ConversationId, ExportId, MessageId, ReportId, SessionId, UserId};
pub use message::MessageKind;
pub use participant::Role;
pub use privacy::{Audience, Privacy};
pub use settings::Settings;
pub use time::Timestamp;
