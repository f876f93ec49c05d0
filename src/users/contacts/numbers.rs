//! The numbers that somebody asked for: kept as keyed hashes, and counted by the day.
//! Never a number itself, and never whether somebody has it.
//!
//! # Why a budget
//! Whoever could ask for every number would learn who of a whole country is here. Syncs, searches and the notice that
//! somebody has joined draw on one budget, which is counted in rows under the owner's lock: so it holds over all nodes.

use super::{Contacts, owner};
use actors::protocol::{ErrorCode, Outcome, Refusal};
use actors::retry::transact;
use actors::sql::Table;
use aws_lc_rs::hmac;
use entities::db::parameter;
use entities::{Timestamp, UserId, contact, contact_number, user};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Set,
};
use std::collections::HashMap;
use std::time::Duration;

/// A day of the budget.
const DAY: Duration = Duration::from_secs(86_400);

/// How long a number that stands in no address book is remembered: so long it is free to ask for it again.
const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// Rows that one statement deletes.
const SWEPT_AT_ONCE: u64 = 500;

/// A number's keyed hash.
pub(super) type Hash = Vec<u8>;

/// One number that is asked for.
pub(super) struct Wanted {
    pub hash: Hash,
    /// Whether it is to stand in the owner's address book from now on.
    pub listed: bool,
    /// What the owner calls whoever has it.
    pub sealed_name: Option<Vec<u8>>,
}

impl Contacts {
    /// What is kept of a number.
    pub(super) fn hash(&self, number: &str) -> Hash {
        hmac::sign(&self.key, number.as_bytes()).as_ref().to_vec()
    }

    /// Counts one number that is searched for.
    pub(super) async fn ask(&self, by: UserId, number: &str) -> Outcome<()> {
        let hash = self.hash(number);
        transact(&self.db, &*self.clock, async |transaction| {
            let owner = owner(transaction, by).await?;
            let wanted = vec![Wanted { hash: hash.clone(), listed: false, sealed_name: None }];
            self.note(transaction, &owner, wanted).await.map(drop)
        })
        .await
    }

    /// Notes what a locked owner asks for, if the numbers that are new fit into the budget: all or none. Gives how many
    /// new ones may still be asked for.
    pub(super) async fn note(
        &self,
        transaction: &DatabaseTransaction,
        owner: &user::Model,
        wanted: Vec<Wanted>,
    ) -> Outcome<u32> {
        let known = known(transaction, owner.id, &wanted).await?;
        let new = wanted.iter().filter(|wanted| !known.contains_key(&wanted.hash)).count() as u32;
        let left = self.left(transaction, owner).await?;
        if new > left {
            return Err(self.spent(transaction, owner, new, left).await?.into());
        }
        let mut rows = Table::new(6);
        let changes = |wanted: &Wanted| wanted.listed || !known.contains_key(&wanted.hash);
        for wanted in wanted.into_iter().filter(changes) {
            rows.push([
                owner.id.into(),
                wanted.hash.into(),
                wanted.listed.into(),
                wanted.sealed_name.into(),
                owner.user_rev.into(),
                self.clock.now().into(),
            ]);
        }
        rows.insert(transaction, &[""; 6], |values| {
            format!(
                "INSERT INTO contact_numbers (owner_id, number_hash, listed, sealed_name, listed_rev, first_at) \
                 VALUES {values} ON CONFLICT (owner_id, number_hash) DO UPDATE SET listed = excluded.listed, \
                 sealed_name = excluded.sealed_name, listed_rev = excluded.listed_rev"
            )
        })
        .await?;
        Ok(left - new)
    }

    /// After which moment numbers count, and how many may be asked for after it.
    fn window(&self, owner: &user::Model) -> (Timestamp, u32) {
        let (now, second_day) = (self.clock.now(), owner.created_at.plus(DAY));
        match now < second_day {
            true => (Timestamp::EPOCH, self.limits.numbers_first_day),
            // What was asked for on the first day was that day's.
            false => (std::cmp::max(now.minus(DAY), second_day.plus_millis(-1)), self.limits.numbers_per_day),
        }
    }

    async fn left(&self, transaction: &DatabaseTransaction, owner: &user::Model) -> Result<u32, DbErr> {
        let (since, most) = self.window(owner);
        let asked = contact_number::asked_after(owner.id, since).count(transaction).await?;
        Ok(most.saturating_sub(u32::try_from(asked).unwrap_or(u32::MAX)))
    }

