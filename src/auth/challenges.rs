//! What somebody was asked and has still to answer, named by a token that only they hold: opened, tried, used once.
//! Never what the question is: its purpose says how long it stands and how often it may be tried.

use actors::clock::Clock;
use actors::protocol::{ErrorCode, Fault, Outcome};
use actors::retry::transact;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::{Db, Timestamp, UserId, challenge};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, Set, TryInsertResult};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Rows that one statement deletes.
const SWEPT_AT_ONCE: u64 = 500;
/// How long one that is over is kept, so that whoever comes late hears that it is over.
const KEPT: Duration = Duration::from_secs(86_400);

/// What a challenge is for. One for one purpose does not serve another.
pub struct Purpose {
    /// As the row names it.
    pub name: &'static str,
    /// How long it stands.
    pub ttl: Duration,
    /// How often it may be tried.
    pub tries: i32,
}

/// One that was found, and a try of it counted.
#[derive(Debug)]
pub struct Open {
    /// Whom it concerns.
    pub user: Option<UserId>,
    detail: String,
    id_hash: Vec<u8>,
}

impl Open {
    /// What was noted when it was opened.
    ///
    /// # Errors
    /// A fault: it is not what this purpose notes.
    pub fn detail<T: DeserializeOwned>(&self) -> Outcome<T> {
        Ok(serde_json::from_str(&self.detail).map_err(Fault::new)?)
    }
}

/// Opens one; gives the token that names it, which is stored nowhere.
///
/// # Errors
/// A fault of the database.
pub async fn open(
    transaction: &impl ConnectionTrait,
    clock: &dyn Clock,
    purpose: &Purpose,
    user: Option<UserId>,
    detail: &impl Serialize,
) -> Outcome<String> {
    let now = clock.now();
    let token = URL_SAFE_NO_PAD.encode(clock.random::<32>());
    let row = challenge::ActiveModel {
        id_hash: Set(hash(&token)),
        purpose: Set(purpose.name.to_owned()),
        user_id: Set(user),
        detail: Set(serde_json::to_string(detail).map_err(Fault::new)?),
        tries: Set(0),
        created_at: Set(now),
        expires_at: Set(now.plus(purpose.ttl)),
        used_at: Set(None),
    };
    challenge::Entity::insert(row).exec_without_returning(transaction).await?;
    Ok(token)
}

/// Finds one by its token, and counts a try, before anybody looks at the answer: so no two count as one.
///
/// # Errors
/// `auth.challenge_expired` for one that is over, used, for something else, or never was; `auth.challenge_exhausted`
/// after too many tries; a fault of the database.
pub async fn attempt(db: &Db, clock: &dyn Clock, purpose: &Purpose, token: &str) -> Outcome<Open> {
    let id_hash = hash(token);
    let now = clock.now();
    let columns = &challenge::COLUMN;
    let open = columns.id_hash.eq(id_hash.clone()).and(columns.purpose.eq(purpose.name));
    let open = open.and(columns.used_at.is_null()).and(columns.expires_at.gt(now));
    let counted = transact(db, clock, async |transaction| {
        let counting = challenge::Entity::update_many()
            .col_expr(challenge::Column::Tries, columns.tries.add(1))
            .filter(open.clone().and(columns.tries.lt(purpose.tries)));
        if let Some(row) = counting.exec_with_returning(transaction).await?.into_iter().next() {
            return Ok(Ok(row));
        }
        let exhausted = challenge::Entity::find().filter(open.clone()).one(transaction).await?.is_some();
        Ok(Err(if exhausted { ErrorCode::AuthChallengeExhausted } else { ErrorCode::AuthChallengeExpired }))
    });
    let row = counted.await??;
    Ok(Open { user: row.user_id, detail: row.detail, id_hash: row.id_hash })
}

/// Uses it up, in the transaction of what it was for.
///
/// # Errors
/// `auth.challenge_expired` if somebody was faster; a fault of the database.
pub async fn consume(transaction: &impl ConnectionTrait, clock: &dyn Clock, open: &Open) -> Outcome<()> {
    let used = challenge::ActiveModel { used_at: Set(Some(clock.now())), ..challenge::ActiveModel::default() };
    let unused = challenge::COLUMN.id_hash.eq(open.id_hash.clone()).and(challenge::COLUMN.used_at.is_null());
    let updated = challenge::Entity::update_many().set(used).filter(unused).exec(transaction).await?;
    if updated.rows_affected == 0 {
        return Err(ErrorCode::AuthChallengeExpired.into());
    }
    Ok(())
}

/// Notes that something which comes from outside was taken, by the hash that names it; it is taken once while it is good.
///
/// # Errors
/// `auth.challenge_expired` if it was taken before; a fault of the database.
pub async fn take_once(
    transaction: &impl ConnectionTrait,
    clock: &dyn Clock,
    purpose: &str,
    name: &str,
    until: Timestamp,
) -> Outcome<()> {
    let now = clock.now();
    let row = challenge::ActiveModel {
        id_hash: Set(of_taken(purpose, name)),
        purpose: Set(purpose.to_owned()),
        user_id: Set(None),
        detail: Set("{}".to_owned()),
        tries: Set(1),
        created_at: Set(now),
        expires_at: Set(until),
        used_at: Set(Some(now)),
    };
    let inserting = challenge::Entity::insert(row).on_conflict_do_nothing_on([challenge::Column::IdHash]);
    match inserting.exec_without_returning(transaction).await? {
        TryInsertResult::Inserted(1) => Ok(()),
        _ => Err(ErrorCode::AuthChallengeExpired.into()),
    }
}

