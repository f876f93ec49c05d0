//! The table `outbox`: what happened in a conversation and is still to be told outside.
//!
//! Never here: what happened. The rows within the span of `rev` say it.

use crate::ConversationId;
use crate::time::UnixTimestamp;
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
