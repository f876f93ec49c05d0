//! Rows, written by the journal's transaction alone: no room, no entry.
//! Never a rule: what a change comes to is what is tested.

use super::*;
use actors::clock::Clock;
use actors::limits::Limits;
use actors::room::Reply;
use entities::{conversation, mention, message, participant, reaction, user};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder};

/// A database and what the journal needs beside it.
pub struct Rows {
    pub db: Db,
    pub clock: Arc<FakeClock>,
    pub limits: Arc<Limits>,
}

/// Bounds that no test meets by chance, and no two waits alike.
pub fn limits() -> Limits {
    Limits {
        participants: 10_000,
        reactions: 50,
        frame_bytes: 1 << 16,
        hello_bytes: 1 << 20,
        commands_per_sec: 1_000_000,
        command_burst: 1_000_000,
        in_flight: 1000,
        sockets_per_user: 20,
        queue_bytes: 1 << 20,
        reply_bytes: 1 << 18,
        room_items: 4096,
        room_bytes: 4 << 20,
        journal_items: 100_000,
        journal_bytes: 64 << 20,
        batch_items: 256,
        lanes: 4,
        room_idle: Duration::from_secs(300),
        gap_wait: Duration::from_millis(50),
        lease: Duration::from_secs(30),
        sweep: Duration::from_secs(11),
        hello_within: Duration::from_secs(13),
        heartbeat: Duration::from_secs(25),
        heartbeat_answer: Duration::from_secs(10),
        presence_grace: Duration::from_secs(7),
        outbox_keep: Duration::from_secs(3600),
    }
}

/// A new message with a `clientId` of its own.
pub fn send(text: &str) -> Change {
    let id = FakeClock::new().uuid();
    send_as(&id.to_string(), text)
}

/// A new message by a name that the sender's client chose.
pub fn send_as(client_id: &str, text: &str) -> Change {
    answer_as(client_id, text, None)
}

/// A new message that answers another.
pub fn answer(text: &str, reply_to: MessageId) -> Change {
    let id = FakeClock::new().uuid();
    answer_as(&id.to_string(), text, Some(reply_to))
}

fn answer_as(client_id: &str, text: &str, reply_to: Option<MessageId>) -> Change {
    Change::Send(NewMessage {
        id: MessageId::from_uuid(FakeClock::new().uuid()),
        client_id: client_id.to_owned(),
        request_hash: text.as_bytes().to_vec(),
        text: text.to_owned(),
        reply_to,
    })
}

pub fn edit(message: MessageId, text: &str) -> Change {
    Change::Edit { message, text: text.to_owned() }
}

pub fn delete(message: MessageId) -> Change {
    Change::Delete { message }
}

pub fn react(message: MessageId, emoji: &str) -> Change {
    Change::React { message, emoji: emoji.to_owned(), add: true }
}

pub fn unreact(message: MessageId, emoji: &str) -> Change {
    Change::React { message, emoji: emoji.to_owned(), add: false }
}

pub fn add(users: &[UserId]) -> Change {
    Change::Add { users: users.to_vec() }
}

pub fn remove(user: UserId) -> Change {
    Change::Remove { user }
}

/// Read up to here.
pub fn mark(seq: i64) -> Change {
    Change::Mark { read: Some(seq), delivered: None, marked_unread: None }
}

/// An item of somebody of whom the room knows nothing.
pub fn item(conversation: ConversationId, actor: UserId, change: Change) -> Item {
    let (room, _) = tokio::sync::mpsc::unbounded_channel();
    Item { conversation, actor, role: None, policy_rev: -1, change, reply: Reply::unbound().0, room }
}

impl Rows {
    pub async fn on(stage: &Stage) -> Rows {
        Rows { db: stage.open(4).await, clock: FakeClock::new(), limits: Arc::new(limits()) }
    }

    /// With other bounds.
    pub fn bounded(mut self, change: impl FnOnce(&mut Limits)) -> Rows {
        let mut limits = limits();
        change(&mut limits);
        self.limits = Arc::new(limits);
        self
    }

