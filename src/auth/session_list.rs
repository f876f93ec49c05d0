//! Where somebody is signed in, as they see it, and how they end that from elsewhere.
//! Never how a session begins, or whether one stands (see `sessions`).

use super::{Auth, audit, close, sessions};
use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::{Caller, Identity};
use actors::protocol::command::{ListSessions, LogoutAll, RevokeSession, Validate};
use actors::protocol::{Error, ErrorCode, Outcome, Refusal, check, view};
use actors::retry::transact;
use entities::{SessionId, session};
use sea_orm::{ColumnTrait, QueryFilter, QuerySelect};
use serde_json::json;
use std::net::IpAddr;

impl Auth {
    /// A page of the sessions of whoever asks: those that stand, and were used while a refresh token lives.
    async fn sessions_of(
        &self,
        identity: Identity,
        cursor: Option<&str>,
        limit: u64,
    ) -> Outcome<view::Page<view::Session>> {
        let alive_since = self.clock.now().minus(self.refresh.ttl());
        let mut query = session::live_of_user(identity.user).filter(session::COLUMN.last_seen_at.gt(alive_since));
        if let Some(cursor) = cursor {
            query = query.filter(session::COLUMN.id.lt(before::<SessionId>(cursor)?));
        }
        // One more than asked tells whether there is a next page.
        let mut rows = query.limit(limit + 1).all(self.db.read()).await?;
        let more = rows.len() as u64 > limit;
        rows.truncate(limit as usize);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
        let items = rows.into_iter().map(|row| view::Session::from_row(row, identity.session)).collect();
        Ok(view::Page { items, next_cursor })
    }

    /// Ends one session of whoever asks.
    async fn revoke_session(&self, by: Identity, session: SessionId, address: Option<IpAddr>) -> Outcome<()> {
        transact(&self.db, &*self.clock, async |transaction| {
            let own = session::live_of_user(by.user).filter(session::COLUMN.id.eq(session));
            let stands = own.one(transaction).await?.is_some();
            if !stands || !sessions::revoke(transaction, session, "revoked", self.clock.now()).await? {
                return Err(ErrorCode::AuthSessionNotFound.into());
            }
            let event = audit::Event {
                kind: audit::Kind::SessionRevoked,
                user: Some(by.user),
                session: Some(by.session),
                address,
                detail: json!({ "sessionId": session }),
            };
            Ok(audit::record(transaction, &*self.clock, event).await?)
        })
        .await
    }

    /// Ends the sessions of whoever asks; gives those that this ended.
    async fn revoke_sessions(&self, by: Identity, current: bool, address: Option<IpAddr>) -> Outcome<Vec<SessionId>> {
        transact(&self.db, &*self.clock, async |transaction| {
            let kept = Some(by.session).filter(|_| !current);
            let ended = sessions::revoke_all(transaction, by.user, kept, "revoked", self.clock.now()).await?;
            let event = audit::Event {
                kind: audit::Kind::SessionsRevoked,
                user: Some(by.user),
                session: Some(by.session),
                address,
                detail: json!({ "count": ended.len(), "current": current }),
            };
            audit::record(transaction, &*self.clock, event).await?;
            Ok(ended)
        })
        .await
    }
}

/// The id that a page ended with.
///
/// # Errors
/// `request.invalid` for a cursor that is not ours.
pub(super) fn before<T: std::str::FromStr>(cursor: &str) -> Outcome<T> {
    cursor.parse().map_err(|_| Refusal::invalid("cursor", "must be one that a page gave").into())
}

impl Run for ListSessions {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Page<view::Session>> {
        app.auth.sessions_of(caller.identity()?, self.cursor.as_deref(), check::limit(self.limit)?).await
    }
}

impl Run for RevokeSession {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<()> {
        let by = caller.identity()?;
        app.auth.revoke_session(by, self.session_id, caller.address).await?;
        close(app, by.user, self.session_id);
        Ok(())
    }
}

impl Run for LogoutAll {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::SessionsEnded> {
        let by = caller.identity()?;
        let ended = app.auth.revoke_sessions(by, self.include_current, caller.address).await?;
        ended.iter().for_each(|session| close(app, by.user, *session));
        Ok(view::SessionsEnded { ended: ended.len() })
    }
}

impl Run for Validate {
    async fn run(self, app: &App, _: &Caller) -> Outcome<view::Validated> {
        let checked = async {
            let identity = app.auth.tokens.verify(&self.access_token, app.clock.now())?;
            app.sessions.check(identity).await.map(|()| identity)
        };
        match checked.await {
            Ok(Identity { user, session, expires_at }) => Ok(view::Validated {
                valid: true,
                reason: None,
                user_id: Some(user),
                session_id: Some(session),
                expires_at: Some(expires_at),
            }),
            Err(Error::Refused(refusal)) => {
                Ok(view::Validated { reason: Some(refusal.code.as_str()), ..view::Validated::default() })
            }
            Err(fault) => Err(fault),
        }
    }
}
