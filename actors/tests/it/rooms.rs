//! Rooms come and go: a panic, idleness, too much at once; what they remember is never more than the rows say.
//! Never what a change means: see `deciding`.

use super::support::*;
use ::actors::room::{Lease, Reply, Room, Rooms};
use actix::prelude::{Actor, ActorContext as _, AsyncContext, Context, Handler, Message, WrapFuture};
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;

/// What these rooms share.
#[derive(Clone)]
struct Shared {
    opened: Arc<AtomicUsize>,
    /// Rooms answer while it is open.
    gate: watch::Receiver<bool>,
    order: Arc<Mutex<Vec<usize>>>,
}

/// A room that counts what it was asked.
struct Counter {
    shared: Shared,
    asked: usize,
    lease: Lease<Counter>,
}

#[derive(Message)]
#[rtype(result = "()")]
enum Ask {
    /// How often it was asked.
    Count(Reply<usize>),
    /// The same, once the gate is open.
    Later(usize, Reply<usize>),
    /// To panic.
    Panic(Reply<usize>),
    /// To close, if it may.
    Close(Reply<bool>),
}

impl Room for Counter {
    type Id = u32;
    type Deps = Shared;
    type Command = Ask;

    fn open(_: u32, shared: Shared, lease: Lease<Counter>) -> Counter {
        shared.opened.fetch_add(1, Ordering::SeqCst);
        Counter { shared, asked: 0, lease }
    }
}

impl Actor for Counter {
    type Context = Context<Counter>;
}

impl Handler<Ask> for Counter {
    type Result = ();

    fn handle(&mut self, ask: Ask, context: &mut Context<Counter>) {
        self.asked += 1;
        match ask {
            Ask::Count(reply) => reply.send(Ok(self.asked)),
            Ask::Later(number, reply) => {
                let (mut gate, asked, order) = (self.shared.gate.clone(), self.asked, self.shared.order.clone());
                context.wait(
                    async move {
                        let _ = gate.wait_for(|open| *open).await;
                        order.lock().push(number);
                        reply.send(Ok(asked));
                    }
                    .into_actor(self),
                );
            }
            Ask::Panic(_reply) => panic!("as asked"),
            Ask::Close(reply) => {
                // The command itself still waits.
                let closes = self.lease.release_if_idle();
                reply.send(Ok(closes));
                if self.lease.release_if_idle() {
                    context.stop();
                }
            }
        }
    }
}

struct House {
    rooms: Rooms<Counter>,
    opened: Arc<AtomicUsize>,
    gate: watch::Sender<bool>,
    order: Arc<Mutex<Vec<usize>>>,
    node: Node,
}

impl House {
    async fn on(stage: &Stage, items: usize, bytes: usize) -> House {
        let node = Node::alone(stage).await;
        let (gate, open) = watch::channel(false);
        let (opened, order) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<usize>>>::default());
        let shared = Shared { opened: opened.clone(), gate: open, order: order.clone() };
        House {
            rooms: Rooms::new(node.entries.clone(), shared, items, bytes, node.entries.metrics().rooms.clone()),
            opened,
            gate,
            order,
            node,
        }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }

    fn open_now(&self) -> i64 {
        self.node.entries.metrics().rooms.get()
    }
}

fn on_sqlite_alone(test: impl AsyncFnOnce(&Stage)) {
    actix_rt::System::new().block_on(async { Stage::on_sqlite().await.play(test).await });
}

#[test]
fn a_room_that_panics_is_replaced_at_the_next_command() {
    on_sqlite_alone(async |stage: &Stage| {
        let house = House::on(stage, 10, 1000).await;
        assert_eq!(house.rooms.ask(1, 1, Ask::Count).await.unwrap(), 1);
        assert_eq!(house.rooms.ask(1, 1, Ask::Count).await.unwrap(), 2);
        let panicked = within(house.rooms.ask(1, 1, Ask::Panic), "an answer").await;
        assert_eq!(panicked.unwrap_err().code(), ErrorCode::ServerUnavailable);
        assert_eq!(within(house.rooms.ask(1, 1, Ask::Count), "an answer").await.unwrap(), 1);
        assert_eq!((house.opened(), house.open_now()), (2, 1));
        // What waited behind the panic is answered too, and nothing counts as waiting for ever.
        for _ in 0..5 {
            let rooms = &house.rooms;
            let asks = (0..10).map(|at| async move {
                match at {
                    0 => rooms.ask(2, 1, Ask::Panic).await,
                    _ => rooms.ask(2, 1, Ask::Count).await,
                }
            });
            for answer in within(join_all(asks), "all answers").await {
                assert_eq!(answer.unwrap_err().code(), ErrorCode::ServerUnavailable);
            }
        }
        assert_eq!(house.rooms.ask(2, 1, Ask::Count).await.unwrap(), 1);
        assert_eq!(house.open_now(), 2);
    });
}

