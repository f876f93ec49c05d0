//! What the tests of leaving stand on: nodes, as far as leaving needs them, and people with a past.
//! Never an assertion of a test's own.

mod copies;
mod ends;

use super::*;
use crate::auth::delays::Key;
use crate::auth::second_factor::Place;
use crate::auth::testing::{FakeClock, Pocket, Scratch};
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
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, Set};
use serde_json::{Value, json};
use std::future::poll_fn;
use std::path::Path;
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
    async fn on(scratch: &Scratch, folder: &Path, clock: &Arc<FakeClock>, bus: &Arc<LocalBus>, name: &str) -> Bench {
        let mut config = Config::shipped().unwrap();
        config.data = folder.to_owned();
        let carriers = Arc::new(Pocket::default()).carriers();
        let auth = Box::pin(Auth::open(&config, scratch.db.clone(), clock.clone(), carriers)).await.unwrap();
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
            auth: Arc::new(auth),
            conversations: Conversations::new(deps, &[7; 32]),
            entries,
            sessions: Arc::new(Sessions::new(db.clone(), time, &config.auth)),
            meters: Meters::default(),
        });
        Bench { leaving, clock: clock.clone(), db, _hub: hub }
    }

    /// Each database with two nodes on it.
    async fn each() -> Vec<(Scratch, [Bench; 2])> {
        // On the heap, as all that is large: a test has a small stack.
        let mut all = Vec::new();
        for scratch in Box::pin(Scratch::each()).await {
            let (clock, bus, folder) = (FakeClock::new(), LocalBus::new(), tempfile::tempdir().unwrap());
            let one = Box::pin(Bench::on(&scratch, folder.path(), &clock, &bus, "one")).await;
            let other = Box::pin(Bench::on(&scratch, folder.path(), &clock, &bus, "other")).await;
            all.push((scratch, [one, other]));
        }
        all
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
        Caller {
            identity,
            door: Door::Rest,
            address,
            user_agent: None,
            languages: None,
            request_id: "test".into(),
            socket: None,
        }
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
        keeps! { block { owner_id: owner_id, user_id: user_id, removed: false, user_rev: 1, created_at: at, changed_at: at } }
    }
    let number_hash = bench.leaving.hash_of_number(&phone);
    for (owner_id, number_hash) in [(of, hash("number")), (other, number_hash)] {
        let context = crate::auth::sealing::Context::ContactName(owner_id);
        let sealed_name = Some(bench.leaving.auth.ring.seal(&context, b"the plumber").unwrap());
        keeps! { contact_number {
            owner_id: owner_id, number_hash: number_hash, listed: true, sealed_name: sealed_name, listed_rev: 0,
            first_at: at,
        } }
    }
    // Somebody has tried to get in.
    let (tries, place) = (&bench.leaving.tries, [192, 0, 2, 1].into());
    let tried = [Key::Identifier(&phone), Key::Place(&phone, place), Key::Session(session)];
    tries.delays.count(&tried).await.unwrap();
    for place in [Place::SignIn, Place::Session(session)] {
        let key_hash = place.key(&tries.second_factor, of);
        keeps! { sign_in_delay { key_hash: key_hash, failures: 1, last_at: at, next_at: at } }
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
            push_token_hash: Some(hash("token")), push_keys: None, voip_token: Some("a-voip-token".to_owned()),
            voip_token_hash: Some(hash("voip")), created_at: at, last_seen_at: at,
        }
        arrival { user_id: of, since: at, told: None }
        user_role { user_id: of, role: "operator".to_owned(), granted_at: at }
        report {
            id: ReportId::from_uuid(bench.clock.uuid()), reporter_id: of, user_id: Some(other), message_id: None,
            message_rev: None, message_text: None,
            reason: "spam".to_owned(), text: "tea".to_owned(), created_at: at,
        }
        refresh_token {
            token_hash: hash("refresh"), session_id: session, parent_hash: None, created_at: at, expires_at: at,
            spent_at: None,
        }
    }
}

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
