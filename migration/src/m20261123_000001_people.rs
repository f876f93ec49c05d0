//! Every way to sign in, and what people keep on a node: passwords, second factors, identities of others, addresses,
//! contacts, blocks, devices, settings, exports.
//!
//! Never edited once shipped.

use crate::dialect::define;
use sea_orm_migration::prelude::*;

/// What the accounts grew by. A release that does not know of it writes rows that these defaults complete.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        define(manager, DEFINITIONS).await
    }
}

const DEFINITIONS: &[&str] = &[
    // Before the first change of a table, whose lock nobody reads past until all is done.
    "CREATE INDEX IF NOT EXISTS sessions_device ON sessions (user_id, device_id)",
    // --- accounts
    "ALTER TABLE users ADD COLUMN email TEXT",
    "ALTER TABLE users ADD COLUMN email_key TEXT",
    "CREATE UNIQUE INDEX IF NOT EXISTS users_email_key ON users (email_key) WHERE email_key IS NOT NULL",
    "ALTER TABLE users ADD COLUMN avatar_id {id}",
    "ALTER TABLE users ADD COLUMN status_text TEXT",
    "ALTER TABLE users ADD COLUMN status_emoji TEXT",
    "ALTER TABLE users ADD COLUMN status_until BIGINT",
    "ALTER TABLE users ADD COLUMN privacy TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE users ADD COLUMN settings TEXT NOT NULL DEFAULT '{}'",
    "ALTER TABLE users ADD COLUMN settings_user_rev BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE users ADD COLUMN audience_changed_at BIGINT",
    "CREATE INDEX IF NOT EXISTS users_audience_changed_at ON users (audience_changed_at) WHERE audience_changed_at IS NOT NULL",
    "ALTER TABLE users ADD COLUMN leaves_at BIGINT",
    "ALTER TABLE users ADD COLUMN leaves_messages TEXT",
    "ALTER TABLE users ADD COLUMN left_at BIGINT",
    "CREATE INDEX IF NOT EXISTS users_leaves_at ON users (leaves_at) WHERE leaves_at IS NOT NULL",
    "ALTER TABLE sessions ADD COLUMN authenticated_at BIGINT",
    "ALTER TABLE sessions ADD COLUMN network TEXT",
    "CREATE INDEX IF NOT EXISTS sessions_network ON sessions (user_id, network)",
    // --- ways to sign in
    "CREATE TABLE passwords (
        user_id {id} NOT NULL PRIMARY KEY,
        phc TEXT NOT NULL,
        changed_at BIGINT NOT NULL
    )",
    "CREATE TABLE sign_in_delays (
        key_hash {bytes} NOT NULL PRIMARY KEY,
        failures INTEGER NOT NULL,
        last_at BIGINT NOT NULL,
        next_at BIGINT NOT NULL
    )",
    "CREATE INDEX sign_in_delays_last_at ON sign_in_delays (last_at)",
    "CREATE TABLE second_factors (
        user_id {id} NOT NULL PRIMARY KEY,
        sealed_secret {bytes} NOT NULL,
        last_step BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        enabled_at BIGINT
    )",
    "CREATE TABLE backup_codes (
        user_id {id} NOT NULL,
        code_hash {bytes} NOT NULL,
        used_at BIGINT,
        PRIMARY KEY (user_id, code_hash)
    )",
    "CREATE TABLE challenges (
        id_hash {bytes} NOT NULL PRIMARY KEY,
        purpose TEXT NOT NULL,
        user_id {id},
        detail TEXT NOT NULL,
        tries INTEGER NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        used_at BIGINT
    )",
    "CREATE INDEX challenges_user_id ON challenges (user_id, purpose)",
    "CREATE INDEX challenges_expires_at ON challenges (expires_at)",
    "CREATE TABLE identities (
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        provider TEXT NOT NULL,
        user_id {id} NOT NULL,
        email TEXT,
        linked_at BIGINT NOT NULL,
        last_used_at BIGINT NOT NULL,
        PRIMARY KEY (issuer, subject)
    )",
    "CREATE INDEX identities_user_id ON identities (user_id)",
    "CREATE TABLE sealing_keys (
        id TEXT NOT NULL PRIMARY KEY,
        sealed_key {bytes} NOT NULL,
        created_at BIGINT NOT NULL
    )",
    // --- one-time codes: to whom, from where, by whom
    "ALTER TABLE otp_verifications ADD COLUMN channel TEXT NOT NULL DEFAULT 'sms'",
    "ALTER TABLE otp_verifications ADD COLUMN address TEXT",
    "ALTER TABLE otp_verifications ADD COLUMN country TEXT",
    "ALTER TABLE otp_verifications ADD COLUMN carrier TEXT",
    "ALTER TABLE otp_verifications ADD COLUMN user_id {id}",
    "ALTER TABLE otp_verifications ADD COLUMN spelt TEXT",
    "CREATE INDEX IF NOT EXISTS otp_verifications_address ON otp_verifications (address, created_at)",
    "CREATE INDEX IF NOT EXISTS otp_verifications_created_at ON otp_verifications (created_at)",
    "CREATE INDEX IF NOT EXISTS otp_verifications_user_id ON otp_verifications (user_id) WHERE user_id IS NOT NULL",
    "CREATE TABLE otp_counts (
        scope TEXT NOT NULL,
        day BIGINT NOT NULL,
        slot BIGINT NOT NULL,
        sent BIGINT NOT NULL,
        PRIMARY KEY (scope, day, slot)
    )",
    // --- people and each other
    "CREATE TABLE contacts (
        owner_id {id} NOT NULL,
        user_id {id} NOT NULL,
        name TEXT,
        favourite BOOLEAN NOT NULL,
        suggested BOOLEAN NOT NULL,
        removed BOOLEAN NOT NULL,
        by_number BOOLEAN NOT NULL,
        user_rev BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        PRIMARY KEY (owner_id, user_id)
    ) {clustered}",
    "CREATE INDEX contacts_user_id ON contacts (user_id, owner_id)",
    "CREATE INDEX contacts_user_rev ON contacts (owner_id, user_rev)",
    "CREATE TABLE contact_numbers (
        owner_id {id} NOT NULL,
        number_hash {bytes} NOT NULL,
        listed BOOLEAN NOT NULL,
        sealed_name {bytes},
        listed_rev BIGINT NOT NULL,
        first_at BIGINT NOT NULL,
        PRIMARY KEY (owner_id, number_hash)
    ) {clustered}",
    "CREATE INDEX contact_numbers_number ON contact_numbers (number_hash)",
    "CREATE INDEX contact_numbers_first_at ON contact_numbers (owner_id, first_at)",
    "CREATE INDEX contact_numbers_unlisted ON contact_numbers (first_at) WHERE NOT listed",
    "CREATE TABLE arrivals (
        user_id {id} NOT NULL PRIMARY KEY,
        since BIGINT NOT NULL,
        told {id}
    )",
    "CREATE TABLE blocks (
        owner_id {id} NOT NULL,
        user_id {id} NOT NULL,
        removed BOOLEAN NOT NULL,
        user_rev BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        changed_at BIGINT NOT NULL,
        PRIMARY KEY (owner_id, user_id)
    ) {clustered}",
    "CREATE INDEX blocks_changed_at ON blocks (changed_at)",
    "CREATE INDEX blocks_user_id ON blocks (user_id, owner_id)",
    "CREATE INDEX blocks_user_rev ON blocks (owner_id, user_rev)",
    "ALTER TABLE conversations ADD COLUMN blocked BOOLEAN NOT NULL DEFAULT {false}",
    "ALTER TABLE participants ADD COLUMN request BOOLEAN NOT NULL DEFAULT {false}",
    "ALTER TABLE participants ADD COLUMN declined_rev BIGINT",
    "CREATE TABLE reports (
        id {id} NOT NULL PRIMARY KEY,
        reporter_id {id} NOT NULL,
        user_id {id},
        message_id {id},
        message_rev BIGINT,
        message_text TEXT,
        reason TEXT NOT NULL,
        text TEXT NOT NULL,
        created_at BIGINT NOT NULL
    )",
    "CREATE INDEX reports_user_id ON reports (user_id)",
    "CREATE INDEX reports_reporter_id ON reports (reporter_id, created_at)",
    // --- devices
    "CREATE TABLE devices (
        user_id {id} NOT NULL,
        id TEXT NOT NULL,
        platform TEXT NOT NULL,
        name TEXT NOT NULL,
        app_version TEXT,
        push_provider TEXT,
        push_token TEXT,
        push_token_hash {bytes} UNIQUE,
        push_keys TEXT,
        voip_token TEXT,
        voip_token_hash {bytes} UNIQUE,
        created_at BIGINT NOT NULL,
        last_seen_at BIGINT NOT NULL,
        PRIMARY KEY (user_id, id)
    )",
    // --- leaving
    "CREATE TABLE exports (
        id {id} NOT NULL PRIMARY KEY,
        user_id {id} NOT NULL,
        state TEXT NOT NULL,
        size_bytes BIGINT,
        failure TEXT,
        created_at BIGINT NOT NULL,
        worker TEXT,
        worker_until BIGINT,
        done_at BIGINT,
        expires_at BIGINT
    )",
    "CREATE INDEX exports_user_id ON exports (user_id, created_at)",
    "CREATE INDEX exports_state ON exports (state, created_at)",
    "CREATE TABLE export_parts (
        export_id {id} NOT NULL,
        number INTEGER NOT NULL,
        bytes {bytes} NOT NULL,
        PRIMARY KEY (export_id, number)
    )",
];
