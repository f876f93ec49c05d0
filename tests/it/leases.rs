//! What holds over all nodes although hints are lost and nodes die: who is there, who may see it, whose session stands.
//! Never how leases are kept: that is told from inside, and of real processes in `program.rs`.

use crate::support::*;
use actors::protocol::view::Status;
use entities::{Db, Options, SessionId, Timestamp, node};
use sea_orm::{EntityTrait, IntoActiveModel};

const SWEEP: Duration = secs(11);

/// Lets sweeps of both nodes pass until something happens. One that finds something behind gives it a moment to arrive by
/// itself.
async fn sweeps<T>(fleet: &Fleet, happening: impl Future<Output = T>) -> T {
    fleet.clock.pass_rounds_until(2, (SWEEP, millis(50)), happening).await
}

async fn watches(socket: &Socket, whom: &Person) -> Value {
    let reply = socket.calls("presence.watch", json!({ "userIds": [whom.id] })).await.ok();
    reply["items"][0]["status"].clone()
}

async fn sees(socket: &Socket, whom: &Person, status: &str) -> Value {
    let fits = |frame: &Value| frame["data"]["userId"] == json!(whom.id) && frame["data"]["status"] == status;
    socket.hears_that("presence.changed", fits).await["data"].clone()
}

/// A node that has died just now, and had this one connected.
async fn dies(fleet: &Fleet, stage: &Stage, lease: Duration, had: &Person) -> Timestamp {
    use actors::clock::Clock;
    let now = fleet.clock.now();
    let cluster = fleet.bus.join(stage, &stage.config(), "ghost").await;
    until_up(&*cluster).await;
    let session: SessionId = had.session().parse().unwrap();
    cluster.claim(had.id, session, Some(Status::Online)).await;
    let joined_by = cluster.mark();
    // Its claims stay behind.
    std::mem::forget(cluster);
    let db = Db::open(&Options { max_connections: 1, ..Options::new(stage.database_url()) }).await.unwrap();
    let row = node::Model {
        id: "ghost".to_owned(),
        incarnation: 1,
        version: "0".to_owned(),
        address: "10.0.0.1:3000".to_owned(),
        sockets: 1,
        joined_by,
        rooms: 0,
        load: 0,
        draining: false,
        stopped: false,
        started_at: now,
        renewed_at: now,
        lease_until: now.plus(lease),
        reaper: None,
        reaper_until: None,
    };
    node::Entity::insert(row.into_active_model()).exec_without_returning(db.write()).await.unwrap();
    db.close().await.unwrap();
    now
}

async fn until_up(cluster: &dyn actors::cluster::Cluster) {
    cluster.connect(Box::new(|_| ()));
    until("the link to come up", async || cluster.link() == actors::cluster::Link::Up).await;
}

fleet_stories! {
    async fn a_session_that_ends_unheard_is_found_by_the_sweep(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann] = fleet[0].people(["ann"]).await;
        let laptop = ann.on_another_device().await;
        let (phones, laptops) = (ann.at(&fleet[1]).connects().await, laptop.at(&fleet[1]).connects().await);
        fleet.bus.lose_hints(true);
        ann.signs_out().await.ok_with(204);
        assert_eq!(sweeps(&fleet, phones.is_closed()).await, 4403);
        laptops.is_served().await;
        laptops.stays_open();
    }

    async fn who_comes_and_goes_unheard_is_found_by_the_sweep(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        ann.meets(&bob).await;
        let anns = ann.connects().await;
        assert_eq!(watches(&anns, &bob).await, "offline");
        fleet.bus.lose_hints(true);
        let bobs = bob.at(&fleet[1]).connects().await;
        sweeps(&fleet, sees(&anns, &bob, "online")).await;
        bobs.calls("presence.set", json!({ "status": "busy" })).await.ok();
        sweeps(&fleet, sees(&anns, &bob, "busy")).await;
        bobs.hangs_up().await;
        fleet.clock.let_pass(secs(7)).await;
        sweeps(&fleet, sees(&anns, &bob, "offline")).await;
    }

    async fn who_leaves_unheard_is_watched_no_more_after_the_sweep(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let (anns, cids) = (ann.connects().await, cid.connects().await);
        let bobs = bob.at(&fleet[1]).connects().await;
        for socket in [&anns, &cids] {
            if watches(socket, &bob).await != "online" {
                sees(socket, &bob, "online").await;
            }
        }
        ann.meets(&bob).await;
        fleet.bus.lose_hints(true);
        ann.removes(&bob, group).await.ok();
        sweeps(&fleet, bobs.hears("conversation.removed")).await;
        fleet.bus.lose_hints(false);
        let told = || cids.heard().iter().filter(|frame| frame["event"] == "presence.changed").count();
        let parted = async {
            for status in ["busy", "online"].into_iter().cycle() {
                fleet.clock.advance(SWEEP);
                let before = told();
                bobs.calls("presence.set", json!({ "status": status })).await.ok();
                sees(&anns, &bob, status).await;
                cids.is_served().await;
                if told() == before {
                    return;
                }
            }
        };
        within(parted, "the watching to end").await;
    }

    async fn the_people_of_a_node_that_died_are_gone_when_its_lease_ends(stage: Stage) {
        let lease = secs(30);
        let fleet = Fleet::start_with(&stage, 2, |config| {
            config.cluster.lease = lease;
            config.operations.listen = Some(([127, 0, 0, 1], 0).into());
        }).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        ann.creates_group("tea", &[&bob, &cid]).await;
        let died_at = dies(&fleet, &stage, lease, &bob).await;
        let sockets = [ann.connects().await, cid.at(&fleet[1]).connects().await];
        for socket in &sockets {
            assert_eq!(watches(socket, &bob).await, "online");
        }
        for _ in 0..3 {
            fleet.clock.let_pass_for(2, lease / 3).await;
        }
        fleet.clock.let_pass_for(2, lease / 20).await;
        for socket in &sockets {
            let told = async { while sees(socket, &bob, "offline").await["lastSeenAt"] != json!(died_at) {} };
            within(told, "since when Bob is gone").await;
        }
        let mut list = Vec::new();
        until("the row to be removed", async || {
            list = fleet[1].operators("/nodes").await.json().as_array().unwrap().clone();
            list.len() == 2
        })
        .await;
        for (at, node) in list.iter().enumerate() {
            assert_eq!(node["address"], fleet[at].address.to_string());
            assert_eq!((&node["lease"], &node["draining"], &node["sockets"]), (&json!("alive"), &json!(false), &json!(1)));
        }
        until("two nodes to be counted", async || {
            String::from_utf8(fleet[0].operators("/metrics").await.body).unwrap().contains("quckchat_nodes 2")
        })
        .await;
    }
}
