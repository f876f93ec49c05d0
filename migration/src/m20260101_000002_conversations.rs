//! Conversations: who is in them, what was said, reactions and mentions.
//!
//! Never edited once shipped.

use crate::dialect::define;
use sea_orm_migration::prelude::*;

/// The first migration of the conversations.
#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        define(manager, &DEFINITIONS).await
    }
}

/// No foreign keys, and no index on a conversation's heads: the entities say why.
const DEFINITIONS: [&str; 11] = [
    "CREATE TABLE conversations (
        id {id} NOT NULL PRIMARY KEY,
        kind TEXT NOT NULL,
        name TEXT,
        description TEXT,
        pair_key TEXT UNIQUE,
        created_by {id} NOT NULL,
        client_id TEXT,
        request_hash {bytes},
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL,
        last_message_at BIGINT NOT NULL,
        last_seq BIGINT NOT NULL,
        last_rev BIGINT NOT NULL,
        policy_rev BIGINT NOT NULL,
        participant_count INTEGER NOT NULL,
        rev BIGINT NOT NULL
    ) {rewritten}",
    "CREATE UNIQUE INDEX conversations_client_id ON conversations (created_by, client_id)",
    "CREATE TABLE participants (
        conversation_id {id} NOT NULL,
        user_id {id} NOT NULL,
        role TEXT NOT NULL,
        from_rev BIGINT NOT NULL,
        until_rev BIGINT,
        visible_from_seq BIGINT NOT NULL,
        read_seq BIGINT NOT NULL,
        delivered_seq BIGINT NOT NULL,
        marked_unread BOOLEAN NOT NULL,
        rev BIGINT NOT NULL,
        user_rev BIGINT NOT NULL,
        joined_at BIGINT NOT NULL,
        PRIMARY KEY (conversation_id, user_id)
    ) {clustered}",
    "CREATE INDEX participants_user_rev ON participants (user_id, user_rev)",
    "CREATE INDEX participants_rev ON participants (conversation_id, rev)",
    "CREATE TABLE messages (
        conversation_id {id} NOT NULL,
        seq BIGINT NOT NULL,
        id {id} NOT NULL UNIQUE,
        sender_id {id} NOT NULL,
        client_id TEXT NOT NULL,
        request_hash {bytes} NOT NULL,
        rev BIGINT NOT NULL,
        changed BOOLEAN NOT NULL DEFAULT {false},
        kind TEXT NOT NULL,
        text TEXT,
        reply_to {id},
        created_at BIGINT NOT NULL,
        edited_at BIGINT,
        deleted_at BIGINT,
        PRIMARY KEY (conversation_id, seq)
    ) {clustered}",
    "CREATE UNIQUE INDEX messages_client_id ON messages (client_id, sender_id, conversation_id)",
    "CREATE INDEX messages_changed ON messages (conversation_id, rev) WHERE changed",
    "CREATE TABLE reactions (
        message_id {id} NOT NULL,
        user_id {id} NOT NULL,
        emoji TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        PRIMARY KEY (message_id, user_id, emoji)
    ) {clustered}",
    "CREATE TABLE mentions (
        user_id {id} NOT NULL,
        conversation_id {id} NOT NULL,
        seq BIGINT NOT NULL,
        PRIMARY KEY (user_id, conversation_id, seq)
    ) {clustered}",
    "CREATE INDEX mentions_message ON mentions (conversation_id, seq)",
];
