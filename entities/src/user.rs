//! The table `users`: one row an account.
//!
//! Never here: who may see what of it.

use crate::time::UnixTimestamp;
use crate::{Privacy, Settings, UserId};
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
    /// The e-mail address, as its owner spelt it: only ever one that they have shown to be theirs.
    pub email: Option<String>,
    /// `email` in its normal form. No two accounts share one.
    pub email_key: Option<String>,
    /// The picture, an id of media.
    pub avatar_id: Option<Uuid>,
    /// What the user is at.
    pub status_text: Option<String>,
    /// The same as an emoji.
    pub status_emoji: Option<String>,
    /// When that is over.
    pub status_until: Option<UnixTimestamp>,
    /// Who may see and do what.
    pub privacy: Privacy,
    /// What the user has set for all devices.
    pub settings: Settings,
    /// The `user_rev` at which settings or privacy last changed; 0 if they never did.
    pub settings_user_rev: i64,
    /// When it last changed who may see what of this user: by privacy, contacts or blocks; none if it never did.
    pub audience_changed_at: Option<UnixTimestamp>,
    /// When the account is to be purged; none unless its owner is leaving.
    pub leaves_at: Option<UnixTimestamp>,
    /// What then becomes of their messages: `keep` or `remove`.
    pub leaves_messages: Option<String>,
    /// When it was purged: what is left is a name for what others have in common with it.
    pub left_at: Option<UnixTimestamp>,
    /// When the last socket closed; none before the first did.
    pub last_seen_at: Option<UnixTimestamp>,
    /// When the account was made.
    pub created_at: UnixTimestamp,
    /// When the profile last changed.
    pub updated_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

impl Model {
    /// An account that has said nothing of itself yet.
    pub fn new(id: UserId, now: UnixTimestamp) -> Model {
        Model {
            id,
            phone: None,
            username: None,
            username_key: None,
            name_key: String::new(),
            display_name: String::new(),
            bio: String::new(),
            // Its profile is the first thing that `users.changes` tells.
            user_rev: 1,
            profile_user_rev: 1,
            email: None,
            email_key: None,
            avatar_id: None,
            status_text: None,
            status_emoji: None,
            status_until: None,
            privacy: Privacy::default(),
            settings: Settings::default(),
            settings_user_rev: 0,
            audience_changed_at: None,
            leaves_at: None,
            leaves_messages: None,
            left_at: None,
            last_seen_at: None,
            created_at: now,
            updated_at: now,
        }
    }
}

/// The account of this identifier.
pub fn by_id(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.id.eq(user))
}

/// The accounts of these identifiers, in no order.
pub fn among(users: impl IntoIterator<Item = UserId>) -> Select<Entity> {
    Entity::find().filter(COLUMN.id.is_in(users))
}

/// Those of whom since then it has changed who may see what.
pub fn audience_changed_since(since: UnixTimestamp) -> Select<Entity> {
    Entity::find().filter(COLUMN.audience_changed_at.gte(since))
}

/// The account of this number, in its normal form.
pub fn by_phone(phone: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.phone.eq(phone))
}

/// The account of this e-mail address, in its normal form.
pub fn by_email_key(key: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.email_key.eq(key))
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
