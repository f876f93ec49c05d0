//! What somebody calls from: known by the name that its client gave it, with the sessions that signed in there.
//! Never two devices with one push token, and never a push.

use super::counters;
use crate::app::App;
use crate::auth::{audit, close, sessions};
use crate::gateway::dispatch::Run;
use actix_web::http::Uri;
use actors::caller::{Caller, Identity};
use actors::protocol::command::{
    ListDevices, Push, PushProvider, RegisterDevice, RemoveDevice, RenameDevice, UpdatePushToken,
};
use actors::protocol::{ErrorCode, Fault, Outcome, Refusal, view};
use actors::retry::transact;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::db::{key_of, lock_key};
use entities::{SessionId, device, session};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, Set};
use serde_json::json;
use std::collections::HashMap;

/// What PushKit's tokens are told apart by from others.
const VOIP: &str = "apns_voip";

/// A push as rows keep it.
struct Kept {
    provider: String,
    token: String,
    hash: Vec<u8>,
    keys: Option<String>,
}

impl Run for RegisterDevice {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::RegisteredDevice> {
        let by = caller.identity()?;
        let push = self.push.as_ref().map(kept).transpose()?;
        transact(&app.db, &*app.clock, async |transaction| {
            lock(transaction, by).await?;
            let known = device::of(by.user, &self.device_id).one(transaction).await?;
            if known.is_none() {
                make_room(transaction, app, by).await?;
                let event = event(audit::Kind::DeviceRegistered, by, caller, &self.device_id);
                audit::record(transaction, &*app.clock, event).await?;
            }
            let now = app.clock.now();
            let row = device::Model {
                user_id: by.user,
                id: self.device_id.clone(),
                platform: self.platform.name().to_owned(),
                name: self.name.trim().to_owned(),
                app_version: self.app_version.clone(),
                push_provider: None,
                push_token: None,
                push_token_hash: None,
                push_keys: None,
                voip_token: self.voip_token.clone(),
                voip_token_hash: self.voip_token.as_deref().map(|token| hash(VOIP, token)),
                created_at: known.map_or(now, |row| row.created_at),
                last_seen_at: now,
            };
            save(transaction, reached_by(row, push.as_ref())).await?;
            belongs(transaction, by.session, &self).await
        })
        .await?;
        one(app, by, &self.device_id).await
    }
}

impl Run for ListDevices {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Devices> {
        Ok(view::Devices { items: all(app, caller.identity()?).await? })
    }
}

impl Run for RenameDevice {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::RegisteredDevice> {
        let by = caller.identity()?;
        let named = device::ActiveModel { name: Set(self.name.trim().to_owned()), ..device::ActiveModel::default() };
        let this = device::COLUMN.user_id.eq(by.user).and(device::COLUMN.id.eq(self.device_id.as_str()));
        let update = device::Entity::update_many().set(named).filter(this);
        if app.db.heard(update.exec(app.db.write())).await?.rows_affected == 0 {
            return Err(ErrorCode::DeviceNotFound.into());
        }
        one(app, by, &self.device_id).await
    }
}

impl Run for UpdatePushToken {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::RegisteredDevice> {
        let by = caller.identity()?;
        let push = self.push.as_ref().map(kept).transpose()?;
        transact(&app.db, &*app.clock, async |transaction| {
            lock(transaction, by).await?;
            let row = device::of(by.user, &self.device_id).one(transaction).await?;
            let row = row.ok_or(ErrorCode::DeviceNotFound)?;
            let row = device::Model {
                voip_token: self.voip_token.clone(),
                voip_token_hash: self.voip_token.as_deref().map(|token| hash(VOIP, token)),
                last_seen_at: app.clock.now(),
                ..row
            };
            Ok(save(transaction, reached_by(row, push.as_ref())).await?)
        })
        .await?;
        one(app, by, &self.device_id).await
    }
}

