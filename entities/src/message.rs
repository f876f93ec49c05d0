//! The table `messages`: what was said, in each conversation's own order.
//!
//! Never here: who may see a row. Whoever reads applies the reader's span (see `participant`).

use crate::time::UnixTimestamp;
use crate::{ConversationId, MessageId, UserId};
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a message is.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    EnumIter,
    DeriveActiveEnum,
)]
#[serde(rename_all = "snake_case")]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum MessageKind {
    /// What somebody wrote.
    #[sea_orm(string_value = "text")]
    Text,
    /// What the node says: somebody joined, was removed and the like.
    #[sea_orm(string_value = "system")]
    System,
}

/// One message. A deleted one stays as a tombstone without its text.
///
/// # Why the unique index is (client_id, sender_id, conversation_id)
/// Clients name their messages by UUIDs of version 7, which rise with time. With them first, what one batch inserts
/// lands at the index's end, on a page or two; with the sender or the conversation first, every row dirties a page of
/// its own.
///
/// # Why no foreign keys
/// The journal holds the conversation's lock and has checked the sender; a key would check the same again for every row.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "messages")]
pub struct Model {
    /// The conversation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: ConversationId,
    /// Its place among the conversation's messages: 1, 2, 3 without a gap.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
    /// The message.
    #[sea_orm(unique)]
    pub id: MessageId,
    /// Who sent it. For a system message, who caused it.
    pub sender_id: UserId,
    /// What the sender's client named it by, so that a repeat finds this row.
    pub client_id: String,
    /// The keyed hash of the original request, to tell a repeat from a conflict, even after an edit.
    pub request_hash: Vec<u8>,
    /// The conversation's `rev` at which this row was last written.
    pub rev: i64,
    /// `rev` was raised after the row was inserted.
    pub changed: bool,
    /// Text or system.
    pub kind: MessageKind,
    /// What it says; none once deleted. For a system message, JSON.
    pub text: Option<String>,
    /// The message, of the same conversation, that it answers.
    pub reply_to: Option<MessageId>,
    /// When it was sent.
    pub created_at: UnixTimestamp,
    /// When its text was last edited.
    pub edited_at: Option<UnixTimestamp>,
    /// When it was deleted for everybody.
    pub deleted_at: Option<UnixTimestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The messages of a conversation, in no order.
pub fn in_conversation(conversation: ConversationId) -> Select<Entity> {
    Entity::find().filter(COLUMN.conversation_id.eq(conversation))
}

/// The messages of a conversation with `seq` above this, the oldest first.
pub fn after(conversation: ConversationId, seq: i64) -> Select<Entity> {
    in_conversation(conversation).filter(COLUMN.seq.gt(seq)).order_by_asc(COLUMN.seq)
}

/// The messages of a conversation that were changed after their insertion, within `after < rev <= up_to`, in that order.
///
/// New ones are not among them: their `rev` rises with `seq`, so `after` finds them without an index on `rev`.
pub fn changed_in(conversation: ConversationId, after: i64, up_to: i64) -> Select<Entity> {
    in_conversation(conversation)
        // The bare column: with `= ?` neither database could tell that the partial index applies.
        .filter(Expr::col((Entity, Column::Changed)))
        .filter(COLUMN.rev.gt(after))
        .filter(COLUMN.rev.lte(up_to))
        .order_by_asc(COLUMN.rev)
}

/// The message of this identifier, in whichever conversation. Check that the caller is in it.
pub fn by_id(message: MessageId) -> Select<Entity> {
    Entity::find().filter(COLUMN.id.eq(message))
}
