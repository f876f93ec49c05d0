//! What can be done to a conversation, and what comes of it: the journal's vocabulary.
//! Never how it is done: `store.rs` does it.

use crate::protocol::view::{Item, Message};
use entities::{ConversationId, MessageId, Role, UserId};

/// One durable change, as asked for.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new message.
    Send(NewMessage),
    /// Another text.
    Edit {
        /// Of which message.
        message: MessageId,
        /// The text.
        text: String,
    },
    /// A tombstone instead.
    Delete {
        /// Of which message.
        message: MessageId,
    },
    /// A reaction, given or taken back.
    React {
        /// To which message.
        message: MessageId,
        /// The emoji.
        emoji: String,
        /// Given, or taken back.
        add: bool,
    },
    /// New members.
    Add {
        /// Who.
        users: Vec<UserId>,
    },
    /// A member less.
    Remove {
        /// Who.
        user: UserId,
    },
    /// The actor goes.
    Leave,
    /// Another role.
    SetRole {
        /// Whose.
        user: UserId,
        /// Which.
        role: Role,
    },
    /// Another owner.
    Transfer {
        /// Who.
        to: UserId,
    },
    /// Another name or description; what is `None` stays.
    Update {
        /// The name.
        name: Option<String>,
        /// The description; empty takes it away.
        description: Option<String>,
    },
    /// The actor's own marks; what is `None` stays.
    Mark {
        /// Read up to here.
        read: Option<i64>,
        /// Received up to here.
        delivered: Option<i64>,
        /// Shown as unread.
        marked_unread: Option<bool>,
    },
    /// What was a request to the actor is a conversation like others.
    TakeUp,
    /// The actor does not want what is a request to them.
    Decline,
    /// The actor's account has ended: they go, from a private conversation too. No door asks for it.
    Depart,
    /// What an actor left behind whose account has ended is taken back. No door asks for it.
    Withdraw {
        /// Their messages, instead of which tombstones remain.
        said: Vec<MessageId>,
        /// The messages that lose their reactions.
        reacted: Vec<MessageId>,
    },
}

/// A message that was asked for.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Its id, if it is stored.
    pub id: MessageId,
    /// The sender's key.
    pub client_id: String,
    /// The keyed hash of the request: tells a repeat from a conflict.
    pub request_hash: Vec<u8>,
    /// What is said.
    pub text: String,
    /// The message that it answers.
    pub reply_to: Option<MessageId>,
}

impl Change {
    /// About what it takes to keep it waiting.
    pub fn bytes(&self) -> usize {
        128 + match self {
            Change::Send(message) => message.text.len() + message.client_id.len(),
            Change::Edit { text, .. } => text.len(),
            Change::Add { users } => users.len() * 16,
            Change::Update { name, description } => {
                name.as_ref().map_or(0, String::len) + description.as_ref().map_or(0, String::len)
            }
            Change::Withdraw { said, reacted } => (said.len() + reacted.len()) * 16,
            _ => 0,
        }
    }

    /// The message that it is about.
    pub fn message(&self) -> Option<MessageId> {
        match self {
            Change::Edit { message, .. } | Change::Delete { message } | Change::React { message, .. } => Some(*message),
            Change::Send(message) => message.reply_to,
            _ => None,
        }
    }

    /// Every message whose row it needs.
    pub fn messages(&self) -> impl Iterator<Item = MessageId> {
        let (said, reacted): (&[_], &[_]) = match self {
            Change::Withdraw { said, reacted } => (said, reacted),
            _ => (&[], &[]),
        };
        self.message().into_iter().chain(said.iter().chain(reacted).copied())
    }

    /// Whether it changes members or roles.
    pub fn is_about_members(&self) -> bool {
        matches!(
            self,
            Change::Add { .. }
                | Change::Remove { .. }
                | Change::Leave
                | Change::SetRole { .. }
                | Change::Transfer { .. }
                | Change::Depart
        )
    }
}

/// What came of a change, for whoever asked.
#[derive(Debug, Clone)]
pub enum Done {
    /// The message as it is now.
    Message {
        /// The message, without its conversation.
        message: Box<Message>,
        /// Nothing was written: it had been done before.
        duplicate: bool,
    },
    /// Something else was changed, or needed no change.
    Changed,
}

/// One numbered change, as it is told.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The event's name.
    pub event: &'static str,
    /// The row, in its state after this change.
    pub item: Item,
    /// Who is no member after it.
    pub removed: Option<UserId>,
}

/// A mark that was raised, for the other members.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    /// Whose.
    pub user: UserId,
    /// Read, or only received.
    pub read: bool,
    /// Up to which message.
    pub seq: i64,
}

/// What a transaction made of one conversation.
#[derive(Debug, Default)]
pub struct Written {
    /// The changes, in `rev` order, without a gap.
    pub changes: Vec<Changed>,
    /// The `rev` before them.
    pub before: i64,
    /// The `rev` after them.
    pub rev: i64,
    /// What the policy was checked against.
    pub policy_rev: i64,
    /// How many members there are.
    pub participants: i32,
    /// Whether it is of a pair, one of whom may block the other.
    pub is_private: bool,
    /// Roles that were read; `None` is no member.
    pub roles: Vec<(UserId, Option<Role>)>,
    /// Marks that were raised.
    pub receipts: Vec<Receipt>,
    /// Users for whom something of their own changed.
    pub users: Vec<UserId>,
    /// Users who have taken up what was a request to them: who asked may now see of them what their privacy says.
    pub takers: Vec<UserId>,
}

/// Where something of a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The conversation.
    pub conversation: ConversationId,
    /// The message's place in it.
    pub seq: i64,
}
