//! What stands in a copy of somebody's data: everything that the node knows of them, and what was said where they may
//! read it. Never what others keep to themselves, and no secret: not a token, not a hash of a password or a code.
//!
//! # Where media will stand
//! This version keeps none. Once it does, they belong into `media/<id>`, named in the messages that show them; the
//! manifest says so until then.

use super::making::Making;
use actors::conversation::read::{self, Span};
use actors::protocol::{ErrorCode, Outcome};
use entities::{
    ConversationId, ConversationKind, Db, Timestamp, UserId, audit_event, backup_code, block, contact, conversation,
    device, identity, message, participant, password, report, second_factor, session, user,
};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

/// Rows of a page.
const PAGE: u64 = 200;

/// Writes all of it, as it is by now.
///
/// # Errors
/// Those of `Exports::add`.
pub async fn write(db: &Db, out: &mut Making<'_>, of: UserId, now: Timestamp) -> Outcome<()> {
    let row = user::by_id(of).one(db.read()).await?.ok_or(ErrorCode::UserNotFound)?;
    out.value("manifest.json", &manifest(&row, now)).await?;
    out.value("settings.json", &row.settings).await?;
    out.value("privacy.json", &row.privacy).await?;
    out.value("profile.json", &profile(row)).await?;
    out.value("sign-in.json", &ways_in(db, of).await?).await?;
    Box::pin(sessions(db, out, of)).await?;
    Box::pin(security_events(db, out, of)).await?;
    let devices = device::of_user(of).all(db.read()).await?;
    whole(out, "devices.json", devices.into_iter().map(described)).await?;
    Box::pin(contacts(db, out, of)).await?;
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
            "blocked.json": "whom you block",
            "reports.json": "what you have reported",
            "conversations.json": "the conversations that you are or were in",
            "messages/<conversationId>.json":
                "what was said there since you may read along; where you have left, what you said yourself",
        },
        "notIncluded": {
            "media": "this version of the node keeps none",
            "numbers": "of people who are not here, who are known by a keyed hash of their number only",
        },
    })
}

fn profile(row: user::Model) -> Value {
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
        })
    };
    Ok(page.iter().map(item).collect())
}

/// A member's messages are all that they may read; of who has left, their own.
async fn messages(db: &Db, out: &mut Making<'_>, member: &participant::Model) -> Outcome<()> {
    out.list(&format!("messages/{}.json", member.conversation_id)).await?;
    let mut after = 0;
    loop {
        let page = match member.until_rev {
            None => {
                let span = Span::After(after);
                read::span(db.read(), member.conversation_id, member.visible_from_seq, span, PAGE).await?.0
            }
            Some(_) => {
                let own = message::after(member.conversation_id, after);
                own.filter(message::COLUMN.sender_id.eq(member.user_id)).limit(PAGE).all(db.read()).await?
            }
        };
        let Some(last) = page.last() else { return out.end().await };
        after = last.seq;
        let names = names(db, page.iter().map(|row| row.sender_id)).await?;
        let views = read::message_views(db.read(), page, false).await?;
        out.items(views.into_iter().map(|view| named(view, &names))).await?;
    }
}

/// A message as its readers see it, and what its sender calls themselves.
fn named(message: actors::protocol::view::Message, names: &HashMap<UserId, String>) -> Value {
    let sender = names.get(&message.sender_id).cloned().unwrap_or_default();
    let mut json = serde_json::to_value(message).unwrap_or_default();
    if let Value::Object(fields) = &mut json {
        fields.insert("senderName".to_owned(), Value::String(sender));
    }
    json
}
