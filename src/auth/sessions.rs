//! Sessions: whether one still stands, how one begins and how it ends.
//! Never a token: those name a session, and end with it.

use crate::config;
use crate::network::Network;
use actors::caller::{Caller, Identity};
use actors::clock::Clock;
use actors::protocol::command::Device;
use actors::protocol::{ErrorCode, Outcome};
use entities::{Db, SessionId, Timestamp, UserId, session};
use moka::sync::Cache;
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect, QueryTrait, Set};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer is believed: so long may a session that was ended on another node still act on this one.
const FRESH: Duration = Duration::from_secs(1);
/// Answers that are kept; one has some hundred bytes.
const KEPT: u64 = 100_000;

/// Why a session ended that its user ended by its refresh token.
pub const SIGNED_OUT: &str = "signed_out";

/// Knows whether sessions still stand.
pub struct Sessions {
    db: Db,
    clock: Arc<dyn Clock>,
    fresh: Duration,
    seen: Cache<SessionId, Seen>,
}

#[derive(Clone, Copy)]
struct Seen {
    at: Timestamp,
    /// Whose it is, while it lives, and when they last showed who they are.
    holder: Option<(UserId, Timestamp)>,
}

impl Sessions {
    /// Those of this database.
    pub fn new(db: Db, clock: Arc<dyn Clock>, config: &config::Auth) -> Sessions {
        let seen = Cache::builder().max_capacity(KEPT).time_to_live(2 * FRESH).build();
        Sessions { db, clock, fresh: config.fresh, seen }
    }

    /// Whether whoever signed in may still act: the token is not over, and its session was not ended. By the rows, at
    /// most a second old.
    ///
    /// # Errors
    /// `auth.token_expired`, `auth.session_revoked`; a fault of the database.
    pub async fn check(&self, identity: Identity) -> Outcome<()> {
        let now = self.clock.now();
        if identity.expires_at <= now {
            return Err(ErrorCode::AuthTokenExpired.into());
        }
        let holder = match self.seen.get(&identity.session).filter(|seen| now.since(seen.at) < FRESH) {
            Some(seen) => seen.holder,
            None => self.look(identity.session, now).await?,
        };
        standing(holder, identity).map(drop)
    }

    /// The same, and that they showed who they are not long ago: what somebody may not do who only found the device.
    /// By the rows as they are.
    ///
    /// # Errors
    /// Those of `check`, and `auth.reauthentication_required`.
    pub async fn check_fresh(&self, identity: Identity) -> Outcome<()> {
        let now = self.clock.now();
        if identity.expires_at <= now {
            return Err(ErrorCode::AuthTokenExpired.into());
        }
        let authenticated = standing(self.look(identity.session, now).await?, identity)?;
        if now.since(authenticated) >= self.fresh {
            return Err(ErrorCode::AuthReauthenticationRequired.into());
        }
        Ok(())
    }

    async fn look(&self, session: SessionId, now: Timestamp) -> Result<Option<(UserId, Timestamp)>, DbErr> {
        let row = session::by_id(session).one(self.db.read()).await?.filter(|row| row.revoked_at.is_none());
        let holder = row.map(|row| (row.user_id, row.authenticated_at.unwrap_or(row.created_at)));
        self.seen.insert(session, Seen { at: now, holder });
        Ok(holder)
    }

    /// Asks the rows again at the next check: the session was ended here.
    pub fn forget(&self, session: SessionId) {
        self.seen.invalidate(&session);
    }
}

/// When whoever has the session last showed who they are.
fn standing(holder: Option<(UserId, Timestamp)>, identity: Identity) -> Outcome<Timestamp> {
    match holder {
        Some((user, authenticated)) if user == identity.user => Ok(authenticated),
        _ => Err(ErrorCode::AuthSessionRevoked.into()),
    }
}

/// From where somebody signs in.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The device, as its client says.
    pub device: Device,
    /// The network address.
    pub address: Option<IpAddr>,
    /// What calls, as it says itself.
    pub user_agent: Option<String>,
}

impl Origin {
    /// What is known of a caller, and the device that they name.
    pub fn of(caller: &Caller, device: Option<Device>) -> Origin {
        let user_agent = caller.user_agent.as_deref().map(str::to_owned);
        Origin { device: device.unwrap_or_default(), address: caller.address, user_agent }
    }
}

/// A session that begins.
pub struct Beginning {
    /// Its id.
    pub session: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// From where.
    pub origin: Origin,
    /// When.
    pub at: Timestamp,
}

/// Begins a session.
///
/// # Errors
/// Those of the database.
pub async fn begin(db: &impl ConnectionTrait, beginning: Beginning) -> Result<(), DbErr> {
    session::Entity::insert(row(beginning)).exec_without_returning(db).await?;
    Ok(())
}

/// The row of a session that begins.
pub fn row(beginning: Beginning) -> session::ActiveModel {
    let Beginning { session, user, origin: Origin { device, address, user_agent }, at } = beginning;
    session::ActiveModel {
        id: Set(session),
        user_id: Set(user),
        device_id: Set(device.id),
        device_name: Set(device.name),
        platform: Set(device.platform),
        address: Set(address.map(|address| address.to_string())),
        network: Set(address.map(|address| Network::of(address).to_string())),
        user_agent: Set(user_agent),
        created_at: Set(at),
        last_seen_at: Set(at),
        authenticated_at: Set(None),
        revoked_at: Set(None),
        revoke_reason: Set(None),
    }
}

