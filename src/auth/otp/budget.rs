//! How many codes and notices there may be: to one contact and from one network in an hour and a day, to a country and in
//! all in a day. Never what a code is.
//!
//! # Why a contact's budget has shares
//! Anybody may ask for codes to a number, from as many networks as they have, until no more may be sent to it. So each
//! network from which a session of its account was begun has a share of its own that nobody elsewhere uses up: the owner
//! at home still gets a code. An account that is not there has no homes, and is asked for in the same way.

use crate::auth::contact::Contact;
use crate::config;
use crate::network::Network;
use actors::clock::Clock;
use actors::protocol::{ErrorCode, Outcome, Refusal};
use aws_lc_rs::digest::{SHA256, digest};
use entities::db::{key_of, lock_key};
use entities::{Db, Timestamp, otp_count, otp_verification};
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, QueryFilter,
    QueryOrder, QuerySelect, Set,
};
use std::net::IpAddr;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const DAY_MILLIS: i64 = 86_400_000;
/// Days whose counts are kept.
const KEPT_DAYS: i64 = 2;
/// In how many rows the codes of a day are counted on PostgreSQL: whoever counts holds one of them until its
/// transaction has ended, and the others go on beside it.
const SLOTS: i64 = 16;
/// The scope of all texts and calls; countries have two letters.
const ALL: &str = "all";
/// The scope of all letters.
const MAIL: &str = "mail";

/// What notices have for the purpose of a code; no code has it.
pub const NOTICE: &str = "notice";

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A code.
    Code,
    /// A code for nobody. To its contact and network it counts as any; but nothing goes out, so that nothing is taken from
    /// what countries and days have: the same statements add none.
    Decoy,
    /// What has no code. A contact has as many of them as of codes, and not the same ones: whoever asks for all the codes
    /// that somebody may have does not silence what they are to be told, nor do notices take the codes away.
    Notice,
}

/// Every budget of codes and notices.
pub struct Budgets {
    contact: Windows,
    network: Windows,
    country_per_day: i64,
    per_day: i64,
    letters_per_day: i64,
}

/// Whose budgets one code or notice is taken from.
pub struct Claim<'a> {
    item: Item,
    contact: &'a Contact,
    country: Option<&'a str>,
    /// The network, where it is known: an address, or for IPv6 its /64.
    pub network: Option<String>,
    /// Whether the contact's owner has been there.
    is_at_home: bool,
}

impl<'a> Claim<'a> {
    /// A code or a notice to a contact in a country, asked for from an address, where the contact's owner has been or not.
    pub fn new(
        item: Item,
        contact: &'a Contact,
        address: Option<IpAddr>,
        country: Option<&'a str>,
        is_at_home: bool,
    ) -> Claim<'a> {
        Claim { item, contact, country, network: address.map(|address| Network::of(address).to_string()), is_at_home }
    }

    /// The network whose own share of the contact's budget this one is taken from.
    fn home(&self) -> Option<&str> {
        self.network.as_deref().filter(|_| self.is_at_home)
    }
}

/// A row in which a code was counted.
#[derive(Debug)]
pub struct Counted {
    scope: String,
    day: i64,
    slot: i64,
}

impl Budgets {
    /// As they are configured.
    pub fn new(config: &config::Auth) -> Budgets {
        Budgets {
            contact: Windows { per_hour: config.otp_per_hour, per_day: config.otp_per_day },
            network: Windows { per_hour: config.otp_per_address_per_hour, per_day: config.otp_per_address_per_day },
            country_per_day: config.otp_per_country_per_day,
            per_day: config.otp_in_all_per_day,
            letters_per_day: config.otp_by_email_per_day,
        }
    }

