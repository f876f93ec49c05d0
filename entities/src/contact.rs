//! The table `contacts`: whom somebody has in their address book here.
//!
//! Never here: numbers of people who are not here (see `contact_number`).

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::entity::prelude::*;
/// One entry. It stays as a tombstone when it was removed.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "contacts")]
pub struct Model {
    /// Whose address book.
    #[sea_orm(primary_key, auto_increment = false)]
    pub owner_id: UserId,
    /// Who is in it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// What the owner calls them; none is their own name.
    pub name: Option<String>,
    /// Whether they stand on top.
    pub favourite: bool,
    /// Not in the address book, but proposed for it: they have the owner's number. On a tombstone: taken off the list of
    /// those.
    pub suggested: bool,
    /// A tombstone.
    pub removed: bool,
    /// Came in by a sync of numbers; one that replaces the list takes it out again. On a tombstone: one did so, and
    /// another brings it back as it was; what was taken out by hand stays out.
    pub by_number: bool,
    /// The owner's `user_rev` when this row last changed.
    pub user_rev: i64,
    /// When it was made.
    pub created_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// One entry, also its tombstone.
pub fn of(owner: UserId, user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.owner_id.eq(owner)).filter(COLUMN.user_id.eq(user))
}

/// Everything of an owner, tombstones and proposals too.
pub fn of_owner(owner: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.owner_id.eq(owner))
}

/// The address book of an owner.
pub fn listed_by(owner: UserId) -> Select<Entity> {
    of_owner(owner).filter(COLUMN.removed.eq(false)).filter(COLUMN.suggested.eq(false))
}

/// Who is proposed to an owner.
pub fn suggested_to(owner: UserId) -> Select<Entity> {
    of_owner(owner).filter(COLUMN.removed.eq(false)).filter(COLUMN.suggested.eq(true))
}

/// Those of these owners who have this user in their address book.
pub fn listing(owners: impl IntoIterator<Item = UserId>, user: UserId) -> Select<Entity> {
    Entity::find()
        .filter(COLUMN.user_id.eq(user))
        .filter(COLUMN.owner_id.is_in(owners))
        .filter(COLUMN.removed.eq(false))
        .filter(COLUMN.suggested.eq(false))
}
