//! What stands in a copy of somebody's data: everything that the node knows of them, what they have said and how they
//! have reacted wherever it was, and what was said where they may read it. Never what others keep to themselves, and no secret: not a token, not a hash of a password or a code.
//!
//! # Where media will stand
//! This version keeps none. Once it does, they belong into `media/<id>`, named in the messages that show them; the
//! manifest says so until then.

use super::making::Making;
use super::words;
use crate::auth::sealing::{Context, Ring};
use actors::conversation::read::{self, Span};
use actors::protocol::{ErrorCode, Outcome};
use entities::{
    ConversationId, ConversationKind, Db, Timestamp, UserId, audit_event, backup_code, block, contact, contact_number,
    conversation, device, identity, participant, password, report, second_factor, session, user, user_role,
};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

/// Rows of a page.
const PAGE: u64 = 200;

/// Where it comes from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The rows.
    pub db: &'a Db,
    /// What opens the names in address books.
    pub ring: &'a Ring,
}

/// Writes all of it, as it is by now.
///
/// # Errors
/// Those of `Exports::add`.
pub async fn write(from: Sources<'_>, out: &mut Making<'_>, of: UserId, now: Timestamp) -> Outcome<()> {
    let db = from.db;
    let row = user::by_id(of).one(db.read()).await?.ok_or(ErrorCode::UserNotFound)?;
    out.value("manifest.json", &manifest(&row, now)).await?;
    out.value("settings.json", &row.settings).await?;
    out.value("privacy.json", &row.privacy).await?;
    let roles = user_role::of_user(of).all(db.read()).await?;
    out.value("profile.json", &profile(row, roles)).await?;
    out.value("sign-in.json", &ways_in(db, of).await?).await?;
    Box::pin(sessions(db, out, of)).await?;
    Box::pin(security_events(db, out, of)).await?;
    let devices = device::of_user(of).all(db.read()).await?;
    whole(out, "devices.json", devices.into_iter().map(described)).await?;
    Box::pin(contacts(db, out, of)).await?;
    Box::pin(address_book(from, out, of)).await?;
    let blocked = block::by_owner(of).all(db.read()).await?;
    let blocked = blocked.into_iter().map(|row| json!({ "userId": row.user_id, "since": row.created_at }));
    whole(out, "blocked.json", blocked).await?;
    let reports = report::by_reporter(of).order_by_asc(report::COLUMN.id).all(db.read()).await?;
    whole(out, "reports.json", reports.into_iter().map(told)).await?;
    Box::pin(conversations(db, out, of)).await
}

fn manifest(row: &user::Model, now: Timestamp) -> Value {
    json!({
        "format": 1,
        "userId": row.id,
        "createdAt": now,
        // Read before anything else: `users.changes` after it tells what this copy may lack.
        "userRev": row.user_rev,
        "files": {
            "profile.json": "what you say of yourself",
            "settings.json": "what you have set for all devices",
            "privacy.json": "who may see and do what",
            "sign-in.json": "the ways by which you sign in",
            "sessions.json": "where you have signed in",
            "security-events.json": "what was done to your account",
            "devices.json": "your devices, without their tokens",
            "contacts.json": "your address book here",
            "address-book.json":
                "the numbers that you have asked for or keep here, by what you call them: of the numbers themselves a \
                 keyed hash is all that is kept",
            "blocked.json": "whom you block",
            "reports.json": "what you have reported",
            "conversations.json": "the conversations that you are or were in",
            "reactions.json": "how you have reacted to messages",
            "messages/<conversationId>.json":
                "what was said there since you may read along, and how all have reacted to it; of what was said before, \
                 and where you have left, what you said yourself",
        },
        "notIncluded": {
            "media": "this version of the node keeps none",
            "numbers": "of people in your address book, who are known by a keyed hash of their number only",
            "reactions": "of others to what you said where you may not read along: they are for those who may",
            "secrets": "passwords, codes, tokens and keys, of which hashes are all that is kept, or which others could use",
            "reports": "by others about you: they are the operators'",
        },
    })
}

fn profile(row: user::Model, roles: Vec<user_role::Model>) -> Value {
    let roles = roles.into_iter().map(|held| json!({ "role": held.role, "since": held.granted_at }));
    json!({
        "id": row.id,
        "phoneNumber": row.phone,
        "email": row.email,
        "username": row.username,
        "displayName": row.display_name,
        "bio": row.bio,
        "avatarId": row.avatar_id,
        "status": { "text": row.status_text, "emoji": row.status_emoji, "until": row.status_until },
        "createdAt": row.created_at,
        "updatedAt": row.updated_at,
        "lastSeenAt": row.last_seen_at,
        "leavesAt": row.leaves_at,
        "roles": roles.collect::<Vec<_>>(),
    })
}

