//! The table `devices`: what somebody calls from, and how a push reaches it.
//!
//! Never here: sessions: those name their device by its id.

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;
/// One device of one user.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "devices")]
pub struct Model {
    /// Whose it is.
    #[sea_orm(primary_key, auto_increment = false)]
    pub user_id: UserId,
    /// What its client calls it; stable on that device.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// `ios`, `android`, `web` or `desktop`.
    pub platform: String,
    /// The name that its owner sees.
    pub name: String,
    /// The version of the client.
    pub app_version: Option<String>,
    /// `fcm`, `apns` or `web_push`; none without push.
    pub push_provider: Option<String>,
    /// The provider's token, or the push service's URL for web.
    pub push_token: Option<String>,
    /// The hash of provider and token: no two devices have one.
    pub push_token_hash: Option<Vec<u8>>,
    /// For web: the subscription's `p256dh` and `auth` (RFC 8291), a JSON object.
    pub push_keys: Option<String>,
    /// PushKit's token, by which calls reach it beside that.
    pub voip_token: Option<String>,
    /// Its hash: no two devices have one.
    pub voip_token_hash: Option<Vec<u8>>,
    /// When it was registered.
    pub created_at: UnixTimestamp,
    /// When its client last said something of itself.
    pub last_seen_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// One device.
pub fn of(user: UserId, id: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user)).filter(COLUMN.id.eq(id))
}

/// The devices of a user, the first registered first.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user)).order_by_asc(COLUMN.created_at).order_by_asc(COLUMN.id)
}
