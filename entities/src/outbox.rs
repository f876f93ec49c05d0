//! The table `outbox`: what happened in a conversation and is still to be told outside.
//!
//! Never here: what happened. The rows within the span of `rev` say it.

use crate::time::UnixTimestamp;
use crate::{ConversationId, Timestamp};
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;

/// One batch's changes of one conversation.
///
/// The order of `id` is that of insertion, not of commitment: on PostgreSQL a lower one may appear after a higher one.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "outbox")]
pub struct Model {
    /// Numbered by the database.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// The first `rev` of the batch.
    pub from_rev: i64,
    /// The last `rev` of the batch.
    pub rev: i64,
    /// When it was committed.
    pub created_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// What is still to be told, the oldest first.
pub fn oldest_first() -> Select<Entity> {
    Entity::find().order_by_asc(COLUMN.id)
}

/// What was committed before this moment.
pub fn older_than(moment: Timestamp) -> Select<Entity> {
    Entity::find().filter(COLUMN.created_at.lt(moment))
}
