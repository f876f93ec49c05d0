//! What is read is what the rows say: pages of history, of changes, of what is a user's own, and the counts.
//! Never a write of its own: see `deciding`.

use super::support::rows::{add, answer, delete, edit, item, message_of, react, remove, unreact};
use super::support::*;
use actors::conversation::read::message_view;
use entities::{participant, reaction};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sea_orm::ConnectionTrait;

/// A client that holds rows and a position, and knows nothing but the merge rule.
#[derive(Default)]
struct Copy {
    rows: BTreeMap<String, Value>,
    rev: i64,
    resets: usize,
}

fn key(row: &Value) -> String {
    match row["type"].as_str().unwrap() {
        "message" => format!("message {}", row["id"]),
        "participant" => format!("participant {}", row["userId"]),
        other => other.to_owned(),
    }
}

impl Copy {
    /// A row replaces an older one only.
    fn merges(&mut self, row: Value) {
        let held = self.rows.get(&key(&row)).map_or(0, |held| held["rev"].as_i64().unwrap());
        if held < row["rev"].as_i64().unwrap() {
            self.rows.insert(key(&row), row);
        }
    }

    /// Takes one page; tells whether there is more.
    async fn reads(&mut self, node: &Node, user: UserId, id: ConversationId, limit: u32) -> bool {
        let command = Changes { conversation_id: id, after_rev: self.rev, limit: Some(limit) };
        let page = node.conversations.changes(user, command).await.unwrap();
        if page.reset {
            self.resets += 1;
            self.starts_afresh(node, user, id).await;
            self.rev = page.next_rev;
            return true;
        }
        assert!(page.items.len() <= limit as usize);
        let mut last = self.rev;
        for row in page.items {
            assert!(row.rev() > last && row.rev() <= page.next_rev, "out of order");
            last = row.rev();
            self.merges(json_of(&row));
        }
        assert!(page.next_rev > self.rev || !page.more, "no step forward");
        self.rev = page.next_rev;
        page.more
    }

    async fn reads_all(&mut self, node: &Node, user: UserId, id: ConversationId, limit: u32) {
        while self.reads(node, user, id, limit).await {}
    }

    /// The history from its end to its beginning, and who is there.
    async fn starts_afresh(&mut self, node: &Node, user: UserId, id: ConversationId) {
        self.rows.clear();
        let mut before_seq = None;
        loop {
            let (after_seq, around_seq) = (None, None);
            let command =
                MessagesByConversation { conversation_id: id, before_seq, after_seq, around_seq, limit: Some(7) };
            let page = node.conversations.get_by_conversation(user, command).await.unwrap();
            let seqs: Vec<i64> = page.items.iter().map(|message| message.seq).collect();
            assert!(seqs.is_sorted() && before_seq.is_none_or(|before| seqs.iter().all(|seq| *seq < before)));
            for message in &page.items {
                self.merges(as_item(message));
            }
            if !page.more_before {
                break;
            }
            before_seq = seqs.first().copied();
        }
        let (cursor, limit) = (None, Some(100));
        let members = ListParticipants { conversation_id: id, cursor, limit };
        for member in node.conversations.list_participants(user, members).await.unwrap().items {
            // What lists say beside the row is the viewer's own: no change tells it.
            let member = view::Participant { user: None, read_seq: None, delivered_seq: None, ..member };
            self.merges(as_row("participant", &member));
        }
    }
}

fn as_row(kind: &str, view: &impl serde::Serialize) -> Value {
    let mut row = json_of(view);
    row["type"] = kind.into();
    row
}

fn as_item(message: &view::Message) -> Value {
    let mut row = as_row("message", message);
    row.as_object_mut().unwrap().remove("conversationId");
    row
}

