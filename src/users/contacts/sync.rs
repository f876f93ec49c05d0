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
//!
//! # Why a list in parts has a number
//! It is its owner's `userRev` when the first part came, and each number keeps the one at which it was listed last. So
//! the last part finds what none of them held, whatever other devices have listed meanwhile, and no node has to remember
//! lists that are never finished.

use super::book::{again, entry, is_out_by_hand};
use super::numbers::{Hash, Wanted};
use super::{Change, Contacts, counters, owner, raise, save};
use crate::auth::sealing::Context;
use crate::auth::{Auth, phone};
use actors::privacy::{Subject, allows, standings};
use actors::protocol::command::{CONTACT_NAME_BYTES, KnownNumber, SyncContacts, SyncMode};
use actors::protocol::view::{Contact, MatchedContact, SyncedContacts};
use actors::protocol::{Fault, Outcome, Refusal};
use actors::retry::transact;
use actors::sql::select_in;
use aws_lc_rs::hmac;
use entities::{UserId, contact, contact_number, user};
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

/// What a list is of all that its sender knows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Some more.
    Some,
    /// A part of all that is followed by another, with the list's number unless it is the first.
    More(Option<i64>),
    /// All, or the last part of it.
    Last(Option<i64>),
}

impl Part {
    fn of(command: &SyncContacts) -> Part {
        match (command.mode, command.more) {
            (SyncMode::Merge, _) => Part::Some,
            (SyncMode::Replace, true) => Part::More(command.sync_id),
            (SyncMode::Replace, false) => Part::Last(command.sync_id),
        }
    }
}

/// How an address book is to be after a sync.
#[derive(Default)]
struct Book {
    matched: Vec<MatchedContact>,
    changed: Vec<contact::Model>,
    /// How many come into it.
    new: usize,
}

impl Contacts {
    /// `users.syncContacts`.
    ///
    /// # Errors
    /// `request.invalid`, `contacts.budget`, `contacts.full`; a fault of the database.
    pub async fn sync(&self, by: UserId, command: SyncContacts) -> Outcome<(SyncedContacts, Change)> {
        let part = Part::of(&command);
        let (auth, key) = (self.auth.clone(), self.key.clone());
        // Two thousand numbers take longer than a thread of requests may be held.
        let read = tokio::task::spawn_blocking(move || read(&auth, &key, by, command));
        let list = read.await.map_err(Fault::new)??;
        let (budget_left, sync_id) = transact(&self.db, &*self.clock, async |transaction| {
            let mut owner = owner(transaction, by).await?;
            let unfinished = self.begin(transaction, &mut owner, part).await?;
            let left = self.note(transaction, &owner, list.numbers.iter().map(wanted).collect()).await?;
            self.check_listed(transaction, by, unfinished).await?;
            Ok((left, unfinished))
        })
        .await?;
        let bring_in = async |transaction: &_| self.bring_in(transaction, by, &list, part).await;
        let (matched, change) = transact(&self.db, &*self.clock, bring_in).await?;
        let unmatched = (list.numbers.len() - matched.len()) as u32;
        Ok((SyncedContacts { matched, unmatched, invalid: list.invalid, budget_left, sync_id }, change))
    }

    /// Takes out the numbers that are to be replaced, once no other part is to follow. Gives the number of a list that is
    /// not finished yet.
    async fn begin(
        &self,
        transaction: &DatabaseTransaction,
        owner: &mut user::Model,
        part: Part,
    ) -> Outcome<Option<i64>> {
        if let Part::More(Some(began)) | Part::Last(Some(began)) = part
            && !(1..=owner.user_rev).contains(&began)
        {
            return Err(Refusal::invalid("syncId", "is not one that a sync gave").into());
        }
        match part {
            Part::Some => Ok(None),
            Part::More(Some(began)) => Ok(Some(began)),
            Part::More(None) => {
                counters::raise(transaction, owner, 1).await?;
                owner.user_rev += 1;
                Ok(Some(owner.user_rev))
            }
            Part::Last(began) => {
                self.unlist(transaction, owner.id, began.unwrap_or(i64::MAX)).await?;
                Ok(None)
            }
        }
    }

