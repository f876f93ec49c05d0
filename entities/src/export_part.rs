//! The table `export_parts`: the bytes of an export, in pieces that any node can read.
//!
//! Never here: when they are deleted (see `export`).

use crate::ExportId;
use sea_orm::entity::prelude::*;
/// One piece.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "export_parts")]
pub struct Model {
    /// Of which export.
    #[sea_orm(primary_key, auto_increment = false)]
    pub export_id: ExportId,
    /// Its place, from 0.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl ActiveModelBehavior for ActiveModel {}

/// One piece.
pub fn of(export: ExportId, number: i32) -> Select<Entity> {
    Entity::find().filter(COLUMN.export_id.eq(export)).filter(COLUMN.number.eq(number))
}
