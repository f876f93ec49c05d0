//! The table `user_roles`: what an account may do on the whole node, beyond being a user.
//!
//! Never here: roles in a conversation (see `participant`).

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::entity::prelude::*;

/// One role of one account.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user_roles")]
pub struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// The role's name.
    #[sea_orm(primary_key, auto_increment = false)]
    pub role: String,
    /// When it was given.
    pub granted_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// The roles of a user.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user))
}
