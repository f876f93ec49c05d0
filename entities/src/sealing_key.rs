//! The table `sealing_keys`: the key ring: what secrets at rest are sealed with.
//!
//! Never here: a key in the clear.

use crate::time::UnixTimestamp;
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;
/// One key. The newest seals; all of them open.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sealing_keys")]
pub struct Model {
    /// Its name, which stands in front of what it sealed.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// The key under the master secret.
    pub sealed_key: Vec<u8>,
    /// When it was made.
    pub created_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// All of them, the newest first.
pub fn newest_first() -> Select<Entity> {
    Entity::find().order_by_desc(COLUMN.created_at).order_by_desc(COLUMN.id)
}
