//! Telling those who know a number that its holder is here, and the holder of them.
//! Never either of them, where the other does not let themselves be found by their number; and nobody comes into an
//! address book that is full, or out of which they were taken by hand.
//!
//! # Why afterwards
//! A number may stand in very many address books. So whoever gets one only leaves a row behind, in their transaction;
//! those who list the number are told page by page in transactions of their own, by whichever node comes first. What a
//! node was at when it went, another goes on with.

use super::book::{again, entry, is_out_by_hand};
use super::numbers::Hash;
use super::{Change, Contacts, counters, save, sync};
use actors::clock::Clock;
use actors::entry::Entries;
use actors::privacy::{Relation, Subject, allows, audience_changed};
use actors::protocol::Outcome;
use actors::retry::transact;
use actors::sql::select_in;
use entities::{UserId, arrival, block, contact, contact_number, user};
use sea_orm::sea_query::{LockType, OnConflict};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, IntoActiveModel, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, Set,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

/// Owners told in one transaction.
const PAGE: u64 = 500;
/// Arrivals looked at together.
const ARRIVALS: u64 = 100;
/// How often a node looks for arrivals that another has left behind.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How often numbers that stand in no address book are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Notes that somebody has a number from now on, in the transaction that gives it to them. Whoever calls it says so to
/// `Contacts::look_for_arrivals` after the commit.
///
/// # Errors
/// Those of the database.
pub async fn joined(transaction: &impl ConnectionTrait, clock: &dyn Clock, user: UserId) -> Result<(), DbErr> {
    let row = arrival::Model { user_id: user, since: clock.now(), told: None };
    let anew = OnConflict::column(arrival::Column::UserId)
        .update_columns([arrival::Column::Since, arrival::Column::Told])
        .to_owned();
    arrival::Entity::insert(row.into_active_model()).on_conflict(anew).exec_without_returning(transaction).await?;
    Ok(())
}

/// Somebody who lists the number.
struct Lister {
    id: UserId,
    sealed_name: Option<Vec<u8>>,
}

impl Contacts {
    /// Somebody has come: those who know their number are told soon.
    pub fn look_for_arrivals(&self) {
        self.arrived.notify_one();
    }

    /// Tells of everybody who comes, and forgets what is remembered no longer. One task of each node; never ends.
    pub async fn welcome(&self, entries: &Entries) {
        let mut swept_at = self.clock.now();
        loop {
            if let Err(error) = self.tell_all(entries).await {
                tracing::warn!(%error, "those who know somebody's number could not be told that they are here");
            }
            if self.clock.now().since(swept_at) >= FORGET_EVERY {
                swept_at = self.clock.now();
                match self.sweep().await {
                    Ok(rows) => tracing::debug!(rows, "forgot numbers that stand in no address book"),
                    Err(error) => tracing::warn!(%error, "numbers in no address book could not be forgotten"),
                }
            }
            tokio::select! {
                () = self.arrived.notified() => {}
                () = self.clock.sleep(SWEEP_EVERY) => {}
            }
        }
    }

    async fn tell_all(&self, entries: &Entries) -> Outcome<()> {
        loop {
            let arrivals = arrival::oldest_first().limit(ARRIVALS).all(self.db.read()).await?;
            let mut left = false;
            for arrival in &arrivals {
                while let Some(told) = self.tell_page(arrival.user_id).await? {
                    left = true;
                    for user in told {
                        let change = if user == arrival.user_id { Change::Entries } else { Change::Members };
                        super::tell(entries, user, change);
                    }
                }
            }
            if !left || (arrivals.len() as u64) < ARRIVALS {
                return Ok(());
            }
        }
    }