/// The rows as a member may see them, read from the tables by other ways than the pages take.
async fn truth(node: &Node, user: UserId, id: ConversationId) -> BTreeMap<String, Value> {
    let mut rows = Vec::new();
    let member = node.member(id, user).await;
    for row in node.messages(id).await.into_iter().filter(|row| row.seq >= member.visible_from_seq) {
        let given = reaction::on([row.id]).all(node.db.write()).await.unwrap();
        let given: Vec<(UserId, String)> = given.into_iter().map(|given| (given.user_id, given.emoji)).collect();
        rows.push(as_row("message", &message_view(&row, &given, None)));
    }
    for row in node.members(id).await {
        rows.push(as_row("participant", &view::Participant::from_row(&row)));
    }
    let head = node.head(id).await;
    rows.push(as_row(
        "conversation",
        &view::Settings { rev: head.rev, name: head.name, description: head.description },
    ));
    rows.into_iter().map(|row| (key(&row), row)).collect()
}

/// Without what somebody who took the history afresh does not learn: settings, and who was there once.
fn present(rows: &BTreeMap<String, Value>) -> Vec<&Value> {
    rows.values().filter(|row| row["type"] != "conversation" && row.get("removed").is_none()).collect()
}

/// Unread messages and mentions of a member, counted one by one.
async fn recount(node: &Node, id: ConversationId, user: UserId, named: &Named) -> (u32, u32) {
    let member = node.member(id, user).await;
    let counts = |seq: i64| seq > member.read_seq && seq >= member.visible_from_seq;
    let rows = node.messages(id).await;
    let unread = rows.iter().filter(|row| counts(row.seq) && row.sender_id != user && row.deleted_at.is_none()).count();
    let mentions = named.iter().filter(|(seq, who)| counts(**seq) && who.contains(&user)).count();
    (unread as u32, mentions as u32)
}

/// Whom the message at a place names.
type Named = BTreeMap<i64, BTreeSet<UserId>>;

#[derive(Debug, Clone)]
enum Deed {
    Send { by: usize, names: Option<usize>, answers: Option<usize> },
    Edit { by: usize, message: usize, names: Option<usize>, version: u8 },
    Delete { by: usize, message: usize },
    React { by: usize, message: usize, emoji: usize, add: bool },
    Add { by: usize, user: usize },
    Remove { by: usize, user: usize },
    Promote { by: usize, user: usize, role: usize },
    Rename { by: usize, name: u8 },
    Mark { by: usize, seq: i64 },
}

#[derive(Debug, Clone)]
enum Step {
    /// One transaction.
    Batch(Vec<Deed>),
    /// One page, of so many.
    Page(u32),
}

const PEOPLE: usize = 4;

fn deed() -> impl Strategy<Value = Deed> {
    let (who, message) = (0..PEOPLE, 0..40usize);
    let named = proptest::option::of(0..PEOPLE);
    prop_oneof![
        6 => (who.clone(), named.clone(), proptest::option::of(message.clone()))
            .prop_map(|(by, names, answers)| Deed::Send { by, names, answers }),
        2 => (who.clone(), message.clone(), named, 0..3u8)
            .prop_map(|(by, message, names, version)| Deed::Edit { by, message, names, version }),
        1 => (who.clone(), message.clone()).prop_map(|(by, message)| Deed::Delete { by, message }),
        3 => (who.clone(), message, 0..3usize, any::<bool>())
            .prop_map(|(by, message, emoji, add)| Deed::React { by, message, emoji, add }),
        1 => (who.clone(), who.clone()).prop_map(|(by, user)| Deed::Add { by, user }),
        1 => (who.clone(), who.clone()).prop_map(|(by, user)| Deed::Remove { by, user }),
        1 => (who.clone(), who.clone(), 0..3usize).prop_map(|(by, user, role)| Deed::Promote { by, user, role }),
        1 => (who.clone(), 0..3u8).prop_map(|(by, name)| Deed::Rename { by, name }),
        1 => (who, 0..30i64).prop_map(|(by, seq)| Deed::Mark { by, seq }),
    ]
}

fn history() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => proptest::collection::vec(deed(), 1..8).prop_map(Step::Batch),
        2 => (1..8u32).prop_map(Step::Page),
    ];
    proptest::collection::vec(step, 1..24)
}

