//! Refresh tokens: each is spent once for its successor, and what it means when one comes again.
//! Never an access token (see `tokens`), and never a token at rest: rows hold SHA-256 hashes.
//!
//! # Why a spent token may come again
//! Phones lose answers. Until a successor has been used, nobody is known to hold one, so within the grace the spent
//! token gives a sibling. Of siblings one alone may be used: two that both live would be two holders of one session,
//! and a thief could stay for ever. After `SIBLINGS` of them nobody is losing answers: whoever asks on is refused, so
//! that a family's rows stay few, whoever asks for them.

use super::{audit, sessions};
use crate::config;
use actors::clock::Clock;
use actors::protocol::{ErrorCode, Outcome};
use actors::retry::transact;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::{Db, SessionId, Timestamp, UserId, refresh_token, session};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Set,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long rows stay after their token is over.
const KEPT: Duration = Duration::from_secs(86_400);
/// Rows that one statement deletes.
const SWEPT_AT_ONCE: u64 = 500;

/// How many successors one token gives at most.
const SIBLINGS: usize = 16;

/// Gives refresh tokens, and takes them back.
pub struct Refresh {
    db: Db,
    clock: Arc<dyn Clock>,
    ttl: Duration,
    grace: Duration,
}

/// What a token that was presented came to.
#[derive(Debug)]
pub enum Spending {
    /// A new one.
    Next {
        /// Whose.
        user: UserId,
        /// Of which session.
        session: SessionId,
        /// The new token.
        token: String,
    },
    /// It was used before, by somebody else perhaps: the session was ended. Whoever called closes its sockets.
    Reused {
        /// Whose.
        user: UserId,
        /// Which session.
        session: SessionId,
    },
}

/// What the rows say about a token that was presented.
#[derive(Debug, Clone, Copy)]
struct Evidence {
    spent_at: Option<Timestamp>,
    expires_at: Timestamp,
    session_ended: bool,
    /// How many were got for it.
    successors: usize,
    /// One of them was used.
    successor_used: bool,
    /// Another one that was got for the same token as it was used.
    sibling_used: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Its time is over, or it gave successors enough.
    Over,
    /// Its session was ended.
    Ended,
    /// Spend it for its successor.
    Spend,
    /// Give another successor.
    Again,
    /// End the session.
    Reused,
}

impl Evidence {
    fn verdict(&self, now: Timestamp, grace: Duration) -> Verdict {
        if self.session_ended {
            return Verdict::Ended;
        }
        if self.expires_at <= now {
            return Verdict::Over;
        }
        match self.spent_at {
            None if self.sibling_used => Verdict::Reused,
            None => Verdict::Spend,
            Some(spent_at) if self.successor_used || now.since(spent_at) > grace => Verdict::Reused,
            Some(_) if self.successors >= SIBLINGS => Verdict::Over,
            Some(_) => Verdict::Again,
        }
    }
}

impl Refresh {
    /// Tokens that live as long as the configuration says.
    pub fn new(db: Db, clock: Arc<dyn Clock>, config: &config::Auth) -> Refresh {
        Refresh { db, clock, ttl: config.refresh_ttl, grace: config.refresh_grace }
    }

