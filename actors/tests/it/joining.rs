//! Sessions that come while things happen: whatever is done at whichever moment of a hello, nothing is lost, doubled
//! or heard by whom it is not for.
//! Never a connection: what a session hears is taken from its queue.

use super::support::session::{Client, login};
use super::support::*;
use sea_orm::{ConnectionTrait, DatabaseTransaction};

/// The one connection by which a node reads, let go for one query at a time.
struct Turnstile<'a> {
    db: &'a Db,
    held: Option<DatabaseTransaction>,
}

impl<'a> Turnstile<'a> {
    async fn shut(db: &'a Db) -> Turnstile<'a> {
        Turnstile { db, held: Some(db.begin_read().await.unwrap()) }
    }

    /// Lets one query of those that wait through, if any does.
    async fn lets_one_through(&mut self) {
        // Whoever is about to ask stands in the queue afterwards.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let next = self.db.begin_read();
        tokio::pin!(next);
        let queued = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
        assert!(queued);
        self.held.take().unwrap().rollback().await.unwrap();
        self.held = Some(within(next, "the turnstile to shut").await.unwrap());
    }

    async fn opens(mut self) {
        self.held.take().unwrap().rollback().await.unwrap();
    }
}

/// What a client makes of what it hears, by the merge rule.
#[derive(Debug, Clone, Default, PartialEq)]
struct Picture(BTreeMap<ConversationId, Position>);

#[derive(Debug, Clone, Default, PartialEq)]
struct Position {
    rev: i64,
    unread: i64,
}

impl Picture {
    /// After all that a client has heard, which held this before.
    fn of(client: &Client, held: &Picture) -> Picture {
        let mut picture = held.clone();
        for frame in client.heard() {
            picture.takes(&frame, client.user);
        }
        picture
    }

    fn takes(&mut self, frame: &Value, me: UserId) {
        let within = || frame["conversationId"].as_str().unwrap().parse::<ConversationId>().unwrap();
        let data = &frame["data"];
        match frame["event"].as_str().unwrap_or_default() {
            "ready" | "heads" => {
                for gone in data["gone"].as_array().into_iter().flatten() {
                    self.0.remove(&gone["conversationId"].as_str().unwrap().parse().unwrap());
                }
                data["heads"].as_array().unwrap().iter().for_each(|head| self.looks(head));
            }
            "conversation.added" => {
                let position =
                    Position { rev: data["lastRev"].as_i64().unwrap(), unread: data["me"]["unread"].as_i64().unwrap() };
                self.0.insert(within(), position);
            }
            "conversation.removed" => drop(self.0.remove(&within())),
            "conversation.mine" => {
                if let Some(position) = self.0.get_mut(&within()) {
                    position.unread = data["unread"].as_i64().unwrap();
                }
            }
            event if frame.get("rev").is_some() => {
                let (from, rev) = ear::numbers(frame);
                let Some(position) = self.0.get_mut(&within()) else { return };
                assert!(from <= position.rev + 1, "a gap above {}: {frame}", position.rev);
                let is_new = rev > position.rev && event == "message.created" && data["senderId"] != json!(me);
                position.unread += i64::from(is_new);
                for item in data["items"].as_array().into_iter().flatten().filter(|item| item["type"] == "message") {
                    let unedited = item.get("editedAt").is_none() && item["rev"].as_i64() > Some(position.rev);
                    position.unread += i64::from(unedited && item["senderId"] != json!(me));
                }
                position.rev = position.rev.max(rev);
            }
            _ => {}
        }
    }

    fn looks(&mut self, head: &Value) {
        let id = head["conversationId"].as_str().unwrap().parse().unwrap();
        let position = Position { rev: head["lastRev"].as_i64().unwrap(), unread: head["unread"].as_i64().unwrap() };
        self.0.insert(id, position);
    }