async fn ways_in(db: &Db, of: UserId) -> Result<Value, DbErr> {
    let password = password::Entity::find().filter(password::COLUMN.user_id.eq(of)).one(db.read()).await?;
    let factor = second_factor::guarding(of).one(db.read()).await?;
    let codes = backup_code::Entity::find().filter(backup_code::COLUMN.user_id.eq(of));
    let codes = codes.filter(backup_code::COLUMN.used_at.is_null()).count(db.read()).await?;
    let identities = identity::of_user(of).all(db.read()).await?.into_iter().map(|row| {
        json!({
            "provider": row.provider, "issuer": row.issuer, "subject": row.subject, "email": row.email,
            "linkedAt": row.linked_at, "lastUsedAt": row.last_used_at,
        })
    });
    Ok(json!({
        "passwordChangedAt": password.map(|row| row.changed_at),
        "secondFactorSince": factor.and_then(|row| row.enabled_at),
        "backupCodesLeft": codes,
        "identities": identities.collect::<Vec<_>>(),
    }))
}

fn described(row: device::Model) -> Value {
    json!({
        "id": row.id, "platform": row.platform, "name": row.name, "appVersion": row.app_version,
        "pushProvider": row.push_provider, "voipPush": row.voip_token.is_some(), "createdAt": row.created_at,
        "lastSeenAt": row.last_seen_at,
    })
}

fn told(row: report::Model) -> Value {
    json!({
        "id": row.id, "userId": row.user_id, "messageId": row.message_id, "reason": row.reason, "text": row.text,
        "createdAt": row.created_at,
    })
}

/// A list that is short by its nature.
async fn whole(out: &mut Making<'_>, name: &str, items: impl Iterator<Item = Value>) -> Outcome<()> {
    out.list(name).await?;
    out.items(items).await?;
    out.end().await
}

async fn sessions(db: &Db, out: &mut Making<'_>, of: UserId) -> Outcome<()> {
    out.list("sessions.json").await?;
    let mut after = None;
    loop {
        let mut page = session::Entity::find().filter(session::COLUMN.user_id.eq(of));
        if let Some(id) = after {
            page = page.filter(session::COLUMN.id.gt(id));
        }
        let page = page.order_by_asc(session::COLUMN.id).limit(PAGE).all(db.read()).await?;
        let Some(last) = page.last() else { return out.end().await };
        after = Some(last.id);
        let item = |row: session::Model| {
            json!({
                "id": row.id, "deviceId": row.device_id, "deviceName": row.device_name, "platform": row.platform,
                "address": row.address, "userAgent": row.user_agent, "createdAt": row.created_at,
                "lastSeenAt": row.last_seen_at, "endedAt": row.revoked_at, "endedBecause": row.revoke_reason,
            })
        };
        out.items(page.into_iter().map(item)).await?;
    }
}

async fn security_events(db: &Db, out: &mut Making<'_>, of: UserId) -> Outcome<()> {
    out.list("security-events.json").await?;
    let mut after = None;
    loop {
        let mut page = audit_event::Entity::find().filter(audit_event::COLUMN.user_id.eq(of));
        if let Some(id) = after {
            page = page.filter(audit_event::COLUMN.id.gt(id));
        }
        let page = page.order_by_asc(audit_event::COLUMN.id).limit(PAGE).all(db.read()).await?;
        let Some(last) = page.last() else { return out.end().await };
        after = Some(last.id);
        let item = |row: audit_event::Model| {
            let detail: Value = serde_json::from_str(&row.detail).unwrap_or_default();
            json!({
                "id": row.id, "kind": row.kind, "at": row.at, "sessionId": row.session_id, "address": row.address,
                "detail": detail,
            })
        };
        out.items(page.into_iter().map(item)).await?;
    }
}

async fn contacts(db: &Db, out: &mut Making<'_>, of: UserId) -> Outcome<()> {
    out.list("contacts.json").await?;
    let mut after = None;
    loop {
        let mut page = contact::listed_by(of);
        if let Some(user) = after {
            page = page.filter(contact::COLUMN.user_id.gt(user));
        }
        let page = page.order_by_asc(contact::COLUMN.user_id).limit(PAGE).all(db.read()).await?;
        let Some(last) = page.last() else { return out.end().await };
        after = Some(last.user_id);
        let names = names(db, page.iter().map(|row| row.user_id)).await?;
        let item = |row: contact::Model| {
            json!({
                "userId": row.user_id, "displayName": names.get(&row.user_id), "name": row.name,
                "favourite": row.favourite, "createdAt": row.created_at,
            })
        };
        out.items(page.into_iter().map(item)).await?;
    }
}

/// The numbers that somebody keeps, or has asked for, by the names that they gave them.
async fn address_book(from: Sources<'_>, out: &mut Making<'_>, of: UserId) -> Outcome<()> {
    out.list("address-book.json").await?;
    let (context, mut after) = (Context::ContactName(of), Vec::new());
    loop {
        let page = contact_number::of_owner(of).filter(contact_number::Column::NumberHash.gt(after));
        let page = page.order_by_asc(contact_number::COLUMN.number_hash).limit(PAGE).all(from.db.read()).await?;
        let Some(last) = page.last() else { return out.end().await };
        after = last.number_hash.clone();
        let mut items = Vec::with_capacity(page.len());
        for row in page {
            let name = match &row.sealed_name {
                Some(sealed) => from.ring.unseal_text(&context, sealed).await?,
                None => None,
            };
            items.push(json!({ "name": name, "listed": row.listed, "firstAskedAt": row.first_at }));
        }
        out.items(items).await?;
    }
}

