//! What clients see of rows: the only shapes in which state leaves the process.
//! Never a query: whoever has the rows builds the view.

mod contacts;
mod devices;
mod leaving;
mod oauth;
mod password;
mod reports;
mod second_factor;
mod sessions;

pub use contacts::*;
pub use devices::*;
pub use leaving::*;
pub use oauth::*;
pub use password::*;
pub use reports::*;
pub use second_factor::*;
pub use sessions::*;

use crate::privacy::{Relation, Subject, allows};
use entities::{ConversationId, ConversationKind, MessageId, MessageKind, Role, SessionId, Timestamp, UserId};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

mod settings;

pub use settings::*;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Gives the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// A code is on its way.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtpSent {
    /// To be given with the code.
    pub verification_id: String,
    /// How long the code is good.
    pub expires_in_secs: u64,
    /// When another one may be asked for.
    pub retry_after_secs: u64,
}

/// A pair of tokens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// A JWT (RFC 9068), for `Authorization: Bearer`.
    pub access_token: String,
    /// Opaque, to be spent once; absent where it went into a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The access token's life.
    pub expires_in_secs: u64,
    /// The session that both belong to.
    pub session_id: SessionId,
}

/// What signing in comes to: the tokens, or the question for the second factor.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum SignedIn {
    /// Somebody has signed in.
    Done(Box<Entered>),
    /// They have a second factor, and have still to show it.
    Challenged(Challenged),
}

/// Somebody has signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entered {
    /// The tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Who.
    pub user: User,
    /// Whether this made the account.
    pub is_new_user: bool,
}

/// The first factor was right; `auth.verify2fa` takes the second.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Challenged {
    /// `true`
    pub two_factor_required: bool,
    /// To be given with the code. Nothing else takes it.
    pub challenge_token: String,
    /// How long it is good.
    pub expires_in_secs: u64,
}

/// A socket lives on with its new token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// When that one ends.
    pub expires_at: Timestamp,
}

/// A user.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// As shown; empty until they chose one.
    pub display_name: String,
    /// Unique without regard to case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// About them; as their privacy lets the viewer see it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bio: String,
    /// The picture, an id of media; as their privacy lets the viewer see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_id: Option<Uuid>,
    /// What they are at, until it is over; as their privacy lets the viewer see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<CustomStatus>,
    /// E.164; as their privacy lets the viewer see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// The e-mail address; shown to its owner alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Present where the account was deleted: nothing is left of it but its id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// When the owner's account is going to be deleted; shown to them alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaves_at: Option<Timestamp>,
    /// When the account was made.
    pub created_at: Timestamp,
}

impl User {
    /// A user as they see themselves, with a status that may be over.
    pub fn own(row: entities::user::Model) -> User {
        User::from_row(row, Relation::Own, Timestamp::EPOCH)
    }

    /// A user as somebody sees them who stands so to them.
    pub fn from_row(row: entities::user::Model, relation: Relation, now: Timestamp) -> User {
        let sees = |subject| allows(&row.privacy, subject, relation);
        let (photo, bio, phone_number) = (sees(Subject::Photo), sees(Subject::Bio), sees(Subject::PhoneNumber));
        let own = relation == Relation::Own;
        let until = row.status_until;
        let status = CustomStatus { text: row.status_text.unwrap_or_default(), emoji: row.status_emoji, until };
        let over = until.is_some_and(|until| until <= now) || (status.text.is_empty() && status.emoji.is_none());
        User {
            id: row.id,
            display_name: row.display_name,
            username: row.username,
            bio: if bio { row.bio } else { String::new() },
            avatar_id: row.avatar_id.filter(|_| photo),
            status: (bio && !over).then_some(status),
            phone_number: row.phone.filter(|_| phone_number),
            email: row.email.filter(|_| own),
            deleted: row.left_at.is_some(),
            leaves_at: row.leaves_at.filter(|_| own),
            created_at: row.created_at,
        }
    }
}

/// What somebody is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomStatus {
    /// In words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// As an emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// When it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

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
    /// They are no member any more: keep what you hold, read no more.
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

/// How somebody is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Connected.
    Online,
    /// Connected, not there.
    Away,
    /// Connected, not to be disturbed.
    Busy,
    /// No socket on any node, for 5 seconds at least.
    Offline,
}

/// Somebody's presence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// Whose.
    pub user_id: UserId,
    /// How they are shown.
    pub status: Status,
    /// When they were connected last; absent while they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Timestamp>,
}

/// Several presences.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Presences {
    /// Of those whom the caller may watch.
    pub items: Vec<Presence>,
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

/// A conversation that is no longer the user's.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gone {
    /// Which.
    pub conversation_id: ConversationId,
    /// The last `rev` that was theirs to see.
    pub until_rev: i64,
}