    /// What the rows say.
    async fn truth(node: &Node, user: UserId, ids: &[ConversationId]) -> Picture {
        let mut picture = Picture::default();
        for id in ids {
            if let Ok(mine) = read::mine_of(&node.db, *id, user).await {
                let position = Position { rev: node.head(*id).await.last_rev, unread: i64::from(mine.unread) };
                picture.0.insert(*id, position);
            }
        }
        picture
    }
}

/// What happens while somebody says hello.
#[derive(Debug, Clone, Copy)]
enum Deed {
    /// A message is sent to a conversation that they are in.
    Say,
    /// Or to another one.
    SayThere,
    /// They are removed from it.
    Remove,
    /// They are added to it again.
    AddAgain,
    /// They are added to another one.
    Add,
    /// They are removed from that.
    RemoveAgain,
    /// A conversation with them is made.
    Create,
    /// Their other device reads.
    Mark,
}

/// The most queries that a hello and a joining take.
const MOMENTS: usize = 13;

struct Scene<'a> {
    here: &'a Node,
    there: &'a Node,
    ann: UserId,
    bob: UserId,
    tea: ConversationId,
    cake: ConversationId,
    made: Vec<ConversationId>,
}

impl<'a> Scene<'a> {
    async fn set(here: &'a Node, there: &'a Node, number: usize) -> Scene<'a> {
        let [ann, bob] = [there.user(&format!("ann{number}")).await, there.user(&format!("bob{number}")).await];
        let tea = there.group(ann, &[bob]).await;
        let cake = there.group(ann, &[]).await;
        for id in [tea, cake] {
            there.rows.says(id, ann, "one").await;
            there.rows.says(id, ann, "two").await;
        }
        Scene { here, there, ann, bob, tea, cake, made: Vec::new() }
    }

    /// Done on another node.
    async fn happens(&mut self, deed: Deed) {
        let there = self.there;
        match deed {
            Deed::Say => drop(there.says(self.tea, self.ann, "new").await),
            Deed::SayThere => drop(there.says(self.cake, self.ann, "new").await),
            Deed::Remove => there.removes(self.tea, self.ann, self.bob).await,
            Deed::AddAgain => there.adds(self.tea, self.ann, self.bob).await,
            Deed::Add => there.adds(self.cake, self.ann, self.bob).await,
            Deed::RemoveAgain => there.removes(self.cake, self.ann, self.bob).await,
            Deed::Create => {
                let command = CreateConversation {
                    kind: ConversationKind::Group,
                    participant_ids: vec![self.bob],
                    name: Some("made".to_owned()),
                    description: None,
                    client_id: None,
                };
                let made = there.conversations.create(self.ann, command).await.unwrap().conversation.id;
                self.made.push(made);
            }
            Deed::Mark => {
                let command = MarkRead { conversation_id: self.tea, seq: 2 };
                there.conversations.mark_read(self.bob, command).await.unwrap();
            }
        }
    }

    /// Says hello, and has these deeds done after so many queries each; then the client's picture is the rows'.
    /// What is asked of the rows on account of a deed is read at once, or after all of them.
    async fn plays(mut self, deeds: &[(usize, Deed)], at_once: bool, resumes: bool) {
        let session = login(self.there, self.bob).await;
        let (mut held, mut hello) = (Picture::default(), json!({}));
        if resumes {
            held = Picture::truth(self.there, self.bob, &[self.tea]).await;
            let user_rev = self.there.user_rev(self.bob).await;
            hello = json!({ "known": [[self.tea, held.0[&self.tea].rev]], "userRev": user_rev });
        }
        let mut turnstile = Turnstile::shut(&self.here.db).await;
        let client = Client::begins(self.here, self.bob, session, hello);
        let mut passed = 0;
        for (moment, deed) in deeds {
            while passed < *moment {
                turnstile.lets_one_through().await;
                passed += 1;
            }
            self.happens(*deed).await;
            if at_once {
                self.here.mends_by(&self.there.db).await;
            }
        }
        turnstile.opens().await;
        let ids: Vec<ConversationId> = [self.tea, self.cake].into_iter().chain(self.made.iter().copied()).collect();
        let expected = Picture::truth(self.there, self.bob, &ids).await;
        let agreed = async {
            let is_ready = || client.heard().iter().any(|frame| frame["event"] == "ready");
            while !is_ready() || Picture::of(&client, &held) != expected {
                self.here.mends().await;
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(3), agreed).await.is_err() {
            let heard: Vec<String> = client.heard().iter().map(|frame| format!("\n    {frame}")).collect();
            panic!(
                "{deeds:?}: the rows say {expected:?}, the client thinks {:?} of{}",
                Picture::of(&client, &held),
                heard.concat()
            );
        }
        // What comes from now on is heard where one is a member, and nowhere else.
        for id in &ids {
            self.there.says(*id, self.ann, "later").await;
        }
        self.here.mends().await;
        let expected = Picture::truth(self.there, self.bob, &ids).await;
        assert_eq!(Picture::of(&client, &held), expected, "{deeds:?}: afterwards");
        let heard = client.heard();
        for id in ids.iter().filter(|id| !expected.0.contains_key(id)) {
            let leaked =
                heard.iter().any(|frame| frame["conversationId"] == json!(id) && frame["data"]["text"] == "later");
            assert!(!leaked, "{deeds:?}: heard what is not for it");
        }
        assert_eq!(client.socket.outbox.delivered(), client.numbered(), "{deeds:?}");
        client.goes();
    }
}