    /// Whether the contact and the network may have one more, whose row the transaction then inserts; tells when the one
    /// after that may be had. Whoever claims for the same contact or network at the same time waits.
    ///
    /// # Errors
    /// `auth.otp_budget`; those of the database.
    pub async fn claim(
        &self,
        transaction: &DatabaseTransaction,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Outcome<Duration> {
        let mut next = Duration::ZERO;
        let contact = (otp_verification::Column::Phone, Some(claim.contact.key()), &self.contact);
        let network = (otp_verification::Column::Address, claim.network.as_deref(), &self.network);
        // Always in this order, so that no two wait for each other.
        for (column, value, windows) in [contact, network] {
            let Some(value) = value else { continue };
            lock(transaction, column, value).await?;
            let mut sent = sent(transaction, claim, column.eq(value), windows.per_day, now).await?;
            windows.allow(&sent, now).map_err(refused)?;
            sent.insert(0, now);
            next = next.max(windows.allow(&sent, now).err().unwrap_or_default());
        }
        Ok(next)
    }

    /// Counts one to its country, and among all texts, or all letters, of the day; tells in which rows.
    ///
    /// # Errors
    /// `auth.otp_budget`; those of the database.
    pub async fn count(
        &self,
        transaction: &DatabaseTransaction,
        clock: &dyn Clock,
        claim: &Claim<'_>,
        now: Timestamp,
    ) -> Outcome<Vec<Counted>> {
        let country = claim.country.map(|country| (country, self.country_per_day));
        let all = match claim.contact {
            Contact::Phone(_) => (ALL, self.per_day),
            Contact::Email(_) => (MAIL, self.letters_per_day),
        };
        let count = if claim.item == Item::Decoy { 0 } else { 1 };
        let mut counted = Vec::new();
        for (scope, limit) in country.into_iter().chain([all]).filter(|(_, limit)| *limit > 0) {
            counted.push(add(transaction, clock, count, (scope, limit), now).await?);
        }
        Ok(counted)
    }
}

/// Adds one, or none, to a row of the scope that is not full. The rows' shares of the limit add up to it, so that there
/// are never more, whoever counts at the same time.
async fn add(
    transaction: &DatabaseTransaction,
    clock: &dyn Clock,
    count: i64,
    (scope, limit): (&str, i64),
    now: Timestamp,
) -> Outcome<Counted> {
    let day = now.millis().div_euclid(DAY_MILLIS);
    // SQLite has one writer; and of a small limit the rows would have next to nothing each.
    let spread = transaction.get_database_backend() == sea_orm::DbBackend::Postgres && limit >= SLOTS * SLOTS;
    let slots = if spread { SLOTS } else { 1 };
    let share = |slot: i64| limit / slots + i64::from(slot < limit % slots);
    // Again only if others filled the chosen row between the two statements.
    for _ in 0..=slots {
        let rows = otp_count::of_day(scope, day).all(transaction).await?;
        let sent = |slot: i64| rows.iter().find(|row| row.slot == slot).map_or(0, |row| row.sent);
        let open: Vec<i64> = (0..slots).filter(|slot| sent(*slot) < share(*slot)).collect();
        if open.is_empty() {
            break;
        }
        let slot = open[clock.below(open.len() as u64) as usize];
        let first =
            otp_count::ActiveModel { scope: Set(scope.to_owned()), day: Set(day), slot: Set(slot), sent: Set(count) };
        let mut another =
            OnConflict::columns([otp_count::Column::Scope, otp_count::Column::Day, otp_count::Column::Slot]);
        another
            .value(otp_count::Column::Sent, otp_count::COLUMN.sent.add(count))
            .action_and_where(otp_count::COLUMN.sent.lt(share(slot)));
        let counted = otp_count::Entity::insert(first).on_conflict(another).exec_without_returning(transaction).await?;
        if counted > 0 {
            return Ok(Counted { scope: scope.to_owned(), day, slot });
        }
    }
    let tomorrow = Timestamp::from_millis((day + 1) * DAY_MILLIS);
    Err(refused(tomorrow.since(now)))
}

/// Takes a code out of every budget that did not go out: as if nobody had asked for it.
///
/// # Errors
/// Those of the database.
pub async fn give_back(transaction: &DatabaseTransaction, id: &[u8], counted: &[Counted]) -> Result<(), DbErr> {
    otp_verification::Entity::delete_by_id(id.to_vec()).exec(transaction).await?;
    let columns = &otp_count::COLUMN;
    // In the order in which they were counted, so that no two wait for each other.
    for Counted { scope, day, slot } in counted {
        let row = columns.scope.eq(scope.as_str()).and(columns.day.eq(*day)).and(columns.slot.eq(*slot));
        otp_count::Entity::update_many()
            .col_expr(otp_count::Column::Sent, columns.sent.sub(1))
            .filter(row.and(columns.sent.gt(0)))
            .exec(transaction)
            .await?;
    }
    Ok(())
}

/// Deletes the counts of days that are over; tells how many rows.
///
/// # Errors
/// Those of the database.
pub async fn sweep(db: &Db, now: Timestamp) -> Result<u64, DbErr> {
    let day = now.millis().div_euclid(DAY_MILLIS);
    let old = otp_count::Entity::delete_many().filter(otp_count::COLUMN.day.lt(day - KEPT_DAYS));
    Ok(db.heard(old.exec(db.write())).await?.rows_affected)
}

fn refused(wait: Duration) -> actors::protocol::Error {
    Refusal::new(ErrorCode::AuthOtpBudget).after(wait).into()
}

/// Makes whoever claims for the same one wait until the transaction has ended. Rows that are not there yet cannot be
/// locked.
async fn lock(transaction: &DatabaseTransaction, column: otp_verification::Column, value: &str) -> Result<(), DbErr> {
    let hash = digest(&SHA256, format!("otp {column:?} {value}").as_bytes());
    lock_key(transaction, key_of(hash.as_ref())).await
}

/// When such were sent to, or asked for by, one of these the last day, the newest first: all, or at home those of there.
async fn sent(
    db: &impl ConnectionTrait,
    claim: &Claim<'_>,
    these: Expr,
    most: usize,
    now: Timestamp,
) -> Result<Vec<Timestamp>, DbErr> {
    let columns = &otp_verification::COLUMN;
    let alike = match claim.item {
        Item::Code | Item::Decoy => columns.purpose.ne(NOTICE),
        Item::Notice => columns.purpose.eq(NOTICE),
    };
    let there = claim.home().map(|network| columns.address.eq(network));
    otp_verification::Entity::find()
        .select_only()
        .column(otp_verification::Column::CreatedAt)
        .filter(these.and(alike))
        .filter(columns.created_at.gt(now.minus(DAY)))
        .filter(there.into_iter().fold(Condition::all(), Condition::add))
        .order_by_desc(otp_verification::Column::CreatedAt)
        .limit(most as u64)
        .into_tuple()
        .all(db)
        .await
}

/// How many one of them may have in an hour, and in a day.
struct Windows {
    per_hour: usize,
    per_day: usize,
}

impl Windows {
    /// Whether one more fits beside those sent, the newest first; else how long until it does.
    fn allow(&self, sent: &[Timestamp], now: Timestamp) -> Result<(), Duration> {
        // The one that must be out of the window before another fits.
        let wait = |most: usize, window: Duration| {
            let last = sent.get(most - 1)?;
            let left = last.plus(window).since(now);
            (!left.is_zero()).then_some(left)
        };
        match wait(self.per_hour, HOUR).max(wait(self.per_day, DAY)) {
            Some(left) => Err(left),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn budgets_are_windows_that_slide() {
        let windows = Windows { per_hour: 2, per_day: 3 };
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let now = at(10_000);
        for (sent, expected) in [
            (&[][..], Ok(())),
            (&[9_999][..], Ok(())),
            (&[9_999, 9_950][..], Err(10 * MINUTE)),
            (&[9_999, 9_940][..], Ok(())),
            (&[9_000, 8_999, 8_600][..], Err(40 * MINUTE)),
            (&[9_000, 8_999, 8_560][..], Ok(())),
            (&[9_999, 9_990, 8_600][..], Err(50 * MINUTE)),
        ] {
            let sent: Vec<_> = sent.iter().copied().map(at).collect();
            assert_eq!(windows.allow(&sent, now), expected, "{sent:?}");
        }
    }
}