/// Notes that a session is in use.
///
/// # Errors
/// Those of the database.
pub async fn touch(db: &impl ConnectionTrait, session: SessionId, now: Timestamp) -> Result<(), DbErr> {
    let seen = session::ActiveModel { last_seen_at: Set(now), ..session::ActiveModel::default() };
    session::Entity::update_many().set(seen).filter(session::COLUMN.id.eq(session)).exec(db).await?;
    Ok(())
}

/// Ends a session, once; tells whether this was it. Whoever calls it closes its sockets.
///
/// # Errors
/// Those of the database.
pub async fn revoke(
    db: &impl ConnectionTrait,
    session: SessionId,
    reason: &str,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let ended = session::ActiveModel {
        revoked_at: Set(Some(now)),
        revoke_reason: Set(Some(reason.to_owned())),
        ..session::ActiveModel::default()
    };
    let live = session::COLUMN.id.eq(session).and(session::COLUMN.revoked_at.is_null());
    Ok(session::Entity::update_many().set(ended).filter(live).exec(db).await?.rows_affected > 0)
}

/// Ends the sessions of a user, but the one that is kept; gives those that this ended. Whoever calls it closes their
/// sockets.
///
/// # Errors
/// Those of the database.
pub async fn revoke_all(
    db: &impl ConnectionTrait,
    user: UserId,
    kept: Option<SessionId>,
    reason: &str,
    now: Timestamp,
) -> Result<Vec<SessionId>, DbErr> {
    let ended = session::ActiveModel {
        revoked_at: Set(Some(now)),
        revoke_reason: Set(Some(reason.to_owned())),
        ..session::ActiveModel::default()
    };
    let mut live = session::COLUMN.user_id.eq(user).and(session::COLUMN.revoked_at.is_null());
    if let Some(kept) = kept {
        live = live.and(session::COLUMN.id.ne(kept));
    }
    let rows = session::Entity::update_many().set(ended).filter(live).exec_with_returning(db).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Whether a session of the user was begun in this address's network: one that lives, or that they ended themselves. One
/// that was ended because it may have been a stranger's makes no place known. `user` may be a question of its own, whose
/// they are. As much work for whom nobody knows: a row is the answer either way, since one alone takes a time that tells.
///
/// # Errors
/// Those of the database.
pub async fn is_known_place(db: &impl ConnectionTrait, user: impl Into<Expr>, address: IpAddr) -> Result<bool, DbErr> {
    let columns = &session::COLUMN;
    let own = columns.revoked_at.is_null().or(columns.revoke_reason.eq(SIGNED_OUT));
    let theirs = Expr::col((session::Entity, session::Column::UserId)).eq(user.into());
    let here = theirs.and(columns.network.eq(Network::of(address).to_string()));
    let found = session::Entity::find().select_only().column(session::Column::Id).filter(here.and(own)).into_query();
    let row = db.query_one(Query::select().expr(Expr::exists(found))).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch, code};

    async fn a_session(scratch: &Scratch, clock: &Arc<FakeClock>) -> Identity {
        let clock: &dyn Clock = &**clock;
        let (user, session, at) = (clock.user_id(), clock.session_id(), clock.now());
        let beginning = Beginning { session, user, origin: Origin::default(), at };
        begin(scratch.db.write(), beginning).await.unwrap();
        Identity { user, session, expires_at: at.plus(Duration::from_secs(900)) }
    }

    fn settings() -> config::Auth {
        config::Config::shipped().unwrap().auth
    }

    #[actix_web::test]
    async fn an_ended_session_acts_for_a_second_at_most() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let identity = a_session(&scratch, &clock).await;
            let [here, there] = [(), ()].map(|()| Sessions::new(scratch.db.clone(), clock.clone(), &settings()));
            for node in [&here, &there] {
                assert_eq!(code(node.check(identity).await), None);
            }
            assert!(revoke(scratch.db.write(), identity.session, "test", clock.now()).await.unwrap());
            assert!(!revoke(scratch.db.write(), identity.session, "again", clock.now()).await.unwrap());
            here.forget(identity.session);
            assert_eq!(code(here.check(identity).await), Some(ErrorCode::AuthSessionRevoked));
            assert_eq!(code(there.check(identity).await), None, "what was asked a moment ago is believed");
            clock.advance(FRESH);
            assert_eq!(code(there.check(identity).await), Some(ErrorCode::AuthSessionRevoked));
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn a_session_is_its_owners_alone_and_needs_a_token_that_is_not_over() {
        let scratch = Scratch::sqlite().await;
        let clock = FakeClock::new();
        let sessions = Sessions::new(scratch.db.clone(), clock.clone(), &settings());
        let identity = a_session(&scratch, &clock).await;
        let by_another = Identity { user: (&*clock as &dyn Clock).user_id(), ..identity };
        let of_nobody = Identity { session: (&*clock as &dyn Clock).session_id(), ..identity };
        for who in [by_another, of_nobody] {
            assert_eq!(code(sessions.check(who).await), Some(ErrorCode::AuthSessionRevoked));
        }
        clock.advance(Duration::from_secs(900));
        assert_eq!(code(sessions.check(identity).await), Some(ErrorCode::AuthTokenExpired));
        scratch.drop().await;
    }
}