/// What these people call themselves.
async fn names(db: &Db, users: impl Iterator<Item = UserId>) -> Result<HashMap<UserId, String>, DbErr> {
    let users: BTreeSet<UserId> = users.collect();
    if users.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = user::among(users).select_only().columns([user::Column::Id, user::Column::DisplayName]);
    Ok(rows.into_tuple::<(UserId, String)>().all(db.read()).await?.into_iter().collect())
}

async fn conversations(db: &Db, out: &mut Making<'_>, of: UserId) -> Outcome<()> {
    out.list("conversations.json").await?;
    let mut after = None;
    loop {
        let page = memberships(db, of, after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.conversation_id);
        let items = described_conversations(db, of, &page).await?;
        out.items(items).await?;
    }
    out.end().await?;
    out.list("reactions.json").await?;
    let mut after = None;
    loop {
        let page = memberships(db, of, after).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.conversation_id);
        for member in page {
            Box::pin(words::reactions(db, out, &member)).await?;
        }
    }
    out.end().await?;
    let mut after = None;
    loop {
        let page = memberships(db, of, after).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.conversation_id);
        for member in page {
            Box::pin(messages(db, out, &member)).await?;
        }
    }
}

/// The next conversations that somebody is or was in.
async fn memberships(db: &Db, of: UserId, after: Option<ConversationId>) -> Result<Vec<participant::Model>, DbErr> {
    let mut page = participant::of_user(of);
    if let Some(id) = after {
        page = page.filter(participant::COLUMN.conversation_id.gt(id));
    }
    page.order_by_asc(participant::COLUMN.conversation_id).limit(PAGE).all(db.read()).await
}

async fn described_conversations(db: &Db, of: UserId, page: &[participant::Model]) -> Result<Vec<Value>, DbErr> {
    let ids = page.iter().map(|row| row.conversation_id);
    let rows = conversation::among(ids).all(db.read()).await?;
    let rows: HashMap<ConversationId, conversation::Model> = rows.into_iter().map(|row| (row.id, row)).collect();
    let is_pair = |id: &ConversationId| rows.get(id).is_some_and(|row| row.kind == ConversationKind::Private);
    let pairs = page.iter().map(|row| row.conversation_id).filter(is_pair);
    let others = participant::Entity::find()
        .filter(participant::COLUMN.conversation_id.is_in(pairs))
        .filter(participant::COLUMN.user_id.ne(of))
        .all(db.read())
        .await?;
    let others: HashMap<ConversationId, UserId> =
        others.into_iter().map(|row| (row.conversation_id, row.user_id)).collect();
    let names = names(db, others.values().copied()).await?;
    let item = |member: &participant::Model| {
        let row = rows.get(&member.conversation_id);
        let with = others.get(&member.conversation_id);
        json!({
            "id": member.conversation_id,
            "kind": row.map(|row| row.kind),
            // What a group is called by now is for its members.
            "name": row.filter(|_| member.until_rev.is_none()).and_then(|row| row.name.clone()),
            "with": with.map(|user| json!({ "userId": user, "displayName": names.get(user) })),
            "role": member.role,
            "joinedAt": member.joined_at,
            "leftAt": member.left_at,
            "readSeq": member.read_seq,
            "deliveredSeq": member.delivered_seq,
            "markedUnread": member.marked_unread,
        })
    };
    Ok(page.iter().map(item).collect())
}

/// What somebody has said, where they may not read along; and all that they may read.
async fn messages(db: &Db, out: &mut Making<'_>, member: &participant::Model) -> Outcome<()> {
    out.list(&format!("messages/{}.json", member.conversation_id)).await?;
    if member.until_rev.is_some() {
        let last_seq = words::last_seq(db, member).await?;
        Box::pin(words::said(db, out, member, last_seq)).await?;
        return out.end().await;
    }
    // Somebody who was a member before sees nothing of that time, but has said what they said.
    let mut after = member.visible_from_seq - 1;
    Box::pin(words::said(db, out, member, after)).await?;
    loop {
        let span = Span::After(after);
        let page = read::span(db.read(), member.conversation_id, member.visible_from_seq, span, PAGE).await?.0;
        let Some(last) = page.last() else { return out.end().await };
        after = last.seq;
        let names = names(db, page.iter().map(|row| row.sender_id)).await?;
        let views = read::message_views(db.read(), page, false).await?;
        out.items(views.into_iter().map(|view| named(view, &names))).await?;
    }
}

/// A message as its readers see it, and what its sender calls themselves.
pub(super) fn named(message: actors::protocol::view::Message, names: &HashMap<UserId, String>) -> Value {
    let sender = names.get(&message.sender_id).cloned().unwrap_or_default();
    let mut json = serde_json::to_value(message).unwrap_or_default();
    if let Value::Object(fields) = &mut json {
        fields.insert("senderName".to_owned(), Value::String(sender));
    }
    json
}
