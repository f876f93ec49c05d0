//! The table `exports`: the copies of their data that people asked for.
//!
//! Never here: the copies themselves (see `export_part`).

use crate::time::UnixTimestamp;
use crate::{ExportId, UserId};
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
/// How far an export is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, EnumIter, DeriveActiveEnum)]
#[serde(rename_all = "snake_case")]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum ExportState {
    /// Asked for, or being made.
    #[sea_orm(string_value = "pending")]
    Pending,
    /// There.
    #[sea_orm(string_value = "done")]
    Done,
    /// It could not be made.
    #[sea_orm(string_value = "failed")]
    Failed,
    /// Taken back, or deleted when its time was over.
    #[sea_orm(string_value = "gone")]
    Gone,
}

/// One copy, under way, there or over.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "exports")]
pub struct Model {
    /// The export.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ExportId,
    /// Whose data.
    pub user_id: UserId,
    /// How far it is.
    pub state: ExportState,
    /// How large it has become.
    pub size_bytes: Option<i64>,
    /// Why it failed, in a word.
    pub failure: Option<String>,
    /// When it was asked for.
    pub created_at: UnixTimestamp,
    /// The node that makes it.
    pub worker: Option<String>,
    /// Until when that one has it; then another may take it.
    pub worker_until: Option<UnixTimestamp>,
    /// When it was there.
    pub done_at: Option<UnixTimestamp>,
    /// When it is deleted.
    pub expires_at: Option<UnixTimestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

/// One export of a user's.
pub fn of(user: UserId, id: ExportId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user)).filter(COLUMN.id.eq(id))
}

/// The exports of a user, the newest first.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user)).order_by_desc(COLUMN.id)
}
