//! What changed, by conversation and by user, and where each conversation stands: how a client catches up.
//! Never what a row looks like: that is its own view.

use super::{Blocked, Chosen, Contact, Message, Mine, Participant, Settings, User};
use entities::ConversationId;
use serde::Serialize;
use utoipa::ToSchema;

/// One changed row of a conversation, in its present state: what an event carries as `data`, and
/// what `messages.changes` lists.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Item {
    /// A message, or its tombstone.
    Message(Message),
    /// A member, or the tombstone of one.
    Participant(Participant),
    /// Name and description.
    Conversation(Settings),
}

impl Item {
    /// The `rev` that the row carries.
    pub fn rev(&self) -> i64 {
        match self {
            Item::Message(m) => m.rev,
            Item::Participant(p) => p.rev,
            Item::Conversation(c) => c.rev,
        }
    }

    /// A message's `seq`.
    pub fn seq(&self) -> Option<i64> {
        match self {
            Item::Message(m) => Some(m.seq),
            _ => None,
        }
    }
}

/// A page of what changed in a conversation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// In `rev` order.
    pub items: Vec<Item>,
    /// Where the next page begins; what the client holds from now on.
    pub next_rev: i64,
    /// Whether there is a next page now.
    pub more: bool,
    /// The client is too far behind: take the history afresh, and go on from `nextRev`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// One thing private to a user that changed.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum UserItem {
    /// What is the user's own of a conversation that they are in; also how they learn of it.
    #[serde(rename_all = "camelCase")]
    Mine {
        /// The counter when it changed last.
        user_rev: i64,
        /// Which conversation.
        conversation_id: ConversationId,
        /// Its state.
        #[serde(flatten)]
        mine: Mine,
    },
    /// They are no member any more: keep what you hold, read no more. Or they have declined a request: it goes from the
    /// lists.
    #[serde(rename_all = "camelCase")]
    Gone {
        /// The counter when it changed last.
        user_rev: i64,
        /// Which conversation.
        conversation_id: ConversationId,
        /// The last `rev` that was theirs to see.
        until_rev: i64,
    },
    /// Their own profile.
    #[serde(rename_all = "camelCase")]
    Profile {
        /// The counter when it changed last.
        user_rev: i64,
        /// Its state.
        user: User,
    },
    /// Somebody in their address book, or the tombstone of one.
    #[serde(rename_all = "camelCase")]
    Contact {
        /// The counter when it changed last.
        user_rev: i64,
        /// Its state.
        contact: Contact,
    },
    /// Somebody whom they block, or the tombstone of a block.
    #[serde(rename_all = "camelCase")]
    Block {
        /// The counter when it changed last.
        user_rev: i64,
        /// Its state.
        block: Blocked,
    },
    /// What they have set, and whom they let see and do what.
    #[serde(rename_all = "camelCase")]
    Settings {
        /// The counter when it changed last.
        user_rev: i64,
        /// Their state.
        #[serde(flatten)]
        set: Box<Chosen>,
    },
}

impl UserItem {
    /// The `userRev` that it carries.
    pub fn user_rev(&self) -> i64 {
        match self {
            UserItem::Mine { user_rev, .. }
            | UserItem::Gone { user_rev, .. }
            | UserItem::Profile { user_rev, .. }
            | UserItem::Contact { user_rev, .. }
            | UserItem::Block { user_rev, .. }
            | UserItem::Settings { user_rev, .. } => *user_rev,
        }
    }
}

/// A page of what is private to a user and changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserChanges {
    /// In `userRev` order.
    pub items: Vec<UserItem>,
    /// Where the next page begins.
    pub next_user_rev: i64,
    /// Whether there is a next page now.
    pub more: bool,
    /// The client's number is not one of ours: take everything afresh, and go on from `nextUserRev`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
}

/// A conversation's position, as `ready` and `heads` carry it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// The newest message.
    pub last_seq: i64,
    /// The newest change.
    pub last_rev: i64,
    /// Everything up to this has been read.
    pub read_seq: i64,
    /// Everything up to this has arrived.
    pub delivered_seq: i64,
    /// Messages not read, counted up to 1,000.
    pub unread: u32,
    /// Mentions not read, counted up to 1,000.
    pub mentions: u32,
    /// Present on a private conversation that another has opened and that waits to be taken up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub request: bool,
}

/// A conversation that is no longer the user's, or a request that they have declined.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gone {
    /// Which.
    pub conversation_id: ConversationId,
    /// The last `rev` that was theirs to see.
    pub until_rev: i64,
}
