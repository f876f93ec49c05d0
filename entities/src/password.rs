//! The table `passwords`: the password of an account that has one.
//!
//! Never here: a password itself, or the rule of what is a good one.

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::entity::prelude::*;
/// One account's password.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "passwords")]
pub struct Model {
    /// Whose it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// Its argon2id hash, in PHC string format: the parameters and the salt are in it.
    pub phc: String,
    /// When it was set.
    pub changed_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// The password of a user.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user))
}