/// Whether that was taken (see `take_once`).
///
/// # Errors
/// Those of the database.
pub async fn was_taken(db: &impl ConnectionTrait, purpose: &str, name: &str) -> Result<bool, DbErr> {
    Ok(challenge::by_hash(&of_taken(purpose, name), purpose).one(db).await?.is_some())
}

fn of_taken(purpose: &str, name: &str) -> Vec<u8> {
    hash(&format!("{purpose} {name}"))
}

/// Uses up all that a user has of one purpose, in the transaction of what made them void.
///
/// # Errors
/// Those of the database.
pub async fn close_all(
    transaction: &impl ConnectionTrait,
    clock: &dyn Clock,
    purpose: &Purpose,
    user: UserId,
) -> Result<(), DbErr> {
    let used = challenge::ActiveModel { used_at: Set(Some(clock.now())), ..challenge::ActiveModel::default() };
    let columns = &challenge::COLUMN;
    let open = columns.user_id.eq(user).and(columns.purpose.eq(purpose.name)).and(columns.used_at.is_null());
    challenge::Entity::update_many().set(used).filter(open).exec(transaction).await?;
    Ok(())
}

/// Deletes those that are long over; tells how many.
///
/// # Errors
/// Those of the database.
pub async fn sweep(db: &Db, clock: &dyn Clock) -> Result<u64, DbErr> {
    use sea_orm::QuerySelect;
    let mut swept = 0;
    loop {
        let old: Vec<Vec<u8>> = challenge::Entity::find()
            .select_only()
            .column(challenge::Column::IdHash)
            .filter(challenge::COLUMN.expires_at.lt(clock.now().minus(KEPT)))
            .limit(SWEPT_AT_ONCE)
            .into_tuple()
            .all(db.read())
            .await?;
        let full = old.len() as u64 == SWEPT_AT_ONCE;
        if !old.is_empty() {
            let delete = challenge::Entity::delete_many().filter(challenge::Column::IdHash.is_in(old));
            swept += db.heard(delete.exec(db.write())).await?.rows_affected;
        }
        if !full {
            return Ok(swept);
        }
    }
}

/// What a row names a token by. Thirty-two random bytes need no key and no salt.
pub fn hash(token: &str) -> Vec<u8> {
    digest(&SHA256, token.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch, code};
    use futures_util::future::join_all;

    const RIDDLE: Purpose = Purpose { name: "riddle", ttl: Duration::from_secs(60), tries: 3 };
    const OTHER: Purpose = Purpose { name: "other", ..RIDDLE };

    #[actix_web::test]
    async fn a_challenge_is_good_once_for_its_purpose_and_in_its_time() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let (db, user) = (&scratch.db, (&*clock as &dyn Clock).user_id());
            let token = open(db.write(), &*clock, &RIDDLE, Some(user), &["what"]).await.unwrap();
            assert_eq!(code(attempt(db, &*clock, &OTHER, &token).await), Some(ErrorCode::AuthChallengeExpired));
            assert_eq!(code(attempt(db, &*clock, &RIDDLE, "x").await), Some(ErrorCode::AuthChallengeExpired));
            let found = attempt(db, &*clock, &RIDDLE, &token).await.unwrap();
            assert_eq!((found.user, found.detail::<Vec<String>>().unwrap()), (Some(user), vec!["what".to_owned()]));
            consume(db.write(), &*clock, &found).await.unwrap();
            assert_eq!(code(consume(db.write(), &*clock, &found).await), Some(ErrorCode::AuthChallengeExpired));
            assert_eq!(code(attempt(db, &*clock, &RIDDLE, &token).await), Some(ErrorCode::AuthChallengeExpired));

            let late = open(db.write(), &*clock, &RIDDLE, None, &()).await.unwrap();
            clock.advance(RIDDLE.ttl);
            assert_eq!(code(attempt(db, &*clock, &RIDDLE, &late).await), Some(ErrorCode::AuthChallengeExpired));
            assert_eq!(sweep(db, &*clock).await.unwrap(), 0);
            clock.advance(KEPT + RIDDLE.ttl);
            assert_eq!(sweep(db, &*clock).await.unwrap(), 2);
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn tries_are_counted_even_at_once() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let token = open(scratch.db.write(), &*clock, &RIDDLE, None, &()).await.unwrap();
            let tries = join_all((0..9).map(|_| attempt(&scratch.db, &*clock, &RIDDLE, &token))).await;
            assert_eq!(tries.iter().filter(|one| one.is_ok()).count(), 3);
            let refused = tries.into_iter().filter_map(code);
            assert!(refused.into_iter().all(|code| code == ErrorCode::AuthChallengeExhausted));
            scratch.drop().await;
        }
    }
}
