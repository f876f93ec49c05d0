//! The journal's lanes: what becomes of items when others hold a conversation, when one of them spoils a transaction,
//! and when nobody knows whether it was committed.
//! Never what a change means: see `deciding`.

use super::support::rows::{add, item, react};
use super::support::wire::Wire;
use super::support::*;
use actors::room::Reply;
use futures_util::future::join_all;
use sea_orm::ConnectionTrait;
use tokio::sync::{mpsc, oneshot};

/// The room of one conversation, as the journal sees it.
struct Room {
    id: ConversationId,
    sender: mpsc::UnboundedSender<Verdict>,
    verdicts: mpsc::UnboundedReceiver<Verdict>,
}

impl Room {
    fn of(id: ConversationId) -> Room {
        let (sender, verdicts) = mpsc::unbounded_channel();
        Room { id, sender, verdicts }
    }

    /// Has the journal take a change; the room says what becomes of it.
    fn asks(&self, node: &Node, actor: UserId, change: Change) -> oneshot::Receiver<Outcome<Done>> {
        let (reply, answer) = Reply::unbound();
        node.journal.enqueue(Item { reply, room: self.sender.clone(), ..item(self.id, actor, change) });
        answer
    }

    /// What the next transaction made of it, after which whoever asked has their answer.
    async fn hears(&mut self) -> Vec<i64> {
        match within(self.verdicts.recv(), "a verdict").await.unwrap() {
            Verdict::Decided { written, answers } => {
                answers.into_iter().for_each(|(reply, outcome)| reply.send(outcome));
                written.changes.iter().map(|change| change.item.rev()).collect()
            }
            Verdict::Unknown => panic!("unknown"),
        }
    }

    async fn hears_nothing_certain(&mut self) {
        assert!(matches!(within(self.verdicts.recv(), "a verdict").await, Some(Verdict::Unknown)));
    }
}

async fn seq_of(answer: oneshot::Receiver<Outcome<Done>>) -> i64 {
    match within(answer, "an answer").await.unwrap().unwrap() {
        Done::Message { message, .. } => message.seq,
        Done::Changed => panic!("no message"),
    }
}

async fn refusal_of(answer: oneshot::Receiver<Outcome<Done>>) -> ErrorCode {
    within(answer, "an answer").await.unwrap().unwrap_err().code()
}

