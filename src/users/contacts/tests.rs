//! Address books of many at once: long lists, and numbers that very many know.

use super::*;
use crate::auth::testing::{self, FakeClock, Scratch};
use crate::users::testing::a_user;
use actors::protocol::command::{KnownNumber, SyncMode};
use entities::{Timestamp, contact_number};
use sea_orm::{EntityTrait, IntoActiveModel, PaginatorTrait};
use std::collections::BTreeSet;

struct Setting {
    scratch: Scratch,
    clock: Arc<FakeClock>,
    contacts: Contacts,
}

async fn each() -> Vec<Setting> {
    each_with(10_000).await
}

/// With address books of so many at most.
async fn each_with(most: usize) -> Vec<Setting> {
    let mut all = Vec::new();
    for testing::Setting { scratch, clock, auth, config, .. } in testing::Setting::each().await {
        let limits = config::Contacts { most, ..config.contacts.clone() };
        let contacts = Contacts::new(scratch.db.clone(), clock.clone(), auth, &limits);
        all.push(Setting { scratch, clock, contacts });
    }
    all
}

fn number(n: u32) -> String {
    format!("+4915112{n:06}")
}

fn list(numbers: std::ops::Range<u32>, mode: SyncMode) -> SyncContacts {
    let known = |n| KnownNumber { phone_number: number(n), name: Some(format!("number {n}")) };
    SyncContacts { contacts: numbers.map(known).collect(), mode, region: None, more: false, sync_id: None }
}

impl Setting {
    /// An account that is a moment old.
    async fn owner(&self) -> UserId {
        let id = a_user(&self.scratch.db, "Ann").await;
        let made = user::ActiveModel { created_at: sea_orm::Set(self.contacts.clock.now()), ..Default::default() };
        use sea_orm::{ColumnTrait, QueryFilter};
        let update = user::Entity::update_many().set(made).filter(user::COLUMN.id.eq(id));
        update.exec(self.scratch.db.write()).await.unwrap();
        id
    }

    /// People with these numbers.
    async fn people(&self, numbers: std::ops::Range<u32>) -> Vec<UserId> {
        let mut ids = Vec::new();
        for chunk in numbers.collect::<Vec<_>>().chunks(500) {
            let rows: Vec<_> = chunk
                .iter()
                .map(|n| {
                    let id = self.contacts.clock.user_id();
                    ids.push(id);
                    user::Model { phone: Some(number(*n)), ..user::Model::new(id, Timestamp::EPOCH) }
                        .into_active_model()
                })
                .collect();
            user::Entity::insert_many(rows).exec_without_returning(self.scratch.db.write()).await.unwrap();
        }
        ids
    }

    async fn sync(&self, owner: UserId, numbers: std::ops::Range<u32>, mode: SyncMode) -> view::SyncedContacts {
        self.contacts.sync(owner, list(numbers, mode)).await.unwrap().0
    }

    /// A part of a list.
    async fn part(
        &self,
        owner: UserId,
        numbers: std::ops::Range<u32>,
        sync_id: Option<i64>,
        more: bool,
    ) -> Outcome<Option<i64>> {
        let command = SyncContacts { sync_id, more, ..list(numbers, SyncMode::Replace) };
        Ok(self.contacts.sync(owner, command).await?.0.sync_id)
    }

    /// Who is in an address book.
    async fn book(&self, owner: UserId) -> BTreeSet<UserId> {
        let rows = contact::listed_by(owner).all(self.scratch.db.read()).await.unwrap();
        rows.into_iter().map(|row| row.user_id).collect()
    }

    async fn entry(&self, owner: UserId, user: UserId) -> contact::Model {
        contact::of(owner, user).one(self.scratch.db.read()).await.unwrap().unwrap()
    }

    async fn row(&self, user: UserId) -> user::Model {
        user::by_id(user).one(self.scratch.db.read()).await.unwrap().unwrap()
    }
}