impl Run for RemoveDevice {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<()> {
        let by = caller.identity()?;
        let ended = transact(&app.db, &*app.clock, async |transaction| {
            lock(transaction, by).await?;
            let gone = device::Entity::delete_by_id((by.user, self.device_id.clone())).exec(transaction).await?;
            let of_device = session::COLUMN.device_id.eq(self.device_id.as_str());
            let rows = session::live_of_user(by.user).filter(of_device).all(transaction).await?;
            if gone.rows_affected == 0 && rows.is_empty() {
                return Err(ErrorCode::DeviceNotFound.into());
            }
            let mut ended = Vec::new();
            for row in rows {
                if sessions::revoke(transaction, row.id, "device_removed", app.clock.now()).await? {
                    ended.push(row.id);
                }
            }
            audit::record(transaction, &*app.clock, event(audit::Kind::DeviceRemoved, by, caller, &self.device_id))
                .await?;
            Ok(ended)
        })
        .await?;
        ended.into_iter().for_each(|session| close(app, by.user, session));
        Ok(())
    }
}

/// Whoever changes devices of an account does so alone, and has not signed out meanwhile.
async fn lock(transaction: &DatabaseTransaction, by: Identity) -> Outcome<()> {
    counters::lock(transaction, [by.user]).await?;
    let row = session::by_id(by.session).one(transaction).await?;
    match row.is_some_and(|row| row.revoked_at.is_none()) {
        true => Ok(()),
        false => Err(ErrorCode::AuthSessionRevoked.into()),
    }
}

/// Where there are as many as there may be, the one gives way that nobody is signed in on and that was away longest.
async fn make_room(transaction: &DatabaseTransaction, app: &App, by: Identity) -> Outcome<()> {
    let mut devices = device::of_user(by.user).all(transaction).await?;
    if devices.len() < app.config.limits.devices {
        return Ok(());
    }
    let live = session::live_of_user(by.user).all(transaction).await?;
    devices.retain(|device| !live.iter().any(|session| session.device_id.as_ref() == Some(&device.id)));
    let longest = devices.into_iter().min_by_key(|device| device.last_seen_at).ok_or(ErrorCode::DeviceTooMany)?;
    device::Entity::delete_by_id((by.user, longest.id)).exec(transaction).await?;
    Ok(())
}

/// The device that a push reaches so.
fn reached_by(row: device::Model, push: Option<&Kept>) -> device::Model {
    device::Model {
        push_provider: push.map(|push| push.provider.clone()),
        push_token: push.map(|push| push.token.clone()),
        push_token_hash: push.map(|push| push.hash.clone()),
        push_keys: push.and_then(|push| push.keys.clone()),
        ..row
    }
}

/// Writes a device. A token that another one has, whosever it is, leaves that one: whoever holds it now is reached by it.
async fn save(transaction: &DatabaseTransaction, row: device::Model) -> Result<(), DbErr> {
    use device::Column;
    // Two who bring one token at once would each take it from whoever had it, and then meet at its uniqueness.
    let mut keys: Vec<i64> =
        [&row.push_token_hash, &row.voip_token_hash].into_iter().flatten().map(|hash| key_of(hash)).collect();
    // In one order, so that no two wait for each other.
    keys.sort_unstable();
    for key in keys {
        lock_key(transaction, key).await?;
    }
    let unreached = device::ActiveModel {
        push_provider: Set(None),
        push_token: Set(None),
        push_token_hash: Set(None),
        push_keys: Set(None),
        ..device::ActiveModel::default()
    };
    let uncalled =
        device::ActiveModel { voip_token: Set(None), voip_token_hash: Set(None), ..device::ActiveModel::default() };
    let columns = &device::COLUMN;
    for (hash, column, without) in [
        (&row.push_token_hash, Column::PushTokenHash, unreached),
        (&row.voip_token_hash, Column::VoipTokenHash, uncalled),
    ] {
        let Some(hash) = hash else { continue };
        let another = columns.user_id.ne(row.user_id).or(columns.id.ne(row.id.as_str()));
        let holder = column.eq(hash.clone()).and(another);
        device::Entity::update_many().set(without).filter(holder).exec(transaction).await?;
    }
    let anew = OnConflict::columns([Column::UserId, Column::Id])
        .update_columns([
            Column::Platform,
            Column::Name,
            Column::AppVersion,
            Column::PushProvider,
            Column::PushToken,
            Column::PushTokenHash,
            Column::PushKeys,
            Column::VoipToken,
            Column::VoipTokenHash,
            Column::LastSeenAt,
        ])
        .to_owned();
    device::Entity::insert(row.into_active_model()).on_conflict(anew).exec_without_returning(transaction).await?;
    Ok(())
}

