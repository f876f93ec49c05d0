//! Conversations, their members, and what of them is the caller's own.
//! Never what was said, but for the newest message.

use super::{Message, User};
use entities::{ConversationId, ConversationKind, Role, Timestamp, UserId};
use serde::Serialize;
use utoipa::ToSchema;

/// A member.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Participant {
    /// Who.
    pub user_id: UserId,
    /// Their role.
    pub role: Role,
    /// The conversation's change counter when this row changed last.
    pub rev: i64,
    /// Since when.
    pub joined_at: Timestamp,
    /// Present on a tombstone: they are no member any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// The member, as their privacy lets the caller see them; in lists, never in events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Box<User>>,
    /// Everything up to this has been read, as far as the member lets the caller know; in lists, up to 100 members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_seq: Option<i64>,
    /// Everything up to this has arrived; in lists, up to 100 members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_seq: Option<i64>,
}

impl Participant {
    /// The view of a row.
    pub fn from_row(row: &entities::participant::Model) -> Participant {
        Participant {
            user_id: row.user_id,
            role: row.role,
            rev: row.rev,
            joined_at: row.joined_at,
            removed: row.until_rev.is_some(),
            user: None,
            read_seq: None,
            delivered_seq: None,
        }
    }
}

/// What of a conversation is the caller's own.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mine {
    /// The caller's role.
    pub role: Role,
    /// Everything up to this has been read.
    pub read_seq: i64,
    /// Everything up to this has arrived.
    pub delivered_seq: i64,
    /// Messages not read, counted up to 1,000.
    pub unread: u32,
    /// Mentions of the caller not read, counted up to 1,000.
    pub mentions: u32,
    /// Shown as unread although it was read.
    pub marked_unread: bool,
    /// Present on a private conversation that another has opened and that waits to be taken up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub request: bool,
}

/// A conversation, as one of its members sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// `private` or `group`.
    pub kind: ConversationKind,
    /// A group's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A group's description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who opened it.
    pub created_by: UserId,
    /// When.
    pub created_at: Timestamp,
    /// The `seq` of the newest message.
    pub last_seq: i64,
    /// The change counter.
    pub last_rev: i64,
    /// How many members.
    pub participant_count: i32,
    /// The members, up to 100; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participants: Option<Vec<Participant>>,
    /// What is the caller's own.
    pub me: Mine,
    /// The newest message that the caller may see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Message>,
}

/// The reply to a creation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// The conversation.
    #[serde(flatten)]
    pub conversation: Conversation,
    /// Whether it was there already: an earlier request made it, or the pair had it.
    pub duplicate: bool,
}

/// A conversation's settings, as they change.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// The change counter when this changed last.
    pub rev: i64,
    /// A group's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A group's description.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