    /// Tells the next of those who list the number of somebody who has come. Gives whose rows have changed; none where
    /// nothing was left to do here.
    pub(super) async fn tell_page(&self, newcomer: UserId) -> Outcome<Option<Vec<UserId>>> {
        transact(&self.db, &*self.clock, async |transaction| {
            let Some(arrival) = arrival::of(newcomer).one(transaction).await? else { return Ok(None) };
            let row = user::by_id(newcomer).one(transaction).await?.filter(|row| row.left_at.is_none());
            let phone = row.and_then(|row| row.phone);
            let listers = match &phone {
                Some(phone) => listers(transaction, &self.hash(phone), arrival.told).await?,
                None => Vec::new(),
            };
            // Accounts before the arrival, as whoever takes another number does.
            let ids = listers.iter().map(|lister| lister.id).chain([newcomer]);
            let accounts = counters::lock(transaction, ids).await?;
            let accounts: HashMap<UserId, user::Model> = accounts.into_iter().map(|row| (row.id, row)).collect();
            let is_same = accounts.get(&newcomer).and_then(|row| row.phone.as_ref()) == phone.as_ref();
            let now = arrival::of(newcomer).lock(LockType::Update).one(transaction).await?;
            if !is_same || now.as_ref() != Some(&arrival) {
                // Another node was faster, or they have another number by now.
                return Ok(Some(Vec::new()));
            }
            let Some(last) = listers.last().map(|lister| lister.id) else {
                arrival::Entity::delete_by_id(newcomer).exec(transaction).await?;
                return Ok(Some(Vec::new()));
            };
            let changed = self.acquaint(transaction, newcomer, &listers, &accounts).await?;
            let told = arrival::ActiveModel { told: Set(Some(last)), ..arrival::ActiveModel::default() };
            let this = arrival::COLUMN.user_id.eq(newcomer);
            arrival::Entity::update_many().set(told).filter(this).exec(transaction).await?;
            Ok(Some(changed))
        })
        .await
    }

    /// Puts a newcomer into the address books of those who list them, and proposes these to the newcomer.
    async fn acquaint(
        &self,
        transaction: &DatabaseTransaction,
        newcomer: UserId,
        listers: &[Lister],
        accounts: &HashMap<UserId, user::Model>,
    ) -> Outcome<Vec<UserId>> {
        let Some(new) = accounts.get(&newcomer) else { return Ok(Vec::new()) };
        let ids: Vec<UserId> = listers.iter().map(|lister| lister.id).filter(|id| *id != newcomer).collect();
        let known = Known::of(transaction, newcomer, &ids).await?;
        let full = full(transaction, &ids, self.limits.most).await?;
        let proposals = contact::suggested_to(newcomer).count(transaction).await? as usize;
        let room = self.limits.most.saturating_sub(proposals) as i64;
        let now = self.clock.now();
        let (mut rows, mut proposed, mut told) = (Vec::new(), 0, Vec::new());
        for lister in listers {
            let Some(account) = accounts.get(&lister.id).filter(|_| lister.id != newcomer) else { continue };
            let was = known.of_others.get(&lister.id);
            let mut listed = known.lists(&known.of_others, lister.id);
            let welcome = !listed && !full.contains(&lister.id) && !was.is_some_and(is_out_by_hand);
            if welcome && allows(&new.privacy, Subject::FoundByNumber, known.seen_by(lister.id)) {
                let name = self.name(lister).await?;
                let user_rev = account.user_rev + 1;
                let row = again(was, || entry(lister.id, newcomer, now));
                rows.push(contact::Model { name, by_number: true, user_rev, ..row });
                listed = true;
                told.push(lister.id);
            }
            let seen_as = match known.blocked.contains(&lister.id) {
                true => Relation::Blocked,
                false if listed => Relation::Contact,
                false => Relation::Stranger,
            };
            // Whom the newcomer has in their address book, or has taken off the list, is not proposed.
            let is_new = proposed < room && !known.of_newcomer.contains_key(&lister.id);
            if is_new && allows(&account.privacy, Subject::FoundByNumber, seen_as) {
                proposed += 1;
                let user_rev = new.user_rev + proposed;
                rows.push(contact::Model { suggested: true, user_rev, ..entry(newcomer, lister.id, now) });
            }
        }
        save(transaction, rows).await?;
        raise_all(transaction, &told).await?;
        audience_changed(transaction, now, &told).await?;
        counters::raise(transaction, new, proposed as usize).await?;
        if proposed > 0 {
            told.push(newcomer);
        }
        Ok(told)
    }

