//! Who is there: by sockets over all nodes, with a grace, told to those who watch.
//! Never who may watch whom, beyond sharing a conversation.

use super::support::*;
use actors::caller::{Caller, Identity};
use actors::cluster::most_present;
use actors::protocol::Door;
use entities::user;
use sea_orm::ConnectionTrait;
use view::Status;

/// Two nodes of one clock; ann watches bob on the first.
pub struct Town {
    pub one: Node,
    pub two: Node,
    pub bob: UserId,
    pub watcher: Ear,
}

/// The one that everybody has here.
pub fn device() -> SessionId {
    SessionId::from_uuid(uuid::Uuid::nil())
}

pub fn caller(ear: &Ear) -> Caller {
    let identity = Identity { user: ear.user, session: device(), expires_at: Timestamp::EPOCH };
    Caller {
        identity: Some(identity),
        door: Door::Socket,
        address: None,
        user_agent: None,
        languages: None,
        request_id: Rc::from("test"),
        socket: Some(ear.socket.clone()),
    }
}

impl Town {
    pub async fn on(stage: &Stage) -> Town {
        Town::joined_by(stage, &LocalBus::new()).await
    }

    pub async fn joined_by(stage: &Stage, bus: &Arc<LocalBus>) -> Town {
        let one = Node::named(stage, bus, "one").await;
        let two = Node::start(stage, Setting::named(bus, "two").at(&one.clock)).await;
        let [ann, bob] = one.users(["ann", "bob"]).await;
        one.group(ann, &[bob]).await;
        let watcher = Ear::new(&one, ann);
        let found = one.presences.watch(&caller(&watcher), WatchPresence { user_ids: vec![bob] }).await.unwrap();
        assert_eq!(found.items, [view::Presence { user_id: bob, status: Status::Offline, last_seen_at: None }]);
        Town { one, two, bob, watcher }
    }

    /// What the watcher heard since it was asked last.
    pub async fn heard(&self) -> Vec<String> {
        self.one.is_quiet().await;
        let told = self.watcher.hears();
        told.iter().map(|event| event["data"]["status"].as_str().unwrap().to_owned()).collect()
    }

    async fn hears(&self, status: &str) {
        until(status, || {
            let told = self.watcher.hears();
            told.last().is_some_and(|event| event["data"]["status"] == status)
        })
        .await;
    }

    pub async fn looks(&self, node: &Node) -> view::Presence {
        let command = GetPresence { user_ids: vec![self.bob] };
        node.presences.get(&caller(&self.watcher), command).await.unwrap().items.remove(0)
    }

    pub async fn sets(&self, node: &Node, status: Status) {
        let ear = Ear::new(node, self.bob);
        node.presences.set(&caller(&ear), SetPresence { status }).await.unwrap();
    }

    async fn last_seen(&self) -> Option<Timestamp> {
        user::by_id(self.bob).one(self.one.db.write()).await.unwrap().unwrap().last_seen_at
    }

    async fn grace_passes(&self) {
        self.one.clock.let_pass(self.one.limits.presence_grace).await;
    }
}