/// Awaits what takes pauses of the node's own.
async fn while_time_passes<T>(node: &Node, happening: impl Future<Output = T>) -> T {
    let passing = async {
        loop {
            node.clock.advance(Duration::from_millis(1));
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        happened = happening => happened,
        () = passing => unreachable!("time passes for ever"),
    }
}

/// A message whose id another one has.
fn with_id(id: MessageId, text: &str) -> Change {
    match send(text) {
        Change::Send(new) => Change::Send(NewMessage { id, ..new }),
        _ => unreachable!(),
    }
}

on_both! {
    async fn a_poisoned_item_takes_none_of_the_others_with_it(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let [tea, cake] = [node.group(ann, &[bob]).await, node.group(bob, &[ann]).await];
        let taken = node.rows.says(tea, ann, "one").await.id;
        // PostgreSQL spreads conversations over lanes; these are to meet in one.
        let (mut first, mut second) = (Room::of(tea), Room::of(cake));
        let answers = [
            first.asks(&node, ann, send("two")),
            first.asks(&node, bob, with_id(taken, "poison")),
            first.asks(&node, bob, send("three")),
            second.asks(&node, bob, send("one")),
        ];
        // One transaction each: the rooms hear of each by itself, and in order.
        assert_eq!(first.hears().await, [5]);
        assert_eq!(first.hears().await, [6]);
        assert_eq!(second.hears().await, [4]);
        let [two, poison, three, one] = answers;
        assert_eq!((seq_of(two).await, seq_of(three).await, seq_of(one).await), (2, 3, 1));
        assert_eq!(refusal_of(poison).await, ErrorCode::ServerUnavailable);
        assert!(first.verdicts.try_recv().is_err(), "a room is not stopped for what was surely not written");
        node.are_sound(tea).await;
        node.are_sound(cake).await;
        assert_eq!(node.messages(tea).await.len(), 3);
        until("the journal to be idle", || node.journal.is_idle()).await;
    }

    async fn what_is_full_says_so_and_recovers(stage: &Stage) {
        let setting = Setting::alone().bounded(|limits| limits.journal_items = 3);
        let node = Node::start(stage, setting).await;
        let ann = node.user("ann").await;
        let tea = node.group(ann, &[]).await;
        let mut room = Room::of(tea);
        let mut answers: Vec<_> = (0..5).map(|n| room.asks(&node, ann, send(&n.to_string()))).collect();
        let refused = answers.split_off(3);
        for answer in refused {
            let Error::Refused(refusal) = within(answer, "an answer").await.unwrap().unwrap_err() else { panic!() };
            assert_eq!(refusal.code, ErrorCode::ConversationBusy);
            assert!(refusal.retry_after.is_some());
        }
        room.hears().await;
        let mut seqs = Vec::new();
        for answer in answers {
            seqs.push(seq_of(answer).await);
        }
        assert_eq!(seqs, [1, 2, 3]);
        until("the journal to be idle", || node.journal.is_idle()).await;
        let later = room.asks(&node, ann, send("later"));
        room.hears().await;
        assert_eq!(seq_of(later).await, 4);
    }

    async fn what_is_committed_for_a_room_that_has_gone_is_found(stage: &Stage) {
        let node = Node::alone(stage).await;
        let ann = node.user("ann").await;
        let tea = node.group(ann, &[]).await;
        let ear = Ear::new(&node, ann);
        ear.listens(tea, 2).await;
        let mut room = Room::of(tea);
        let gone = room.asks(&node, ann, send("one"));
        room.verdicts.close();
        assert_eq!(seq_of(gone).await, 1);
        assert!(node.mends().await > 0);
        assert_eq!(ear.hears_numbers(), [(3, 3)]);
    }

    /// COMMIT itself fails: whether anything was written is not known.
    async fn an_unknown_outcome_stops_the_room_and_the_next_command_works(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[bob]).await;
        let sabotage: &[&str] = match node.db.backend() {
            Backend::Sqlite => &[
                "PRAGMA foreign_keys = ON",
                "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
                "CREATE TABLE orphans (id INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
                "CREATE TRIGGER spoil AFTER INSERT ON messages WHEN NEW.text = 'spoil' BEGIN INSERT INTO orphans VALUES (1); END",
            ],
            Backend::Postgres => &[
                "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$",
                "CREATE CONSTRAINT TRIGGER spoil AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.text = 'spoil') EXECUTE FUNCTION spoil()",
            ],
        };
        for sql in sabotage {
            node.db.write().execute_unprepared(sql).await.unwrap();
        }
        node.says(tea, ann, "one").await;
        let together = join_all(["two", "spoil", "three"].map(|text| node.says_as(tea, ann, text, text))).await;
        for outcome in together {
            assert_eq!(outcome.unwrap_err().code(), ErrorCode::ServerUnavailable);
        }
        assert_eq!(node.messages(tea).await.len(), 1);
        // The same request again, and others, once the cause is gone.
        let ear = Ear::new(&node, bob);
        ear.listens(tea, 4).await;
        node.mends().await;
        let again = node.says_as(tea, ann, "two", "two").await.unwrap();
        assert_eq!((again.message.seq, again.message.rev, again.duplicate), (2, 5, false));
        assert_eq!(node.says(tea, bob, "four").await.seq, 3);
        node.is_quiet().await;
        assert_eq!(ear.hears_numbers(), [(5, 5), (6, 6)]);
        node.are_sound(tea).await;

        // To the room itself it is said before anything that comes later.
        let mut room = Room::of(tea);
        let lost = room.asks(&node, ann, send("spoil"));
        room.hears_nothing_certain().await;
        assert_eq!(refusal_of(lost).await, ErrorCode::ServerUnavailable);
    }
}