    /// What a lister calls whoever has the number.
    async fn name(&self, lister: &Lister) -> Outcome<Option<String>> {
        let Some(sealed) = &lister.sealed_name else { return Ok(None) };
        // A name that does not open any more is no reason to tell nobody.
        self.auth.ring.unseal_text(&sync::place(lister.id), sealed).await
    }
}

/// The next page of those who list a number, in the order of their ids.
async fn listers(transaction: &DatabaseTransaction, hash: &Hash, after: Option<UserId>) -> Result<Vec<Lister>, DbErr> {
    let mut query = contact_number::listing(hash).order_by_asc(contact_number::Column::OwnerId).limit(PAGE);
    if let Some(after) = after {
        query = query.filter(contact_number::COLUMN.owner_id.gt(after));
    }
    let rows = query.all(transaction).await?;
    Ok(rows.into_iter().map(|row| Lister { id: row.owner_id, sealed_name: row.sealed_name }).collect())
}

/// One more for each of these, who are locked.
async fn raise_all(transaction: &DatabaseTransaction, users: &[UserId]) -> Result<(), DbErr> {
    if !users.is_empty() {
        user::Entity::update_many()
            .col_expr(user::Column::UserRev, user::COLUMN.user_rev.add(1))
            .filter(user::Column::Id.is_in(users.iter().copied()))
            .exec(transaction)
            .await?;
    }
    Ok(())
}

/// Those of these owners who have as many in their address books as there may be.
async fn full(transaction: &DatabaseTransaction, owners: &[UserId], most: usize) -> Result<HashSet<UserId>, DbErr> {
    let rows = select_in(transaction, owners, "uuid", |list| {
        format!(
            "SELECT owner_id FROM contacts WHERE owner_id IN ({list}) AND NOT removed AND NOT suggested \
             GROUP BY owner_id HAVING COUNT(*) >= {most}"
        )
    })
    .await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// How a newcomer and those who list them stand to each other already.
struct Known {
    /// The newcomer's own entries, also tombstones.
    of_newcomer: BTreeMap<UserId, contact::Model>,
    /// The others' entries of the newcomer, by their owners.
    of_others: BTreeMap<UserId, contact::Model>,
    blocked: HashSet<UserId>,
}

impl Known {
    async fn of(transaction: &DatabaseTransaction, newcomer: UserId, others: &[UserId]) -> Result<Known, DbErr> {
        let columns = &contact::COLUMN;
        let others_is = |column: contact::Column| column.is_in(others.iter().copied());
        let own = columns.owner_id.eq(newcomer).and(others_is(contact::Column::UserId));
        let theirs = columns.user_id.eq(newcomer).and(others_is(contact::Column::OwnerId));
        let own = contact::Entity::find().filter(own).all(transaction).await?;
        let theirs = contact::Entity::find().filter(theirs).all(transaction).await?;
        let blocks = block::between(newcomer, others).all(transaction).await?;
        let other = |row: block::Model| if row.owner_id == newcomer { row.user_id } else { row.owner_id };
        Ok(Known {
            of_newcomer: own.into_iter().map(|row| (row.user_id, row)).collect(),
            of_others: theirs.into_iter().map(|row| (row.owner_id, row)).collect(),
            blocked: blocks.into_iter().map(other).collect(),
        })
    }

    fn lists(&self, entries: &BTreeMap<UserId, contact::Model>, who: UserId) -> bool {
        entries.get(&who).is_some_and(|row| !row.removed && !row.suggested)
    }

    /// How somebody stands to the newcomer.
    fn seen_by(&self, who: UserId) -> Relation {
        match self.blocked.contains(&who) {
            true => Relation::Blocked,
            false if self.lists(&self.of_newcomer, who) => Relation::Contact,
            false => Relation::Stranger,
        }
    }
}
