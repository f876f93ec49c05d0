//! The table `second_factors`: the secret of an account's authenticator app.
//!
//! Never here: a secret in the clear, or a code.

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::entity::prelude::*;
/// One account's authenticator.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "second_factors")]
pub struct Model {
    /// Whose it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// The secret under the key ring: see the node's `auth::sealing`.
    pub sealed_secret: Vec<u8>,
    /// The last step (RFC 6238) whose code was accepted; none is accepted twice.
    pub last_step: i64,
    /// When it was set up.
    pub created_at: UnixTimestamp,
    /// When its first code was right; until then it guards nothing.
    pub enabled_at: Option<UnixTimestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The authenticator of a user, also one that is not enabled yet.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user))
}

/// The authenticator that guards a user's sign-in.
pub fn guarding(user: UserId) -> Select<Entity> {
    of_user(user).filter(COLUMN.enabled_at.is_not_null())
}
