//! The table `nodes`: one row a node that runs, or that ended and was not cleared away yet.
//!
//! Never here: who may judge that a node has ended.

use crate::Timestamp;
use crate::time::UnixTimestamp;
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;

/// One node, by its lease.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "nodes")]
pub struct Model {
    /// What the node is called.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Which of those that were ever called so it is; it rises with each.
    pub incarnation: i64,
    /// The program's version.
    pub version: String,
    /// Where the node is reached.
    pub address: String,
    /// What joins the node to others: those that hear each other have the same.
    pub joined_by: String,
    /// Sockets that have said hello.
    pub sockets: i64,
    /// Open rooms.
    pub rooms: i64,
    /// How busy the process is, in percent of one core.
    pub load: i64,
    /// Whether it is going away.
    pub draining: bool,
    /// Whether it ended in order: its name is free at once, and its people have the rest of the lease to come back.
    pub stopped: bool,
    /// When it started.
    pub started_at: UnixTimestamp,
    /// When it was heard of last.
    pub renewed_at: UnixTimestamp,
    /// Until when it lives, for all that the others know.
    pub lease_until: UnixTimestamp,
    /// Which node clears away what this one left.
    pub reaper: Option<String>,
    /// Until when that one does.
    pub reaper_until: Option<UnixTimestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// Whether its lease lasts, and it did not end in order.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        !self.stopped && self.lease_until >= now
    }
}

/// The node of this name.
pub fn by_id(id: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.id.eq(id))
}

/// Every node, by name.
pub fn all() -> Select<Entity> {
    Entity::find().order_by_asc(COLUMN.id)
}
