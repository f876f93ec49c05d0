//! What becomes of the numbers that somebody's devices know.
//! Never a word of who has which number, where its holder does not let themselves be found by it.
//!
//! # Why in two transactions
//! The first notes the numbers, the second looks who has them. Whoever gets one of these numbers meanwhile has been
//! committed before the second looks, or looks themselves after the first was committed (`joining`): nobody is missed.
//!
//! # Why by what is listed, and not by what was sent
//! Two devices may sync at once. The second transaction adds and takes out by the rows that the last first one has left,
//! so the two end as if one had come after the other.

use super::book::{entry, tombstone};
use super::numbers::{Hash, Wanted};
use super::{Contacts, owner, raise, save};
use crate::auth::sealing::Context;
use crate::auth::{Auth, phone};
use actors::privacy::{Relations, Subject, allows};
use actors::protocol::command::{CONTACT_NAME_BYTES, KnownNumber, SyncContacts, SyncMode};
use actors::protocol::view::{Contact, MatchedContact, SyncedContacts};
use actors::protocol::{Fault, Outcome, Refusal};
use actors::retry::transact;
use actors::sql::select_in;
use aws_lc_rs::hmac;
use entities::{Privacy, UserId, contact, contact_number, user};
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, QueryFilter, QuerySelect};
use std::collections::{BTreeMap, HashMap, HashSet};

/// One number of a list, in its normal form.
struct Number {
    index: u32,
    phone: String,
    hash: Hash,
    name: Option<String>,
    sealed_name: Option<Vec<u8>>,
}

/// What a list holds.
#[derive(Default)]
struct List {
    /// Each once.
    numbers: Vec<Number>,
    invalid: Vec<u32>,
}

/// Somebody who has one of the numbers.
struct Holder {
    id: UserId,
    phone: String,
    privacy: Privacy,
}

impl Contacts {
    /// `users.syncContacts`.
    ///
    /// # Errors
    /// `request.invalid`, `contacts.budget`, `contacts.full`; a fault of the database.
    pub async fn sync(&self, by: UserId, command: SyncContacts) -> Outcome<SyncedContacts> {
        let mode = command.mode;
        let (auth, key) = (self.auth.clone(), self.key.clone());
        // Two thousand numbers take longer than a thread of requests may be held.
        let read = tokio::task::spawn_blocking(move || read(&auth, &key, by, command));
        let list = read.await.map_err(Fault::new)??;
        let budget_left = transact(&self.db, &*self.clock, async |transaction| {
            let owner = owner(transaction, by).await?;
            if mode == SyncMode::Replace {
                self.unlist(transaction, by).await?;
            }
            let left = self.note(transaction, &owner, list.numbers.iter().map(wanted).collect()).await?;
            self.check_listed(transaction, by).await?;
            Ok(left)
        })
        .await?;
        let matched =
            transact(&self.db, &*self.clock, async |transaction| self.bring_in(transaction, by, &list, mode).await)
                .await?;
        let unmatched = (list.numbers.len() - matched.len()) as u32;
        Ok(SyncedContacts { matched, unmatched, invalid: list.invalid, budget_left })
    }

    /// Makes the address book what the numbers say.
    async fn bring_in(
        &self,
        transaction: &DatabaseTransaction,
        by: UserId,
        list: &List,
        mode: SyncMode,
    ) -> Outcome<Vec<MatchedContact>> {
        let owner = owner(transaction, by).await?;
        let listed = listed(transaction, by).await?;
        let numbers = list.numbers.iter().filter(|number| listed.contains(&number.hash));
        let numbers: HashMap<&str, &Number> = numbers.map(|number| (number.phone.as_str(), number)).collect();
        let holders = holders(transaction, numbers.keys().copied()).await?;
        let found = findable(transaction, by, holders).await?;
        let book = contact::of_owner(by);
        let book = match mode {
            SyncMode::Replace => book,
            SyncMode::Merge => book.filter(contact::Column::UserId.is_in(found.keys().copied())),
        };
        let book = book.all(transaction).await?;
        let gone = match mode {
            SyncMode::Replace => self.gone(transaction, by, &listed, &found, &book).await?,
            SyncMode::Merge => Vec::new(),
        };
        let book: HashMap<UserId, contact::Model> = book.into_iter().map(|row| (row.user_id, row)).collect();
        let mut matched = Vec::with_capacity(found.len());
        let mut changed: Vec<contact::Model> = gone.into_iter().map(|row| tombstone(row, 0)).collect();
        let mut new = 0;
        for (id, phone) in &found {
            let Some(number) = numbers.get(phone.as_str()) else { continue };
            let was = book.get(id).filter(|row| !row.removed && !row.suggested);
            let row = match was {
                Some(row) if row.by_number => contact::Model { name: number.name.clone(), ..row.clone() },
                // What was done by hand stays.
                Some(row) => row.clone(),
                None => {
                    new += 1;
                    let now = self.clock.now();
                    contact::Model { name: number.name.clone(), by_number: true, ..entry(by, *id, now) }
                }
            };
            matched.push(MatchedContact { index: number.index, contact: Contact::from_row(&row) });
            if was != Some(&row) {
                changed.push(row);
            }
        }
        if new > 0 {
            self.check_room(transaction, by, new).await?;
        }
        raise(transaction, &*self.clock, &owner, changed.len()).await?;
        let revs = owner.user_rev + 1..;
        save(transaction, changed.into_iter().zip(revs).map(|(row, user_rev)| contact::Model { user_rev, ..row }))
            .await?;
        matched.sort_unstable_by_key(|matched| matched.index);
        Ok(matched)
    }

