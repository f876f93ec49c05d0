//! The outbox: what is still to be told outside.
//!
//! Never edited once shipped.

use crate::dialect::define;
use sea_orm_migration::prelude::*;

/// The first migration of the outbox.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        define(manager, &DEFINITIONS).await
    }
}

const DEFINITIONS: [&str; 2] = [
    "CREATE TABLE outbox (
        id {numbered},
        conversation_id {id} NOT NULL,
        from_rev BIGINT NOT NULL,
        rev BIGINT NOT NULL,
        created_at BIGINT NOT NULL
    )",
    "CREATE INDEX outbox_created_at ON outbox (created_at)",
];
