//! The table `backup_codes`: the codes by which somebody signs in who has lost their authenticator.
//!
//! Never here: a code itself.

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::entity::prelude::*;
/// One code.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "backup_codes")]
pub struct Model {
    /// Whose it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// Its keyed hash.
    #[sea_orm(primary_key, auto_increment = false)]
    pub code_hash: Vec<u8>,
    /// When it was used; none while it can be.
    pub used_at: Option<UnixTimestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The codes of a user that can still be used.
pub fn unused_of(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user)).filter(COLUMN.used_at.is_null())
}
