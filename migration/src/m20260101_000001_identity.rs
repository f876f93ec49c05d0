//! Accounts: users, their roles, sessions and tokens, the signing keys, the codes sent, the audit trail.
//!
//! Never edited once shipped.

use crate::dialect::define;
use sea_orm_migration::prelude::*;

/// The first migration of the accounts.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        define(manager, &DEFINITIONS).await
    }
}

const DEFINITIONS: [&str; 13] = [
    "CREATE TABLE users (
        id {id} NOT NULL PRIMARY KEY,
        phone TEXT UNIQUE,
        username TEXT,
        username_key {key} UNIQUE,
        name_key {key} NOT NULL,
        display_name TEXT NOT NULL,
        bio TEXT NOT NULL,
        user_rev BIGINT NOT NULL,
        profile_user_rev BIGINT NOT NULL,
        last_seen_at BIGINT,
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL
    ) {rewritten}",
    "CREATE INDEX users_name_key ON users (name_key)",
    "CREATE TABLE user_roles (
        user_id {id} NOT NULL,
        role TEXT NOT NULL,
        granted_at BIGINT NOT NULL,
        PRIMARY KEY (user_id, role)
    ) {clustered}",
    "CREATE TABLE sessions (
        id {id} NOT NULL PRIMARY KEY,
        user_id {id} NOT NULL,
        device_id TEXT,
        device_name TEXT,
        platform TEXT,
        address TEXT,
        user_agent TEXT,
        created_at BIGINT NOT NULL,
        last_seen_at BIGINT NOT NULL,
        revoked_at BIGINT,
        revoke_reason TEXT
    )",
    "CREATE INDEX sessions_user_id ON sessions (user_id)",
    "CREATE TABLE refresh_tokens (
        token_hash {bytes} NOT NULL PRIMARY KEY,
        session_id {id} NOT NULL,
        parent_hash {bytes},
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        spent_at BIGINT
    )",
    "CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id)",
    "CREATE INDEX refresh_tokens_parent_hash ON refresh_tokens (parent_hash)",
    "CREATE TABLE signing_keys (
        kid TEXT NOT NULL PRIMARY KEY,
        public_key {bytes} NOT NULL,
        sealed_private_key {bytes} NOT NULL,
        created_at BIGINT NOT NULL,
        retires_at BIGINT
    )",
    "CREATE TABLE otp_verifications (
        id {bytes} NOT NULL PRIMARY KEY,
        phone TEXT NOT NULL,
        purpose TEXT NOT NULL,
        code_hash {bytes} NOT NULL,
        tries INTEGER NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        consumed_at BIGINT
    )",
    "CREATE INDEX otp_verifications_phone ON otp_verifications (phone, created_at)",
    "CREATE TABLE audit_events (
        id {id} NOT NULL PRIMARY KEY,
        user_id {id},
        session_id {id},
        kind TEXT NOT NULL,
        address TEXT,
        detail TEXT NOT NULL,
        at BIGINT NOT NULL
    )",
    "CREATE INDEX audit_events_user_id ON audit_events (user_id, at)",
];