/// The session is of this device from now on: it ends with it.
async fn belongs(transaction: &DatabaseTransaction, session: SessionId, device: &RegisterDevice) -> Outcome<()> {
    let of_device = session::ActiveModel {
        device_id: Set(Some(device.device_id.clone())),
        device_name: Set(Some(device.name.trim().to_owned())),
        platform: Set(Some(device.platform.name().to_owned())),
        ..session::ActiveModel::default()
    };
    let this = session::COLUMN.id.eq(session);
    session::Entity::update_many().set(of_device).filter(this).exec(transaction).await?;
    Ok(())
}

/// Refuses what no browser gives, and makes of the rest what rows keep.
fn kept(push: &Push) -> Outcome<Kept> {
    if let (PushProvider::WebPush, Some(keys)) = (push.provider, &push.keys) {
        // RFC 8030: a push service is reached over https alone.
        let is_service = push.token.parse::<Uri>().is_ok_and(|url| {
            url.scheme_str() == Some("https") && url.authority().is_some_and(|host| !host.as_str().contains('@'))
        });
        if !is_service {
            return Err(Refusal::invalid("push.token", "must be the https URL of a push service").into());
        }
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
        // 4 is the mark of an uncompressed point (SEC 1, section 2.3.3).
        if !bytes(&keys.p256dh).is_ok_and(|point| point.len() == 65 && point[0] == 4) {
            return Err(Refusal::invalid("push.keys.p256dh", "must be 65 bytes, an uncompressed point").into());
        }
        if !bytes(&keys.auth).is_ok_and(|secret| secret.len() == 16) {
            return Err(Refusal::invalid("push.keys.auth", "must be 16 bytes").into());
        }
    }
    let provider = push.provider.name();
    let keys = push.keys.as_ref().map(serde_json::to_string).transpose().map_err(Fault::new)?;
    let hash = hash(provider, &push.token);
    Ok(Kept { provider: provider.to_owned(), token: push.token.clone(), hash, keys })
}

/// What a token is found by.
fn hash(provider: &str, token: &str) -> Vec<u8> {
    digest(&SHA256, format!("{provider} {token}").as_bytes()).as_ref().to_vec()
}

fn event(kind: audit::Kind, by: Identity, caller: &Caller, device: &str) -> audit::Event {
    audit::Event {
        kind,
        user: Some(by.user),
        session: Some(by.session),
        address: caller.address,
        detail: json!({ "deviceId": device }),
    }
}

async fn one(app: &App, by: Identity, id: &str) -> Outcome<view::RegisteredDevice> {
    let devices = all(app, by).await?;
    devices.into_iter().find(|device| device.device_id == id).ok_or_else(|| ErrorCode::DeviceNotFound.into())
}

/// The devices of whoever asks, with what is known of their sessions.
async fn all(app: &App, by: Identity) -> Result<Vec<view::RegisteredDevice>, DbErr> {
    let rows = device::of_user(by.user).all(app.db.read()).await?;
    let live = session::live_of_user(by.user).all(app.db.read()).await?;
    let mut sessions: HashMap<&str, Vec<&session::Model>> = HashMap::new();
    for row in &live {
        if let Some(device) = &row.device_id {
            sessions.entry(device).or_default().push(row);
        }
    }
    let view = |row: device::Model| {
        let of_device = sessions.get(row.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let heard = of_device.iter().map(|session| session.last_seen_at).max();
        view::RegisteredDevice {
            last_seen_at: std::cmp::max(heard.unwrap_or_default(), row.last_seen_at),
            sessions: of_device.len() as u32,
            current: of_device.iter().any(|session| session.id == by.session),
            device_id: row.id,
            platform: row.platform,
            name: row.name,
            app_version: row.app_version,
            push_provider: row.push_provider,
            voip_push: row.voip_token.is_some(),
            registered_at: row.created_at,
        }
    };
    Ok(rows.into_iter().map(view).collect())
}