on_both! {
    async fn somebody_is_there_from_their_first_socket_to_a_grace_after_their_last(stage: &Stage) {
        let town = Town::on(stage).await;
        let (one, bob) = (&town.one, town.bob);
        one.presences.opened(bob, device()).await;
        assert_eq!(town.heard().await, ["online"]);
        one.presences.opened(bob, device()).await;
        one.presences.closed(bob, device()).await;
        assert!(town.heard().await.is_empty(), "one socket of two");
        assert!(!one.clock.sleeps(one.limits.presence_grace));
        one.presences.closed(bob, device()).await;
        assert!(town.heard().await.is_empty(), "not before the grace is over");
        assert_eq!(town.looks(one).await.status, Status::Online);
        let left = actors::clock::Clock::now(one.clock.as_ref());
        town.grace_passes().await;
        town.hears("offline").await;
        let presence = town.looks(one).await;
        assert_eq!((presence.status, presence.last_seen_at), (Status::Offline, Some(left)));
        assert_eq!(town.last_seen().await, Some(left));
    }

    async fn who_comes_back_within_the_grace_was_never_gone(stage: &Stage) {
        let town = Town::on(stage).await;
        let (one, bob) = (&town.one, town.bob);
        one.presences.opened(bob, device()).await;
        assert_eq!(town.heard().await, ["online"]);
        one.presences.closed(bob, device()).await;
        one.presences.opened(bob, device()).await;
        town.grace_passes().await;
        // Whatever the timer does, it has done when the next command is answered.
        one.presences.opened(bob, device()).await;
        one.presences.closed(bob, device()).await;
        assert!(town.heard().await.is_empty());
        // Gone and back several times: the last going counts.
        let grace = one.limits.presence_grace;
        one.presences.closed(bob, device()).await;
        one.clock.advance(grace / 2);
        one.presences.opened(bob, device()).await;
        one.presences.closed(bob, device()).await;
        let left = actors::clock::Clock::now(one.clock.as_ref());
        one.clock.advance(grace - grace / 2);
        one.presences.set(&caller(&town.watcher), SetPresence { status: Status::Online }).await.unwrap();
        assert!(town.heard().await.is_empty(), "the first grace is not the last");
        town.one.clock.let_pass(grace / 2).await;
        town.hears("offline").await;
        assert_eq!(town.last_seen().await, Some(left));
    }

    async fn somebody_is_there_while_any_node_has_a_socket(stage: &Stage) {
        let town = Town::on(stage).await;
        let (one, two, bob) = (&town.one, &town.two, town.bob);
        one.presences.opened(bob, device()).await;
        assert_eq!(town.heard().await, ["online"]);
        two.presences.opened(bob, device()).await;
        assert!(town.heard().await.is_empty());
        one.presences.closed(bob, device()).await;
        town.grace_passes().await;
        let gone = || one.entries.cluster().claims(vec![bob]);
        until("the first node to let go", || {
            town.watcher.hears().iter().all(|event| event["data"]["status"] == "online")
        })
        .await;
        assert_eq!(most_present(&gone().await.claims[0]), Some(Status::Online));
        two.presences.closed(bob, device()).await;
        town.grace_passes().await;
        town.hears("offline").await;
        assert!(gone().await.claims[0].is_empty());
        assert_eq!(town.looks(two).await.status, Status::Offline);
    }

    async fn what_one_sets_is_told_and_the_most_present_of_several_nodes_counts(stage: &Stage) {
        let town = Town::on(stage).await;
        let (one, two, bob) = (&town.one, &town.two, town.bob);
        // Who has no socket is not shown, whatever they set.
        town.sets(one, Status::Busy).await;
        assert!(town.heard().await.is_empty());
        one.presences.opened(bob, device()).await;
        assert_eq!(town.heard().await, ["online"]);
        town.sets(one, Status::Away).await;
        assert_eq!(town.heard().await, ["away"]);
        two.presences.opened(bob, device()).await;
        assert_eq!(town.heard().await, ["online"]);
        town.sets(two, Status::Busy).await;
        assert_eq!(town.heard().await, ["busy"]);
        town.sets(two, Status::Busy).await;
        assert!(town.heard().await.is_empty(), "what does not change is not told");
        assert_eq!(town.looks(one).await.status, Status::Busy);
        two.presences.closed(bob, device()).await;
        town.grace_passes().await;
        town.hears("away").await;
        assert_eq!(town.looks(two).await.status, Status::Away);
    }

    async fn who_shares_no_conversation_sees_nothing(stage: &Stage) {
        let town = Town::on(stage).await;
        let (one, bob) = (&town.one, town.bob);
        let eve = one.user("eve").await;
        let stranger = Ear::new(one, eve);
        let watched = one.presences.watch(&caller(&stranger), WatchPresence { user_ids: vec![bob, eve] }).await.unwrap();
        assert_eq!(watched.items.iter().map(|presence| presence.user_id).collect::<Vec<_>>(), [eve]);
        let looked = one.presences.get(&caller(&stranger), GetPresence { user_ids: vec![bob] }).await.unwrap();
        assert!(looked.items.is_empty());
        one.presences.opened(bob, device()).await;
        one.is_quiet().await;
        assert!(stranger.hears().is_empty());
        // Who watches no more hears no more.
        assert_eq!(town.heard().await, ["online"]);
        one.presences.unwatch(&caller(&town.watcher), UnwatchPresence { user_ids: None }).await.unwrap();
        town.sets(one, Status::Away).await;
        assert!(town.heard().await.is_empty());
    }

    async fn what_hints_did_not_tell_the_sweep_does(stage: &Stage) {
        let bus = LocalBus::new();
        let town = Town::joined_by(stage, &bus).await;
        let (one, two, bob) = (&town.one, &town.two, town.bob);
        bus.lose_hints(true);
        two.presences.opened(bob, device()).await;
        assert!(town.heard().await.is_empty());
        one.sweeps().await;
        assert_eq!(town.heard().await, ["online"]);
        one.sweeps().await;
        assert!(town.heard().await.is_empty(), "once");
        town.sets(two, Status::Away).await;
        two.presences.closed(bob, device()).await;
        let left = actors::clock::Clock::now(two.clock.as_ref());
        town.grace_passes().await;
        within(async { while town.last_seen().await.is_none() { tokio::task::yield_now().await } }, "it to be written").await;
        one.sweeps().await;
        let told = town.watcher.hears();
        assert_eq!(told.last().unwrap()["data"], json!({ "userId": bob, "status": "offline", "lastSeenAt": left }));
    }

    async fn who_looks_later_and_sees_more_tells_all(stage: &Stage) {
        let bus = LocalBus::new();
        let town = Town::joined_by(stage, &bus).await;
        bus.lose_hints(true);
        town.two.presences.opened(town.bob, device()).await;
        let later = Ear::new(&town.one, town.watcher.user);
        let found = town.one.presences.watch(&caller(&later), WatchPresence { user_ids: vec![town.bob] }).await.unwrap();
        assert_eq!(found.items[0].status, Status::Online);
        assert!(town.heard().await.is_empty());
        town.one.mends().await;
        assert_eq!(town.heard().await, ["online"]);
    }

    async fn whoever_shares_nothing_any_more_watches_no_more_after_a_sweep(stage: &Stage) {
        let bus = LocalBus::new();
        let town = Town::joined_by(stage, &bus).await;
        let (one, two, bob, ann) = (&town.one, &town.two, town.bob, town.watcher.user);
        let cid = one.user("cid").await;
        let tea = one.group(ann, &[bob, cid]).await;
        let cids = Ear::new(one, cid);
        one.presences.watch(&caller(&cids), WatchPresence { user_ids: vec![bob] }).await.unwrap();
        bus.lose_hints(true);
        // It is the other who leaves, and at another node.
        two.removes(tea, ann, bob).await;
        one.sweeps().await;
        until("the watching to end", || cids.socket.watched().is_empty()).await;
        assert_eq!(town.watcher.socket.watched().len(), 1, "they share another");
        one.presences.opened(bob, device()).await;
        assert_eq!(town.heard().await, ["online"]);
        assert!(cids.hears().is_empty());
    }

    /// While the node writes when somebody was seen last, they come back.
    async fn who_comes_back_while_being_given_up_is_not_told_as_gone(stage: &Stage) {
        for elsewhere in [false, true] {
            let town = Town::on(stage).await;
            let (one, bob) = (&town.one, town.bob);
            let back = if elsewhere { &town.two } else { one };
            one.presences.opened(bob, device()).await;
            assert_eq!(town.heard().await, ["online"]);
            one.presences.closed(bob, device()).await;
            // The row cannot be written for now.
            let other = stage.open(1).await;
            let holding = other.begin_write().await.unwrap();
            if one.db.backend() == Backend::Postgres {
                let sql = "SELECT id FROM users WHERE id = $1 FOR UPDATE";
                holding.execute_raw(Backend::Postgres.statement(sql, [bob.into()])).await.unwrap();
            }
            town.grace_passes().await;
            let cluster = one.entries.cluster().clone();
            within(async { while !cluster.claims(vec![bob]).await.claims[0].is_empty() { tokio::task::yield_now().await } }, "the claim to end").await;
            back.presences.opened(bob, device()).await;
            holding.rollback().await.unwrap();
            within(async { while town.last_seen().await.is_none() { tokio::task::yield_now().await } }, "it to be written").await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let told = town.heard().await;
            // They were shown as there all the time: nobody need be told.
            assert!(told.iter().all(|status| status == "online"), "{told:?}, back elsewhere: {elsewhere}");
            // Names are unique: the next round has users of its own.
            for node in [one, &town.two] {
                node.db.write().execute_unprepared("UPDATE users SET username_key = NULL").await.unwrap();
            }
        }
    }
}
