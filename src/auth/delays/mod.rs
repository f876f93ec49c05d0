//! How long whoever signs in in vain has to wait before the next try.
//! Never locks an account, and never keeps a name, a number or an address: only their keyed hash.
//!
//! # Why these keys
//! A lock on the account is a weapon: three wrong passwords keep its owner out. A lock on the address is none at all:
//! who attacks has many. So wrong tries are counted
//! - for what was tried, from places that are new to the account: all strangers together are slow, however many;
//! - for what was tried from one place that is known, one from which a session of the account was begun: the owner at
//!   home waits for nobody's tries but their own. A wrong one there counts as a stranger's, too (see `login`);
//! - for the address, whatever is tried from it: who tries one password with a thousand names is slow too.
//!
//! Passwords that somebody sets are counted too, for them alone: each is as much work as a try.
//!
//! What is tried is the name, number or address as it is typed, whether or not it is somebody's: no delay tells a known
//! one from an unknown one, nor that a name and a number are one account's. It costs nobody a session to wait: a
//! one-time code signs in meanwhile.
//!
//! # Why a try counts before it is looked at
//! Tries at once would all find that nothing was wrong yet. So a try is written down as a wrong one, in a transaction
//! that others wait for, and only then is a hash computed; if it was right that is taken back. A refused try computes
//! nothing and writes nothing.
//!
//! # Why a bucket that leaks
//! Every longest delay that passes takes one failure away. So in the long run nobody tries more often than once in a
//! longest delay, whatever pauses they make, and who mistypes a password now and then never notices.

mod pace;

use crate::config;
use crate::network::Network;
use actors::clock::Clock;
use actors::protocol::{ErrorCode, Outcome, Refusal};
use actors::retry::transact;
use aws_lc_rs::hmac;
use entities::db::{key_of, lock_key};
use entities::{Db, SessionId, Timestamp, sign_in_delay};
use pace::{Count, Pace};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, QueryFilter, Set};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Rows that one statement deletes.
const SWEPT_AT_ONCE: u64 = 500;
/// Rows are kept at least this long: second factors count their tries among them.
const KEPT: Duration = Duration::from_secs(2 * 86_400);