    /// Makes the address book what the numbers say.
    async fn bring_in(
        &self,
        transaction: &DatabaseTransaction,
        by: UserId,
        list: &List,
        part: Part,
    ) -> Outcome<(Vec<MatchedContact>, Change)> {
        let owner = owner(transaction, by).await?;
        let listed = listed(transaction, by).await?;
        let numbers = list.numbers.iter().filter(|number| listed.contains(&number.hash));
        let numbers: HashMap<&str, &Number> = numbers.map(|number| (number.phone.as_str(), number)).collect();
        let holders = holders(transaction, numbers.keys().copied()).await?;
        let found = findable(transaction, by, holders).await?;
        let book = contact::of_owner(by);
        let book = match part {
            Part::Last(_) => book,
            Part::Some | Part::More(_) => book.filter(contact::Column::UserId.is_in(found.keys().copied())),
        };
        let book = book.all(transaction).await?;
        let gone = match part {
            Part::Last(_) => self.gone(transaction, by, &listed, &found, &book).await?,
            Part::Some | Part::More(_) => Vec::new(),
        };
        let book: HashMap<UserId, contact::Model> = book.into_iter().map(|row| (row.user_id, row)).collect();
        let Book { mut matched, mut changed, new } = self.book(by, &book, &found, &numbers);
        // What is to be replaced by a list in parts stands beside it until the last of them.
        let most = if matches!(part, Part::More(_)) { 2 * self.limits.most } else { self.limits.most };
        if new > 0 || matches!(part, Part::Last(Some(_))) {
            self.check_room(transaction, by, most, (new, gone.len())).await?;
        }
        let change = Change::of(changed.len() + gone.len(), new + gone.len());
        // They may come back, as they were.
        changed.extend(gone.into_iter().map(|row| contact::Model { name: None, removed: true, ..row }));
        raise(transaction, &*self.clock, &owner, changed.len(), change).await?;
        let revs = owner.user_rev + 1..;
        save(transaction, changed.into_iter().zip(revs).map(|(row, user_rev)| contact::Model { user_rev, ..row }))
            .await?;
        matched.sort_unstable_by_key(|matched| matched.index);
        Ok((matched, change))
    }

    /// The entries of those who were found, as they are to be.
    fn book(
        &self,
        by: UserId,
        book: &HashMap<UserId, contact::Model>,
        found: &BTreeMap<UserId, String>,
        numbers: &HashMap<&str, &Number>,
    ) -> Book {
        let mut to_be = Book::default();
        for (id, phone) in found {
            let Some(number) = numbers.get(phone.as_str()) else { continue };
            let row = book.get(id);
            if row.is_some_and(is_out_by_hand) {
                continue;
            }
            let was = row.filter(|row| !row.removed && !row.suggested);
            let row = match was {
                Some(row) if row.by_number => contact::Model { name: number.name.clone(), ..row.clone() },
                // What was done by hand stays.
                Some(row) => row.clone(),
                None => {
                    to_be.new += 1;
                    let row = again(row, || entry(by, *id, self.clock.now()));
                    contact::Model { name: number.name.clone(), by_number: true, ..row }
                }
            };
            to_be.matched.push(MatchedContact { index: number.index, contact: Contact::from_row(&row) });
            if was != Some(&row) {
                to_be.changed.push(row);
            }
        }
        to_be
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
        let there = phones_of(transaction, &ids).await?;
        let without: HashSet<UserId> = there.iter().filter(|(_, phone)| phone.is_none()).map(|(id, _)| *id).collect();
        let with = there.into_iter().filter_map(|(id, phone)| Some((id, phone?)));
        let findable = findable(transaction, by, with.collect()).await?;
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

/// Who has these numbers, with the number of each.
async fn holders<'a>(
    transaction: &DatabaseTransaction,
    phones: impl Iterator<Item = &'a str>,
) -> Result<Vec<(UserId, String)>, DbErr> {
    let phones: Vec<&str> = phones.collect();
    let rows = select_in(transaction, &phones, "text", |list| {
        format!("SELECT id, phone FROM users WHERE phone IN ({list}) AND left_at IS NULL")
    })
    .await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// These people's numbers, if they have one.
async fn phones_of(
    transaction: &DatabaseTransaction,
    users: &[UserId],
) -> Result<Vec<(UserId, Option<String>)>, DbErr> {
    let rows =
        select_in(transaction, users, "uuid", |list| format!("SELECT id, phone FROM users WHERE id IN ({list})"))
            .await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// Those who let themselves be found by their number by somebody, with it, in the order of their ids.
async fn findable(
    transaction: &DatabaseTransaction,
    by: UserId,
    holders: Vec<(UserId, String)>,
) -> Result<BTreeMap<UserId, String>, DbErr> {
    let pairs: Vec<(UserId, UserId)> = holders.iter().map(|(id, _)| (by, *id)).filter(|(by, id)| by != id).collect();
    let standings = standings(transaction, &pairs).await?;
    let lets = |(id, _): &(UserId, String)| {
        let standing = standings.get(&(by, *id));
        standing.is_some_and(|(relation, privacy)| allows(privacy, Subject::FoundByNumber, *relation))
    };
    Ok(holders.into_iter().filter(lets).collect())
}
