//! The table `sign_in_delays`: how long whoever fails to sign in has to wait, by what they tried and from where.
//!
//! Never here: a name, a number or an address: only their keyed hash.

use crate::Timestamp;
use crate::time::UnixTimestamp;
use sea_orm::QuerySelect;
use sea_orm::entity::prelude::*;

/// One thing that was tried in vain.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sign_in_delays")]
pub struct Model {
    /// The keyed hash of what was tried: an account, an account from a place, or a place.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key_hash: Vec<u8>,
    /// How often, less what is forgiven.
    pub failures: i32,
    /// From when the next one is forgiven; never after the last try.
    pub last_at: UnixTimestamp,
    /// When it may be tried again.
    pub next_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// What was tried in vain under these keys.
pub fn among(keys: impl IntoIterator<Item = Vec<u8>>) -> Select<Entity> {
    Entity::find().filter(Column::KeyHash.is_in(keys))
}

/// Some of those on which nothing was counted since this moment.
pub fn untouched_since(moment: Timestamp, at_most: u64) -> Select<Entity> {
    Entity::find().filter(COLUMN.last_at.lt(moment)).limit(at_most)
}