on_postgres! {
    async fn a_lost_answer_to_a_commit_is_found_by_the_next_try(stage: &Stage) {
        let wire = Wire::to(stage.url()).await;
        let node = Node::start(stage, Setting { url: Some(wire.url.clone()), ..Setting::alone() }).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let [tea, cake] = [node.group(ann, &[bob]).await, node.group(bob, &[ann]).await];
        let ear = Ear::new(&node, bob);
        ear.listens(tea, 3).await;
        ear.listens_to_own(node.user_rev(bob).await).await;
        node.says(tea, ann, "one").await;

        wire.loses_next_commit();
        let lost = node.says_as(tea, ann, "k", "two").await;
        assert_eq!(lost.unwrap_err().code(), ErrorCode::ServerUnavailable);
        assert_eq!(wire.lost(), 1);
        // It is there, and those who listen are told by the rows.
        assert_eq!(node.messages(tea).await.len(), 2);
        assert!(node.mends().await > 0);
        let heard = ear.hears();
        assert_eq!(heard.iter().map(ear::numbers).collect::<Vec<_>>(), [(4, 4), (5, 5)]);
        assert_eq!(heard[1]["event"], "conversation.changes");
        assert_eq!(heard[1]["data"]["items"][0]["text"], "two");
        // The client asks again and gets the first result.
        let again = node.says_as(tea, ann, "k", "two").await.unwrap();
        assert!(again.duplicate);
        assert_eq!((again.message.seq, again.message.rev), (2, 5));
        assert_eq!(node.says(tea, ann, "three").await.rev, 6);
        node.is_quiet().await;
        assert_eq!(ear.hears_numbers(), [(6, 6)]);

        // The same for what is the user's own: the sweep finds it.
        wire.loses_next_commit();
        let command = MarkRead { conversation_id: tea, seq: 3 };
        let lost = node.conversations.mark_read(bob, command).await;
        assert_eq!(lost.unwrap_err().code(), ErrorCode::ServerUnavailable);
        assert_eq!(node.member(tea, bob).await.read_seq, 3);
        node.sweeps().await;
        let heard = ear.hears();
        assert_eq!(heard[0]["event"], "conversation.mine", "{heard:?}");
        assert_eq!(heard[0]["data"]["readSeq"], 3);
        node.are_sound(tea).await;
        assert_eq!(node.says(cake, bob, "one").await.seq, 1);
    }

    async fn a_conversation_that_another_node_holds_holds_up_nobody_else(stage: &Stage) {
        let setting = Setting::alone().bounded(|limits| limits.lanes = 1);
        let node = Node::start(stage, setting).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let [tea, cake] = [node.group(ann, &[bob]).await, node.group(bob, &[ann]).await];
        let other = stage.open(1).await;
        let holding = other.begin_write().await.unwrap();
        let sql = "SELECT id FROM conversations WHERE id = $1 FOR NO KEY UPDATE";
        holding.execute_raw(Backend::Postgres.statement(sql, [tea.into()])).await.unwrap();

        let (mut held, mut free) = (Room::of(tea), Room::of(cake));
        let first = held.asks(&node, ann, send("one"));
        let second = free.asks(&node, ann, send("one"));
        let third = held.asks(&node, bob, send("two"));
        free.hears().await;
        assert_eq!(seq_of(second).await, 1);
        assert!(held.verdicts.try_recv().is_err(), "it is held");
        holding.rollback().await.unwrap();
        held.hears().await;
        assert_eq!((seq_of(first).await, seq_of(third).await), (1, 2));
        node.are_sound(tea).await;
    }

    /// Two nodes without sorted locks met 42 deadlocks in 600 batches.
    async fn two_nodes_hammer_two_hundred_conversations(stage: &Stage) {
        const ROUNDS: usize = 6;
        let bus = LocalBus::new();
        let one = Node::named(stage, &bus, "one").await;
        let two = Node::start(stage, Setting::named(&bus, "two").at(&one.clock)).await;
        let mut users = Vec::new();
        for at in 0..20 {
            users.push(one.user(&format!("user{at}")).await);
        }
        let mut ids = Vec::new();
        for at in 0..200 {
            let [owner, other, third] = [at % 20, (at * 7 + 1) % 20, (at * 3 + 2) % 20].map(|at| users[at]);
            let members: BTreeSet<UserId> = [other, third].into_iter().filter(|user| *user != owner).collect();
            ids.push((one.group(owner, &members.into_iter().collect::<Vec<_>>()).await, owner, other));
        }
        let spare = one.user("spare").await;
        let mut rooms: Vec<Room> = ids.iter().map(|(id, _, _)| Room::of(*id)).collect();
        let mut others: Vec<Room> = ids.iter().map(|(id, _, _)| Room::of(*id)).collect();
        let mut answers = Vec::new();
        for round in 0..ROUNDS {
            for (at, (_, owner, other)) in ids.iter().enumerate() {
                // The nodes take them in opposite orders, and raise the same users' counters.
                let back = ids.len() - 1 - at;
                let (_, owner_back, other_back) = ids[back];
                answers.push(rooms[at].asks(&one, *owner, send("from one")));
                answers.push(others[back].asks(&two, owner_back, send("from two")));
                answers.push(rooms[at].asks(&one, *other, mark(round as i64 + 1)));
                answers.push(others[back].asks(&two, other_back, mark(round as i64 + 1)));
                if round == ROUNDS / 2 {
                    answers.push(rooms[at].asks(&one, *owner, add(&[spare])));
                    answers.push(others[back].asks(&two, owner_back, add(&[spare])));
                }
            }
        }
        let mut outcomes = Vec::new();
        let listening = rooms.iter_mut().chain(&mut others).map(async |room| {
            let mut revs = Vec::new();
            while let Some(verdict) = room.verdicts.recv().await {
                let Verdict::Decided { written, answers } = verdict else { panic!("unknown") };
                revs.extend(written.changes.iter().map(|change| change.item.rev()));
                answers.into_iter().for_each(|(reply, outcome)| reply.send(outcome));
            }
            assert!(revs.is_sorted(), "results came out of order");
            (room.id, revs)
        });
        let listening = join_all(listening);
        let finished = async {
            for answer in answers {
                outcomes.push(answer.await.unwrap());
            }
        };
        // The rooms' ends close when nothing waits any more.
        let told = async {
            tokio::pin!(listening);
            tokio::pin!(finished);
            tokio::select! {
                _ = &mut listening => panic!("the rooms' ends are held here"),
                () = &mut finished => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(120), told).await.expect("both nodes to be done");
        for outcome in &outcomes {
            assert!(outcome.is_ok(), "{outcome:?}");
        }
        for (id, _, _) in &ids {
            one.are_sound(*id).await;
            assert_eq!(one.messages(*id).await.len(), 2 * ROUNDS);
        }
        // A user's counter rose once for each of their rows that changed.
        for user in users {
            let rows = one.db.write().query_all_raw(Backend::Postgres.statement(
                "SELECT user_rev FROM participants WHERE user_id = $1",
                [user.into()],
            ));
            let stamps: Vec<i64> =
                rows.await.unwrap().iter().map(|row| row.try_get_by_index(0).unwrap()).collect();
            let distinct: BTreeSet<i64> = stamps.iter().copied().collect();
            assert_eq!(distinct.len(), stamps.len(), "two changes have one userRev");
            assert_eq!(distinct.last().copied(), Some(one.user_rev(user).await));
        }
        let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        let row = one.db.write().query_one_raw(Backend::Postgres.statement(sql, [])).await.unwrap().unwrap();
        assert_eq!(row.try_get_by_index::<i64>(0).unwrap(), 0, "deadlocks");
    }

    /// The lock is not to be had in time: everything is tried again as a whole, and nobody hears of it.
    async fn a_batch_that_was_rolled_back_for_a_lock_is_tried_again(stage: &Stage) {
        let node = Node::start(stage, Setting::alone()).await;
        let ann = node.user("ann").await;
        let tea = node.group(ann, &[]).await;
        let other = stage.open(2).await;
        let holding = other.begin_write().await.unwrap();
        holding.execute_unprepared("SET LOCAL idle_in_transaction_session_timeout = 0").await.unwrap();
        let sql = "SELECT id FROM conversations WHERE id = $1 FOR NO KEY UPDATE";
        holding.execute_raw(Backend::Postgres.statement(sql, [tea.into()])).await.unwrap();
        let mut room = Room::of(tea);
        let answers = ["one", "two"].map(|text| room.asks(&node, ann, send(text)));
        let retries = &node.entries.metrics().journal_retries;
        let waiting = async || {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let row = other.write().query_one_raw(Backend::Postgres.statement(sql, [])).await.unwrap().unwrap();
            row.try_get_by_index::<i64>(0).unwrap()
        };
        let tried_twice = async {
            while retries.get() < 2 || waiting().await == 0 {
                // Time passes in the pauses alone.
                if waiting().await == 0 {
                    node.clock.advance(Duration::from_millis(1));
                }
            }
        };
        within(tried_twice, "the batch to be tried again").await;
        holding.rollback().await.unwrap();
        while_time_passes(&node, room.hears()).await;
        for (answer, seq) in answers.into_iter().zip(1..) {
            assert_eq!(seq_of(answer).await, seq);
        }
        assert_eq!(node.entries.metrics().journal_failures.get(), 0);
        node.are_sound(tea).await;
    }

    /// The sender's removal commits on one node while the send waits for the conversation on the other.
    async fn a_send_that_waited_for_the_senders_removal_is_refused(stage: &Stage) {
        let bus = LocalBus::new();
        let one = Node::named(stage, &bus, "one").await;
        let two = Node::named(stage, &bus, "two").await;
        let [ann, bob] = one.users(["ann", "bob"]).await;
        let tea = one.group(ann, &[bob]).await;
        // The room of node two knows bob as a member.
        two.says(tea, bob, "one").await;
        two.says(tea, bob, "two").await;
        let held = one.db.begin_write().await.unwrap();
        let sql = "SELECT id FROM conversations WHERE id = $1 FOR NO KEY UPDATE";
        held.execute_raw(Backend::Postgres.statement(sql, [tea.into()])).await.unwrap();
        let removing = one.removes(tea, ann, bob);
        let sending = two.says_as(tea, bob, "k", "three");
        let releasing = async {
            // Both wait for the head by now: one of them is granted it first.
            let waiting = async || {
                let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
                let row = one.db.write().query_one_raw(Backend::Postgres.statement(sql, [])).await.unwrap().unwrap();
                row.try_get_by_index::<i64>(0).unwrap()
            };
            while waiting().await < 2 {
                tokio::task::yield_now().await;
            }
            held.rollback().await.unwrap();
        };
        let ((), sent, ()) = within(async { tokio::join!(removing, sending, releasing) }, "both").await;
        let ended = one.member(tea, bob).await.until_rev.unwrap();
        match sent {
            Ok(sent) => assert!(sent.message.rev < ended),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::ConversationNotFound);
                assert_eq!(one.messages(tea).await.len(), 2);
            }
        }
        assert_eq!(two.says_as(tea, bob, "l", "four").await.unwrap_err().code(), ErrorCode::ConversationNotFound);
        one.are_sound(tea).await;
    }

    /// Nobody waits for the database once for each who waits before them.
    async fn a_database_that_is_away_fails_all_who_wait_at_once(stage: &Stage) {
        let wire = Wire::to(stage.url()).await;
        let setting = Setting { url: Some(wire.url.clone()), ..Setting::alone() };
        let node = Node::start(stage, setting.bounded(|limits| limits.lanes = 1)).await;
        let ann = node.user("ann").await;
        let tea = node.group(ann, &[]).await;
        let mut room = Room::of(tea);
        let there = room.asks(&node, ann, send("one"));
        room.hears().await;
        assert_eq!(seq_of(there).await, 1);
        wire.is_cut();
        let begun = std::time::Instant::now();
        let answers: Vec<_> = (0..40).map(|n| room.asks(&node, ann, send(&n.to_string()))).collect();
        let refused = async {
            for answer in answers {
                assert_eq!(refusal_of(answer).await, ErrorCode::ServerUnavailable);
            }
        };
        while_time_passes(&node, refused).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    async fn reactions_of_two_nodes_keep_to_the_limit(stage: &Stage) {
        let bus = LocalBus::new();
        let setting = |name: &str| Setting::named(&bus, name).bounded(|limits| limits.reactions = 3);
        let (one, two) = (Node::start(stage, setting("one")).await, Node::start(stage, setting("two")).await);
        let [ann, bob] = one.users(["ann", "bob"]).await;
        let tea = one.group(ann, &[bob]).await;
        let said = one.says(tea, ann, "one").await.id;
        let (mut here, mut there) = (Room::of(tea), Room::of(tea));
        let emoji = ["👍", "👎", "🎉", "🔥", "👀", "🙏"];
        let answers: Vec<_> = emoji
            .iter()
            .flat_map(|emoji| [here.asks(&one, ann, react(said, emoji)), there.asks(&two, bob, react(said, emoji))])
            .collect();
        let mut given = 0;
        let hearing = async {
            loop {
                tokio::select! {
                    _ = here.hears() => {}
                    _ = there.hears() => {}
                }
            }
        };
        let answered = async {
            for answer in answers {
                match answer.await.unwrap() {
                    Ok(_) => given += 1,
                    Err(error) => assert_eq!(error.code(), ErrorCode::MessageTooManyReactions),
                }
            }
        };
        tokio::select! {
            () = hearing => {}
            () = within(answered, "all answers") => {}
        }
        let reactions = one.reactions(said).await;
        let kinds: BTreeSet<&str> = reactions.iter().map(|(_, emoji)| emoji.as_str()).collect();
        assert_eq!((kinds.len(), reactions.len()), (3, given));
        one.are_sound(tea).await;
    }
}