#[test]
fn too_much_at_once_is_refused_and_the_rest_goes_on_in_order() {
    on_sqlite_alone(async |stage: &Stage| {
        let house = House::on(stage, 3, 1000).await;
        let mut asks: Vec<_> =
            (0..5).map(|at| Box::pin(house.rooms.ask(1, 1, move |reply| Ask::Later(at, reply)))).collect();
        // Each is sent when it is first looked at, and answered when the gate opens.
        let mut refused = Vec::new();
        for (at, ask) in asks.iter_mut().enumerate() {
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(ask.as_mut().poll(cx))).await;
            if let std::task::Poll::Ready(answer) = polled {
                refused.push((at, answer.unwrap_err()));
            }
        }
        assert_eq!(refused.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3, 4]);
        for (_, error) in refused {
            let Error::Refused(refusal) = error else { panic!("a fault") };
            assert_eq!(refusal.code, ErrorCode::ConversationBusy);
            assert!(refusal.retry_after.is_some());
        }
        // Another room is not busy.
        assert_eq!(house.rooms.ask(2, 1, Ask::Count).await.unwrap(), 1);
        house.gate.send(true).unwrap();
        asks.truncate(3);
        for (at, answer) in within(join_all(asks), "all answers").await.into_iter().enumerate() {
            assert_eq!(answer.unwrap(), at + 1);
        }
        assert_eq!(*house.order.lock(), [0, 1, 2]);
        assert_eq!(house.rooms.ask(1, 1, Ask::Count).await.unwrap(), 4);
        // By bytes as well.
        assert_eq!(house.rooms.ask(1, 1001, Ask::Count).await.unwrap_err().code(), ErrorCode::ConversationBusy);
        assert_eq!(house.rooms.ask(1, 1000, Ask::Count).await.unwrap(), 5);
    });
}

#[test]
fn a_room_closes_only_while_nothing_waits_for_it() {
    on_sqlite_alone(async |stage: &Stage| {
        let house = House::on(stage, 10, 1000).await;
        let close = house.rooms.ask(1, 1, Ask::Close);
        assert!(!close.await.unwrap(), "the one who asked still waited");
        until("the room to close", || house.open_now() == 0).await;
        assert_eq!(house.rooms.ask(1, 1, Ask::Count).await.unwrap(), 1);
        assert_eq!((house.opened(), house.open_now()), (2, 1));
        // Asked in one breath with another command: it stays.
        let close = house.rooms.ask(1, 1, Ask::Close);
        let count = house.rooms.ask(1, 1, Ask::Count);
        let (closed, count) = tokio::join!(close, count);
        assert_eq!((closed.unwrap(), count.unwrap()), (false, 3));
        assert_eq!(house.opened(), 2);
    });
}