async fn at_every_moment(stage: &Stage, deeds: impl Iterator<Item = Vec<(usize, Deed)>>) {
    let bus = LocalBus::new();
    let here = Node::start(stage, Setting { connections: 1, ..Setting::named(&bus, "here") }).await;
    let there = Node::named(stage, &bus, "there").await;
    for (number, deeds) in deeds.enumerate() {
        // Each of the four ways in turn.
        let (at_once, resumes) = (number % 2 == 0, number / 2 % 2 == 0);
        Scene::set(&here, &there, number).await.plays(&deeds, at_once, resumes).await;
    }
}

/// One deed.
fn moments(deed: Deed) -> impl Iterator<Item = Vec<(usize, Deed)>> {
    // Four times, for the ways are taken in turn.
    (0..MOMENTS).flat_map(move |at| (0..4).map(move |_| vec![(at, deed)]))
}

/// Two deeds, the second at the same moment as the first or later.
fn pairs(first: Deed, second: Deed) -> impl Iterator<Item = Vec<(usize, Deed)>> {
    (0..MOMENTS).flat_map(move |one| (one..MOMENTS).map(move |other| vec![(one, first), (other, second)]))
}

on_both! {
    async fn a_message_at_any_moment_of_a_hello(stage: &Stage) {
        at_every_moment(stage, moments(Deed::Say)).await;
    }

    async fn a_removal_at_any_moment_of_a_hello(stage: &Stage) {
        at_every_moment(stage, moments(Deed::Remove)).await;
    }

    async fn an_addition_at_any_moment_of_a_hello(stage: &Stage) {
        at_every_moment(stage, moments(Deed::Add)).await;
    }

    async fn a_new_conversation_at_any_moment_of_a_hello(stage: &Stage) {
        at_every_moment(stage, moments(Deed::Create)).await;
    }

    async fn a_mark_at_any_moment_of_a_hello(stage: &Stage) {
        at_every_moment(stage, moments(Deed::Mark)).await;
    }

    async fn a_removal_and_an_addition_at_any_moments_of_a_hello(stage: &Stage) {
        at_every_moment(stage, pairs(Deed::Remove, Deed::AddAgain)).await;
    }

    async fn an_addition_and_a_removal_at_any_moments_of_a_hello(stage: &Stage) {
        at_every_moment(stage, pairs(Deed::Add, Deed::RemoveAgain)).await;
    }

    async fn a_message_at_any_moment_after_a_removal(stage: &Stage) {
        at_every_moment(stage, pairs(Deed::Remove, Deed::Say)).await;
    }

    async fn a_message_at_any_moment_after_an_addition(stage: &Stage) {
        at_every_moment(stage, pairs(Deed::Add, Deed::SayThere)).await;
    }

    async fn a_mark_at_any_moment_after_a_message(stage: &Stage) {
        at_every_moment(stage, pairs(Deed::Say, Deed::Mark)).await;
    }
}

