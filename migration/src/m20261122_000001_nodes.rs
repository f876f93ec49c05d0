//! The nodes and their leases; and for those who did not hear of it, which sessions ended and who left something.
//!
//! Never edited once shipped.

use crate::dialect::define;
use sea_orm_migration::prelude::*;

/// The first migration of the fleet. A release that does not know of it is not concerned.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        define(manager, &DEFINITIONS).await
    }
}

const DEFINITIONS: [&str; 4] = [
    "CREATE TABLE nodes (
        id TEXT NOT NULL PRIMARY KEY,
        incarnation BIGINT NOT NULL,
        version TEXT NOT NULL,
        address TEXT NOT NULL,
        joined_by TEXT NOT NULL,
        sockets BIGINT NOT NULL,
        rooms BIGINT NOT NULL,
        load BIGINT NOT NULL,
        draining BOOLEAN NOT NULL,
        stopped BOOLEAN NOT NULL,
        started_at BIGINT NOT NULL,
        renewed_at BIGINT NOT NULL,
        lease_until BIGINT NOT NULL,
        reaper TEXT,
        reaper_until BIGINT
    ) {rewritten}",
    "CREATE INDEX IF NOT EXISTS sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL",
    "ALTER TABLE participants ADD COLUMN left_at BIGINT",
    "CREATE INDEX IF NOT EXISTS participants_left_at ON participants (left_at) WHERE left_at IS NOT NULL",
];