/// People and what they have said, over one history.
struct Story<'a> {
    node: &'a Node,
    people: Vec<UserId>,
    id: ConversationId,
    said: Vec<MessageId>,
    members: BTreeSet<UserId>,
    named: Named,
    texts: HashMap<MessageId, String>,
}

impl Story<'_> {
    fn text(&self, names: Option<usize>, version: u8) -> String {
        names.map_or_else(|| format!("nobody {version}"), |who| format!("hey @person{who} {version}"))
    }

    fn change(&mut self, deed: &Deed) -> (UserId, Change) {
        let people = self.people.clone();
        let said = |at: &usize| match self.said.as_slice() {
            [] => MessageId::from_uuid(uuid::Uuid::nil()),
            said => said[at % said.len()],
        };
        match deed {
            Deed::Send { by, names, answers } => {
                let text = self.text(*names, 0);
                let change = match answers {
                    Some(at) => answer(&text, said(at)),
                    None => send(&text),
                };
                let Change::Send(new) = &change else { unreachable!() };
                self.said.push(new.id);
                (people[*by], change)
            }
            Deed::Edit { by, message, names, version } => {
                (people[*by], edit(said(message), &self.text(*names, *version)))
            }
            Deed::Delete { by, message } => (people[*by], delete(said(message))),
            Deed::React { by, message, emoji, add: true } => {
                (people[*by], react(said(message), ["👍", "👎", "🎉"][*emoji]))
            }
            Deed::React { by, message, emoji, add: false } => {
                (people[*by], unreact(said(message), ["👍", "👎", "🎉"][*emoji]))
            }
            Deed::Add { by, user } => (people[*by], add(&[people[*user]])),
            // The first stays, so that somebody reads all of it.
            Deed::Remove { by, user } => (people[*by], remove(people[(*user).max(1)])),
            Deed::Promote { by, user, role } => {
                let role = [Role::Owner, Role::Admin, Role::Member][*role];
                (people[*by], Change::SetRole { user: people[(*user).max(1)], role })
            }
            Deed::Rename { by, name } => {
                (people[*by], Change::Update { name: Some(format!("name {name}")), description: None })
            }
            Deed::Mark { by, seq } => (people[*by], mark(*seq)),
        }
    }

    async fn commits(&mut self, deeds: &[Deed]) {
        let changes: Vec<(UserId, Change)> = deeds.iter().map(|deed| self.change(deed)).collect();
        let items = changes.iter().map(|(actor, change)| item(self.id, *actor, change.clone())).collect();
        let committed = self.node.commit(items).await;
        let written = &committed.written[&self.id];
        let revs: Vec<i64> = written.changes.iter().map(|change| change.item.rev()).collect();
        assert_eq!(revs, (written.before + 1..=written.rev).collect::<Vec<_>>());
        for ((_, change), outcome) in changes.into_iter().zip(committed.outcomes) {
            if let Ok(done) = outcome {
                self.learns(change, done);
            }
        }
        self.node.clock.advance(Duration::from_millis(1));
    }

    fn learns(&mut self, change: Change, done: Done) {
        let name = |text: &str| text.split_once("@person").map(|(_, rest)| rest[..1].parse::<usize>().unwrap());
        match change {
            Change::Add { users } => self.members.extend(users),
            Change::Remove { user } => drop(self.members.remove(&user)),
            Change::Send(NewMessage { text, .. }) | Change::Edit { text, .. } => {
                let message = message_of(Ok(done)).0;
                if self.texts.insert(message.id, text.clone()).as_ref() == Some(&text) {
                    return;
                }
                let who = name(&text).map(|at| self.people[at]);
                let who = who.filter(|who| *who != message.sender_id && self.members.contains(who));
                self.named.insert(message.seq, who.into_iter().collect());
            }
            Change::Delete { .. } => drop(self.named.remove(&message_of(Ok(done)).0.seq)),
            _ => {}
        }
    }
}

