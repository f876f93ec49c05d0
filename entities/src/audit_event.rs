//! The table `audit_events`: what was done to accounts, by whom and from where.
//!
//! Never here: message bodies, codes or tokens.

use crate::time::UnixTimestamp;
use crate::{AuditEventId, SessionId, UserId};
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;

/// One thing that was done. Never updated.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_events")]
pub struct Model {
    /// The event.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AuditEventId,
    /// Whom it concerns, if known.
    pub user_id: Option<UserId>,
    /// The session that did it, if one did.
    pub session_id: Option<SessionId>,
    /// What was done.
    pub kind: String,
    /// The network address that it came from.
    pub address: Option<String>,
    /// The rest, a JSON object.
    pub detail: String,
    /// When.
    pub at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// What concerns a user, the newest first.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user)).order_by_desc(COLUMN.at).order_by_desc(COLUMN.id)
}
