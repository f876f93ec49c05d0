//! What happened: as it was acknowledged, as it was heard, as the database itself has seen it, and as it ended.
//! Never an opinion: see `check`.

pub mod audit;
pub mod check;

use serde_json::Value;
use std::collections::BTreeMap;

/// A conversation's or a user's id, as it is written.
pub type Id = String;

/// One row of a conversation, as far as it is compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A message, or its tombstone without a text.
    Message { id: Id, seq: i64, text: Option<String> },
    /// A member, or who was one.
    Participant { user: Id, removed: bool },
    /// Name and description.
    Settings,
}

impl Row {
    /// Which row it is, whatever stands in it.
    pub fn key(&self) -> String {
        match self {
            Row::Message { id, .. } => format!("message {id}"),
            Row::Participant { user, .. } => format!("participant {user}"),
            Row::Settings => "settings".to_owned(),
        }
    }

    /// What an event or `messages.changes` says, and the `rev` that it carries.
    pub fn told(item: &Value) -> (i64, Row) {
        let text = |field: &str| item[field].as_str().map(str::to_owned);
        let row = match item["type"].as_str() {
            Some("participant") => Row::Participant {
                user: text("userId").unwrap_or_default(),
                removed: item["removed"].as_bool().unwrap_or(false),
            },
            Some("conversation") => Row::Settings,
            // A reply to a write is a message without a type.
            _ => Row::Message {
                id: text("id").unwrap_or_default(),
                seq: item["seq"].as_i64().unwrap_or_default(),
                text: text("text"),
            },
        };
        (item["rev"].as_i64().unwrap_or_default(), row)
    }
}

/// A write that was answered with `ok`.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub conversation: Id,
    pub change: Change,
}

/// What was acknowledged.
#[derive(Debug, Clone)]
pub enum Change {
    /// A message was sent under this key.
    Sent { sender: Id, client_id: String, rev: i64, row: Row },
    /// A row was written, and stood so at this `rev`.
    Wrote { rev: i64, row: Row },
    /// Somebody was removed, or left.
    Removed { user: Id },
}

/// A numbered event that reached a socket.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Whose socket.
    pub user: Id,
    pub conversation: Id,
    /// What it covers.
    pub from: i64,
    pub rev: i64,
    /// What it told.
    pub rows: Vec<(i64, Row)>,
    /// How it stood to the event before it on that socket.
    pub order: Order,
}

/// How an event stands to the ones before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// It follows on it.
    Next,
    /// It was heard before.
    Again,
    /// Something is missing before it.
    Skips,
    /// The socket did not know that it hears this conversation.
    Stray,
}

/// All that clients were told during a run.
#[derive(Default)]
pub struct Ledger {
    pub acknowledged: Vec<Acknowledged>,
    pub heard: Vec<Heard>,
    /// Refusals that nobody had to expect, and closings by which a client is not to come back.
    pub refused: Vec<String>,
    /// Commands that were said again, because their answer was lost or said so.
    pub repeated: u64,
}

/// What one client holds of a conversation when all is over, and what it is told afresh.
pub struct Ending {
    pub client: String,
    pub conversation: Id,
    pub held: BTreeMap<String, Value>,
    pub fresh: BTreeMap<String, Value>,
    /// What lies below belonged to an earlier span, and may be held as it was.
    pub visible_from: i64,
}

impl Ledger {
    /// How many changes of each kind were acknowledged.
    pub fn kinds(&self) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        for Acknowledged { change, .. } in &self.acknowledged {
            let kind = match change {
                Change::Sent { .. } => "sent",
                Change::Wrote { row: Row::Participant { .. }, .. } => "added",
                Change::Wrote { .. } => "edited, deleted or reacted",
                Change::Removed { .. } => "removed or left",
            };
            *kinds.entry(kind).or_default() += 1;
        }
        kinds
    }
}
