//! From a committed change to a socket's queue: order, gaps, listeners that come and go, hints that are lost.
//! Never a session: the sockets here say nothing.

use super::support::ear::numbers;
use super::support::rows::{add, delete, edit, remove};
use super::support::*;
use actors::protocol::event::{Event, append_text_frame};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::cell::Cell;

/// A conversation of which a test delivers what it likes, and another node that tells of it.
struct Place {
    node: Node,
    other: Arc<dyn Cluster>,
    ann: UserId,
    bob: UserId,
    id: ConversationId,
    /// `last_rev`, before anything was said.
    start: i64,
}

impl Place {
    async fn on(stage: &Stage) -> Place {
        Place::with(stage, |_| {}).await
    }

    async fn with(stage: &Stage, bound: impl FnOnce(&mut actors::limits::Limits)) -> Place {
        let bus = LocalBus::new();
        let node = Node::start(stage, Setting::named(&bus, "here").bounded(bound)).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let id = node.group(ann, &[bob]).await;
        let start = node.head(id).await.last_rev;
        Place { node, other: bus.join("there"), ann, bob, id, start }
    }

    /// Writes so many messages of which nobody here is told; gives the last `rev`.
    async fn says_silently(&self, count: i64) -> i64 {
        for _ in 0..count {
            self.node.rows.says(self.id, self.ann, "silence").await;
        }
        self.node.head(self.id).await.last_rev
    }

    /// Another node tells of these changes in one go.
    fn is_told(&self, from: i64, rev: i64) {
        self.other.publish(frames(self.id, from, rev, |_| (None, None)));
    }
}

/// A delivery of one frame each for these changes, with what each is about.
fn frames(
    id: ConversationId,
    from: i64,
    rev: i64,
    about: impl Fn(i64) -> (Option<i64>, Option<UserId>),
) -> Arc<Delivery> {
    let mut bytes = Vec::new();
    let parts = (from..=rev)
        .map(|rev| {
            let (seq, removed) = about(rev);
            let mut event = Event::new("told", &()).within(id);
            (event.rev, event.seq) = (Some(rev), seq);
            append_text_frame(&event, &mut bytes);
            Part { end: bytes.len(), rev, seq, removed, conversation: None }
        })
        .collect();
    let content = Content::Frames { bytes: bytes.into(), parts };
    Arc::new(Delivery { topic: Topic::Conversation(id), numbers: Some((from, rev)), content })
}

fn singles(revs: impl IntoIterator<Item = i64>) -> Vec<(i64, i64)> {
    revs.into_iter().map(|rev| (rev, rev)).collect()
}