on_both! {
    async fn one_request_at_two_nodes_at_once_is_one_message(stage: &Stage) {
        let bus = LocalBus::new();
        let nodes = [Node::named(stage, &bus, "one").await, Node::named(stage, &bus, "two").await];
        let ann = nodes[0].user("ann").await;
        let tea = nodes[0].group(ann, &[]).await;
        for round in 0..10 {
            let key = format!("k{round}");
            let sends = (0..6).map(|at| nodes[at % 2].says_as(tea, ann, &key, "once"));
            let sent: Vec<view::Sent> =
                within(join_all(sends), "all replies").await.into_iter().map(Result::unwrap).collect();
            assert_eq!(sent.iter().filter(|sent| !sent.duplicate).count(), 1);
            let ids: BTreeSet<MessageId> = sent.iter().map(|sent| sent.message.id).collect();
            assert_eq!(ids.len(), 1);
        }
        assert_eq!(nodes[0].messages(tea).await.len(), 10);
        nodes[0].are_sound(tea).await;
    }

    async fn one_conversation_made_at_two_nodes_at_once_is_one(stage: &Stage) {
        let bus = LocalBus::new();
        let nodes = [Node::named(stage, &bus, "one").await, Node::named(stage, &bus, "two").await];
        let [ann, bob] = nodes[0].users(["ann", "bob"]).await;
        for kind in [ConversationKind::Private, ConversationKind::Group] {
            let creates = (0..8).map(|at| {
                let (node, from_ann) = (&nodes[at % 2], kind == ConversationKind::Group || at % 4 < 2);
                let group = kind == ConversationKind::Group;
                let command = CreateConversation {
                    kind,
                    participant_ids: vec![if from_ann { bob } else { ann }],
                    name: group.then(|| "tea".to_owned()),
                    description: None,
                    client_id: group.then(|| "k".to_owned()),
                };
                node.conversations.create(if from_ann { ann } else { bob }, command)
            });
            let made = within(join_all(creates), "all replies").await;
            let made: Vec<view::Created> = made.into_iter().map(Result::unwrap).collect();
            assert_eq!(made.iter().filter(|made| !made.duplicate).count(), 1);
            let ids: BTreeSet<ConversationId> = made.iter().map(|made| made.conversation.id).collect();
            assert_eq!(ids.len(), 1);
            let id = ids.into_iter().next().unwrap();
            assert_eq!(nodes[0].members(id).await.len(), 2);
        }
        assert_eq!([nodes[0].user_rev(ann).await, nodes[0].user_rev(bob).await], [2, 2]);
    }

    async fn the_outbox_is_pruned(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let ann = rows.user("ann").await;
        let tea = rows.group(ann, &[]).await;
        for _ in 0..3 {
            rows.says(tea, ann, "old").await;
        }
        rows.clock.advance(Duration::from_secs(60));
        let kept = rows.says(tea, ann, "new").await.rev;
        let before = actors::clock::Clock::now(rows.clock.as_ref()).minus(Duration::from_secs(30));
        store::prune_outbox(&rows.db, before).await.unwrap();
        assert_eq!(rows.outbox(tea).await, [(kept, kept)]);
    }
}
