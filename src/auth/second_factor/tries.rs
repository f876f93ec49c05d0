//! How often somebody may try a code of six digits: five times in a row, then ever more seldom.
//! Never a whole account: where one is being guessed at, its owner gets in elsewhere, or by a backup code.

use actors::clock::Clock;
use actors::protocol::{ErrorCode, Outcome, Refusal};
use aws_lc_rs::hmac;
use entities::{SessionId, Timestamp, UserId, sign_in_delay};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{DatabaseTransaction, DbErr, EntityTrait, QueryFilter, Set};
use std::time::Duration;

/// Tries in a row without a wait.
const FREE: i32 = 5;
/// The first wait; each one after it is twice as long, up to the longest. So 24 tries a day at most, of which one in
/// 300,000 is right: three steps of a million codes count at a time.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// After so long without a try nobody is guessing any more.
const QUIET: Duration = Duration::from_secs(2 * 86_400);

/// Where codes are tried.
///
/// # Why apart
/// Whoever has found a device that is signed in, or knows a password, can use up the tries there. The owner's other
/// sessions have their own, and signing in by a backup code is not counted: there are 2^50 of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the second step of signing in.
    SignIn,
    /// By somebody who has signed in.
    Session(SessionId),
}

impl Place {
    /// What the row is called by.
    pub fn key(self, key: &hmac::Key, user: UserId) -> Vec<u8> {
        let mut name = user.uuid().as_bytes().to_vec();
        if let Place::Session(session) = self {
            name.extend(session.uuid().as_bytes());
        }
        hmac::sign(key, &name).as_ref().to_vec()
    }
}

/// Counts a try, before anybody looks at the code: so no two count as one, on whichever nodes.
///
/// # Errors
/// `auth.second_factor_limited` with the wait; a fault of the database.
pub async fn count(transaction: &DatabaseTransaction, clock: &dyn Clock, key: &[u8]) -> Outcome<()> {
    let now = clock.now();
    let row = sign_in_delay::ActiveModel {
        key_hash: Set(key.to_vec()),
        failures: Set(0),
        last_at: Set(now),
        next_at: Set(now),
    };
    // One statement that makes or locks it: between two, somebody whose code was right could take it away.
    let last_at = Expr::col((sign_in_delay::Entity, sign_in_delay::Column::LastAt));
    let locked =
        OnConflict::column(sign_in_delay::Column::KeyHash).value(sign_in_delay::Column::LastAt, last_at).to_owned();
    let row = sign_in_delay::Entity::insert(row).on_conflict(locked).exec_with_returning(transaction).await?;
    // By the tries, too: one that was counted while this one waited for the row has a later now, and no wait.
    if row.failures >= FREE && row.next_at > now {
        return Err(Refusal::new(ErrorCode::AuthSecondFactorLimited).after(row.next_at.since(now)).into());
    }
    let before = if now.since(row.last_at) >= QUIET { 0 } else { row.failures };
    let failures = before.saturating_add(1);
    let counted = sign_in_delay::ActiveModel {
        failures: Set(failures),
        last_at: Set(now),
        next_at: Set(next_at(failures, now)),
        ..sign_in_delay::ActiveModel::default()
    };
    let this = sign_in_delay::COLUMN.key_hash.eq(key.to_vec());
    sign_in_delay::Entity::update_many().set(counted).filter(this).exec(transaction).await?;
    Ok(())
}

/// Begins anew: a code was right.
///
/// # Errors
/// Those of the database.
pub async fn forget(transaction: &DatabaseTransaction, key: &[u8]) -> Result<(), DbErr> {
    let this = sign_in_delay::COLUMN.key_hash.eq(key.to_vec());
    sign_in_delay::Entity::delete_many().filter(this).exec(transaction).await?;
    Ok(())
}

/// When the next try may be, after so many in a row.
fn next_at(failures: i32, now: Timestamp) -> Timestamp {
    match u32::try_from(failures - FREE) {
        Ok(beyond) => now.plus((FIRST_WAIT * 2_u32.pow(beyond.min(16))).min(LONGEST_WAIT)),
        Err(_) => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};
    use actors::protocol::Error;
    use actors::retry::transact;
    use futures_util::future::join_all;

    /// The wait, if it was refused.
    async fn tries(scratch: &Scratch, clock: &FakeClock, key: &[u8]) -> Option<u64> {
        match transact(&scratch.db, clock, async |transaction| count(transaction, clock, key).await).await {
            Ok(()) => None,
            Err(Error::Refused(refusal)) if refusal.code == ErrorCode::AuthSecondFactorLimited => {
                Some(refusal.retry_after.unwrap().as_secs())
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[actix_web::test]
    async fn whoever_guesses_waits_ever_longer() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            for _ in 0..FREE {
                assert_eq!(tries(&scratch, &clock, b"ann").await, None);
            }
            for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
                assert_eq!(tries(&scratch, &clock, b"ann").await, Some(minutes * 60));
                assert_eq!(tries(&scratch, &clock, b"bob").await, None);
                transact(&scratch.db, &*clock, async |transaction| Ok(forget(transaction, b"bob").await?))
                    .await
                    .unwrap();
                clock.advance(Duration::from_secs(minutes * 60));
                assert_eq!(tries(&scratch, &clock, b"ann").await, None);
            }
            clock.advance(QUIET);
            for _ in 0..FREE {
                assert_eq!(tries(&scratch, &clock, b"ann").await, None);
            }
            assert!(tries(&scratch, &clock, b"ann").await.is_some());
            transact(&scratch.db, &*clock, async |transaction| Ok(forget(transaction, b"ann").await?)).await.unwrap();
            assert_eq!(tries(&scratch, &clock, b"ann").await, None);
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn tries_at_once_are_all_counted() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let tried = join_all((0..20).map(|_| tries(&scratch, &clock, b"ann"))).await;
            assert_eq!(tried.iter().filter(|wait| wait.is_none()).count(), 5);
            scratch.drop().await;
        }
    }

    #[test]
    fn places_are_counted_apart() {
        let clock: &dyn Clock = &*FakeClock::new();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
        let (ann, bob, one) = (clock.user_id(), clock.user_id(), Place::Session(clock.session_id()));
        let other = Place::Session(clock.session_id());
        let keys = [
            Place::SignIn.key(&key, ann),
            Place::SignIn.key(&key, bob),
            one.key(&key, ann),
            other.key(&key, ann),
            one.key(&key, bob),
        ];
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), keys.len());
    }
}