    /// An account of this username.
    pub async fn user(&self, name: &str) -> UserId {
        let id = UserId::from_uuid(self.clock.uuid());
        let now = self.clock.now();
        let row = user::Model {
            username: Some(name.to_owned()),
            username_key: Some(name.to_lowercase()),
            name_key: name.to_lowercase(),
            display_name: name.to_owned(),
            user_rev: 0,
            profile_user_rev: 0,
            ..user::Model::new(id, now)
        };
        row.into_active_model().insert(self.db.write()).await.unwrap();
        id
    }

    pub async fn users<const N: usize>(&self, names: [&str; N]) -> [UserId; N] {
        let mut ids = Vec::new();
        for name in names {
            ids.push(self.user(name).await);
        }
        ids.try_into().unwrap()
    }

    /// A group as `conversations.create` makes it: `rev` 1 is its own, each member has one of the next.
    pub async fn group(&self, owner: UserId, members: &[UserId]) -> ConversationId {
        let id = ConversationId::from_uuid(self.clock.uuid());
        let now = self.clock.now();
        let all: Vec<UserId> = std::iter::once(owner).chain(members.iter().copied()).collect();
        let last_rev = 1 + all.len() as i64;
        let row = conversation::Model {
            id,
            kind: ConversationKind::Group,
            name: Some("tea".to_owned()),
            description: None,
            pair_key: None,
            created_by: owner,
            client_id: None,
            request_hash: None,
            created_at: now,
            updated_at: now,
            last_message_at: now,
            last_seq: 0,
            last_rev,
            policy_rev: last_rev,
            participant_count: all.len() as i32,
            rev: 1,
            blocked: false,
        };
        row.into_active_model().insert(self.db.write()).await.unwrap();
        for (at, user_id) in all.into_iter().enumerate() {
            let rev = 2 + at as i64;
            let user_rev = self.user_rev(user_id).await + 1;
            let row = participant::Model {
                conversation_id: id,
                user_id,
                role: if user_id == owner { Role::Owner } else { Role::Member },
                from_rev: rev,
                until_rev: None,
                visible_from_seq: 1,
                read_seq: 0,
                delivered_seq: 0,
                marked_unread: false,
                rev,
                user_rev,
                request: false,
                declined_rev: None,
                joined_at: now,
                left_at: None,
            };
            row.into_active_model().insert(self.db.write()).await.unwrap();
            let raised =
                user::ActiveModel { id: sea_orm::Set(user_id), user_rev: sea_orm::Set(user_rev), ..Default::default() };
            raised.update(self.db.write()).await.unwrap();
        }
        id
    }

    /// One transaction of these items, as a lane makes it.
    pub async fn try_commit(&self, items: Vec<Item>) -> Result<Committed, actors::retry::Failed> {
        let references: Vec<&Item> = items.iter().collect();
        store::commit(&self.db, self.clock.as_ref(), &self.limits, &references, false).await
    }

    pub async fn commit(&self, items: Vec<Item>) -> Committed {
        let count = items.len();
        let committed = self.try_commit(items).await.unwrap();
        assert_eq!(committed.outcomes.len(), count);
        assert!(committed.skipped.is_empty());
        committed
    }

    /// One item in a transaction of its own.
    pub async fn one(&self, conversation: ConversationId, actor: UserId, change: Change) -> Result<Done, Refusal> {
        self.commit(vec![item(conversation, actor, change)]).await.outcomes.pop().unwrap()
    }

    /// The message that somebody sends.
    pub async fn says(&self, conversation: ConversationId, actor: UserId, text: &str) -> view::Message {
        message_of(self.one(conversation, actor, send(text)).await).0
    }

    pub async fn head(&self, id: ConversationId) -> conversation::Model {
        conversation::by_id(id).one(self.db.write()).await.unwrap().unwrap()
    }

    pub async fn member(&self, id: ConversationId, user: UserId) -> participant::Model {
        participant::of(id, user).one(self.db.write()).await.unwrap().unwrap()
    }

    pub async fn members(&self, id: ConversationId) -> Vec<participant::Model> {
        participant::in_conversation(id).all(self.db.write()).await.unwrap()
    }

