//! The table `sessions`: one row a login of a device.
//!
//! Never here: tokens (see `refresh_token`).

use crate::time::UnixTimestamp;
use crate::{SessionId, Timestamp, UserId};
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;

/// One login. It stays as a record after it was revoked.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    /// The session.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// What the client calls its device.
    pub device_id: Option<String>,
    /// The device's name, for people.
    pub device_name: Option<String>,
    /// `ios`, `android`, `web` and so on, as the client says.
    pub platform: Option<String>,
    /// The network address at the login.
    pub address: Option<String>,
    /// The network of that address: what makes a place known.
    pub network: Option<String>,
    /// The `User-Agent` at the login.
    pub user_agent: Option<String>,
    /// When the login was.
    pub created_at: UnixTimestamp,
    /// When it was last used, to some minutes.
    pub last_seen_at: UnixTimestamp,
    /// When whoever has it last showed who they are; none is at the login.
    pub authenticated_at: Option<UnixTimestamp>,
    /// When it ended; none while it lives.
    pub revoked_at: Option<UnixTimestamp>,
    /// Why it ended, in a word.
    pub revoke_reason: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The session of this identifier, also if it ended.
pub fn by_id(session: SessionId) -> Select<Entity> {
    Entity::find().filter(COLUMN.id.eq(session))
}

/// Every session of a user, the newest first, also the ended.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user)).order_by_desc(COLUMN.id)
}

/// The sessions that ended since this moment.
pub fn revoked_since(moment: Timestamp) -> Select<Entity> {
    Entity::find().filter(COLUMN.revoked_at.gte(moment))
}

/// The sessions of a user that live, the newest first.
pub fn live_of_user(user: UserId) -> Select<Entity> {
    of_user(user).filter(COLUMN.revoked_at.is_null())
}