    /// How long a token lives.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A session's first token, in the transaction that begins the session.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn first(&self, db: &impl ConnectionTrait, session: SessionId) -> Result<String, DbErr> {
        self.insert(db, session, None).await
    }

    /// Spends a token.
    ///
    /// # Errors
    /// `auth.refresh_invalid` for one that is not ours or is over, `auth.session_revoked` if its session was ended
    /// before.
    pub async fn spend(&self, token: &str, address: Option<IpAddr>) -> Outcome<Spending> {
        let hash = hash(token);
        // Strangers' tokens are told off without a transaction.
        let session = self.session_of(token).await?.ok_or(ErrorCode::AuthRefreshInvalid)?;
        transact(&self.db, &*self.clock, async |transaction| {
            // Whatever happens to a family happens one after the other.
            let family = session::by_id(session).lock_exclusive().one(transaction).await?;
            let family = family.ok_or(ErrorCode::AuthRefreshInvalid)?;
            let now = self.clock.now();
            let evidence = evidence(transaction, &hash, &family).await?.ok_or(ErrorCode::AuthRefreshInvalid)?;
            match evidence.verdict(now, self.grace) {
                Verdict::Over => return Err(ErrorCode::AuthRefreshInvalid.into()),
                Verdict::Ended => return Err(ErrorCode::AuthSessionRevoked.into()),
                Verdict::Reused => {
                    self.end(transaction, &family, address).await?;
                    return Ok(Spending::Reused { user: family.user_id, session });
                }
                Verdict::Spend => {
                    if !spend_once(transaction, &hash, now).await? {
                        return Err(ErrorCode::ServerUnavailable.into());
                    }
                }
                Verdict::Again => {}
            }
            let token = self.insert(transaction, session, Some(hash.clone())).await?;
            sessions::touch(transaction, session, now).await?;
            Ok(Spending::Next { user: family.user_id, session, token })
        })
        .await
    }

    /// Which session a token was given to, if it is one of ours.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn session_of(&self, token: &str) -> Result<Option<SessionId>, DbErr> {
        let row = refresh_token::by_hash(&hash(token)).one(self.db.read()).await?;
        Ok(row.map(|row| row.session_id))
    }

    async fn end(
        &self,
        transaction: &DatabaseTransaction,
        family: &session::Model,
        address: Option<IpAddr>,
    ) -> Result<(), DbErr> {
        sessions::revoke(transaction, family.id, "refresh_reused", self.clock.now()).await?;
        let event = audit::Event {
            user: Some(family.user_id),
            session: Some(family.id),
            address,
            ..audit::Event::of(audit::Kind::RefreshReused)
        };
        audit::record(transaction, &*self.clock, event).await
    }

    async fn insert(
        &self,
        db: &impl ConnectionTrait,
        session: SessionId,
        parent: Option<Vec<u8>>,
    ) -> Result<String, DbErr> {
        let (token, row) = self.mint(session, parent);
        refresh_token::Entity::insert(row).exec_without_returning(db).await?;
        Ok(token)
    }

    /// A new token of 256 random bits, and its row.
    pub fn mint(&self, session: SessionId, parent: Option<Vec<u8>>) -> (String, refresh_token::ActiveModel) {
        let now = self.clock.now();
        let token = URL_SAFE_NO_PAD.encode(self.clock.random::<32>());
        let row = refresh_token::ActiveModel {
            token_hash: Set(hash(&token)),
            session_id: Set(session),
            parent_hash: Set(parent),
            created_at: Set(now),
            expires_at: Set(now.plus(self.ttl)),
            spent_at: Set(None),
        };
        (token, row)
    }

    /// Deletes tokens that have been over for a day; tells how many.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sweep(&self) -> Result<u64, DbErr> {
        let mut swept = 0;
        loop {
            let old: Vec<Vec<u8>> = refresh_token::Entity::find()
                .select_only()
                .column(refresh_token::Column::TokenHash)
                .filter(refresh_token::COLUMN.expires_at.lt(self.clock.now().minus(KEPT)))
                .limit(SWEPT_AT_ONCE)
                .into_tuple()
                .all(self.db.read())
                .await?;
            let full = old.len() as u64 == SWEPT_AT_ONCE;
            if !old.is_empty() {
                let chosen = refresh_token::Column::TokenHash.is_in(old);
                let delete = refresh_token::Entity::delete_many().filter(chosen);
                let deleted = self.db.heard(delete.exec(self.db.write())).await?;
                swept += deleted.rows_affected;
            }
            if !full {
                return Ok(swept);
            }
        }
    }
}