    pub async fn messages(&self, id: ConversationId) -> Vec<message::Model> {
        message::after(id, 0).all(self.db.write()).await.unwrap()
    }

    pub async fn user_rev(&self, id: UserId) -> i64 {
        user::by_id(id).one(self.db.write()).await.unwrap().unwrap().user_rev
    }

    /// Who is mentioned where in a conversation.
    pub async fn mentions(&self, id: ConversationId) -> BTreeSet<(i64, UserId)> {
        let rows = mention::Entity::find().filter(mention::COLUMN.conversation_id.eq(id));
        rows.all(self.db.write()).await.unwrap().into_iter().map(|row| (row.seq, row.user_id)).collect()
    }

    pub async fn reactions(&self, message: MessageId) -> BTreeSet<(UserId, String)> {
        let rows = reaction::on([message]).all(self.db.write()).await.unwrap();
        rows.into_iter().map(|row| (row.user_id, row.emoji)).collect()
    }

    /// What the outbox says of a conversation: the spans in the order of insertion.
    pub async fn outbox(&self, id: ConversationId) -> Vec<(i64, i64)> {
        use entities::outbox;
        let rows = outbox::Entity::find().filter(outbox::COLUMN.conversation_id.eq(id)).order_by_asc(outbox::COLUMN.id);
        rows.all(self.db.write()).await.unwrap().into_iter().map(|row| (row.from_rev, row.rev)).collect()
    }

    /// Every row of a conversation as `messages.changes` gives it, by `rev`.
    pub async fn state(&self, id: ConversationId) -> BTreeMap<i64, Value> {
        let counters = read::counters(self.db.write(), &[id]).await.unwrap()[&id];
        let (items, next) = read::changes(self.db.write(), id, &counters, 0, 1_000_000).await.unwrap();
        assert_eq!(next, counters.last_rev);
        let count = items.len();
        let state: BTreeMap<i64, Value> = items.iter().map(|item| (item.rev(), json_of(item))).collect();
        assert_eq!(state.len(), count, "two rows have one rev");
        state
    }

    /// Checks what must hold of a conversation's rows at any time.
    pub async fn are_sound(&self, id: ConversationId) {
        let head = self.head(id).await;
        let messages = self.messages(id).await;
        let seqs: Vec<i64> = messages.iter().map(|row| row.seq).collect();
        assert_eq!(seqs, (1..=head.last_seq).collect::<Vec<_>>(), "seq has gaps");
        let members = self.members(id).await;
        let mut revs: Vec<i64> = messages.iter().map(|row| row.rev).collect();
        revs.extend(members.iter().map(|row| row.rev));
        revs.push(head.rev);
        let distinct: BTreeSet<i64> = revs.iter().copied().collect();
        assert_eq!(distinct.len(), revs.len(), "two rows have one rev");
        assert!(revs.iter().all(|rev| (1..=head.last_rev).contains(rev)), "a rev is above the head's");
        let current = members.iter().filter(|row| row.until_rev.is_none()).count();
        assert_eq!(head.participant_count as usize, current);
        let owners = members.iter().filter(|row| row.until_rev.is_none() && row.role == Role::Owner).count();
        assert!(owners > 0 || current == 0, "nobody is owner");
        let mut last = None;
        for (from, upto) in self.outbox(id).await {
            assert!(from <= upto && last.is_none_or(|last| from == last + 1), "the outbox has a gap at {from}");
            last = Some(upto);
        }
        assert!(last.is_none_or(|last| last == head.last_rev));
    }
}

/// The message of an outcome, and whether it is a repeat.
pub fn message_of(outcome: Result<Done, Refusal>) -> (view::Message, bool) {
    match outcome.unwrap() {
        Done::Message { message, duplicate } => (*message, duplicate),
        Done::Changed => panic!("no message"),
    }
}

/// The code that an item was refused with.
pub fn code<T: std::fmt::Debug>(outcome: Result<T, Refusal>) -> ErrorCode {
    outcome.unwrap_err().code
}