on_both! {
    async fn frames_are_heard_once_and_in_order(stage: &Stage) {
        let place = Place::on(stage).await;
        let ear = Ear::new(&place.node, place.bob);
        ear.listens(place.id, 10).await;
        place.is_told(11, 11);
        place.is_told(11, 11); // doubled
        place.is_told(13, 14); // above a gap
        place.is_told(16, 16);
        place.is_told(9, 12); // overlaps what was known, and fills the gap
        place.is_told(14, 15); // overlaps on both sides
        place.is_told(10, 16); // all of it again
        place.node.is_quiet().await;
        assert_eq!(ear.hears_numbers(), singles(11..=16));
        assert_eq!(ear.socket.outbox.delivered(), 6);
        place.is_told(18, 20);
        place.is_told(18, 18); // a part of what is held
        place.is_told(17, 17);
        place.node.is_quiet().await;
        assert_eq!(ear.hears_numbers(), singles(17..=20));
    }

    async fn what_comes_before_the_first_snapshot_waits_for_it(stage: &Stage) {
        let place = Place::on(stage).await;
        let ear = Ear::new(&place.node, place.bob);
        ear.attaches(place.id).await;
        place.is_told(12, 13);
        place.is_told(5, 6);
        place.is_told(7, 11);
        place.node.is_quiet().await;
        assert!(ear.hears().is_empty());
        // The snapshot lies within a delivery.
        ear.releases(place.id, 9);
        place.node.is_quiet().await;
        assert_eq!(ear.hears_numbers(), singles(10..=13));
    }

    async fn a_listener_hears_nothing_at_or_below_its_snapshot(stage: &Stage) {
        let place = Place::on(stage).await;
        let [early, late] = [place.ann, place.bob].map(|user| Ear::new(&place.node, user));
        early.listens(place.id, 3).await;
        late.attaches(place.id).await;
        place.is_told(4, 6);
        place.node.is_quiet().await;
        place.is_told(7, 8);
        late.releases(place.id, 7);
        place.node.is_quiet().await;
        place.is_told(9, 9);
        place.node.is_quiet().await;
        assert_eq!(early.hears_numbers(), singles(4..=9));
        assert_eq!(late.hears_numbers(), singles(8..=9));
    }

    /// Two sockets join at once; the one that looked first is released last.
    async fn who_looked_before_the_first_to_be_released_misses_nothing(stage: &Stage) {
        let mut place = Place::on(stage).await;
        for forwarded in [false, true] {
            place.id = place.node.group(place.ann, &[place.bob]).await;
            let [first, second] = [place.ann, place.bob].map(|user| Ear::new(&place.node, user));
            first.attaches(place.id).await;
            second.attaches(place.id).await;
            let looked = place.start;
            let rev = place.says_silently(2).await;
            // The hint comes in time, or too late, or never.
            if forwarded {
                place.is_told(looked + 1, rev);
            }
            second.releases(place.id, rev);
            let last = place.says_silently(1).await;
            place.is_told(last, last);
            place.node.is_quiet().await;
            first.releases(place.id, looked);
            place.is_told(looked + 1, rev);
            place.node.mends().await;
            let told: Vec<(i64, i64)> = first.hears_numbers();
            assert_eq!(told.first().map(|(from, _)| *from), Some(looked + 1), "{told:?}");
            assert!(told.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{told:?}");
            assert_eq!(told.last().map(|(_, rev)| *rev), Some(last));
            assert_eq!(second.hears_numbers(), singles([last]), "and nobody hears anything twice");
        }
    }

    async fn a_gap_is_read_from_the_rows(stage: &Stage) {
        let place = Place::on(stage).await;
        let node = &place.node;
        let ear = Ear::new(node, place.bob);
        ear.listens(place.id, place.start).await;
        let first = node.rows.says(place.id, place.ann, "one").await;
        let second = node.rows.says(place.id, place.ann, "two").await;
        node.one(place.id, place.ann, edit(first.id, "one!")).await.unwrap();
        let last = place.says_silently(1).await;
        place.is_told(last, last);
        node.is_quiet().await;
        assert!(ear.hears().is_empty(), "what is above a gap is held");
        node.mends_gap().await;
        let heard = ear.hears();
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert_eq!(numbers(&heard[0]), (place.start + 1, last));
        assert_eq!(heard[0]["event"], "conversation.changes");
        let texts: Vec<&str> =
            heard[0]["data"]["items"].as_array().unwrap().iter().map(|item| item["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["two", "one!", "silence"]);
        assert_eq!(heard[0]["data"]["items"][0]["rev"], second.rev);
        // It goes on as if nothing had been.
        place.is_told(last + 1, last + 1);
        node.is_quiet().await;
        assert_eq!(ear.hears_numbers(), singles([last + 1]));
        assert_eq!(ear.socket.outbox.delivered(), 2);
    }

    async fn a_late_frame_closes_a_gap_without_the_rows(stage: &Stage) {
        let place = Place::on(stage).await;
        let ear = Ear::new(&place.node, place.bob);
        ear.listens(place.id, place.start).await;
        place.says_silently(3).await;
        let next = place.start + 1;
        place.is_told(next + 1, next + 2);
        place.is_told(next, next);
        place.node.mends_gap().await;
        assert_eq!(ear.hears_numbers(), singles(next..=next + 2));
    }

    async fn more_than_is_held_above_a_gap_is_read_from_the_rows(stage: &Stage) {
        let place = Place::on(stage).await;
        let ear = Ear::new(&place.node, place.bob);
        ear.listens(place.id, place.start).await;
        for _ in 0..2 {
            let items = (0..150).map(|_| rows::item(place.id, place.ann, send("much"))).collect();
            place.node.commit(items).await;
        }
        let last = place.node.head(place.id).await.last_rev;
        (place.start + 2..=last).for_each(|rev| place.is_told(rev, rev));
        place.node.mends_gap().await;
        let told = ear.hears_numbers();
        assert!(told.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{told:?}");
        assert_eq!((told.first().unwrap().0, told.last().unwrap().1), (place.start + 1, last));
    }

    async fn more_than_is_held_before_the_first_snapshot_is_read_from_the_rows(stage: &Stage) {
        let place = Place::on(stage).await;
        let ear = Ear::new(&place.node, place.bob);
        ear.attaches(place.id).await;
        for _ in 0..2 {
            let items = (0..150).map(|_| rows::item(place.id, place.ann, send("much"))).collect();
            place.node.commit(items).await;
        }
        let last = place.node.head(place.id).await.last_rev;
        (place.start + 1..=last).for_each(|rev| place.is_told(rev, rev));
        ear.releases(place.id, place.start);
        place.node.mends().await;
        let told = ear.hears_numbers();
        assert!(told.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{told:?}");
        assert_eq!((told.first().unwrap().0, told.last().unwrap().1), (place.start + 1, last));
    }

    async fn a_gap_that_is_too_wide_is_told_as_a_reset(stage: &Stage) {
        use sea_orm::ConnectionTrait;
        let place = Place::on(stage).await;
        let ear = Ear::new(&place.node, place.bob);
        ear.listens(place.id, place.start).await;
        let sql = "UPDATE conversations SET last_rev = last_rev + 10001";
        place.node.db.write().execute_unprepared(sql).await.unwrap();
        place.node.sweeps().await;
        let heard = ear.hears();
        assert_eq!(heard.len(), 1);
        assert_eq!(numbers(&heard[0]), (place.start + 1, place.start + 10_001));
        assert_eq!((&heard[0]["data"]["reset"], &heard[0]["data"]["items"]), (&json!(true), &json!([])));
    }

    async fn who_is_removed_hears_of_it_and_nothing_after(stage: &Stage) {
        let place = Place::on(stage).await;
        let (node, id) = (&place.node, place.id);
        let eve = node.user("eve").await;
        let [ann, bob, again] = [place.ann, place.bob, place.bob].map(|user| Ear::new(node, user));
        ann.listens(id, 10).await;
        bob.listens(id, 10).await;
        // This one came back after it, as its snapshot says.
        again.listens(id, 12).await;
        place.other.publish(frames(id, 11, 14, |rev| match rev {
            11 => (None, Some(eve)),
            12 => (None, Some(place.bob)),
            _ => (Some(rev), None),
        }));
        place.is_told(15, 15);
        node.is_quiet().await;
        assert_eq!(bob.hears_numbers(), singles([11, 12]));
        assert_eq!(bob.notices(), [Notice::Left(id)]);
        assert!(!bob.socket.listens(Topic::Conversation(id)));
        assert_eq!(ann.hears_numbers(), singles(11..=15));
        assert_eq!(again.hears_numbers(), singles(13..=15));
        assert_eq!(ann.notices(), []);
    }

    async fn who_is_removed_within_a_gap_hears_of_it_and_nothing_after(stage: &Stage) {
        let place = Place::on(stage).await;
        let (node, id) = (&place.node, place.id);
        let [ann, bob] = [place.ann, place.bob].map(|user| Ear::new(node, user));
        ann.listens(id, place.start).await;
        bob.listens(id, place.start).await;
        node.rows.says(id, place.ann, "before").await;
        node.one(id, place.ann, remove(place.bob)).await.unwrap();
        let removed = node.head(id).await.last_rev;
        node.rows.says(id, place.ann, "after").await;
        node.sweeps().await;
        let heard = bob.hears();
        assert_eq!(heard.len(), 1);
        assert_eq!(numbers(&heard[0]), (place.start + 1, removed));
        assert!(!heard[0].to_string().contains("after"));
        assert!(!bob.socket.listens(Topic::Conversation(id)));
        assert_eq!(ann.hears_numbers(), [(place.start + 1, removed + 1)]);
        place.is_told(removed + 2, removed + 2);
        node.is_quiet().await;
        assert!(bob.hears().is_empty());
    }

    async fn what_is_hidden_from_a_member_is_told_as_nothing(stage: &Stage) {
        let place = Place::on(stage).await;
        let (node, id) = (&place.node, place.id);
        let old = node.rows.says(id, place.ann, "secret").await;
        let kim = node.user("kim").await;
        node.one(id, place.ann, add(&[kim])).await.unwrap();
        let rev = node.head(id).await.last_rev;
        let ear = Ear::new(node, kim);
        ear.socket.attach(Topic::Conversation(id), kim).await;
        ear.socket.release(Topic::Conversation(id), rev, node.member(id, kim).await.visible_from_seq);
        // By way of the room.
        node.conversations.edit(place.ann, EditMessage { message_id: old.id, text: "secret!".to_owned() }).await.unwrap();
        node.says(id, place.ann, "open").await;
        node.is_quiet().await;
        let heard = ear.hears();
        assert_eq!(heard.iter().map(numbers).collect::<Vec<_>>(), [(rev + 1, rev + 1), (rev + 2, rev + 2)]);
        assert_eq!(heard[0]["event"], "conversation.changes");
        assert_eq!(heard[0]["data"]["items"], json!([]));
        assert_eq!(heard[1]["data"]["text"], "open");
        // By way of a gap.
        node.one(id, place.ann, delete(old.id)).await.unwrap();
        node.rows.says(id, place.ann, "open too").await;
        node.sweeps().await;
        let heard = ear.hears();
        assert_eq!(heard.iter().map(numbers).collect::<Vec<_>>(), [(rev + 3, rev + 4)]);
        let items = heard[0]["data"]["items"].as_array().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0]["text"], "open too");
        assert_eq!(ear.socket.outbox.delivered(), 3);
    }

    async fn lost_hints_are_found_by_the_sweep(stage: &Stage) {
        let bus = LocalBus::new();
        let one = Node::named(stage, &bus, "one").await;
        let two = Node::named(stage, &bus, "two").await;
        let [ann, bob] = one.users(["ann", "bob"]).await;
        let [tea, cake] = [one.group(ann, &[bob]).await, one.group(ann, &[bob]).await];
        let ear = Ear::new(&two, bob);
        ear.listens(tea, 3).await;
        ear.listens(cake, 3).await;
        ear.listens_to_own(one.user_rev(bob).await).await;
        one.says(tea, ann, "heard").await;
        two.is_quiet().await;
        assert_eq!(ear.hears_numbers(), singles([4]));

        bus.lose_hints(true);
        one.says(tea, ann, "lost").await;
        one.conversations.mark_read(bob, MarkRead { conversation_id: tea, seq: 2 }).await.unwrap();
        two.mends().await;
        assert!(ear.hears().is_empty());
        two.sweeps().await;
        let heard = ear.hears();
        let events: Vec<&str> = heard.iter().map(|event| event["event"].as_str().unwrap()).collect();
        assert_eq!(events.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from(["conversation.changes", "conversation.mine"]));
        assert_eq!(heard.len(), 2);
        let own = heard.iter().find(|event| event["event"] == "conversation.mine").unwrap();
        assert_eq!((&own["data"]["readSeq"], &own["userRev"]), (&json!(2), &json!(one.user_rev(bob).await)));
        two.sweeps().await;
        assert!(ear.hears().is_empty(), "what was found is not found again");

        // Hints come again: what follows is in order, what is above a gap waits for it.
        one.says(tea, ann, "lost too").await;
        bus.lose_hints(false);
        one.says(tea, ann, "heard").await;
        two.is_quiet().await;
        assert!(ear.hears().is_empty());
        two.mends_gap().await;
        assert_eq!(ear.hears_numbers(), [(6, 7)]);
    }

    async fn what_is_private_reaches_the_other_device(stage: &Stage) {
        let bus = LocalBus::new();
        let one = Node::named(stage, &bus, "one").await;
        let two = Node::named(stage, &bus, "two").await;
        let [ann, bob] = one.users(["ann", "bob"]).await;
        let tea = one.group(ann, &[bob]).await;
        let [here, there] = [Ear::new(&one, bob), Ear::new(&two, bob)];
        for (node, ear) in [(&one, &here), (&two, &there)] {
            ear.listens(tea, 3).await;
            ear.listens_to_own(node.user_rev(bob).await).await;
        }
        one.says(tea, ann, "one").await;
        one.conversations.mark_read(bob, MarkRead { conversation_id: tea, seq: 1 }).await.unwrap();
        for (node, ear) in [(&one, &here), (&two, &there)] {
            assert!(node.mends().await > 0);
            let heard = ear.hears();
            let own = heard.iter().find(|event| event["event"] == "conversation.mine").unwrap();
            assert_eq!((&own["data"]["readSeq"], &own["data"]["unread"]), (&json!(1), &json!(0)));
            assert_eq!(own["userRev"], json!(one.user_rev(bob).await));
        }
        // Removed: told, and deaf from then on.
        one.removes(tea, ann, bob).await;
        one.says(tea, ann, "two").await;
        for (node, ear) in [(&one, &here), (&two, &there)] {
            node.mends().await;
            let heard = ear.hears();
            assert!(heard.iter().any(|event| event["event"] == "conversation.removed"), "{heard:?}");
            assert!(!heard.iter().any(|event| event["data"]["text"] == "two"));
            assert!(!ear.socket.listens(Topic::Conversation(tea)));
        }
        // Added again: the session is asked to join.
        one.adds(tea, ann, bob).await;
        for (node, ear) in [(&one, &here), (&two, &there)] {
            ear.notices();
            node.mends().await;
            assert!(
                ear.notices().iter().any(|notice| matches!(notice, Notice::Join { conversation, .. } if *conversation == tea))
            );
        }
    }

    /// `settle` asks again for what was said to have changed before it, whoever has looked meanwhile.
    async fn a_hint_that_comes_while_a_socket_joins_is_not_forgotten(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[bob]).await;
        node.rows.says(tea, ann, "one").await;
        let ear = Ear::new(&node, bob);
        ear.listens(tea, 4).await;
        ear.socket.attach(Topic::User(bob), bob).await;
        let looked = node.user_rev(bob).await;
        node.conversations.mark_read(bob, MarkRead { conversation_id: tea, seq: 1 }).await.unwrap();
        assert!(node.mends().await > 0);
        ear.socket.release(Topic::User(bob), looked, 0);
        assert!(node.mends().await > 0);
        assert!(ear.hears().iter().any(|event| event["event"] == "conversation.mine"));
    }

    async fn two_devices_that_join_at_once_both_hear_what_is_private(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[bob]).await;
        node.rows.says(tea, ann, "one").await;
        let ears = [Ear::new(&node, bob), Ear::new(&node, bob)];
        for ear in &ears {
            ear.listens(tea, 4).await;
            ear.socket.attach(Topic::User(bob), bob).await;
        }
        let looked = node.user_rev(bob).await;
        node.conversations.mark_read(bob, MarkRead { conversation_id: tea, seq: 1 }).await.unwrap();
        ears[0].socket.release(Topic::User(bob), looked + 1, 0);
        ears[1].socket.release(Topic::User(bob), looked, 0);
        node.mends().await;
        let own = |ear: &Ear| ear.hears().iter().filter(|event| event["event"] == "conversation.mine").count();
        assert_eq!((own(&ears[0]), own(&ears[1])), (0, 1), "the first one's snapshot had it");
    }

    async fn a_thread_that_is_behind_gets_the_rest_from_the_rows(stage: &Stage) {
        let place = Place::with(stage, |limits| limits.journal_bytes = 3000).await;
        let (node, id) = (&place.node, place.id);
        let ear = Ear::new(node, place.bob);
        ear.listens(id, place.start).await;
        let last = place.says_silently(40).await;
        // Without a turn for the thread in between: more waits for it than may.
        for rev in place.start + 1..=last {
            node.entries.deliver(frames(id, rev, rev, |_| (None, None)));
        }
        assert!(node.entries.hubs()[0].waiting_bytes() > 3000);
        node.is_quiet().await;
        let first = ear.hears_numbers();
        let reached = first.last().unwrap().1;
        assert_eq!(first, singles(place.start + 1..=reached));
        assert!(reached < last, "it is bounded");
        node.sweeps().await;
        let rest = ear.hears_numbers();
        let told: Vec<(i64, i64)> = first.into_iter().chain(rest).collect();
        assert!(told.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{told:?}");
        assert_eq!(told.last().unwrap().1, last);
    }

    async fn a_topic_without_listeners_is_forgotten(stage: &Stage) {
        let place = Place::on(stage).await;
        let (node, id) = (&place.node, place.id);
        let entries = || node.entries.metrics().entries.get();
        let [one, two] = [place.ann, place.bob].map(|user| Ear::new(node, user));
        one.listens(id, 10).await;
        one.listens(id, 10).await;
        two.listens(id, 10).await;
        assert_eq!(entries(), 1);
        one.socket.detach(Topic::Conversation(id));
        one.socket.detach(Topic::Conversation(id));
        assert_eq!(entries(), 1);
        drop(two);
        assert_eq!(entries(), 0);
        place.is_told(11, 11);
        // Whoever comes then begins with a snapshot of their own.
        let three = Ear::new(node, place.bob);
        three.listens(id, 20).await;
        place.is_told(21, 21);
        node.is_quiet().await;
        assert_eq!(three.hears_numbers(), singles([21]));
        assert!(one.hears().is_empty());
    }

    async fn a_socket_that_is_full_is_closed_and_the_others_hear_on(stage: &Stage) {
        let place = Place::on(stage).await;
        let (node, id) = (&place.node, place.id);
        let slow = Ear::with_queue(node, place.ann, 400);
        let quick = Ear::new(node, place.bob);
        slow.listens(id, 10).await;
        quick.listens(id, 10).await;
        for rev in 11..=20 {
            place.is_told(rev, rev);
            node.is_quiet().await;
        }
        assert_eq!(quick.hears_numbers(), singles(11..=20));
        assert_eq!(slow.hears(), [json!({ "closed": 4002 })]);
    }

    async fn a_socket_that_pulls_hears_hints_until_it_has_caught_up(stage: &Stage) {
        let place = Place::on(stage).await;
        let (node, id) = (&place.node, place.id);
        let ear = Ear::new(node, place.bob);
        ear.socket.pull();
        ear.listens(id, 10).await;
        place.is_told(11, 13);
        place.is_told(14, 14);
        node.is_quiet().await;
        assert!(ear.hears().is_empty());
        assert_eq!(ear.socket.take_hints(), [(id, 14)]);
        assert!(ear.socket.pulls());
        assert_eq!(ear.socket.outbox.delivered(), 0, "hints are not counted");
        ear.socket.stop_pulling_when_idle();
        place.is_told(15, 15);
        node.is_quiet().await;
        assert_eq!(ear.hears_numbers(), singles([15]));
    }
}

/// What a bus may do to deliveries, and when sockets come.
#[derive(Debug, Clone)]
enum Happening {
    /// These changes, counted from the beginning, arrive in one go.
    Told(i64, i64),
    /// A socket begins to listen.
    Attach,
    /// The socket that waits longest has looked so long ago.
    Release(i64),
    /// The thread gets a turn.
    Turn,
    /// What is asked for is mended.
    Mend,
}

const CHANGES: i64 = 12;

fn events() -> impl Strategy<Value = Vec<Happening>> {
    let event = prop_oneof![
        6 => (1..=CHANGES, 0..4i64).prop_map(|(from, more)| Happening::Told(from, (from + more).min(CHANGES))),
        1 => Just(Happening::Attach),
        1 => (0..=CHANGES).prop_map(Happening::Release),
        2 => Just(Happening::Turn),
        1 => Just(Happening::Mend),
    ];
    proptest::collection::vec(event, 1..60)
}

/// Rows are all there from the beginning; hints of them come in any order, several times or never.
async fn hears_all(place: &Place, events: Vec<Happening>) -> Result<(), TestCaseError> {
    let node = &place.node;
    let id = node.group(place.ann, &[place.bob]).await;
    let start = node.head(id).await.last_rev;
    let items = (0..CHANGES).map(|_| rows::item(id, place.ann, send("x"))).collect();
    node.commit(items).await;
    let mut waiting: std::collections::VecDeque<(Ear, i64)> = Default::default();
    let mut ears = Vec::new();
    // What anybody has been told was committed: who comes later looks at no less.
    let mut known = 0;
    for event in events {
        match event {
            Happening::Told(from, rev) => {
                known = known.max(rev);
                place.other.publish(frames(id, start + from, start + rev, |_| (None, None)));
            }
            Happening::Attach => {
                let ear = Ear::new(node, place.bob);
                ear.attaches(id).await;
                waiting.push_back((ear, known));
            }
            Happening::Release(looked) => {
                if let Some((ear, least)) = waiting.pop_front() {
                    let looked = looked.max(least);
                    known = known.max(looked);
                    ear.releases(id, start + looked);
                    ears.push((ear, start + looked));
                }
            }
            Happening::Turn => node.is_quiet().await,
            Happening::Mend => {
                // What is mended is told as far as the rows go.
                known = if ears.is_empty() { known } else { CHANGES };
                node.mends().await;
            }
        }
    }
    for (ear, _) in waiting {
        ear.releases(id, start + CHANGES);
        ears.push((ear, start + CHANGES));
    }
    node.is_quiet().await;
    node.sweeps().await;
    for (ear, looked) in &ears {
        let mut at = *looked;
        for (from, rev) in ear.hears_numbers() {
            prop_assert_eq!(from, at + 1, "looked at {}", looked - start);
            at = rev;
        }
        prop_assert_eq!(at, start + CHANGES, "looked at {}", looked - start);
    }
    Ok(())
}

/// Whatever becomes of hints, each listener hears each change once and in order.
#[test]
fn whatever_becomes_of_hints_each_hears_each_change_once() {
    let system = actix_rt::System::new();
    let stage = system.block_on(Stage::on_sqlite());
    let place = system.block_on(Place::on(&stage));
    let mut runner = TestRunner::new(Config { cases: 96, failure_persistence: None, ..Config::default() });
    let cases = Cell::new(0);
    let ran = runner.run(&events(), |events| {
        cases.set(cases.get() + 1);
        system.block_on(hears_all(&place, events))
    });
    if let Err(failed) = ran {
        panic!("{failed}");
    }
}
