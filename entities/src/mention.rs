//! The table `mentions`: which messages name whom.
//!
//! Never here: the message (see `message`).

use crate::{ConversationId, UserId};
use sea_orm::entity::prelude::*;

/// One user named in one message. No foreign keys: the journal inserts both rows in one transaction.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "mentions")]
pub struct Model {
    /// Who is named.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// The conversation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub conversation_id: ConversationId,
    /// The message's `seq` in it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub seq: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// Where a user is named in a conversation, above this `seq`.
pub fn of_user_in(user: UserId, conversation: ConversationId, after_seq: i64) -> Select<Entity> {
    Entity::find()
        .filter(COLUMN.user_id.eq(user))
        .filter(COLUMN.conversation_id.eq(conversation))
        .filter(COLUMN.seq.gt(after_seq))
}
