//! The table `reports`: what people told the operators of each other.
//!
//! Never here: what comes of it.

use crate::time::UnixTimestamp;
use crate::{MessageId, ReportId, UserId};
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;
/// One report. Never updated.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "reports")]
pub struct Model {
    /// The report.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ReportId,
    /// Who reports.
    pub reporter_id: UserId,
    /// Whom.
    pub user_id: Option<UserId>,
    /// Which message.
    pub message_id: Option<MessageId>,
    /// The message's `rev` when it was reported.
    pub message_rev: Option<i64>,
    /// What it said then: its sender may change it, or take it back.
    pub message_text: Option<String>,
    /// Why, in a word.
    pub reason: String,
    /// The rest, in the reporter's words; may be empty.
    pub text: String,
    /// When.
    pub created_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// The newest first.
pub fn newest_first() -> Select<Entity> {
    Entity::find().order_by_desc(COLUMN.id)
}

/// What somebody reported.
pub fn by_reporter(reporter: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.reporter_id.eq(reporter))
}
