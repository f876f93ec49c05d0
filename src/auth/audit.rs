//! The audit trail's one insert: what was done to accounts, by whom and from where.
//! Never codes, tokens, or what people wrote.
//!
//! # The kinds
//! | kind | detail | when |
//! |---|---|---|
//! | `signed_in` | `by` (`otp`, `password`, ...; with a second factor ` totp` or ` backupCode` behind it), `isNewUser` | a session began |
//! | `signed_out` | | a session was ended by itself |
//! | `session_revoked` | `sessionId` | a session was ended from another one |
//! | `sessions_revoked` | `count`, `current` | all others were, or all |
//! | `refresh_reused` | | a spent refresh token came again, and its session was ended |
//! | `second_factor_enabled` | | an authenticator app guards the account |
//! | `second_factor_disabled` | `by` (`totp`, `backupCode`) | none does any more |
//! | `second_factor_failed` | | a code was wrong, at the second step of signing in (no session) or within a session |
//! | `backup_codes_renewed` | `by` | there are ten new backup codes |
//! | `role_granted`, `role_revoked` | `role`, `by` | an operator changed what the account may do |
//! | `signing_key_made`, `sealing_key_made` | `key` | `quckchat admin rotate-keys`; concerns nobody |

use actors::clock::Clock;
use entities::{SessionId, UserId, audit_event};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, Set};
use std::net::IpAddr;

/// One thing that was done.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// What, in a word or two: `signed_in`.
    pub kind: &'static str,
    /// Whom it concerns.
    pub user: Option<UserId>,
    /// By which session.
    pub session: Option<SessionId>,
    /// From where.
    pub address: Option<IpAddr>,
    /// The rest, an object; nothing if null.
    pub detail: serde_json::Value,
}

/// That a key of the node was made: it concerns nobody.
pub fn key_made(kind: &'static str, key: &str) -> Event {
    Event { kind, detail: serde_json::json!({ "key": key }), ..Event::default() }
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
        kind: Set(event.kind.to_owned()),
        address: Set(event.address.map(|address| address.to_string())),
        detail: Set(detail),
        at: Set(clock.now()),
    };
    audit_event::Entity::insert(row).exec_without_returning(db).await?;
    Ok(())
}