/// What a try is counted for.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// A name, number or e-mail address, from places that are new to its account.
    Identifier(&'a str),
    /// The same, from one place that is known.
    Place(&'a str, IpAddr),
    /// A session whose user is to show again who they are.
    Session(SessionId),
    /// A user or a verification by which a password is set: each time counts, also if it was set.
    Setting(&'a str),
    /// Whatever comes from an address.
    Address(IpAddr),
}

/// Counts wrong tries.
pub struct Delays {
    db: Db,
    clock: Arc<dyn Clock>,
    key: hmac::Key,
    accounts: Pace,
    addresses: Pace,
}

/// A try that is written down as a wrong one.
#[derive(Debug)]
pub struct Reserved {
    /// Those that are forgotten if it was right.
    own: Vec<Vec<u8>>,
    /// Those from which it alone is then taken back: others use them too.
    shared: Vec<Vec<u8>>,
    /// Whether it makes the next one wait longer.
    pub is_step: bool,
}

/// One of the keys, with its row's name and its pace.
struct Counted {
    hash: Vec<u8>,
    pace: Pace,
}

impl Delays {
    /// Under this key, with these limits.
    pub fn new(db: Db, clock: Arc<dyn Clock>, key: [u8; 32], config: &config::Auth) -> Delays {
        Delays {
            db,
            clock,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            accounts: Pace { free: config.free_tries, longest: config.longest_delay },
            addresses: Pace { free: config.free_tries_per_address, longest: config.longest_delay_per_address },
        }
    }

    /// Whether a try would be looked at now. Writes nothing.
    ///
    /// # Errors
    /// `auth.too_many_tries`, with the time to wait; a fault of the database.
    pub async fn check(&self, keys: &[Key<'_>]) -> Outcome<()> {
        let counted = self.counted(keys);
        let counts = counts(self.db.read(), &counted).await?;
        refuse_early(&counts, self.clock.now())
    }

    /// Writes a try down, as a wrong one; no two at once both find that there is no delay yet.
    ///
    /// # Errors
    /// `auth.too_many_tries`, with the time to wait: then nothing was written; a fault of the database.
    pub async fn reserve(&self, keys: &[Key<'_>]) -> Outcome<Reserved> {
        let counted = self.counted(keys);
        let is_step = transact(&self.db, &*self.clock, async |transaction| {
            lock(transaction, &counted).await?;
            let now = self.clock.now();
            let counts = counts(transaction, &counted).await?;
            refuse_early(&counts, now)?;
            self.write(transaction, &counted, &counts, now).await
        })
        .await?;
        let hashes = |shared: bool| {
            let chosen = keys.iter().zip(&counted).filter(move |(key, _)| matches!(key, Key::Address(_)) == shared);
            chosen.map(|(_, counted)| counted.hash.clone()).collect()
        };
        Ok(Reserved { own: hashes(false), shared: hashes(true), is_step })
    }

    /// Counts a try that was wrong, also if none should have been made.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn count(&self, keys: &[Key<'_>]) -> Outcome<()> {
        let counted = self.counted(keys);
        let counting = transact(&self.db, &*self.clock, async |transaction| {
            lock(transaction, &counted).await?;
            let counts = counts(transaction, &counted).await?;
            self.write(transaction, &counted, &counts, self.clock.now()).await
        });
        counting.await.map(drop)
    }

    /// The try was right: what was wrong before it is forgotten, as far as it was the same one's. In the transaction of
    /// what it was for.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn clear(&self, transaction: &impl ConnectionTrait, reserved: &Reserved) -> Result<(), DbErr> {
        forget(transaction, reserved.own.clone()).await?;
        if reserved.shared.is_empty() {
            return Ok(());
        }
        let columns = &sign_in_delay::COLUMN;
        sign_in_delay::Entity::update_many()
            .col_expr(sign_in_delay::Column::Failures, columns.failures.sub(1))
            .set(sign_in_delay::ActiveModel { next_at: Set(Count::NONE.next), ..Default::default() })
            .filter(sign_in_delay::Column::KeyHash.is_in(reserved.shared.clone()).and(columns.failures.gt(0)))
            .exec(transaction)
            .await?;
        Ok(())
    }

    /// Forgets what was tried with these: their account is its owner's again, or nobody's any more. In the transaction
    /// of that.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget(&self, transaction: &impl ConnectionTrait, keys: &[Key<'_>]) -> Result<(), DbErr> {
        forget(transaction, keys.iter().map(|key| self.hash(*key)).collect()).await
    }

    /// Deletes what no longer delays anybody; tells how many rows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sweep(&self) -> Result<u64, DbErr> {
        let over = self.clock.now().minus(self.accounts.memory().max(self.addresses.memory()).max(KEPT));
        let mut swept = 0;
        loop {
            let old = sign_in_delay::untouched_since(over, SWEPT_AT_ONCE).all(self.db.read()).await?;
            let full = old.len() as u64 == SWEPT_AT_ONCE;
            if !old.is_empty() {
                // One that was counted on meanwhile stays.
                let chosen = sign_in_delay::Column::KeyHash.is_in(old.into_iter().map(|row| row.key_hash));
                let chosen = chosen.and(sign_in_delay::COLUMN.last_at.lt(over));
                let delete = sign_in_delay::Entity::delete_many().filter(chosen);
                swept += self.db.heard(delete.exec(self.db.write())).await?.rows_affected;
            }
            if !full {
                return Ok(swept);
            }
        }
    }

    fn counted(&self, keys: &[Key<'_>]) -> Vec<Counted> {
        let pace = |key: Key<'_>| if matches!(key, Key::Address(_)) { self.addresses } else { self.accounts };
        keys.iter().map(|key| Counted { hash: self.hash(*key), pace: pace(*key) }).collect()
    }

    fn hash(&self, key: Key<'_>) -> Vec<u8> {
        let text = match key {
            Key::Identifier(identifier) => format!("identifier {identifier}"),
            Key::Place(identifier, address) => format!("place {} {identifier}", Network::of(address)),
            Key::Session(session) => format!("session {session}"),
            Key::Setting(whose) => format!("setting {whose}"),
            Key::Address(address) => format!("address {}", Network::of(address)),
        };
        hmac::sign(&self.key, text.as_bytes()).as_ref().to_vec()
    }

    /// Tells whether any of them makes the next try wait.
    async fn write(
        &self,
        transaction: &DatabaseTransaction,
        counted: &[Counted],
        counts: &[Count],
        now: Timestamp,
    ) -> Outcome<bool> {
        if counted.is_empty() {
            return Ok(false);
        }
        let failed: Vec<Count> = counted.iter().zip(counts).map(|(key, count)| key.pace.failed(*count, now)).collect();
        let rows = counted.iter().zip(&failed).map(|(key, count)| sign_in_delay::ActiveModel {
            key_hash: Set(key.hash.clone()),
            failures: Set(count.failures),
            last_at: Set(count.since),
            next_at: Set(count.next),
        });
        use sign_in_delay::Column::{Failures, KeyHash, LastAt, NextAt};
        let over = OnConflict::column(KeyHash).update_columns([Failures, LastAt, NextAt]).to_owned();
        sign_in_delay::Entity::insert_many(rows).on_conflict(over).exec_without_returning(transaction).await?;
        Ok(failed.iter().any(|count| count.next > now))
    }
}

/// Rows that are not there yet cannot be locked.
async fn lock(transaction: &DatabaseTransaction, counted: &[Counted]) -> Result<(), DbErr> {
    let mut keys: Vec<i64> = counted.iter().map(|counted| key_of(&counted.hash)).collect();
    // In one order, so that no two wait for each other.
    keys.sort_unstable();
    for key in keys {
        lock_key(transaction, key).await?;
    }
    Ok(())
}

/// Deletes the rows of these names.
///
/// # Errors
/// Those of the database.
pub async fn forget(transaction: &impl ConnectionTrait, hashes: Vec<Vec<u8>>) -> Result<(), DbErr> {
    for hashes in hashes.chunks(SWEPT_AT_ONCE as usize) {
        let chosen = sign_in_delay::Column::KeyHash.is_in(hashes.iter().cloned());
        sign_in_delay::Entity::delete_many().filter(chosen).exec(transaction).await?;
    }
    Ok(())
}

/// In the order of the keys; nothing was wrong where there is no row.
async fn counts(db: &impl ConnectionTrait, counted: &[Counted]) -> Result<Vec<Count>, DbErr> {
    let rows = sign_in_delay::among(counted.iter().map(|key| key.hash.clone())).all(db).await?;
    let count = |key: &Counted| {
        let row = rows.iter().find(|row| row.key_hash == key.hash);
        row.map_or(Count::NONE, |row| Count { failures: row.failures, since: row.last_at, next: row.next_at })
    };
    Ok(counted.iter().map(count).collect())
}

fn refuse_early(counts: &[Count], now: Timestamp) -> Outcome<()> {
    let wait = counts.iter().map(|count| count.next.since(now)).max().unwrap_or_default();
    if wait.is_zero() {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::AuthTooManyTries).after(wait).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};
    use crate::config::Config;
    use futures_util::future::join_all;

    const SECOND: Duration = Duration::from_secs(1);
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

    fn delays(scratch: &Scratch, clock: &Arc<FakeClock>) -> Delays {
        let config = Config::shipped().unwrap().auth;
        Delays::new(scratch.db.clone(), clock.clone(), [7; 32], &config)
    }

    /// How long somebody has to wait, who is refused.
    fn wait<T>(outcome: Outcome<T>) -> Option<Duration> {
        match outcome {
            Ok(_) => None,
            Err(actors::protocol::Error::Refused(refusal)) => {
                assert_eq!(refusal.code, ErrorCode::AuthTooManyTries);
                refusal.retry_after
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[actix_web::test]
    async fn tries_at_once_do_not_pass_together() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let delays = delays(&scratch, &clock);
            let keys = [Key::Identifier("ann"), Key::Address(ELSEWHERE)];
            let tries = join_all((0..20).map(|_| delays.reserve(&keys))).await;
            // The sixth is the first whose delay holds up the others.
            assert_eq!(tries.iter().filter(|one| one.is_ok()).count(), 6);
            assert!(tries.into_iter().filter_map(wait).all(|wait| wait == SECOND));
            clock.advance(SECOND);
            let tries = join_all((0..20).map(|_| delays.reserve(&keys))).await;
            assert_eq!(tries.iter().filter(|one| one.is_ok()).count(), 1);
            assert_eq!(wait(delays.check(&keys).await), Some(2 * SECOND));
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn strangers_do_not_delay_whoever_comes_from_a_place_that_is_known() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let delays = delays(&scratch, &clock);
            let strangers = |n: u8| [Key::Identifier("ann"), Key::Address(IpAddr::from([203, 0, 113, n]))];
            for n in 0..100 {
                let _ = delays.reserve(&strangers(n)).await;
            }
            assert!(wait(delays.check(&strangers(200)).await).is_some());
            assert_eq!(wait(delays.check(&[Key::Identifier("bob"), Key::Address(ELSEWHERE)]).await), None);
            let home = [Key::Place("ann", HOME)];
            let reserved = delays.reserve(&home).await.unwrap();
            assert!(!reserved.is_step);
            delays.clear(scratch.db.write(), &reserved).await.unwrap();
            assert!(wait(delays.check(&strangers(200)).await).is_some(), "that was the owner's count alone");
            delays.forget(scratch.db.write(), &[Key::Identifier("ann")]).await.unwrap();
            assert_eq!(wait(delays.check(&strangers(200)).await), None);
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn who_is_right_in_between_does_not_free_an_address() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let delays = delays(&scratch, &clock);
            // Somebody with an account of their own tries those of others: always another one, so that only their
            // address is in the way.
            let mut wrong = 0;
            for n in 0..200 {
                let other = format!("other {n}");
                wrong += i32::from(delays.reserve(&[Key::Identifier(&other), Key::Address(ELSEWHERE)]).await.is_ok());
                if let Ok(own) = delays.reserve(&[Key::Identifier("mallory"), Key::Address(ELSEWHERE)]).await {
                    delays.clear(scratch.db.write(), &own).await.unwrap();
                }
            }
            assert_eq!(wrong, 51);
            scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn what_is_forgiven_is_deleted() {
        for scratch in Scratch::each().await {
            let clock = FakeClock::new();
            let delays = delays(&scratch, &clock);
            let keys = [Key::Identifier("ann"), Key::Address(ELSEWHERE)];
            delays.reserve(&keys).await.unwrap();
            delays.count(&keys).await.unwrap();
            assert_eq!(delays.sweep().await.unwrap(), 0);
            clock.advance(KEPT + SECOND);
            assert_eq!(delays.sweep().await.unwrap(), 2);
            scratch.drop().await;
        }
    }
}