fn hash(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

/// The token, its successors and its siblings.
async fn evidence(db: &impl ConnectionTrait, hash: &[u8], family: &session::Model) -> Result<Option<Evidence>, DbErr> {
    let Some(token) = refresh_token::by_hash(hash).one(db).await? else { return Ok(None) };
    let mut relatives = refresh_token::children_of(hash).all(db).await?;
    let successors = relatives.len();
    if let Some(parent) = &token.parent_hash {
        relatives.extend(refresh_token::children_of(parent).all(db).await?);
    }
    let used = |parent: Option<&[u8]>| {
        let of_parent = |row: &&refresh_token::Model| row.parent_hash.as_deref() == parent && row.token_hash != hash;
        parent.is_some() && relatives.iter().filter(of_parent).any(|row| row.spent_at.is_some())
    };
    Ok(Some(Evidence {
        spent_at: token.spent_at,
        expires_at: token.expires_at,
        session_ended: family.revoked_at.is_some(),
        successors,
        successor_used: used(Some(hash)),
        sibling_used: used(token.parent_hash.as_deref()),
    }))
}

/// The one conditional update that spends a token; tells whether it was this one.
async fn spend_once(db: &impl ConnectionTrait, hash: &[u8], now: Timestamp) -> Result<bool, DbErr> {
    let spent = refresh_token::ActiveModel { spent_at: Set(Some(now)), ..refresh_token::ActiveModel::default() };
    let unspent = refresh_token::COLUMN.token_hash.eq(hash.to_vec()).and(refresh_token::COLUMN.spent_at.is_null());
    Ok(refresh_token::Entity::update_many().set(spent).filter(unspent).exec(db).await?.rows_affected == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};
    use crate::config::Config;
    use entities::audit_event;
    use futures_util::future::join_all;

    const MINUTE: Duration = Duration::from_secs(60);

    struct Setting {
        scratch: Scratch,
        clock: Arc<FakeClock>,
        refresh: Refresh,
        user: UserId,
        session: SessionId,
        first: String,
    }

    async fn each() -> Vec<Setting> {
        let mut all = Vec::new();
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let refresh = Refresh::new(scratch.db.clone(), clock.clone(), &Config::shipped().unwrap().auth);
            let dyn_clock: &dyn Clock = &*clock;
            let (user, session, at) = (dyn_clock.user_id(), dyn_clock.session_id(), clock.now());
            let beginning = sessions::Beginning { session, user, origin: sessions::Origin::default(), at };
            sessions::begin(scratch.db.write(), beginning).await.unwrap();
            let first = refresh.first(scratch.db.write(), session).await.unwrap();
            all.push(Setting { scratch, clock, refresh, user, session, first });
        }
        all
    }

    impl Setting {
        /// The next token, `None` if the session was ended for it, or the refusal.
        async fn spend(&self, token: &str) -> Result<Option<String>, ErrorCode> {
            match self.refresh.spend(token, None).await {
                Ok(Spending::Next { user, session, token }) => {
                    assert_eq!((user, session), (self.user, self.session));
                    Ok(Some(token))
                }
                Ok(Spending::Reused { user, session }) => {
                    assert_eq!((user, session), (self.user, self.session));
                    Ok(None)
                }
                Err(error) => Err(error.code()),
            }
        }

        async fn next(&self, token: &str) -> String {
            self.spend(token).await.unwrap().unwrap()
        }

        async fn is_ended(&self, token: &str) {
            assert_eq!(self.spend(token).await, Err(ErrorCode::AuthSessionRevoked));
            let row = session::by_id(self.session).one(self.scratch.db.read()).await.unwrap().unwrap();
            assert_eq!(row.revoke_reason.as_deref(), Some("refresh_reused"));
            let audited = audit_event::of_user(self.user).all(self.scratch.db.read()).await.unwrap();
            assert_eq!(audited.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["refresh_reused"]);
        }
    }

    #[test]
    fn what_a_presented_token_comes_to() {
        let now = Timestamp::from_millis(1_000_000);
        let fresh = Evidence {
            spent_at: None,
            expires_at: now.plus(MINUTE),
            session_ended: false,
            successors: 0,
            successor_used: false,
            sibling_used: false,
        };
        let spent = |minutes: u32| Evidence { spent_at: Some(now.minus(MINUTE * minutes)), ..fresh };
        for (evidence, verdict) in [
            (fresh, Verdict::Spend),
            (Evidence { sibling_used: true, ..fresh }, Verdict::Reused),
            (Evidence { expires_at: now, ..fresh }, Verdict::Over),
            (Evidence { session_ended: true, ..fresh }, Verdict::Ended),
            (spent(0), Verdict::Again),
            (spent(10), Verdict::Again),
            (spent(11), Verdict::Reused),
            (Evidence { successors: SIBLINGS - 1, ..spent(0) }, Verdict::Again),
            (Evidence { successors: SIBLINGS, ..spent(0) }, Verdict::Over),
            (Evidence { successors: SIBLINGS, successor_used: true, ..spent(0) }, Verdict::Reused),
            (Evidence { successor_used: true, ..spent(0) }, Verdict::Reused),
            (Evidence { session_ended: true, successor_used: true, ..spent(0) }, Verdict::Ended),
            (Evidence { expires_at: now, ..spent(0) }, Verdict::Over),
        ] {
            assert_eq!(evidence.verdict(now, MINUTE * 10), verdict, "{evidence:?}");
        }
    }

    #[actix_web::test]
    async fn an_answer_that_was_lost_is_given_again() {
        for setting in each().await {
            let lost = setting.next(&setting.first).await;
            setting.clock.advance(9 * MINUTE);
            let second = setting.next(&setting.first).await;
            assert_ne!(lost, second);
            let third = setting.next(&second).await;
            setting.next(&third).await;
            // Whoever holds the lost one holds it too many.
            assert_eq!(setting.spend(&lost).await, Ok(None));
            setting.is_ended(&third).await;
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn whoever_asks_on_and_on_is_refused_and_the_last_answer_stays_good() {
        for setting in each().await {
            let mut last = setting.next(&setting.first).await;
            for _ in 1..SIBLINGS {
                last = setting.next(&setting.first).await;
            }
            assert_eq!(setting.spend(&setting.first).await, Err(ErrorCode::AuthRefreshInvalid));
            let rows = refresh_token::of_session(setting.session).all(setting.scratch.db.read()).await.unwrap();
            assert_eq!(rows.len(), SIBLINGS + 1);
            setting.next(&last).await;
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn a_token_that_comes_again_after_its_successor_was_used_ends_the_session() {
        for setting in each().await {
            let second = setting.next(&setting.first).await;
            let third = setting.next(&second).await;
            assert_eq!(setting.spend(&setting.first).await, Ok(None));
            setting.is_ended(&third).await;
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn a_token_that_comes_again_too_late_ends_the_session() {
        for setting in each().await {
            let second = setting.next(&setting.first).await;
            setting.clock.advance(10 * MINUTE + Duration::from_millis(1));
            assert_eq!(setting.spend(&setting.first).await, Ok(None));
            setting.is_ended(&second).await;
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn requests_at_once_get_siblings_of_which_one_may_be_used() {
        for setting in each().await {
            let outcomes = join_all((0..6).map(|_| setting.spend(&setting.first))).await;
            let given: Vec<String> = outcomes.into_iter().map(|outcome| outcome.unwrap().unwrap()).collect();
            let spends = join_all(given.iter().map(|token| setting.spend(token))).await;
            assert_eq!(spends.iter().filter(|spend| matches!(spend, Ok(Some(_)))).count(), 1);
            assert_eq!(spends.iter().filter(|spend| matches!(spend, Ok(None))).count(), 1);
            assert_eq!(spends.iter().filter(|spend| **spend == Err(ErrorCode::AuthSessionRevoked)).count(), 4);
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn what_is_not_ours_or_over_is_refused() {
        for setting in each().await {
            for token in ["", "x", &setting.first[1..]] {
                assert_eq!(setting.spend(token).await, Err(ErrorCode::AuthRefreshInvalid), "{token}");
            }
            let rows = refresh_token::of_session(setting.session).all(setting.scratch.db.read()).await.unwrap();
            assert_eq!(rows.len(), 1);
            assert_ne!(rows[0].token_hash, setting.first.as_bytes());
            setting.clock.advance(Duration::from_secs(60 * 86_400));
            assert_eq!(setting.spend(&setting.first).await, Err(ErrorCode::AuthRefreshInvalid));
            assert_eq!(setting.refresh.sweep().await.unwrap(), 0);
            setting.clock.advance(KEPT + MINUTE);
            assert_eq!(setting.refresh.sweep().await.unwrap(), 1);
            setting.scratch.drop().await;
        }
    }
}
