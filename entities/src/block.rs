//! The table `blocks`: whom somebody wants to hear nothing of.
//!
//! Never here: what follows from it.

use crate::time::UnixTimestamp;
use crate::{Timestamp, UserId};
use sea_orm::ExprTrait;
use sea_orm::entity::prelude::*;
/// One block. It stays as a tombstone when it was lifted.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "blocks")]
pub struct Model {
    /// Who blocks.
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner_id: UserId,
    /// Who is blocked.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// A tombstone.
    pub removed: bool,
    /// The owner's `user_rev` when this row last changed.
    pub user_rev: i64,
    /// When it was made.
    pub created_at: UnixTimestamp,
    /// When it was made or lifted last.
    pub changed_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// One block, also its tombstone.
pub fn of(owner: UserId, user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.owner_id.eq(owner)).filter(COLUMN.user_id.eq(user))
}

/// Whom an owner blocks.
pub fn by_owner(owner: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.owner_id.eq(owner)).filter(COLUMN.removed.eq(false))
}

/// The blocks between one user and these others, whoever made them.
pub fn between(user: UserId, others: &[UserId]) -> Select<Entity> {
    let by_user = COLUMN.owner_id.eq(user).and(COLUMN.user_id.is_in(others.to_vec()));
    let of_user = COLUMN.user_id.eq(user).and(COLUMN.owner_id.is_in(others.to_vec()));
    Entity::find().filter(by_user.or(of_user)).filter(COLUMN.removed.eq(false))
}

/// What was blocked or unblocked since this moment, by anybody.
pub fn changed_since(since: Timestamp) -> Select<Entity> {
    Entity::find().filter(COLUMN.changed_at.gte(since))
}
