//! What holds of copies and of accounts that end, whoever dies in the middle of it, and however many nodes work.

use super::*;
use crate::auth::testing::{FakeClock, Scratch};
use crate::jobs::LEASE;
use crate::users::testing::a_user;
use actors::caller::Identity;
use actors::cluster::LocalBus;
use actors::conversation::actor::Deps;
use actors::hub::Hub;
use actors::journal::Journal;
use actors::metrics::Metrics;
use actors::protocol::command::*;
use actors::protocol::{Door, ErrorCode};
use entities::*;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter, Set};
use serde_json::Value;
use std::future::poll_fn;
use std::io::{Cursor, Read};
use std::rc::Rc;
use std::task::Poll;

const DAY: Duration = Duration::from_secs(86_400);
const GRACE: Duration = Duration::from_secs(14 * 86_400);

/// A node, as far as leaving needs it.
struct Bench {
    leaving: Leaving,
    clock: Arc<FakeClock>,
    db: Db,
    _hub: Rc<Hub>,
}

impl Bench {
    fn on(scratch: &Scratch, clock: &Arc<FakeClock>, bus: &Arc<LocalBus>, name: &str) -> Bench {
        let config = Config::shipped().unwrap();
        let (db, limits) = (scratch.db.clone(), Arc::new(config.limits()));
        let time: Arc<dyn Clock> = clock.clone();
        let meters = Arc::new(Metrics::default());
        let (entries, _) = Entries::new(bus.join(name), time.clone(), limits.clone(), meters);
        // Rooms open on the threads of sockets.
        let hub = Hub::start(&entries);
        let (journal, lanes) = Journal::new(&db, &time, &limits, &entries);
        lanes.into_iter().for_each(|lane| drop(actix_rt::spawn(lane)));
        let deps = Deps { db: db.clone(), clock: time.clone(), limits, entries: entries.clone(), journal };
        let leaving = Leaving::new(Parts {
            db: db.clone(),
            clock: time.clone(),
            config: &config,
            secrets: &Secrets::from_master(b"a master secret"),
            conversations: Conversations::new(deps, &[7; 32]),
            entries,
            sessions: Arc::new(Sessions::new(db.clone(), time, &config.auth)),
        });
        Bench { leaving, clock: clock.clone(), db, _hub: hub }
    }

    /// Each database with two nodes on it.
    async fn each() -> Vec<(Scratch, [Bench; 2])> {
        let pair = |scratch: Scratch| {
            let (clock, bus) = (FakeClock::new(), LocalBus::new());
            let nodes = ["one", "other"].map(|name| Bench::on(&scratch, &clock, &bus, name));
            (scratch, nodes)
        };
        Scratch::each().await.into_iter().map(pair).collect()
    }

