//! Messages with their reactions, and pages of them.
//! Never whether somebody may see one.

use entities::{ConversationId, MessageId, MessageKind, Timestamp, UserId};
use serde::Serialize;
use utoipa::ToSchema;

/// Who reacted with one emoji.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// How many.
    pub count: u32,
    /// The first twenty of them.
    pub user_ids: Vec<UserId>,
}

/// A message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Where it was said; absent where the conversation stands beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// Its place in the conversation: from 1, without gaps.
    pub seq: i64,
    /// The conversation's change counter when this row changed last.
    pub rev: i64,
    /// Who said it.
    pub sender_id: UserId,
    /// The sender's own key for it.
    pub client_id: String,
    /// `text` or `system`.
    pub kind: MessageKind,
    /// What was said; absent once deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The message that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// The reactions, first given first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    /// When it was said.
    pub created_at: Timestamp,
    /// When its text was changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_at: Option<Timestamp>,
    /// When it was deleted: a tombstone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

/// The reply to a send.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// As stored.
    pub message: Message,
    /// Whether an earlier request with this `clientId` had sent it.
    pub duplicate: bool,
}

/// A page of history.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Ascending by `seq`.
    pub items: Vec<Message>,
    /// The conversation's newest `seq`.
    pub last_seq: i64,
    /// The conversation's `rev` at or before which this page was read.
    pub last_rev: i64,
    /// Whether there are messages before the page that the caller may see.
    pub more_before: bool,
    /// Whether there are messages after the page.
    pub more_after: bool,
}
