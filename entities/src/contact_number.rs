//! The table `contact_numbers`: the numbers that somebody asked for, of people who are here and who are not.
//!
//! Never here: a number itself: only its keyed hash.

use crate::time::UnixTimestamp;
use crate::{Timestamp, UserId};
use sea_orm::entity::prelude::*;
/// One number that an owner asked for.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contact_numbers")]
pub struct Model {
    /// Who asked.
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner_id: UserId,
    /// The number's keyed hash.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number_hash: Vec<u8>,
    /// Whether it stands in the owner's address book: when its holder joins, both are told.
    pub listed: bool,
    /// What the owner calls whoever has it, sealed.
    pub sealed_name: Option<Vec<u8>>,
    /// The owner's `user_rev` when it was listed last: tells what a list that came in parts did not hold.
    pub listed_rev: i64,
    /// When the owner asked first: what the budget counts.
    pub first_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// Every number that an owner asked for.
pub fn of_owner(owner: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.owner_id.eq(owner))
}

/// The numbers that stand in an owner's address book.
pub fn listed_by(owner: UserId) -> Select<Entity> {
    of_owner(owner).filter(COLUMN.listed.eq(true))
}

/// The numbers that an owner asked for first after this moment.
pub fn asked_after(owner: UserId, moment: Timestamp) -> Select<Entity> {
    of_owner(owner).filter(COLUMN.first_at.gt(moment))
}

/// Whoever has this number in their address book.
pub fn listing(number_hash: &[u8]) -> Select<Entity> {
    Entity::find().filter(COLUMN.number_hash.eq(number_hash.to_vec())).filter(COLUMN.listed.eq(true))
}