async fn follows(node: &Node, steps: Vec<Step>, case: u64) -> Result<(), TestCaseError> {
    let mut people = Vec::new();
    for at in 0..PEOPLE {
        let user = node.user(&format!("case{case}person{at}")).await;
        // Names are unique, and each case wants the same ones.
        let (name, number) = (format!("person{at}"), entities::db::parameter);
        let backend = node.db.backend();
        let free = format!("UPDATE users SET username_key = NULL WHERE username_key = {}", number(backend, 1, "text"));
        node.db.write().execute_raw(backend.statement(free, [name.clone().into()])).await.unwrap();
        let (one, two) = (number(backend, 1, "text"), number(backend, 2, "uuid"));
        let take = format!("UPDATE users SET username_key = {one} WHERE id = {two}");
        node.db.write().execute_raw(backend.statement(take, [name.into(), user.into()])).await.unwrap();
        people.push(user);
    }
    let id = node.group(people[0], &[people[1]]).await;
    let members = BTreeSet::from([people[0], people[1]]);
    let (said, named, texts) = (Vec::new(), Named::new(), HashMap::new());
    let mut story = Story { node, people: people.clone(), id, said, members, named, texts };
    let mut copy = Copy::default();
    for step in &steps {
        match step {
            Step::Batch(deeds) => story.commits(deeds).await,
            Step::Page(limit) => drop(copy.reads(node, people[0], id, *limit).await),
        }
    }
    node.are_sound(id).await;
    copy.reads_all(node, people[0], id, 3).await;
    let rows = truth(node, people[0], id).await;
    prop_assert_eq!(&copy.rows, &rows);
    prop_assert_eq!((copy.rev, copy.resets), (node.head(id).await.last_rev, 0));
    let mentions: BTreeSet<(i64, UserId)> =
        story.named.iter().flat_map(|(seq, who)| who.iter().map(|who| (*seq, *who))).collect();
    prop_assert_eq!(node.mentions(id).await, mentions);

    for member in node.members(id).await.iter().filter(|row| row.until_rev.is_none()) {
        let user = member.user_id;
        // From any point, whoever may see less sees less, and nothing else.
        let truth = truth(node, user, id).await;
        for after in [0, copy.rev / 3, copy.rev / 2, copy.rev] {
            let mut late = Copy { rev: after, ..Copy::default() };
            late.reads_all(node, user, id, 5).await;
            let expected: BTreeMap<_, _> =
                truth.clone().into_iter().filter(|(_, row)| row["rev"].as_i64().unwrap() > after).collect();
            prop_assert_eq!(&late.rows, &expected);
        }
        let mut afresh = Copy::default();
        afresh.starts_afresh(node, user, id).await;
        prop_assert_eq!(present(&afresh.rows), present(&truth));
        let counts = recount(node, id, user, &story.named).await;
        let mine = read::mine_of(&node.db, id, user).await.unwrap();
        let view = node.conversations.get(user, GetConversation { conversation_id: id }).await.unwrap();
        let known = actors::greeter::Known { revs: None, user_rev: 0 };
        let snapshot = node.greeter.look(user, vec![id], known).await.unwrap();
        prop_assert_eq!((mine.unread, mine.mentions), counts);
        prop_assert_eq!((view.me.unread, view.me.mentions), counts);
        prop_assert_eq!((snapshot.heads[0].unread, snapshot.heads[0].mentions), counts);
        let newest = view.last_message.as_ref().map(as_item);
        let seq = |row: &&Value| row["seq"].as_i64();
        prop_assert_eq!(newest.as_ref(), truth.values().filter(|row| row["type"] == "message").max_by_key(seq));
    }
    Ok(())
}

/// Many random histories on one database.
fn changes_are_exact(cases: u32, open: impl AsyncFnOnce() -> Option<Stage>) {
    let system = actix_rt::System::new();
    let Some(stage) = system.block_on(open()) else { return };
    let node = system.block_on(Node::alone(&stage));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let case = std::cell::Cell::new(0);
    let ran = runner.run(&history(), |steps| {
        case.set(case.get() + 1);
        system.block_on(follows(&node, steps, case.get()))
    });
    system.block_on(stage.play(async |_: &Stage| {}));
    if let Err(failed) = ran {
        panic!("{failed}");
    }
}