on_both! {
    async fn an_idle_conversation_closes_and_opens_again(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[bob]).await;
        let rooms = || node.entries.metrics().rooms.get();
        let ear = Ear::new(&node, bob);
        ear.listens(tea, 3).await;
        assert_eq!(rooms(), 0, "listening opens no room");
        node.says(tea, ann, "one").await;
        assert_eq!(rooms(), 1);
        node.clock.let_pass(node.limits.room_idle).await;
        until("the room to close", || rooms() == 0).await;
        node.says(tea, ann, "two").await;
        assert_eq!(rooms(), 1);
        node.is_quiet().await;
        assert_eq!(ear.hears_numbers(), [(4, 4), (5, 5)], "the listeners outlive the room");
    }

    async fn a_conversation_in_use_does_not_close(stage: &Stage) {
        let node = Node::alone(stage).await;
        let ann = node.user("ann").await;
        let tea = node.group(ann, &[]).await;
        let rooms = || node.entries.metrics().rooms.get();
        node.says(tea, ann, "one").await;
        let idle = node.limits.room_idle;
        node.clock.advance(idle / 2);
        node.says(tea, ann, "two").await;
        node.clock.let_pass(idle - idle / 2).await;
        // It looks again when it may be idle.
        until("the room to wait again", || node.clock.sleeps(idle / 2)).await;
        assert_eq!(rooms(), 1);
        node.clock.let_pass(idle / 2).await;
        until("the room to close", || rooms() == 0).await;
    }

    async fn replies_come_after_the_event_and_in_the_order_of_asking(stage: &Stage) {
        let node = Node::alone(stage).await;
        let ann = node.user("ann").await;
        let tea = node.group(ann, &[]).await;
        let ear = Ear::new(&node, ann);
        ear.listens(tea, 2).await;
        let sends = (0..50).map(|n| {
            let node = &node;
            async move { node.says(tea, ann, &n.to_string()).await }
        });
        let said = within(join_all(sends), "all replies").await;
        let seqs: Vec<i64> = said.iter().map(|message| message.seq).collect();
        assert_eq!(seqs, (1..=50).collect::<Vec<_>>());
        node.is_quiet().await;
        let heard = ear.hears();
        let texts: Vec<String> = heard.iter().map(|event| event["data"]["text"].as_str().unwrap().to_owned()).collect();
        assert_eq!(texts, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    async fn what_a_room_remembers_of_rights_is_checked_by_the_rows(stage: &Stage) {
        let bus = LocalBus::new();
        let one = Node::named(stage, &bus, "one").await;
        let two = Node::named(stage, &bus, "two").await;
        let [ann, bob, eve] = one.users(["ann", "bob", "eve"]).await;
        let tea = one.group(ann, &[bob]).await;
        let said = two.says_as(tea, eve, "k", "?").await;
        assert_eq!(said.unwrap_err().code(), ErrorCode::ConversationNotFound);
        two.says(tea, bob, "one").await;
        // Changed on the other node, of which this room hears nothing.
        one.removes(tea, ann, bob).await;
        one.adds(tea, ann, eve).await;
        let said = two.says_as(tea, bob, "l", "?").await;
        assert_eq!(said.unwrap_err().code(), ErrorCode::ConversationNotFound);
        assert_eq!(two.says_as(tea, eve, "k", "!").await.unwrap().message.seq, 2);
        one.conversations.transfer_ownership(ann, TransferOwnership { conversation_id: tea, user_id: eve }).await.unwrap();
        two.conversations
            .update(eve, UpdateConversation { conversation_id: tea, name: Some("hers".to_owned()), description: None })
            .await
            .unwrap();
        one.are_sound(tea).await;
    }

    async fn who_types_is_told_to_the_others_and_stops_by_itself(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob, eve] = node.users(["ann", "bob", "eve"]).await;
        let tea = node.group(ann, &[bob]).await;
        let ear = Ear::new(&node, ann);
        ear.listens(tea, 3).await;
        let types = async |user, typing| node.conversations.typing(user, Typing { conversation_id: tea, typing }).await;
        let heard = async || {
            node.is_quiet().await;
            ear.hears().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        types(bob, true).await.unwrap();
        assert_eq!(heard().await, ["typing.started"]);
        types(bob, true).await.unwrap();
        assert!(heard().await.is_empty(), "it is told once");
        types(bob, false).await.unwrap();
        types(bob, false).await.unwrap();
        assert_eq!(heard().await, ["typing.stopped"]);
        types(bob, true).await.unwrap();
        node.says(tea, bob, "said").await;
        assert_eq!(heard().await, ["typing.started", "typing.stopped", "message.created"]);
        types(bob, true).await.unwrap();
        assert_eq!(heard().await, ["typing.started"]);
        node.clock.let_pass(Duration::from_secs(6)).await;
        until("the typing to stop", || ear.hears().iter().any(|event| event["event"] == "typing.stopped")).await;
        assert_eq!(types(eve, true).await.unwrap_err().code(), ErrorCode::ConversationNotFound);
        assert_eq!(node.head(tea).await.last_rev, 4);
    }

    /// The room of one node does not hear of a removal on another; who was removed is still no member.
    async fn who_was_removed_elsewhere_does_not_type(stage: &Stage) {
        let bus = LocalBus::new();
        let one = Node::named(stage, &bus, "one").await;
        let two = Node::named(stage, &bus, "two").await;
        let [ann, bob] = one.users(["ann", "bob"]).await;
        let tea = one.group(ann, &[bob]).await;
        two.says(tea, bob, "one").await;
        one.removes(tea, ann, bob).await;
        two.clock.advance(Duration::from_secs(6));
        let typed = two.conversations.typing(bob, Typing { conversation_id: tea, typing: true }).await;
        assert_eq!(typed.unwrap_err().code(), ErrorCode::ConversationNotFound);
    }
}