#[actix_web::test]
async fn a_list_of_two_thousand_is_one_request() {
    for setting in each().await {
        let owner = setting.owner().await;
        let people = setting.people(0..1_000).await;
        let synced = setting.sync(owner, 0..2_000, SyncMode::Replace).await;
        assert_eq!((synced.matched.len(), synced.unmatched, synced.invalid.len()), (1_000, 1_000, 0));
        assert_eq!(synced.budget_left, 3_000);
        let rows = contact::listed_by(owner).all(setting.scratch.db.read()).await.unwrap();
        assert_eq!(rows.len(), 1_000);
        // Each has a number of its own, so that pages can be cut anywhere.
        let revs: BTreeSet<i64> = rows.iter().map(|row| row.user_rev).collect();
        assert_eq!((revs.len(), revs.last()), (1_000, Some(&setting.row(owner).await.user_rev)));
        // The same again changes nothing.
        setting.sync(owner, 0..2_000, SyncMode::Replace).await;
        assert_eq!(Some(&setting.row(owner).await.user_rev), revs.last());
        // Half of them go.
        let synced = setting.sync(owner, 500..2_000, SyncMode::Replace).await;
        assert_eq!((synced.matched.len(), synced.budget_left), (500, 3_000));
        let left = contact::listed_by(owner).all(setting.scratch.db.read()).await.unwrap();
        let left: BTreeSet<UserId> = left.into_iter().map(|row| row.user_id).collect();
        assert_eq!(left, people[500..].iter().copied().collect());
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn no_number_stands_in_the_rows() {
    for setting in each().await {
        let owner = setting.owner().await;
        setting.sync(owner, 7..8, SyncMode::Merge).await;
        let row = contact_number::of_owner(owner).one(setting.scratch.db.read()).await.unwrap().unwrap();
        let sealed = row.sealed_name.unwrap();
        let plain = String::from_utf8_lossy(&sealed).into_owned() + &String::from_utf8_lossy(&row.number_hash);
        assert!(!plain.contains("number 7") && !plain.contains(&number(7)[1..]));
        assert_eq!(row.number_hash.len(), 32);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_number_that_very_many_know_is_told_page_by_page() {
    const MANY: u32 = 1_100;
    for setting in each().await {
        let db = &setting.scratch.db;
        let hash = setting.contacts.hash(&number(999_999));
        let owners = setting.people(0..MANY).await;
        for chunk in owners.chunks(500) {
            let lists = |owner_id: &UserId| contact_number::Model {
                owner_id: *owner_id,
                number_hash: hash.clone(),
                listed: true,
                sealed_name: None,
                listed_rev: 0,
                first_at: Timestamp::EPOCH,
            };
            let rows: Vec<_> = chunk.iter().map(|owner| lists(owner).into_active_model()).collect();
            contact_number::Entity::insert_many(rows).exec_without_returning(db.write()).await.unwrap();
        }
        let newcomer = setting.people(999_999..1_000_000).await[0];
        joined(db.write(), &*setting.contacts.clock, newcomer).await.unwrap();
        // Two nodes come at once; each page is told by one of them.
        let tells = async || {
            let mut told = Vec::new();
            while let Some(page) = setting.contacts.tell_page(newcomer).await.unwrap() {
                told.extend(page);
            }
            told
        };
        let (one, other) = tokio::join!(tells(), tells());
        let told: Vec<UserId> = one.into_iter().chain(other).filter(|user| *user != newcomer).collect();
        assert_eq!(told.len(), MANY as usize);
        assert_eq!(told.iter().collect::<BTreeSet<_>>(), owners.iter().collect());
        let listed = contact::listing(owners.iter().copied(), newcomer).count(db.read()).await.unwrap();
        let suggested = contact::suggested_to(newcomer).count(db.read()).await.unwrap();
        assert_eq!((listed, suggested), (u64::from(MANY), u64::from(MANY)));
        assert_eq!(setting.row(newcomer).await.user_rev, 1 + i64::from(MANY));
        for owner in [owners[0], owners[1_099]] {
            assert_eq!(setting.row(owner).await.user_rev, 2);
        }
        // Somebody with a number that nobody knows costs two statements more.
        let stranger = setting.people(888_888..888_889).await[0];
        joined(db.write(), &*setting.contacts.clock, stranger).await.unwrap();
        assert_eq!(setting.contacts.tell_page(stranger).await.unwrap(), Some(Vec::new()));
        assert_eq!(setting.contacts.tell_page(stranger).await.unwrap(), None);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn whoever_takes_another_number_is_told_of_by_that_one() {
    for setting in each().await {
        let (db, owner) = (&setting.scratch.db, setting.owner().await);
        setting.sync(owner, 1..3, SyncMode::Merge).await;
        let bob = setting.people(500..501).await[0];
        let takes = async |n: u32| {
            use sea_orm::{ColumnTrait, QueryFilter};
            let phone = user::ActiveModel { phone: sea_orm::Set(Some(number(n))), ..Default::default() };
            let update = user::Entity::update_many().set(phone).filter(user::COLUMN.id.eq(bob));
            update.exec(db.write()).await.unwrap();
            joined(db.write(), &*setting.contacts.clock, bob).await.unwrap();
            while setting.contacts.tell_page(bob).await.unwrap().is_some() {}
        };
        takes(1).await;
        let entry = contact::of(owner, bob).one(db.read()).await.unwrap().unwrap();
        assert_eq!((entry.name.as_deref(), entry.by_number), (Some("number 1"), true));
        // Known by now: nothing new is said of another number, and no proposal comes twice.
        let rev = setting.row(owner).await.user_rev;
        takes(2).await;
        assert_eq!(setting.row(owner).await.user_rev, rev);
        assert_eq!(contact::suggested_to(bob).count(db.read()).await.unwrap(), 1);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_number_in_no_address_book_is_forgotten_after_a_while() {
    for setting in each().await {
        let owner = setting.owner().await;
        setting.sync(owner, 0..700, SyncMode::Replace).await;
        setting.sync(owner, 690..700, SyncMode::Replace).await;
        let known = async || contact_number::of_owner(owner).count(setting.scratch.db.read()).await.unwrap();
        assert_eq!((setting.contacts.sweep().await.unwrap(), known().await), (0, 700));
        setting.clock.advance(std::time::Duration::from_secs(31 * 86_400));
        assert_eq!((setting.contacts.sweep().await.unwrap(), known().await), (690, 10));
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_list_in_parts_replaces_with_its_last_part_alone() {
    for setting in each().await {
        let owner = setting.owner().await;
        let people = setting.people(0..10).await;
        let are = async |ids: &[usize]| {
            assert_eq!(setting.book(owner).await, ids.iter().map(|at| people[*at]).collect());
        };
        setting.sync(owner, 0..4, SyncMode::Replace).await;
        let sync_id = setting.part(owner, 2..4, None, true).await.unwrap();
        assert!(sync_id.is_some());
        are(&[0, 1, 2, 3]).await;
        // A part that is sent again, a number that another device lists, and another list that is never finished.
        for _ in 0..2 {
            assert_eq!(setting.part(owner, 4..6, sync_id, true).await.unwrap(), sync_id);
        }
        setting.sync(owner, 8..9, SyncMode::Merge).await;
        let other = setting.part(owner, 2..3, None, true).await.unwrap();
        assert!(other > sync_id);
        are(&[0, 1, 2, 3, 4, 5, 8]).await;
        assert_eq!(setting.part(owner, 6..8, sync_id, false).await.unwrap(), None);
        are(&[2, 3, 4, 5, 6, 7, 8]).await;
        // The other one goes on: of what this list held only what came since it began stays.
        setting.part(owner, 0..1, other, false).await.unwrap();
        are(&[0, 2, 6, 7]).await;
        let listed: BTreeSet<Vec<u8>> =
            (contact_number::listed_by(owner).all(setting.scratch.db.read()).await.unwrap())
                .into_iter()
                .map(|row| row.number_hash)
                .collect();
        assert_eq!(listed, [0, 2, 6, 7].map(|n| setting.contacts.hash(&number(n))).into());
        let foreign = setting.part(owner, 0..1, Some(1_000), false).await.err().unwrap();
        assert_eq!(foreign.code(), actors::protocol::ErrorCode::RequestInvalid);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_list_that_fits_in_place_of_another_is_taken() {
    for setting in each_with(4).await {
        let owner = setting.owner().await;
        let people = setting.people(0..12).await;
        setting.sync(owner, 0..4, SyncMode::Replace).await;
        setting.sync(owner, 2..6, SyncMode::Replace).await;
        assert_eq!(setting.book(owner).await, people[2..6].iter().copied().collect());
        let sync_id = setting.part(owner, 6..8, None, true).await.unwrap();
        setting.part(owner, 8..10, sync_id, false).await.unwrap();
        assert_eq!(setting.book(owner).await, people[6..10].iter().copied().collect());
        let full = actors::protocol::ErrorCode::ContactsFull;
        let sync_id = setting.part(owner, 0..4, None, true).await.unwrap();
        assert_eq!(setting.part(owner, 4..5, sync_id, true).await.err().unwrap().code(), full);
        let refused = setting.contacts.sync(owner, list(0..5, SyncMode::Replace)).await.err().unwrap();
        assert_eq!(refused.code(), full);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn only_what_a_sync_took_out_comes_back_by_itself_and_as_it_was() {
    for setting in each().await {
        let owner = setting.owner().await;
        let people = setting.people(0..2).await;
        let changes = async |range, mode| setting.contacts.sync(owner, list(range, mode)).await.unwrap().1;
        assert_eq!(changes(0..2, SyncMode::Replace).await, Change::Members);
        assert_eq!(changes(0..2, SyncMode::Replace).await, Change::Nothing);
        let star = RenameContact { user_id: people[0], name: None, favourite: Some(true) };
        assert_eq!(setting.contacts.rename(owner, star).await.unwrap().1, Change::Entries);
        let before = setting.entry(owner, people[0]).await;
        setting.clock.advance(std::time::Duration::from_secs(60));
        assert_eq!(changes(1..2, SyncMode::Replace).await, Change::Members);
        let gone = setting.entry(owner, people[0]).await;
        assert!(gone.removed && !view::Contact::from_row(&gone).favourite);
        assert_eq!(changes(0..2, SyncMode::Replace).await, Change::Members);
        let back = setting.entry(owner, people[0]).await;
        assert_eq!(back, contact::Model { user_rev: back.user_rev, ..before });
        // Whoever was taken out by hand comes back by hand, neither by a list nor by arriving.
        let user_id = people[1];
        assert_eq!(setting.contacts.remove(owner, RemoveContact { user_id }).await.unwrap().1, Change::Members);
        assert_eq!(setting.contacts.remove(owner, RemoveContact { user_id }).await.unwrap().1, Change::Nothing);
        let synced = setting.sync(owner, 0..2, SyncMode::Replace).await;
        assert_eq!((synced.matched.len(), synced.unmatched), (1, 1));
        joined(setting.scratch.db.write(), &*setting.contacts.clock, user_id).await.unwrap();
        while setting.contacts.tell_page(user_id).await.unwrap().is_some() {}
        assert_eq!(setting.book(owner).await, [people[0]].into());
        let added = AddContact { user_id: Some(user_id), ..AddContact::default() };
        assert_eq!(setting.contacts.add(owner, added).await.unwrap().1, Change::Members);
        assert_eq!(setting.book(owner).await, people.iter().copied().collect());
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn nobody_arrives_in_an_address_book_that_is_full() {
    for setting in each_with(1).await {
        let (db, owner) = (&setting.scratch.db, setting.owner().await);
        let first = setting.people(1..2).await[0];
        setting.sync(owner, 2..3, SyncMode::Merge).await;
        let user_id = Some(first);
        setting.contacts.add(owner, AddContact { user_id, ..AddContact::default() }).await.unwrap();
        let second = setting.people(2..3).await[0];
        joined(db.write(), &*setting.contacts.clock, second).await.unwrap();
        while setting.contacts.tell_page(second).await.unwrap().is_some() {}
        assert_eq!(setting.book(owner).await, [first].into());
        setting.scratch.drop().await;
    }
}

/// More than one statement takes values.
#[actix_web::test]
async fn an_address_book_of_very_many_is_replaced() {
    const MANY: u32 = 33_000;
    for setting in each_with(100_000).await {
        let owner = setting.owner().await;
        let people = setting.people(0..MANY).await;
        let rows =
            people.iter().map(|id| contact::Model { by_number: true, ..book::entry(owner, *id, Timestamp::EPOCH) });
        save(setting.scratch.db.write(), rows).await.unwrap();
        setting.sync(owner, 0..1, SyncMode::Replace).await;
        assert_eq!(setting.book(owner).await, [people[0]].into());
        setting.scratch.drop().await;
    }
}