    fn ids(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Somebody who has just signed in.
    async fn signs_in(&self, name: &str) -> Caller {
        let user = a_user(&self.db, name).await;
        self.again(user).await
    }

    /// One more session of somebody's.
    async fn again(&self, user: UserId) -> Caller {
        use crate::auth::sessions::{Beginning, Origin, begin};
        let (session, at) = (self.ids().session_id(), self.clock.now());
        let device = Device { name: Some("a phone".to_owned()), ..Device::default() };
        let origin = Origin { device, address: Some([192, 0, 2, 1].into()), user_agent: Some("curl".to_owned()) };
        begin(self.db.write(), Beginning { session, user, origin, at }).await.unwrap();
        let identity = Some(Identity { user, session, expires_at: at.plus(DAY) });
        let address = Some([192, 0, 2, 1].into());
        Caller { identity, door: Door::Rest, address, user_agent: None, request_id: "test".into(), socket: None }
    }

    async fn row(&self, user: UserId) -> user::Model {
        user::by_id(user).one(self.db.read()).await.unwrap().unwrap()
    }

    async fn export(&self, user: UserId) -> export::Model {
        export::of_user(user).one(self.db.read()).await.unwrap().unwrap()
    }

    /// The bytes of somebody's newest copy.
    async fn bytes(&self, user: UserId) -> Vec<u8> {
        let export = self.export(user).await;
        let mut bytes = Vec::new();
        let mut number = 0;
        while let Some(part) = export_part::of(export.id, number).one(self.db.read()).await.unwrap() {
            bytes.extend(part.bytes);
            number += 1;
        }
        assert_eq!(export.size_bytes, Some(bytes.len() as i64));
        bytes
    }

    async fn creates(&self, by: UserId, kind: ConversationKind, with: &[UserId]) -> ConversationId {
        let group = kind == ConversationKind::Group;
        let command = CreateConversation {
            kind,
            participant_ids: with.to_vec(),
            name: group.then(|| "tea".to_owned()),
            description: None,
            client_id: None,
        };
        self.leaving.conversations.create(by, command).await.unwrap().conversation.id
    }

    async fn says(&self, by: UserId, conversation_id: ConversationId, text: &str) -> view::Message {
        let command = SendMessage {
            conversation_id,
            text: text.to_owned(),
            client_id: self.clock.uuid().to_string(),
            reply_to: None,
        };
        self.leaving.conversations.send(by, command).await.unwrap().message
    }

    async fn reacts(&self, by: UserId, message_id: MessageId) {
        let command = AddReaction { message_id, emoji: "👍".to_owned() };
        self.leaving.conversations.add_reaction(by, command).await.unwrap();
    }

    async fn makes_export(&self) -> Outcome<bool> {
        Box::pin(MakeExports(&self.leaving).next()).await
    }

    async fn purges(&self) -> Outcome<bool> {
        Box::pin(Purge(&self.leaving).next()).await
    }

    /// Asks for the end, and lets the grace pass.
    async fn is_due(&self, who: &Caller, messages: LeftMessages) {
        self.leaving.ask_for_deletion(who, messages).await.unwrap();
        self.clock.advance(GRACE);
    }

    /// Purges whatever is due, and once more when that is settled.
    async fn purges_all(&self) {
        while self.purges().await.unwrap() {}
        self.clock.advance(Duration::from_secs(3600));
        while self.purges().await.unwrap() {}
    }
}

fn code<T>(outcome: Outcome<T>) -> Option<ErrorCode> {
    outcome.err().map(|error| error.code())
}

/// Polls some work so often and then drops it, as a node that dies does; what it came to, if it was done by then.
async fn dies_after<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (Box::pin(work), polls);
    poll_fn(move |context| {
        let Some(rest) = left.checked_sub(1) else { return Poll::Ready(None) };
        left = rest;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// Something in every table that may hold something of somebody.
async fn furnishes(bench: &Bench, of: UserId, other: UserId) {
    let (db, at) = (bench.db.write(), bench.clock.now());
    let unique = of.to_string();
    let hash = |label: &str| format!("{label} {unique}").into_bytes();
    macro_rules! keeps {
        ($($entity:ident { $($field:ident: $value:expr),* $(,)? })+) => {$(
            let row = $entity::Model { $($field: $value),* };
            $entity::Entity::insert(row.into_active_model()).exec_without_returning(db).await.unwrap();
        )+};
    }
    let session = session::of_user(of).one(bench.db.read()).await.unwrap().unwrap().id;
    let phone = bench.row(of).await.phone.unwrap();
    let contact = |owner_id, user_id| contact::Model {
        owner_id,
        user_id,
        name: Some("A secret name".to_owned()),
        favourite: true,
        suggested: false,
        removed: false,
        by_number: true,
        user_rev: 1,
        created_at: at,
    };
    for row in [contact(of, other), contact(other, of)] {
        contact::Entity::insert(row.into_active_model()).exec_without_returning(db).await.unwrap();
    }
    for (owner_id, user_id) in [(of, other), (other, of)] {
        keeps! { block { owner_id: owner_id, user_id: user_id, removed: false, user_rev: 1, created_at: at } }
    }
    let number_hash = bench.leaving.hash_of_number(&phone);
    for (owner_id, number_hash) in [(of, hash("number")), (other, number_hash)] {
        keeps! { contact_number {
            owner_id: owner_id, number_hash: number_hash, listed: true, sealed_name: None, first_at: at,
        } }
    }
    let phc = "$argon2id$a-hash".to_owned();
    let otp = otp_verification::ActiveModel {
        id: Set(hash("otp")),
        phone: Set(phone),
        purpose: Set("signIn".to_owned()),
        code_hash: Set(hash("code")),
        tries: Set(0),
        created_at: Set(at),
        expires_at: Set(at),
        channel: Set("sms".to_owned()),
        ..Default::default()
    };
    otp_verification::Entity::insert(otp).exec_without_returning(db).await.unwrap();
    keeps! {
        password { user_id: of, phc: phc, changed_at: at }
        second_factor {
            user_id: of, sealed_secret: vec![1], last_step: 1, created_at: at, enabled_at: Some(at),
        }
        backup_code { user_id: of, code_hash: hash("backup"), used_at: None }
        challenge {
            id_hash: hash("challenge"), purpose: "reset".to_owned(), user_id: Some(of), detail: "{}".to_owned(),
            tries: 0, created_at: at, expires_at: at, used_at: None,
        }
        identity {
            issuer: "https://issuer.example".to_owned(), subject: unique.clone(), provider: "example".to_owned(),
            user_id: of, email: Some("ann@example.org".to_owned()), linked_at: at, last_used_at: at,
        }
        device {
            user_id: of, id: "phone".to_owned(), platform: "ios".to_owned(), name: "Ann's".to_owned(),
            app_version: None, push_provider: Some("apns".to_owned()), push_token: Some("a-push-token".to_owned()),
            push_token_hash: Some(hash("token")), push_keys: None, created_at: at, last_seen_at: at,
        }
        arrival { user_id: of, since: at, told: None }
        user_role { user_id: of, role: "operator".to_owned(), granted_at: at }
        report {
            id: ReportId::from_uuid(bench.clock.uuid()), reporter_id: of, user_id: Some(other), message_id: None,
            reason: "spam".to_owned(), text: "tea".to_owned(), created_at: at,
        }
        refresh_token {
            token_hash: hash("refresh"), session_id: session, parent_hash: None, created_at: at, expires_at: at,
            spent_at: None,
        }
    }
}

/// The columns that still name somebody, `table.column`.
async fn traces(db: &Db, of: UserId) -> Vec<String> {
    let backend = db.backend();
    let columns = match backend {
        Backend::Sqlite => {
            "SELECT m.name, c.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table'"
        }
        Backend::Postgres => {
            "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'"
        }
    };
    let rows = db.read().query_all_raw(backend.statement(columns, [])).await.unwrap();
    let mut found = Vec::new();
    for row in rows {
        let (table, column): (String, String) = (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap());
        if !["user_id", "owner_id", "sender_id", "reporter_id"].contains(&column.as_str()) {
            continue;
        }
        let user = entities::db::parameter(backend, 1, "uuid");
        let sql = format!("SELECT 1 FROM {table} WHERE {column} = {user} LIMIT 1");
        if db.read().query_one_raw(backend.statement(sql, [of.into()])).await.unwrap().is_some() {
            found.push(format!("{table}.{column}"));
        }
    }
    found.sort_unstable();
    found
}

/// What an account leaves behind that has ended.
const LEFT: [&str; 6] = [
    "audit_events.user_id",
    "blocks.user_id",
    "contacts.user_id",
    "messages.sender_id",
    "participants.user_id",
    "reports.reporter_id",
];

/// Two people with a past, of whom one leaves.
struct Past {
    ann: Caller,
    ann_id: UserId,
    bob: UserId,
    pair: ConversationId,
    group: ConversationId,
    left: ConversationId,
    bobs: MessageId,
}

async fn a_past(bench: &Bench) -> Past {
    let (ann, bob) = (bench.signs_in("Ann").await, bench.signs_in("Bob").await.user().unwrap());
    let ann_id = ann.user().unwrap();
    let pair = bench.creates(ann_id, ConversationKind::Private, &[bob]).await;
    let group = bench.creates(ann_id, ConversationKind::Group, &[bob]).await;
    let left = bench.creates(bob, ConversationKind::Group, &[ann_id]).await;
    for conversation in [pair, group, left] {
        bench.says(ann_id, conversation, "Ann's words").await;
    }
    let bobs = bench.says(bob, group, "Bob's words").await.id;
    bench.says(bob, left, "Bob's words").await;
    bench.reacts(ann_id, bobs).await;
    bench.leaving.conversations.leave(ann_id, LeaveConversation { conversation_id: left }).await.unwrap();
    bench.says(bob, left, "After Ann").await;
    // The last of all, for who is blocked is written to no more.
    Box::pin(furnishes(bench, ann_id, bob)).await;
    Past { ann, ann_id, bob, pair, group, left, bobs }
}

/// Checks that nothing of Ann is left but what is to be.
async fn is_purged(bench: &Bench, past: &Past, messages: LeftMessages) {
    let row = bench.row(past.ann_id).await;
    let (user_rev, created_at, updated_at) = (row.user_rev, row.created_at, row.updated_at);
    let left_at = row.left_at;
    assert!(left_at.is_some());
    let empty = user::Model {
        user_rev,
        updated_at,
        left_at,
        profile_user_rev: row.profile_user_rev,
        ..user::Model::new(past.ann_id, created_at)
    };
    assert_eq!(row, empty);
    assert_eq!(traces(&bench.db, past.ann_id).await, LEFT);
    let events = audit_event::of_user(past.ann_id).all(bench.db.read()).await.unwrap();
    assert!(events.iter().any(|event| event.kind == "account_deleted"));
    assert!(events.iter().all(|event| event.address.is_none() && event.session_id.is_none() && event.detail == "{}"));
    let hash = contact_number::of_owner(past.bob).all(bench.db.read()).await.unwrap();
    assert!(hash.is_empty() && otp_verification::Entity::find().all(bench.db.read()).await.unwrap().is_empty());

    // Bob keeps his conversations, and learns from his lists.
    let bob = bench.row(past.bob).await;
    for row in contact::of_owner(past.bob).all(bench.db.read()).await.unwrap() {
        assert!(row.removed && row.name.is_none() && row.user_rev > 1 && row.user_rev <= bob.user_rev);
    }
    for row in block::Entity::find().all(bench.db.read()).await.unwrap() {
        assert!(row.removed && row.user_rev > 1 && row.user_rev <= bob.user_rev);
    }
    for conversation in [past.pair, past.group, past.left] {
        let members = participant::current_in(conversation).all(bench.db.read()).await.unwrap();
        assert_eq!(members.iter().map(|row| row.user_id).collect::<Vec<_>>(), [past.bob]);
        let all = message::after(conversation, 0).all(bench.db.read()).await.unwrap();
        for row in &all {
            let removed = row.sender_id == past.ann_id && messages == LeftMessages::Remove;
            assert_eq!((row.text.is_none(), row.deleted_at.is_some()), (removed, removed));
        }
        // Every change has a number of its own, and none is above the head.
        let head = conversation::by_id(conversation).one(bench.db.read()).await.unwrap().unwrap();
        let rows = participant::in_conversation(conversation).all(bench.db.read()).await.unwrap();
        let mut revs: Vec<i64> = all.iter().map(|row| row.rev).chain(rows.iter().map(|row| row.rev)).collect();
        let count = revs.len();
        revs.sort_unstable();
        revs.dedup();
        assert!(revs.len() == count && revs.last() <= Some(&head.last_rev));
    }
    assert!(reaction::on([past.bobs]).all(bench.db.read()).await.unwrap().is_empty());
    let owner = participant::of(past.group, past.bob).one(bench.db.read()).await.unwrap().unwrap();
    assert_eq!(owner.role, Role::Owner);
}

// --- copies

#[actix_web::test]
async fn a_copy_at_a_time_and_a_few_a_day() {
    for (scratch, [one, other]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        let id = ann.user().unwrap();
        let (first, second) = tokio::join!(one.leaving.exports.ask(&ann), other.leaving.exports.ask(&ann));
        assert!(first.is_ok() != second.is_ok(), "two at once are one");
        assert_eq!(code(first.and(second)), Some(ErrorCode::UserExportPending));
        for _ in 0..2 {
            one.leaving.exports.cancel(&ann, one.export(id).await.id).await.unwrap();
            one.clock.advance(Duration::from_secs(3600));
            one.leaving.exports.ask(&ann).await.unwrap();
        }
        one.leaving.exports.cancel(&ann, one.export(id).await.id).await.unwrap();
        // Taken back or not, three a day are three a day.
        let Err(actors::protocol::Error::Refused(refusal)) = one.leaving.exports.ask(&ann).await else { panic!() };
        assert_eq!(refusal.code, ErrorCode::UserExportBudget);
        assert_eq!(refusal.retry_after, Some(DAY - Duration::from_secs(2 * 3600)));
        one.clock.advance(DAY - Duration::from_secs(2 * 3600));
        one.leaving.exports.ask(&ann).await.unwrap();
        let listed = one.leaving.exports.list(id).await.unwrap().items;
        assert_eq!(listed.len(), 4);
        assert_eq!((listed[0].state, listed[3].state), (ExportState::Pending, ExportState::Gone));
        // What is somebody else's is not there.
        let bob = one.signs_in("Bob").await;
        let refused = one.leaving.exports.cancel(&bob, listed[0].id).await;
        assert_eq!(code(refused), Some(ErrorCode::UserExportNotFound));
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn one_node_makes_a_copy_and_another_takes_over_when_its_claim_has_ended() {
    for (scratch, [one, other]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        one.leaving.exports.ask(&ann).await.unwrap();
        let (first, second) = tokio::join!(one.leaving.exports.claim("one"), other.leaving.exports.claim("other"));
        let claims: Vec<_> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
        assert_eq!(claims.len(), 1);
        let mut claim = claims.into_iter().next().unwrap();
        one.leaving.exports.add(&mut claim, vec![1; 10]).await.unwrap();
        one.clock.advance(LEASE / 2);
        one.leaving.exports.hold(&mut claim).await.unwrap();
        one.clock.advance(LEASE - Duration::from_millis(1));
        assert!(other.leaving.exports.claim("other").await.unwrap().is_none());
        one.clock.advance(Duration::from_millis(1));
        assert!(other.makes_export().await.unwrap());
        // The first one wakes up, and finds that it is another's.
        for lost in [
            one.leaving.exports.add(&mut claim, vec![2; 10]).await,
            one.leaving.exports.hold(&mut claim).await,
            one.leaving.exports.finish(&claim).await.map(drop),
        ] {
            assert_eq!(code(lost), Some(ErrorCode::ServerUnavailable));
        }
        assert!(zip::ZipArchive::new(Cursor::new(one.bytes(ann.user().unwrap()).await)).is_ok());
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_copy_that_is_taken_back_is_made_no_further_and_leaves_nothing() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        one.leaving.exports.ask(&ann).await.unwrap();
        let mut claim = one.leaving.exports.claim("one").await.unwrap().unwrap();
        one.leaving.exports.add(&mut claim, vec![1; 10]).await.unwrap();
        one.leaving.exports.cancel(&ann, claim.export).await.unwrap();
        one.leaving.exports.cancel(&ann, claim.export).await.unwrap();
        assert!(one.leaving.exports.add(&mut claim, vec![2; 10]).await.is_err());
        assert!(!one.makes_export().await.unwrap());
        assert!(export_part::Entity::find().all(one.db.read()).await.unwrap().is_empty());
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_copy_is_kept_for_a_week_and_its_row_for_a_month() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        let id = ann.user().unwrap();
        one.leaving.exports.ask(&ann).await.unwrap();
        assert!(one.makes_export().await.unwrap() && !one.makes_export().await.unwrap());
        let listed = one.leaving.exports.list(id).await.unwrap().items.pop().unwrap();
        assert!(listed.url.is_some() && listed.expires_at == Some(one.clock.now().plus(7 * DAY)));
        one.clock.advance(7 * DAY);
        let listed = one.leaving.exports.list(id).await.unwrap().items.pop().unwrap();
        assert_eq!((listed.state, listed.url), (ExportState::Gone, None));
        one.makes_export().await.unwrap();
        assert!(export_part::Entity::find().all(one.db.read()).await.unwrap().is_empty());
        one.clock.advance(24 * DAY);
        one.makes_export().await.unwrap();
        assert!(one.leaving.exports.list(id).await.unwrap().items.is_empty());
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_copy_that_cannot_be_made_in_a_day_is_given_up() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        one.leaving.exports.ask(&ann).await.unwrap();
        one.clock.advance(DAY);
        one.makes_export().await.unwrap();
        let row = one.export(ann.user().unwrap()).await;
        assert_eq!((row.state, row.failure.as_deref()), (ExportState::Failed, Some("timed_out")));
        scratch.drop().await;
    }
}

/// The files of a ZIP, as JSON.
fn files(zip: Vec<u8>) -> std::collections::BTreeMap<String, Value> {
    let mut zip = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let count = zip.len();
    let read = |at| {
        let mut file = zip.by_index(at).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        (file.name().unwrap().into_owned(), serde_json::from_str(&text).unwrap())
    };
    (0..count).map(read).collect()
}

#[actix_web::test]
async fn a_copy_holds_what_its_owner_may_see_and_no_secret() {
    for (scratch, [one, _]) in Bench::each().await {
        let past = Box::pin(a_past(&one)).await;
        one.leaving.exports.ask(&past.ann).await.unwrap();
        one.makes_export().await.unwrap();
        let files = files(one.bytes(past.ann_id).await);
        let lengths = [
            ("sessions.json", 1),
            ("security-events.json", 1),
            ("devices.json", 1),
            ("contacts.json", 1),
            ("blocked.json", 1),
            ("reports.json", 1),
            ("conversations.json", 3),
            (&format!("messages/{}.json", past.pair), 1),
            (&format!("messages/{}.json", past.group), 2),
            // Where she has left, only what she said herself.
            (&format!("messages/{}.json", past.left), 1),
        ];
        for (name, length) in lengths {
            assert_eq!(files[name].as_array().unwrap().len(), length, "{name}: {}", files[name]);
        }
        let spoken = &files[&format!("messages/{}.json", past.group)];
        assert_eq!((&spoken[1]["text"], &spoken[1]["senderName"]), (&"Bob's words".into(), &"Bob".into()));
        assert_eq!(spoken[1]["reactions"][0]["emoji"], "👍");
        let pair = files["conversations.json"].as_array().unwrap().iter().find(|item| item["kind"] == "private");
        assert_eq!(pair.unwrap()["with"]["displayName"], "Bob");
        assert_eq!(files["profile.json"]["phoneNumber"], one.row(past.ann_id).await.phone.unwrap());
        assert_eq!(files["sign-in.json"]["identities"][0]["email"], "ann@example.org");
        let all = serde_json::to_string(&files).unwrap();
        for secret in ["argon2", "a-push-token", "After Ann", "sealed", "hash"] {
            let whose = files.iter().find(|(_, json)| json.to_string().contains(secret));
            let allowed = secret == "hash" && whose.is_some_and(|(name, _)| name == "manifest.json");
            assert!(!all.contains(secret) || allowed, "{secret} stands in {whose:?}");
        }
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn whoever_dies_while_making_a_copy_another_makes_it() {
    for (scratch, [one, other]) in Bench::each().await {
        let past = Box::pin(a_past(&one)).await;
        let mut deaths = 0;
        for polls in (0..).step_by(13) {
            let ann = one.again(past.ann_id).await;
            one.clock.advance(DAY);
            one.leaving.exports.ask(&ann).await.unwrap();
            let made = Box::pin(dies_after(polls, one.makes_export())).await;
            one.clock.advance(LEASE);
            other.makes_export().await.unwrap();
            let files = files(one.bytes(past.ann_id).await);
            assert_eq!(files.len(), 15);
            if made.is_some() {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 3, "{deaths}");
        scratch.drop().await;
    }
}

// --- the end of accounts

#[actix_web::test]
async fn who_asks_for_the_end_has_a_grace_and_is_alone() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        let id = ann.user().unwrap();
        one.again(id).await;
        let (first, news) = one.leaving.ask_for_deletion(&ann, LeftMessages::Keep).await.unwrap();
        assert!(news.is_some());
        assert_eq!(first.leaves_at, one.clock.now().plus(GRACE));
        let live = session::live_of_user(id).all(one.db.read()).await.unwrap();
        assert_eq!(live.iter().map(|row| row.id).collect::<Vec<_>>(), [ann.identity.unwrap().session]);
        one.clock.advance(DAY);
        // Asked again, it comes no later; and she may think otherwise of her messages.
        let (again, news) = one.leaving.ask_for_deletion(&ann, LeftMessages::Remove).await.unwrap();
        assert!(news.is_none(), "it is no news");
        assert_eq!((again.leaves_at, again.messages), (first.leaves_at, LeftMessages::Remove));
        assert_eq!(one.row(id).await.leaves_messages.as_deref(), Some("remove"));
        one.clock.advance(GRACE - DAY - Duration::from_millis(1));
        assert!(!one.purges().await.unwrap());
        let kept = one.leaving.keep_account(&ann).await.unwrap();
        assert_eq!((kept.leaves_at, kept.deleted), (None, false));
        let rev = one.row(id).await.user_rev;
        one.leaving.keep_account(&ann).await.unwrap();
        assert_eq!(one.row(id).await.user_rev, rev, "there is nothing to undo any more");
        one.clock.advance(GRACE);
        assert!(!one.purges().await.unwrap());
        one.is_due(&ann, LeftMessages::Keep).await;
        assert!(one.purges().await.unwrap());
        for refused in [
            one.leaving.keep_account(&ann).await.map(drop),
            one.leaving.ask_for_deletion(&ann, LeftMessages::Keep).await.map(drop),
        ] {
            assert_eq!(code(refused), Some(ErrorCode::UserNotFound));
        }
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn an_account_that_ends_leaves_what_its_owner_chose_and_nothing_else() {
    for (scratch, [one, _]) in Bench::each().await {
        for messages in [LeftMessages::Keep, LeftMessages::Remove] {
            let past = Box::pin(a_past(&one)).await;
            one.leaving.exports.ask(&past.ann).await.unwrap();
            one.makes_export().await.unwrap();
            one.is_due(&past.ann, messages).await;
            assert!(one.purges().await.unwrap() && !one.purges().await.unwrap());
            // At once all but the sessions, by which other nodes learn of their end.
            let mut left = LEFT.to_vec();
            left.push("sessions.user_id");
            assert_eq!(traces(&one.db, past.ann_id).await, left);
            // What was under way writes late, and is found.
            let late = user::ActiveModel { bio: Set("late".to_owned()), ..Default::default() };
            let own = user::COLUMN.id.eq(past.ann_id);
            user::Entity::update_many().set(late).filter(own).exec(one.db.write()).await.unwrap();
            one.purges_all().await;
            Box::pin(is_purged(&one, &past, messages)).await;
            assert!(!one.purges().await.unwrap());
        }
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn of_two_nodes_one_purges_and_the_other_when_that_one_is_gone() {
    for (scratch, [one, other]) in Bench::each().await {
        let past = Box::pin(a_past(&one)).await;
        one.is_due(&past.ann, LeftMessages::Remove).await;
        let (first, second) = tokio::join!(one.leaving.claim_purge(), other.leaving.claim_purge());
        let claims: Vec<_> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
        assert_eq!(claims.len(), 1);
        one.clock.advance(LEASE - Duration::from_millis(1));
        assert!(!other.purges().await.unwrap());
        one.clock.advance(Duration::from_millis(1));
        let taken_over = other.leaving.claim_purge().await.unwrap().unwrap();
        // The first one goes on with what it believes to be its own, at the same time: nothing is harmed by it.
        let stale = claims.into_iter().next().unwrap();
        let (first, second) =
            tokio::join!(Box::pin(one.leaving.purge(stale)), Box::pin(other.leaving.purge(taken_over)));
        assert_eq!((code(first), code(second)), (Some(ErrorCode::ServerUnavailable), None));
        other.purges_all().await;
        Box::pin(is_purged(&one, &past, LeftMessages::Remove)).await;
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn whoever_dies_while_purging_another_goes_on() {
    for (scratch, [one, other]) in Bench::each().await {
        let mut deaths = 0;
        for polls in (0..).step_by(7) {
            let past = Box::pin(a_past(&one)).await;
            one.is_due(&past.ann, LeftMessages::Remove).await;
            let done = Box::pin(dies_after(polls, one.purges())).await;
            one.clock.advance(LEASE);
            other.purges_all().await;
            Box::pin(is_purged(&one, &past, LeftMessages::Remove)).await;
            if done.is_some() {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 10, "{deaths}");
        scratch.drop().await;
    }
}
