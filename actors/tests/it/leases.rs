//! Which nodes there are: names, leases, and what is left of a node that ends.
//! Never a connection; the rows and the clock are all that these nodes share, beside a bus.

use super::support::*;
use actors::caller::{Caller, Identity};
use actors::nodes::{Keeper, Nodes, Parts, list};
use actors::protocol::Door;
use entities::{node, user};
use sea_orm::{EntityTrait, QueryFilter, Set};
use view::Status;

fn nodes_of(node: &Node) -> Nodes {
    let parts = Parts {
        db: node.rows.db.clone(),
        clock: node.clock.clone(),
        limits: node.limits.clone(),
        entries: node.entries.clone(),
        presences: node.presences.clone(),
        version: "1.2.3",
    };
    Nodes::new(parts, "127.0.0.1:3000".to_owned())
}

async fn joins(node: &Node) -> Keeper {
    within(nodes_of(node).join(), "a free name").await.unwrap()
}

fn device() -> SessionId {
    SessionId::from_uuid(uuid::Uuid::nil())
}

/// Two nodes of one clock that have joined; ann watches bob at the first, who is connected to the second.
struct Town {
    one: Node,
    _two: Node,
    bob: UserId,
    watcher: Ear,
    /// The second's, which does not run: it has stopped, as far as anybody can tell.
    stopped: Keeper,
    began: Timestamp,
}

impl Town {
    async fn on(stage: &Stage) -> Town {
        let bus = LocalBus::new();
        let one = Node::named(stage, &bus, "one").await;
        let two = Node::start(stage, Setting::named(&bus, "two").at(&one.clock)).await;
        let [ann, bob] = one.users(["ann", "bob"]).await;
        one.group(ann, &[bob]).await;
        let watcher = Ear::new(&one, ann);
        let stopped = joins(&two).await;
        two.presences.opened(bob, device()).await;
        let town = Town { began: now(&one), one, _two: two, bob, watcher, stopped };
        let watch = WatchPresence { user_ids: vec![bob] };
        let found = town.one.presences.watch(&town.caller(), watch).await.unwrap();
        assert_eq!(found.items[0].status, Status::Online);
        actix_rt::spawn(joins(&town.one).await.run());
        actix_rt::spawn(town.one.mender().sweep());
        town
    }

    fn caller(&self) -> Caller {
        let identity = Identity { user: self.watcher.user, session: device(), expires_at: Timestamp::EPOCH };
        let socket = Some(self.watcher.socket.clone());
        Caller {
            identity: Some(identity),
            door: Door::Socket,
            address: None,
            user_agent: None,
            languages: None,
            request_id: Rc::from("test"),
            socket,
        }
    }

    async fn status(&self) -> Status {
        let command = GetPresence { user_ids: vec![self.bob] };
        self.one.presences.get(&self.caller(), command).await.unwrap().items[0].status
    }

    /// The second's lease ends while the first renews in time; it looks again as soon as it may judge.
    async fn lease_ends(&self) {
        let lease = self.one.limits.lease;
        for _ in 0..3 {
            self.one.clock.let_pass(lease / 3).await;
        }
        self.one.clock.let_pass(lease / 20).await;
    }

    async fn hears(&self, status: &str) -> Value {
        let mut last = Value::Null;
        until(&format!("the watcher to hear {status}"), || {
            last = self.watcher.hears().pop().unwrap_or(last.take());
            last["data"]["status"] == status
        })
        .await;
        last["data"].clone()
    }

    async fn names(&self) -> Vec<String> {
        list(&self.one.db).await.unwrap().into_iter().map(|row| row.id).collect()
    }
}

fn now(node: &Node) -> Timestamp {
    actors::clock::Clock::now(node.clock.as_ref())
}

async fn row(node: &Node, id: &str) -> Option<node::Model> {
    node::by_id(id).one(node.db.write()).await.unwrap()
}