    /// The refusal of more than is left: with when all of it would fit, if it ever does.
    async fn spent(
        &self,
        transaction: &DatabaseTransaction,
        owner: &user::Model,
        new: u32,
        left: u32,
    ) -> Result<Refusal, DbErr> {
        let refusal = Refusal::new(ErrorCode::ContactsBudget).saying(format!(
            "{new} new numbers were asked for, and {left} may be: {}",
            ErrorCode::ContactsBudget.sentence()
        ));
        let (since, most) = self.window(owner);
        let now = self.clock.now();
        let wait = if since == Timestamp::EPOCH {
            (new <= self.limits.numbers_per_day).then(|| owner.created_at.plus(DAY).since(now))
        } else if new <= most {
            // As many as are too many have to be a day old.
            let asked = contact_number::asked_after(owner.id, since).order_by_asc(contact_number::Column::FirstAt);
            let oldest = asked.offset(u64::from(new - left - 1)).limit(1).one(transaction).await?;
            oldest.map(|row| row.first_at.plus(DAY).since(now))
        } else {
            None
        };
        Ok(match wait {
            Some(wait) => refusal.after(wait),
            None => refusal,
        })
    }

    /// Takes the numbers out of an address book that were listed last below this `user_rev`; those of them that are to
    /// stand in it come in again, in the same transaction.
    pub(super) async fn unlist(
        &self,
        transaction: &DatabaseTransaction,
        owner: UserId,
        below: i64,
    ) -> Result<(), DbErr> {
        let out = contact_number::ActiveModel {
            listed: Set(false),
            sealed_name: Set(None),
            ..contact_number::ActiveModel::default()
        };
        let listed = contact_number::COLUMN.owner_id.eq(owner).and(contact_number::COLUMN.listed.eq(true));
        let before = contact_number::COLUMN.listed_rev.lt(below);
        contact_number::Entity::update_many().set(out).filter(listed.and(before)).exec(transaction).await?;
        Ok(())
    }

    /// Forgets numbers that stand in no address book and were asked for long ago; tells how many.
    pub(super) async fn sweep(&self) -> Result<u64, DbErr> {
        let before = self.clock.now().minus(REMEMBERED);
        let backend = self.db.backend();
        let moment = parameter(backend, 1, "bigint");
        let sql = format!(
            "DELETE FROM contact_numbers WHERE (owner_id, number_hash) IN (SELECT owner_id, number_hash \
             FROM contact_numbers WHERE NOT listed AND first_at < {moment} ORDER BY first_at LIMIT {SWEPT_AT_ONCE})"
        );
        let mut swept = 0;
        loop {
            let delete = backend.statement(sql.clone(), [before.into()]);
            let deleted = self.db.heard(self.db.write().execute_raw(delete)).await?.rows_affected();
            swept += deleted;
            if deleted < SWEPT_AT_ONCE {
                return Ok(swept);
            }
        }
    }

    /// Refuses numbers beyond what an address book may have. Of a list that comes in parts, the numbers since it began
    /// count, and what they are to replace is there beside them until its last part.
    pub(super) async fn check_listed(
        &self,
        transaction: &DatabaseTransaction,
        owner: UserId,
        unfinished: Option<i64>,
    ) -> Outcome<()> {
        let (listed, most) = (contact_number::listed_by(owner), self.limits.most);
        let all = listed.clone().count(transaction).await? as usize;
        let fits = match unfinished {
            None => all <= most,
            Some(began) => {
                let since = listed.filter(contact_number::COLUMN.listed_rev.gte(began));
                since.count(transaction).await? as usize <= most && all <= 2 * most
            }
        };
        if fits { Ok(()) } else { Err(ErrorCode::ContactsFull.into()) }
    }

    /// Refuses an address book of more entries than this, once as many have come and gone.
    pub(super) async fn check_room(
        &self,
        transaction: &DatabaseTransaction,
        owner: UserId,
        most: usize,
        (new, gone): (usize, usize),
    ) -> Outcome<()> {
        let listed = contact::listed_by(owner).count(transaction).await? as usize;
        if (listed + new).saturating_sub(gone) > most {
            return Err(ErrorCode::ContactsFull.into());
        }
        Ok(())
    }
}

/// Which of these the owner has asked for before, and whether they are listed.
async fn known(
    transaction: &DatabaseTransaction,
    owner: UserId,
    wanted: &[Wanted],
) -> Result<HashMap<Hash, bool>, DbErr> {
    let mut keys = Table::new(2);
    wanted.iter().for_each(|wanted| keys.push([owner.into(), wanted.hash.clone().into()]));
    let rows = keys
        .select(transaction, &["uuid", "bytea"], |values| {
            format!(
                "SELECT n.number_hash, n.listed FROM (VALUES {values}) AS k \
                 JOIN contact_numbers AS n ON n.owner_id = k.column1 AND n.number_hash = k.column2"
            )
        })
        .await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}