on_both! {
    /// A page of heads may have to wait for a client that reads slowly.
    async fn a_head_comes_before_what_happens_after_it(stage: &Stage) {
        let setting = Setting::alone().bounded(|limits| limits.queue_bytes = 52_000);
        let node = Node::start(stage, setting).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let mut ids = BTreeSet::new();
        for _ in 0..230 {
            ids.insert(node.group(ann, &[bob]).await);
        }
        let client = Client::begins(&node, bob, login(&node, bob).await, json!({}));
        // It reads nothing until something was said in one of those that did not fit into `ready`.
        until("ready to be queued", || node.sockets_ready() == 1).await;
        let some: Vec<ConversationId> = ids.iter().take(20).chain(ids.iter().rev().take(20)).copied().collect();
        for id in &some {
            node.says(*id, ann, "new").await;
        }
        // What is the user's own changes as well: read on another device, removed, added.
        let (read, left) = (some[1], some[39]);
        node.conversations.mark_read(bob, MarkRead { conversation_id: read, seq: 1 }).await.unwrap();
        let other = some[38];
        node.conversations.mark_read(bob, MarkRead { conversation_id: other, seq: 1 }).await.unwrap();
        node.removes(left, ann, bob).await;
        node.mends().await;
        node.is_quiet().await;
        let ids: Vec<ConversationId> = ids.into_iter().collect();
        let truth = Picture::truth(&node, bob, &ids).await;
        assert_eq!(truth.0.len(), 229);
        until("the client to know all", || Picture::of(&client, &Picture::default()) == truth).await;
        let heard = client.heard();
        let mut picture = Picture::default();
        for frame in &heard {
            if frame["event"] == "message.created" {
                let id = frame["conversationId"].as_str().unwrap().parse().unwrap();
                assert!(picture.0.contains_key(&id), "an event before its head");
            }
            picture.takes(frame, bob);
        }
        assert_eq!(client.socket.outbox.delivered(), client.numbered());
    }

    async fn a_session_that_ends_is_closed_also_when_the_hint_was_lost(stage: &Stage) {
        use entities::session;
        use sea_orm::{ActiveModelTrait, Set};
        let bus = LocalBus::new();
        let node = Node::named(stage, &bus, "here").await;
        let other = Node::named(stage, &bus, "there").await;
        let bob = node.user("bob").await;
        let [one, two] = [Client::joins(&node, bob).await, Client::joins(&node, bob).await];
        other.entries.session_revoked(bob, one.session);
        one.hears("session.revoked").await;
        until("the close", || one.heard().iter().any(|frame| frame["closed"] == 4403)).await;
        assert!(two.socket.outbox.closed().is_none(), "another session of the same user stays");
        let now = actors::clock::Clock::now(node.clock.as_ref());
        let ended = session::ActiveModel { id: Set(two.session), revoked_at: Set(Some(now)), ..Default::default() };
        ended.update(node.db.write()).await.unwrap();
        node.sweeps().await;
        until("the close", || two.heard().iter().any(|frame| frame["closed"] == 4403)).await;
        // And it does not come back.
        let late = Client::begins(&node, bob, two.session, json!({}));
        until("the close", || late.heard().iter().any(|frame| frame["closed"] == 4403)).await;
    }

    /// The watch over the first ends while the second is on its way.
    async fn a_heartbeat_that_was_answered_does_not_end_the_next(stage: &Stage) {
        let setting = Setting::alone().bounded(|limits| limits.heartbeat = Duration::from_secs(6));
        let node = Node::start(stage, setting).await;
        let bob = node.user("bob").await;
        let client = Client::joins(&node, bob).await;
        let (beat, answer) = (node.limits.heartbeat, node.limits.heartbeat_answer);
        node.clock.let_pass(beat).await;
        let nonce = client.hears("heartbeat").await["data"]["nonce"].clone();
        client.says(json!({ "cmd": "heartbeat", "data": { "nonce": nonce, "received": 0 } }));
        until("the next to be due", || node.clock.sleeps(beat)).await;
        node.clock.advance(beat);
        until("the next", || !client.socket.outbox.is_empty()).await;
        // The client takes nothing for a while; its ten seconds have hardly begun.
        node.clock.advance(answer - beat);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(client.socket.outbox.closed().is_none());
        node.clock.advance(beat);
        until("the second to be given up", || client.socket.outbox.closed().is_some()).await;
    }

    async fn a_node_that_drains_finishes_what_is_under_way(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[bob]).await;
        let client = Client::joins(&node, bob).await;
        let idle = Client::joins(&node, ann).await;
        // The write waits until another one is done.
        let other = stage.open(1).await;
        let holding = other.begin_write().await.unwrap();
        if node.db.backend() == Backend::Postgres {
            let sql = "SELECT id FROM conversations WHERE id = $1 FOR NO KEY UPDATE";
            holding.execute_raw(Backend::Postgres.statement(sql, [tea.into()])).await.unwrap();
        }
        let sent = client.begins_command(
            "messages.send",
            json!({ "conversationId": tea, "text": "last", "clientId": "k" }),
        );
        until("the command to be under way", || !node.journal.is_idle()).await;
        node.entries.hubs()[0].drain(5000, 7);
        client.hears("drain").await;
        until("the idle one to be closed", || idle.heard().iter().any(|frame| frame["closed"] == 4001)).await;
        let refused = client.calls("messages.send", json!({ "conversationId": tea, "text": "no", "clientId": "l" })).await;
        assert_eq!(refused["error"]["code"], "server.unavailable");
        assert!(client.socket.outbox.closed().is_none());
        holding.rollback().await.unwrap();
        let reply = client.replied(&sent).await;
        assert_eq!(reply["ok"]["message"]["text"], "last");
        until("the close", || client.heard().iter().any(|frame| frame["closed"] == 4001)).await;
    }

    async fn a_client_that_is_too_slow_twice_pulls(stage: &Stage) {
        let setting = Setting::alone().bounded(|limits| limits.queue_bytes = 4000);
        let node = Node::start(stage, setting).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[bob]).await;
        let session = login(&node, bob).await;
        for round in 0..2 {
            let client = Client::begins(&node, bob, session, json!({}));
            assert_eq!(client.hears("ready").await["data"].get("pull"), None, "in round {round}");
            while client.socket.outbox.closed().is_none() {
                node.says(tea, ann, &"x".repeat(500)).await;
                node.is_quiet().await;
            }
            assert_eq!(client.heard().last().unwrap()["closed"], 4002);
            client.goes();
            until("the session to end", || node.sockets_ready() == 0).await;
        }
        let client = Client::begins(&node, bob, session, json!({}));
        let ready = client.hears("ready").await;
        assert_eq!(ready["data"]["pull"], true);
        let mut rev = ready["data"]["heads"][0]["lastRev"].as_i64().unwrap();
        for _ in 0..30 {
            rev = node.says(tea, ann, &"x".repeat(500)).await.rev;
        }
        node.is_quiet().await;
        let hinted = async {
            loop {
                let hint = client.hears("heads").await;
                if hint["data"]["heads"][0]["lastRev"] == json!(rev) {
                    return;
                }
            }
        };
        within(hinted, "the newest hint").await;
        assert!(!client.heard().iter().any(|frame| frame["event"] == "message.created"));
        // It has caught up, and hears frames again.
        node.clock.let_pass(node.limits.heartbeat).await;
        until("the hinting to end", || !client.socket.pulls()).await;
        node.says(tea, ann, "now").await;
        let told = client.hears("message.created").await;
        assert_eq!((told["rev"].as_i64(), &told["data"]["text"]), (Some(rev + 1), &json!("now")));
    }
}
