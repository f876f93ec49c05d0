//! The table `arrivals`: who has a number since lately, of whom those are still to be told who know it.
//!
//! Never here: a number, or who knows it.

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;
/// Somebody who has come, or has another number. The row goes when everybody was told.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "arrivals")]
pub struct Model {
    /// Who.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// Since when.
    pub since: UnixTimestamp,
    /// Who was told last, in the order of the ids.
    pub told: Option<UserId>,
}

impl ActiveModelBehavior for ActiveModel {}

/// One arrival.
pub fn of(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user))
}

/// Those who came first.
pub fn oldest_first() -> Select<Entity> {
    Entity::find().order_by_asc(COLUMN.since)
}
