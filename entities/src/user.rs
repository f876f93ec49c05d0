//! The table `users`: one row an account.
//!
//! Never here: who may see what of it.

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;

/// One account.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// The account.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: UserId,
    /// The number, E.164 with its `+`. No two accounts share one.
    pub phone: Option<String>,
    /// The name by which others find the account, as its owner spelt it.
    pub username: Option<String>,
    /// `username` in lower case. No two accounts share one.
    pub username_key: Option<String>,
    /// `display_name` in lower case, ordered by code point: what a prefix search reads.
    pub name_key: String,
    /// The name that others see.
    pub display_name: String,
    /// What the user says about themselves; may be empty.
    pub bio: String,
    /// Counts every change of what is private to this user. Raised with the change, in its transaction.
    pub user_rev: i64,
    /// The `user_rev` at which the profile last changed.
    pub profile_user_rev: i64,
    /// When the last socket closed; none before the first did.
    pub last_seen_at: Option<UnixTimestamp>,
    /// When the account was made.
    pub created_at: UnixTimestamp,
    /// When the profile last changed.
    pub updated_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// The account of this identifier.
pub fn by_id(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.id.eq(user))
}

/// The accounts of these identifiers, in no order.
pub fn among(users: impl IntoIterator<Item = UserId>) -> Select<Entity> {
    Entity::find().filter(COLUMN.id.is_in(users))
}

/// The account of this number, in its normal form.
pub fn by_phone(phone: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.phone.eq(phone))
}

/// The account of this username, in lower case.
pub fn by_username_key(key: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.username_key.eq(key))
}

/// The accounts whose `name_key` begins so, in its order. A range, so the index serves it on both databases.
pub fn by_name_prefix(prefix: &str) -> Select<Entity> {
    Entity::find()
        .filter(COLUMN.name_key.gte(prefix))
        .filter(COLUMN.name_key.lt(after_prefix(prefix)))
        .order_by_asc(COLUMN.name_key)
        .order_by_asc(COLUMN.id)
}

/// The accounts whose `username_key` begins so, in its order.
pub fn by_username_prefix(prefix: &str) -> Select<Entity> {
    Entity::find()
        .filter(COLUMN.username_key.gte(prefix))
        .filter(COLUMN.username_key.lt(after_prefix(prefix)))
        .order_by_asc(COLUMN.username_key)
}

/// The first text, by code point, after all that begin with `prefix`.
fn after_prefix(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}
