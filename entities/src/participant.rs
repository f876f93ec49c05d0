//! The table `participants`: who is, or was, in a conversation, and how far they have read.
//!
//! Never here: what a role may do.

use crate::time::UnixTimestamp;
use crate::{ConversationId, UserId};
use sea_orm::entity::prelude::*;
use sea_orm::{ExprTrait, QueryOrder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a participant is in a group. In a private conversation both are members.
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
pub enum Role {
    /// The one who answers for the group.
    #[sea_orm(string_value = "owner")]
    Owner,
    /// One whom the owner lets run it.
    #[sea_orm(string_value = "admin")]
    Admin,
    /// Everybody else.
    #[sea_orm(string_value = "member")]
    Member,
}

/// One user's span in one conversation. A row outlives the removal: it then tells what may still be known.
///
/// # Why no foreign keys
/// The journal has locked the conversation and read its participants when it writes here, so a key would check the same
/// again, for a lookup a row and, on PostgreSQL, a share lock on the parent which every other writer meets.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "participants")]
pub struct Model {
    /// The conversation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: ConversationId,
    /// The participant.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// What they are in it.
    pub role: Role,
    /// The conversation's `rev` at which this span began.
    pub from_rev: i64,
    /// The conversation's `rev` at which it ended; none while it lasts.
    pub until_rev: Option<i64>,
    /// The first `seq` that they may see.
    pub visible_from_seq: i64,
    /// They have read up to this `seq`.
    pub read_seq: i64,
    /// A device of theirs has received up to this `seq`.
    pub delivered_seq: i64,
    /// They have marked the conversation as unread by hand.
    pub marked_unread: bool,
    /// The conversation's `rev` at which the others' view of this row last changed.
    pub rev: i64,
    /// The user's `user_rev` at which their own view of this row last changed.
    pub user_rev: i64,
    /// A private conversation that the other one opened, and that this one has not taken up: privacy made it a request.
    pub request: bool,
    /// The conversation's `rev` at which they declined that request; none unless they have.
    pub declined_rev: Option<i64>,
    /// When this span began.
    pub joined_at: UnixTimestamp,
    /// When it ended; none while it lasts.
    pub left_at: Option<UnixTimestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

/// One user's row in one conversation, also after its end.
pub fn of(conversation: ConversationId, user: UserId) -> Select<Entity> {
    in_conversation(conversation).filter(COLUMN.user_id.eq(user))
}

/// Every row of a conversation, also the ended.
pub fn in_conversation(conversation: ConversationId) -> Select<Entity> {
    Entity::find().filter(COLUMN.conversation_id.eq(conversation))
}

/// The rows of those who are in a conversation now.
pub fn current_in(conversation: ConversationId) -> Select<Entity> {
    in_conversation(conversation).filter(COLUMN.until_rev.is_null())
}

/// The rows of a conversation that changed within `after < rev <= up_to`, in that order.
pub fn changed_in(conversation: ConversationId, after: i64, up_to: i64) -> Select<Entity> {
    in_conversation(conversation)
        .filter(COLUMN.rev.gt(after))
        .filter(COLUMN.rev.lte(up_to))
        .order_by_asc(COLUMN.rev)
        .order_by_asc(COLUMN.user_id)
}

/// The rows of those whose span in a conversation began or ended after this `rev`. Each is stamped above it, too.
pub fn moved_in(conversation: ConversationId, after: i64) -> Select<Entity> {
    in_conversation(conversation)
        .filter(COLUMN.rev.gt(after))
        .filter(COLUMN.from_rev.gt(after).or(COLUMN.until_rev.gt(after)))
}

/// Every row of a user, also the ended.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user))
}