/// Awaits that the rows are as they should be.
async fn rows_become(what: &str, node: &Node, mut so: impl FnMut(&[node::Model]) -> bool) {
    let happening = async {
        while !so(&list(&node.db).await.unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    within(happening, what).await;
}

on_both! {
    async fn a_name_is_refused_to_a_second_while_the_first_renews(stage: &Stage) {
        let one = Node::named(stage, &LocalBus::new(), "one").await;
        let lease = one.limits.lease;
        actix_rt::spawn(joins(&one).await.run());
        until("the first to rest", || one.clock.sleeps(lease / 3)).await;
        let other = Node::start(stage, Setting::named(&LocalBus::new(), "one").at(&one.clock)).await;
        let nodes = nodes_of(&other);
        let joining = actix_rt::spawn(async move { nodes.join().await });
        until("the second to wait", || one.clock.sleeps(lease / 10)).await;
        one.clock.advance(lease / 3);
        until("the first to have renewed", || one.clock.sleeps(lease / 3)).await;
        until("the second to look again", || joining.is_finished() || one.clock.sleeps(lease / 10)).await;
        one.clock.advance(lease / 10);
        let refused = within(joining, "an answer").await.unwrap().err().unwrap().to_string();
        for part in ["\"one\"", "127.0.0.1:3000", "cluster.node"] {
            assert!(refused.contains(part), "{refused}");
        }
    }

    async fn a_node_that_crashed_has_its_name_again_when_its_lease_ends(stage: &Stage) {
        let one = Node::named(stage, &LocalBus::new(), "one").await;
        drop(joins(&one).await);
        let former = row(&one, "one").await.unwrap();
        let again = Node::start(stage, Setting::named(&LocalBus::new(), "one").at(&one.clock)).await;
        let nodes = nodes_of(&again);
        let joining = nodes.join();
        tokio::pin!(joining);
        let joined = loop {
            tokio::select! {
                joined = &mut joining => break joined,
                () = one.clock.let_pass(one.limits.lease / 10) => {}
                () = one.clock.let_pass(Duration::from_millis(1)) => {}
            }
        };
        assert!(joined.is_ok() && now(&one) > former.lease_until);
        assert!(row(&one, "one").await.unwrap().incarnation > former.incarnation);
    }

    async fn the_people_of_a_node_that_has_gone_are_shown_as_gone(stage: &Stage) {
        let town = Town::on(stage).await;
        town.lease_ends().await;
        // Whoever clears away writes since when; the watchers may be told before.
        until("the watcher to hear since when", || {
            town.watcher.hears().last().is_some_and(|told| told["data"]["lastSeenAt"] == json!(town.began))
        })
        .await;
        rows_become("the row to be removed", &town.one, |rows| rows.len() == 1).await;
        let bob = user::by_id(town.bob).one(town.one.db.write()).await.unwrap().unwrap();
        assert_eq!(bob.last_seen_at, Some(town.began));
        assert!(town.one.entries.cluster().claims(vec![town.bob]).await.claims[0].is_empty());
        assert_eq!(town.status().await, Status::Offline);
        assert_eq!(town.one.entries.metrics().nodes.get(), 1);
    }

    async fn who_is_connected_elsewhere_too_stays(stage: &Stage) {
        let town = Town::on(stage).await;
        let phone = SessionId::from_uuid(uuid::Uuid::max());
        town.one.presences.opened(town.bob, phone).await;
        town.lease_ends().await;
        rows_become("the row to be removed", &town.one, |rows| rows.len() == 1).await;
        town.one.is_quiet().await;
        assert!(town.watcher.hears().is_empty(), "nothing has changed for those who watch");
        assert_eq!(town.status().await, Status::Online);
        let bob = user::by_id(town.bob).one(town.one.db.write()).await.unwrap().unwrap();
        assert_eq!(bob.last_seen_at, None);
    }

    async fn what_a_node_claims_that_has_gone_does_not_count_while_another_clears_away(stage: &Stage) {
        let town = Town::on(stage).await;
        let until = now(&town.one).plus(town.one.limits.lease * 2);
        let claimed = node::ActiveModel {
            reaper: Set(Some("three".to_owned())),
            reaper_until: Set(Some(until)),
            ..Default::default()
        };
        let two = node::Entity::update_many().set(claimed).filter(node::COLUMN.id.eq("two"));
        two.exec(town.one.db.write()).await.unwrap();
        town.lease_ends().await;
        town.hears("offline").await;
        assert_eq!(town.status().await, Status::Offline);
        assert_eq!(town.one.entries.cluster().claims(vec![town.bob]).await.claims[0].len(), 1);
        assert_eq!(town.names().await, ["one", "two"]);
        // The third has died over it.
        while now(&town.one) <= until {
            town.one.clock.let_pass(town.one.limits.lease / 3).await;
        }
        rows_become("the row to be removed", &town.one, |rows| rows.len() == 1).await;
        assert!(town.one.entries.cluster().claims(vec![town.bob]).await.claims[0].is_empty());
    }

    async fn a_node_that_was_late_itself_judges_nobody(stage: &Stage) {
        let town = Town::on(stage).await;
        let lease = town.one.limits.lease;
        until("the first to rest", || town.one.clock.sleeps(lease / 3)).await;
        // All stood still, the database perhaps.
        town.one.clock.advance(lease * 3);
        for _ in 0..3 {
            until("the first to renew", || town.one.clock.sleeps(lease / 3)).await;
            assert_eq!(town.names().await, ["one", "two"]);
            assert_eq!(town.status().await, Status::Online);
            town.one.clock.advance(lease / 3);
        }
        rows_become("the row to be removed", &town.one, |rows| rows.len() == 1).await;
        town.hears("offline").await;
    }

    async fn a_node_that_was_taken_for_gone_comes_back_with_its_people(stage: &Stage) {
        let town = Town::on(stage).await;
        let former = row(&town.one, "two").await.unwrap();
        town.lease_ends().await;
        town.hears("offline").await;
        rows_become("the row to be removed", &town.one, |rows| rows.len() == 1).await;
        let (one, bob) = (&town.one, town.bob);
        actix_rt::spawn(town.stopped.run());
        rows_become("the second to be back", one, |rows| rows.len() == 2).await;
        assert!(row(one, "two").await.unwrap().incarnation > former.incarnation);
        let claims = || async { one.entries.cluster().claims(vec![bob]).await.claims.remove(0) };
        within(async { while claims().await.is_empty() { tokio::task::yield_now().await } }, "the claim").await;
        until("the watcher to be told", || {
            town.watcher.hears().last().is_some_and(|told| told["data"]["status"] == "online")
        })
        .await;
    }

    async fn a_node_whose_name_was_taken_meanwhile_ends(stage: &Stage) {
        let one = Node::named(stage, &LocalBus::new(), "one").await;
        let nodes = nodes_of(&one);
        let stopped = nodes.join().await.unwrap();
        one.clock.advance(one.limits.lease * 2);
        let again = Node::start(stage, Setting::named(&LocalBus::new(), "one").at(&one.clock)).await;
        drop(joins(&again).await);
        let held = row(&one, "one").await.unwrap();
        let ended = actix_rt::spawn(stopped.run());
        within(nodes.replaced(), "the first to know").await;
        within(ended, "the first to end").await.unwrap();
        nodes.leave().await.unwrap();
        assert_eq!(row(&one, "one").await.unwrap(), held, "it does not touch what is not its own any more");
    }

    async fn a_node_that_leaves_gives_its_name_back_at_once(stage: &Stage) {
        let bus = LocalBus::new();
        let one = Node::named(stage, &bus, "one").await;
        let nodes = nodes_of(&one);
        let keeper = actix_rt::spawn(nodes.join().await.unwrap().run());
        nodes.set_address("10.0.0.7:3000".to_owned());
        rows_become("its address", &one, |rows| rows[0].address == "10.0.0.7:3000").await;
        nodes.drain();
        rows_become("that it drains", &one, |rows| rows[0].draining).await;
        nodes.leave().await.unwrap();
        assert!(list(&one.db).await.unwrap().is_empty(), "it was alone");
        // With another, that one clears away when its people had the time to come back.
        let two = Node::start(stage, Setting::named(&bus, "two").at(&one.clock)).await;
        actix_rt::spawn(joins(&two).await.run());
        keeper.abort();
        let nodes = nodes_of(&one);
        drop(nodes.join().await.unwrap());
        nodes.leave().await.unwrap();
        let left = row(&one, "one").await.unwrap();
        assert!(left.stopped && left.lease_until == now(&one).plus(one.limits.presence_grace));
        let again = nodes_of(&one).join().await.unwrap();
        assert!(!row(&one, "one").await.unwrap().stopped);
        drop(again);
    }
}
