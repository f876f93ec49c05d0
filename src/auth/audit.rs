//! The audit trail's one insert: what was done to accounts, by whom and from where.
//! Never codes, tokens, or what people wrote.

pub use actors::protocol::view::SecurityEventKind as Kind;

use actors::clock::Clock;
use entities::{SessionId, UserId, audit_event};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, Set};
use std::net::IpAddr;

/// One thing that was done.
#[derive(Debug, Clone)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// Whom it concerns.
    pub user: Option<UserId>,
    /// By which session.
    pub session: Option<SessionId>,
    /// From where.
    pub address: Option<IpAddr>,
    /// The rest, an object; nothing if null.
    pub detail: serde_json::Value,
}

impl Event {
    /// One of this kind, and nothing else known of it.
    pub fn of(kind: Kind) -> Event {
        Event { kind, user: None, session: None, address: None, detail: serde_json::Value::Null }
    }
}

/// That a key of the node was made: it concerns nobody.
pub fn key_made(kind: Kind, key: &str) -> Event {
    Event { detail: serde_json::json!({ "key": key }), ..Event::of(kind) }
}

/// Writes it down, in the transaction of what was done.
///
/// # Errors
/// Those of the database.
pub async fn record(db: &impl ConnectionTrait, clock: &dyn Clock, event: Event) -> Result<(), DbErr> {
    let detail = if event.detail.is_null() { "{}".to_owned() } else { event.detail.to_string() };
    let row = audit_event::ActiveModel {
        id: Set(clock.audit_event_id()),
        user_id: Set(event.user),
        session_id: Set(event.session),
        kind: Set(<&str>::from(event.kind).to_owned()),
        address: Set(event.address.map(|address| address.to_string())),
        detail: Set(detail),
        at: Set(clock.now()),
    };
    audit_event::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}