#[test]
fn changes_are_exact_on_sqlite() {
    changes_are_exact(48, async || Some(Stage::on_sqlite().await));
}

#[test]
fn changes_are_exact_on_postgres() {
    changes_are_exact(24, Stage::on_postgres);
}

on_both! {
    async fn who_is_too_far_behind_takes_the_history_afresh(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[bob]).await;
        let mut copy = Copy::default();
        let first = node.rows.says(tea, ann, "one").await.id;
        copy.reads_all(&node, bob, tea, 100).await;
        for n in 0..20 {
            node.rows.says(tea, ann, &format!("more {n}")).await;
        }
        // As if very many changes had been made meanwhile.
        let sql = "UPDATE conversations SET last_rev = last_rev + 10000";
        node.db.write().execute_unprepared(sql).await.unwrap();
        node.one(tea, ann, edit(first, "one!")).await.unwrap();
        copy.reads(&node, bob, tea, 100).await;
        assert_eq!(copy.resets, 1);
        // What happens between the reset and the last page is not lost.
        node.one(tea, bob, react(first, "👍")).await.unwrap();
        node.rows.says(tea, bob, "last").await;
        copy.reads_all(&node, bob, tea, 100).await;
        let rows = truth(&node, bob, tea).await;
        assert_eq!(present(&copy.rows), present(&rows));
        assert_eq!((copy.rev, copy.resets), (node.head(tea).await.last_rev, 1));

        // A number that is not one of ours.
        let after_rev = copy.rev + 1;
        let page = node.conversations.changes(bob, Changes { conversation_id: tea, after_rev, limit: None }).await;
        let page = page.unwrap();
        assert!(page.reset && page.items.is_empty() && page.next_rev == copy.rev);
        // Exactly as far as is still listed.
        let after_rev = copy.rev - read::TOO_FAR;
        let page = node.conversations.changes(bob, Changes { conversation_id: tea, after_rev, limit: None }).await;
        assert!(!page.unwrap().reset);
    }

    async fn pages_of_changes_stop_before_they_are_too_long(stage: &Stage) {
        let node = Node::start(stage, Setting::alone().bounded(|limits| limits.reply_bytes = 4096)).await;
        let ann = node.user("ann").await;
        let tea = node.group(ann, &[]).await;
        for n in 0..12 {
            node.rows.says(tea, ann, &n.to_string().repeat(600)).await;
        }
        let mut copy = Copy::default();
        let mut pages = 1;
        while copy.reads(&node, ann, tea, 100).await {
            pages += 1;
        }
        assert!(pages > 3, "{pages}");
        assert_eq!(copy.rows, truth(&node, ann, tea).await);
        // A single row that is too long by itself still comes.
        node.rows.says(tea, ann, &"x".repeat(8000)).await;
        copy.reads_all(&node, ann, tea, 100).await;
        assert_eq!(copy.rows, truth(&node, ann, tea).await);
        // The same for the history.
        let mut afresh = Copy::default();
        afresh.starts_afresh(&node, ann, tea).await;
        assert_eq!(present(&afresh.rows), present(&truth(&node, ann, tea).await));
    }

    async fn a_page_of_history_says_what_is_around_it(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[]).await;
        for n in 1..=4 {
            node.rows.says(tea, ann, &n.to_string()).await;
        }
        node.one(tea, ann, add(&[bob])).await.unwrap();
        for n in 5..=14 {
            node.rows.says(tea, ann, &n.to_string()).await;
        }
        let page = async |user, before_seq, after_seq, around_seq, limit| {
            let limit = Some(limit);
            let command = MessagesByConversation { conversation_id: tea, before_seq, after_seq, around_seq, limit };
            let page = node.conversations.get_by_conversation(user, command).await.unwrap();
            let seqs: Vec<i64> = page.items.iter().map(|message| message.seq).collect();
            (seqs, page.more_before, page.more_after)
        };
        assert_eq!(page(ann, None, None, None, 3).await, (vec![12, 13, 14], true, false));
        assert_eq!(page(ann, Some(4), None, None, 3).await, (vec![1, 2, 3], false, true));
        assert_eq!(page(ann, None, Some(12), None, 3).await, (vec![13, 14], true, false));
        assert_eq!(page(ann, None, Some(0), None, 3).await, (vec![1, 2, 3], false, true));
        assert_eq!(page(ann, None, None, Some(7), 5).await, (vec![5, 6, 7, 8, 9], true, true));
        assert_eq!(page(ann, None, None, Some(7), 1).await, (vec![7], true, true));
        assert_eq!(page(ann, None, None, Some(14), 4).await, (vec![13, 14], true, false));
        // A member sees their span, and is not told of what is before it.
        assert_eq!(page(bob, None, None, None, 100).await, ((5..=14).collect(), false, false));
        assert_eq!(page(bob, Some(8), None, None, 3).await, (vec![5, 6, 7], false, true));
        assert_eq!(page(bob, None, Some(0), None, 2).await, (vec![5, 6], false, true));
        assert_eq!(page(bob, None, None, Some(2), 4).await, (vec![5, 6], false, true));
        let old = node.messages(tea).await[0].id;
        let unseen = node.conversations.get_message(bob, GetMessage { message_id: old }).await;
        assert_eq!(unseen.unwrap_err().code(), ErrorCode::MessageNotFound);
        // Where there is nothing on the page, there may still be something around it.
        assert_eq!(page(ann, None, Some(14), None, 3).await, (vec![], true, false));
        assert_eq!(page(ann, Some(1), None, None, 3).await, (vec![], false, true));
    }

    async fn who_is_no_member_reads_nothing(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob, eve] = node.users(["ann", "bob", "eve"]).await;
        let tea = node.group(ann, &[bob]).await;
        let said = node.rows.says(tea, ann, "one").await.id;
        node.one(tea, ann, remove(bob)).await.unwrap();
        let nowhere = ConversationId::from_uuid(uuid::Uuid::nil());
        for (user, id) in [(bob, tea), (eve, tea), (ann, nowhere)] {
            let conversations = &node.conversations;
            let (before_seq, after_seq, around_seq, limit) = (None, None, None, None);
            let page = MessagesByConversation { conversation_id: id, before_seq, after_seq, around_seq, limit };
            let codes = [
                conversations.get_by_conversation(user, page).await.map(drop),
                conversations.changes(user, Changes { conversation_id: id, after_rev: 0, limit }).await.map(drop),
                conversations.get(user, GetConversation { conversation_id: id }).await.map(drop),
                conversations
                    .list_participants(user, ListParticipants { conversation_id: id, cursor: None, limit })
                    .await
                    .map(drop),
                conversations.mark_read(user, MarkRead { conversation_id: id, seq: 1 }).await.map(drop),
                conversations.mark_delivered(user, MarkDelivered { conversation_id: id, seq: 1 }).await.map(drop),
                conversations.typing(user, Typing { conversation_id: id, typing: true }).await.map(drop),
            ];
            for (at, outcome) in codes.into_iter().enumerate() {
                assert_eq!(outcome.unwrap_err().code(), ErrorCode::ConversationNotFound, "{at}");
            }
        }
        for user in [bob, eve] {
            let message = node.conversations.get_message(user, GetMessage { message_id: said }).await;
            assert_eq!(message.unwrap_err().code(), ErrorCode::MessageNotFound);
            let edited = EditMessage { message_id: said, text: "?".to_owned() };
            assert_eq!(node.conversations.edit(user, edited).await.unwrap_err().code(), ErrorCode::MessageNotFound);
        }
    }

    async fn counts_stop_at_a_thousand(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[bob]).await;
        for _ in 0..5 {
            let items = (0..220).map(|_| item(tea, ann, send("hey @bob"))).collect();
            node.commit(items).await;
        }
        let mine = read::mine_of(&node.db, tea, bob).await.unwrap();
        assert_eq!((mine.unread, mine.mentions), (1000, 1000));
        node.one(tea, bob, mark(1000)).await.unwrap();
        let mine = read::mine_of(&node.db, tea, bob).await.unwrap();
        assert_eq!((mine.unread, mine.mentions), (100, 100));
    }

    async fn what_is_a_users_own_is_read_in_pages(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let mut ids = Vec::new();
        for _ in 0..7 {
            ids.push(node.group(ann, &[bob]).await);
        }
        for id in &ids {
            node.rows.says(*id, ann, "one").await;
        }
        node.one(ids[1], bob, mark(1)).await.unwrap();
        node.one(ids[4], ann, remove(bob)).await.unwrap();
        let mut after_user_rev = 0;
        let mut held: BTreeMap<String, Value> = BTreeMap::new();
        loop {
            let command = UserChanges { after_user_rev, limit: Some(2) };
            let page = node.conversations.user_changes(bob, command).await.unwrap();
            assert!(!page.reset && page.items.len() <= 2);
            let revs: Vec<i64> = page.items.iter().map(view::UserItem::user_rev).collect();
            assert!(revs.is_sorted() && revs.first().is_none_or(|first| *first > after_user_rev));
            for item in &page.items {
                let item = json_of(item);
                held.insert(item["conversationId"].to_string(), item);
            }
            after_user_rev = page.next_user_rev;
            if !page.more {
                break;
            }
        }
        assert_eq!(after_user_rev, node.user_rev(bob).await);
        for (at, id) in ids.iter().enumerate() {
            let item = &held[&json_of(id).to_string()];
            let expected = if at == 4 { "gone" } else { "mine" };
            assert_eq!(item["type"], expected);
            if at != 4 {
                let read = i64::from(at == 1);
                assert_eq!((item["unread"].as_i64(), item["readSeq"].as_i64()), (Some(1 - read), Some(read)));
            }
        }
        let until = node.member(ids[4], bob).await.until_rev;
        assert_eq!(held[&json_of(&ids[4]).to_string()]["untilRev"], json!(until));
        let page = node.conversations.user_changes(bob, UserChanges { after_user_rev: 99, limit: None }).await.unwrap();
        assert!(page.reset && page.next_user_rev == after_user_rev);
    }

    async fn conversations_are_listed_each_once_by_their_newest_message(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let mut ids = Vec::new();
        for _ in 0..9 {
            ids.push(node.group(ann, &[bob]).await);
        }
        // Several at one moment, so that the time alone does not order them.
        for id in &ids[3..] {
            node.clock.advance(Duration::from_millis(u64::from(*id == ids[6])));
            node.rows.says(*id, ann, "one").await;
        }
        let mut cursor = None;
        let mut listed = Vec::new();
        loop {
            let command = ConversationsByUser { requests: None, cursor, limit: Some(2) };
            let page = node.conversations.get_by_user(bob, command).await.unwrap();
            listed.extend(page.items.iter().map(|conversation| conversation.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let mut expected: Vec<(Timestamp, ConversationId)> = Vec::new();
        for id in &ids {
            expected.push((node.head(*id).await.last_message_at, *id));
        }
        expected.sort_by(|one, other| other.cmp(one));
        assert_eq!(listed, expected.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
    }

    async fn members_keep_their_rows_when_they_go(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[bob]).await;
        let mut copy = Copy::default();
        copy.reads_all(&node, ann, tea, 100).await;
        node.one(tea, ann, remove(bob)).await.unwrap();
        copy.reads_all(&node, ann, tea, 100).await;
        let row = &copy.rows[&format!("participant {}", json_of(&bob))];
        assert_eq!(row["removed"], true);
        let rows = participant::in_conversation(tea).all(node.db.write()).await.unwrap();
        assert_eq!(rows.len(), 2);
    }
}

on_postgres! {
    /// Neither what is read nor what is written looks through all messages.
    async fn no_command_reads_all_messages(stage: &Stage) {
        let setting = Setting { connections: 1, ..Setting::alone().bounded(|limits| limits.lanes = 1) };
        let node = Node::start(stage, setting).await;
        let [ann, bob, eve] = node.users(["ann", "bob", "eve"]).await;
        let [tea, full] = [node.group(ann, &[bob]).await, node.group(ann, &[bob]).await];
        let sql = "INSERT INTO messages SELECT $1, s, gen_random_uuid(), $2, 'k' || s, '\\x00'::bytea, s + 3, FALSE, 'text', 'x', NULL, 0, \
                   NULL, NULL FROM generate_series(1, 30000) AS s";
        let backend = Backend::Postgres;
        node.db.write().execute_raw(backend.statement(sql, [full.into(), ann.into()])).await.unwrap();
        let sql = "UPDATE conversations SET last_seq = 30000, last_rev = 30003 WHERE id = $1";
        node.db.write().execute_raw(backend.statement(sql, [full.into()])).await.unwrap();
        node.db.write().execute_unprepared("ANALYZE").await.unwrap();
        let scans = async || {
            node.db.write().execute_unprepared("SELECT pg_stat_force_next_flush()").await.unwrap();
            let sql = "SELECT relname::text, seq_scan FROM pg_stat_user_tables WHERE relname IN ('messages', 'mentions')";
            let rows = node.db.write().query_all_raw(backend.statement(sql, [])).await.unwrap();
            let scans = |row: &sea_orm::QueryResult| (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap());
            rows.iter().map(scans).collect::<BTreeMap<String, i64>>()
        };
        let before = scans().await["messages"];
        let conversations = &node.conversations;
        for id in [tea, full] {
            let said = node.says_as(id, ann, "k", "hey @bob").await.unwrap().message;
            assert!(node.says_as(id, ann, "k", "hey @bob").await.unwrap().duplicate);
            let message_id = said.id;
            let answer = SendMessage {
                conversation_id: id,
                text: "yes".to_owned(),
                client_id: "l".to_owned(),
                reply_to: Some(message_id),
            };
            conversations.send(bob, answer).await.unwrap();
            conversations.edit(ann, EditMessage { message_id, text: "hey, @bob".to_owned() }).await.unwrap();
            conversations.add_reaction(bob, AddReaction { message_id, emoji: "👍".to_owned() }).await.unwrap();
            conversations.get_message(bob, GetMessage { message_id }).await.unwrap();
            conversations.mark_read(bob, MarkRead { conversation_id: id, seq: 1 }).await.unwrap();
            node.adds(id, ann, eve).await;
            for (before_seq, after_seq, around_seq) in
                [(None, None, None), (Some(20), None, None), (None, Some(20), None), (None, None, Some(20))]
            {
                let limit = None;
                let page = MessagesByConversation { conversation_id: id, before_seq, after_seq, around_seq, limit };
                conversations.get_by_conversation(bob, page).await.unwrap();
            }
            let last_rev = node.head(id).await.last_rev;
            for after_rev in [last_rev - 3, (last_rev - 5000).max(0)] {
                conversations.changes(bob, Changes { conversation_id: id, after_rev, limit: None }).await.unwrap();
            }
            conversations.get(bob, GetConversation { conversation_id: id }).await.unwrap();
            conversations.delete(ann, DeleteMessage { message_id }).await.unwrap();
            node.removes(id, ann, eve).await;
        }
        conversations.get_by_user(bob, ConversationsByUser { requests: None, cursor: None, limit: None }).await.unwrap();
        conversations.user_changes(bob, UserChanges { after_user_rev: 0, limit: None }).await.unwrap();
        let known = actors::greeter::Known { revs: None, user_rev: 0 };
        assert_eq!(node.greeter.look(bob, vec![tea, full], known).await.unwrap().heads.len(), 2);
        assert_eq!(scans().await["messages"], before);
        // It would be noticed.
        node.db.write().execute_unprepared("SELECT count(*) FROM messages WHERE kind = 'system'").await.unwrap();
        assert!(scans().await["messages"] > before);
    }
}