    /// Whom an earlier sync has brought in, and whose number is not listed any more.
    ///
    /// # Why whoever cannot be found stays
    /// Whether they go out would tell whether the number that they have now is in the list.
    async fn gone(
        &self,
        transaction: &DatabaseTransaction,
        by: UserId,
        listed: &HashSet<Hash>,
        found: &BTreeMap<UserId, String>,
        book: &[contact::Model],
    ) -> Outcome<Vec<contact::Model>> {
        let doubtful = |row: &&contact::Model| {
            row.by_number && !row.removed && !row.suggested && !found.contains_key(&row.user_id)
        };
        let doubtful: Vec<&contact::Model> = book.iter().filter(doubtful).collect();
        let ids: Vec<UserId> = doubtful.iter().map(|row| row.user_id).collect();
        let there = holders_among(transaction, &ids).await?;
        let without: HashSet<UserId> =
            there.iter().filter(|(_, phone, _)| phone.is_none()).map(|(id, ..)| *id).collect();
        let with =
            |(id, phone, privacy): (UserId, Option<String>, Privacy)| Some(Holder { id, phone: phone?, privacy });
        let findable = findable(transaction, by, there.into_iter().filter_map(with).collect()).await?;
        let is_gone = |row: &&contact::Model| {
            without.contains(&row.user_id)
                || findable.get(&row.user_id).is_some_and(|phone| !listed.contains(&self.hash(phone)))
        };
        Ok(doubtful.into_iter().filter(is_gone).cloned().collect())
    }
}

/// Reads a list: numbers in their normal form, with their hashes, and names sealed.
fn read(auth: &Auth, key: &hmac::Key, by: UserId, command: SyncContacts) -> Outcome<List> {
    let region = command.region.as_deref().map(|region| {
        phone::region(region).ok_or_else(|| Refusal::invalid("region", "is no country that has phone numbers"))
    });
    let region = region.transpose()?;
    let mut list = List::default();
    let mut seen = HashSet::new();
    for (index, KnownNumber { phone_number, name }) in (0..).zip(command.contacts) {
        let Some(phone) = phone::from_address_book(&phone_number, region) else {
            list.invalid.push(index);
            continue;
        };
        if !seen.insert(phone.clone()) {
            continue;
        }
        let hash = hmac::sign(key, phone.as_bytes()).as_ref().to_vec();
        let name = name.as_deref().and_then(shown);
        let seal = |name: &String| auth.ring.seal(&place(by), name.as_bytes());
        let sealed_name = name.as_ref().map(seal).transpose()?;
        list.numbers.push(Number { index, phone, hash, name, sealed_name });
    }
    Ok(list)
}

/// Where a name rests, as the key ring says it.
pub(super) fn place(owner: UserId) -> Context<'static> {
    Context::ContactName(owner)
}

/// A name as an address book has it: one line, cut to what a name may be.
fn shown(name: &str) -> Option<String> {
    let line: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = line.trim();
    let cut = line.floor_char_boundary(CONTACT_NAME_BYTES.min(line.len()));
    Some(line[..cut].trim_end().to_owned()).filter(|name| !name.is_empty())
}

fn wanted(number: &Number) -> Wanted {
    Wanted { hash: number.hash.clone(), listed: true, sealed_name: number.sealed_name.clone() }
}

/// The numbers that stand in somebody's address book.
async fn listed(transaction: &DatabaseTransaction, by: UserId) -> Result<HashSet<Hash>, DbErr> {
    let rows = contact_number::listed_by(by).select_only().column(contact_number::Column::NumberHash);
    Ok(rows.into_tuple::<Hash>().all(transaction).await?.into_iter().collect())
}

/// Who has these numbers.
async fn holders<'a>(
    transaction: &DatabaseTransaction,
    phones: impl Iterator<Item = &'a str>,
) -> Result<Vec<Holder>, DbErr> {
    let phones: Vec<&str> = phones.collect();
    let rows = select_in(transaction, &phones, "text", |list| {
        format!("SELECT id, phone, privacy FROM users WHERE phone IN ({list}) AND left_at IS NULL")
    })
    .await?;
    let holder = |row: sea_orm::QueryResult| {
        Ok(Holder { id: row.try_get_by_index(0)?, phone: row.try_get_by_index(1)?, privacy: row.try_get_by_index(2)? })
    };
    rows.into_iter().map(holder).collect()
}

/// These people's numbers, if they have one, and their privacy.
async fn holders_among(
    transaction: &DatabaseTransaction,
    users: &[UserId],
) -> Result<Vec<(UserId, Option<String>, Privacy)>, DbErr> {
    let rows = user::among(users.iter().copied()).select_only();
    let rows = rows.columns([user::Column::Id, user::Column::Phone, user::Column::Privacy]);
    rows.into_tuple().all(transaction).await
}

/// Those who let themselves be found by their number by somebody, with it, in the order of their ids.
async fn findable(
    transaction: &DatabaseTransaction,
    by: UserId,
    holders: Vec<Holder>,
) -> Result<BTreeMap<UserId, String>, DbErr> {
    let holders: Vec<Holder> = holders.into_iter().filter(|holder| holder.id != by).collect();
    let ids: Vec<UserId> = holders.iter().map(|holder| holder.id).collect();
    let relations = Relations::of(transaction, by, &ids).await?;
    let lets = |holder: &Holder| allows(&holder.privacy, Subject::FoundByNumber, relations.to(holder.id));
    Ok(holders.into_iter().filter(lets).map(|holder| (holder.id, holder.phone)).collect())
}
