//! The table `reactions`: which emoji who put on which message.
//!
//! Never here: counts. Whoever changes a reaction stamps its message with a new `rev`.

use crate::time::UnixTimestamp;
use crate::{MessageId, UserId};
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;

/// One emoji of one user on one message. No foreign keys: the journal has the message's row before it.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reactions")]
pub struct Model {
    /// The message.
    #[sea_orm(primary_key, auto_increment = false)]
    pub message_id: MessageId,
    /// Who reacted.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// With what.
    #[sea_orm(primary_key, auto_increment = false)]
    pub emoji: String,
    /// When.
    pub created_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// The reactions to these messages, by message, then in the order in which they came.
pub fn on(messages: impl IntoIterator<Item = MessageId>) -> Select<Entity> {
    Entity::find()
        .filter(COLUMN.message_id.is_in(messages))
        .order_by_asc(COLUMN.message_id)
        .order_by_asc(COLUMN.created_at)
        .order_by_asc(COLUMN.user_id)
}
