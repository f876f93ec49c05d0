//! Who is there: by sockets over all nodes, for those who share a conversation, with a moment of grace.

use crate::support::*;

const GRACE: Duration = secs(7);

async fn watches(socket: &Socket, whom: &[&Person]) -> Vec<Value> {
    let ids: Vec<UserId> = whom.iter().map(|person| person.id).collect();
    let reply = socket.calls("presence.watch", json!({ "userIds": ids })).await.ok();
    reply["items"].as_array().unwrap().clone()
}

/// Awaits that somebody is shown so; gives what was told.
async fn sees(socket: &Socket, whom: &Person, status: &str) -> Value {
    let fits = |frame: &Value| frame["data"]["userId"] == json!(whom.id) && frame["data"]["status"] == status;
    socket.hears_that("presence.changed", fits).await["data"].clone()
}

fn told(socket: &Socket) -> usize {
    socket.heard().iter().filter(|frame| frame["event"] == "presence.changed").count()
}

stories! {
    async fn who_comes_and_goes_is_shown_after_a_moment_of_grace(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        ann.meets(&bob).await;
        let anns = ann.connects().await;
        assert_eq!(watches(&anns, &[&bob]).await, [json!({ "userId": bob.id, "status": "offline" })]);
        let bobs = bob.connects().await;
        assert_eq!(sees(&anns, &bob, "online").await, json!({ "userId": bob.id, "status": "online" }));
        bobs.hangs_up().await;
        node.clock.let_pass(GRACE).await;
        let gone = sees(&anns, &bob, "offline").await;
        assert_eq!(gone["lastSeenAt"], "2026-02-02T02:40:00.000Z");
        let asked = json!({ "userIds": [bob.id] });
        for door in ann.doors().await {
            assert_eq!(door.calls("presence.get", asked.clone()).await.ok()["items"], json!([gone]));
        }
        assert_eq!(told(&anns), 2);
    }

    async fn who_comes_back_within_the_grace_was_never_gone(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        ann.creates_group("tea", &[&bob, &cid]).await;
        let anns = ann.connects().await;
        watches(&anns, &[&bob, &cid]).await;
        let bobs = bob.connects().await;
        sees(&anns, &bob, "online").await;
        bobs.hangs_up().await;
        let bobs = bob.connects().await;
        bobs.calls("presence.set", json!({ "status": "online" })).await.ok();
        node.clock.advance(GRACE);
        bobs.calls("presence.set", json!({ "status": "away" })).await.ok();
        sees(&anns, &bob, "away").await;
        assert_eq!(told(&anns), 2);
    }

    async fn one_is_there_as_long_as_one_socket_is_at_any_node(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        ann.meets(&bob).await;
        let anns = ann.connects().await;
        watches(&anns, &[&bob]).await;
        let there = bob.at(&fleet[1]);
        let (phone, laptop, tablet) = (bob.connects().await, there.connects().await, there.connects().await);
        sees(&anns, &bob, "online").await;
        // All three are counted once each of them can change how Bob is shown.
        for socket in [&laptop, &tablet] {
            for status in ["away", "online"] {
                socket.calls("presence.set", json!({ "status": status })).await.ok();
            }
        }
        laptop.hangs_up().await;
        phone.hangs_up().await;
        fleet.clock.let_pass(GRACE).await;
        assert_eq!(watches(&anns, &[&bob]).await[0]["status"], "online");
        tablet.hangs_up().await;
        fleet.clock.let_pass(GRACE).await;
        sees(&anns, &bob, "offline").await;
        assert_eq!(watches(&anns, &[&bob]).await[0]["status"], "offline");
    }

    async fn one_may_be_away_or_busy(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        ann.meets(&bob).await;
        let anns = ann.connects().await;
        watches(&anns, &[&bob]).await;
        let bobs = bob.connects().await;
        sees(&anns, &bob, "online").await;
        for door in [Door::Socket(bobs.clone()), Door::Rest(bob.clone())] {
            for status in ["away", "busy", "online"] {
                let shown = door.calls("presence.set", json!({ "status": status })).await.ok();
                assert_eq!(shown, json!({ "userId": bob.id, "status": status }));
                sees(&anns, &bob, status).await;
            }
        }
        // Anew is as at first.
        bobs.calls("presence.set", json!({ "status": "busy" })).await.ok();
        sees(&anns, &bob, "busy").await;
        bobs.hangs_up().await;
        node.clock.let_pass(GRACE).await;
        sees(&anns, &bob, "offline").await;
        let _bobs = bob.connects().await;
        sees(&anns, &bob, "online").await;
    }

    async fn whom_one_does_not_know_one_does_not_see(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, mallory] = node.people(["ann", "bob", "mallory"]).await;
        let pair = ann.meets(&bob).await;
        let (mallorys, anns) = (mallory.connects().await, ann.connects().await);
        assert!(watches(&mallorys, &[&bob, &ann]).await.is_empty());
        watches(&anns, &[&bob]).await;
        let bobs = bob.connects().await;
        sees(&anns, &bob, "online").await;
        for door in mallory.doors().await {
            let found = door.calls("presence.get", json!({ "userIds": [bob.id, ann.id, mallory.id] })).await.ok();
            let ids: Vec<&Value> = found["items"].as_array().unwrap().iter().map(|item| &item["userId"]).collect();
            assert_eq!(ids, [&json!(mallory.id)]);
        }
        bobs.calls("presence.set", json!({ "status": "busy" })).await.ok();
        sees(&anns, &bob, "busy").await;
        let theirs = mallory.meets(&ann).await;
        mallorys.hears("conversation.added").await;
        ann.says_in(theirs, "hello, mallory").await;
        mallorys.hears_said("hello, mallory").await;
        assert_eq!(told(&mallorys), 0);
        assert!(bobs.heard_of(pair).is_empty());
    }

    async fn whom_one_shares_nothing_with_any_more_is_watched_no_more(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let pair = ann.meets(&cid).await;
        let (bobs, cids) = (bob.connects().await, cid.connects().await);
        sees_after_watching(&cids, &bob).await;
        ann.removes(&cid, group).await.ok();
        cids.hears("conversation.removed").await;
        // What follows a removal is done when the socket has told of it and served what came after.
        let found = cids.calls("presence.get", json!({ "userIds": [bob.id] })).await.ok();
        assert_eq!(found["items"], json!([]));
        cids.is_served().await;
        bobs.calls("presence.set", json!({ "status": "busy" })).await.ok();
        ann.says_in(pair, "hello, cid").await;
        cids.hears_said("hello, cid").await;
        assert!(!cids.heard().iter().any(|frame| frame["data"]["status"] == "busy"), "{:?}", cids.heard());
    }

    async fn whoever_stops_watching_is_told_no_more(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        ann.creates_group("tea", &[&bob, &cid]).await;
        let anns = ann.connects().await;
        let (bobs, cids) = (bob.connects().await, cid.connects().await);
        sees_after_watching(&anns, &bob).await;
        sees_after_watching(&anns, &cid).await;
        anns.calls("presence.unwatch", json!({ "userIds": [bob.id] })).await.ok();
        bobs.calls("presence.set", json!({ "status": "busy" })).await.ok();
        cids.calls("presence.set", json!({ "status": "busy" })).await.ok();
        sees(&anns, &cid, "busy").await;
        watches(&anns, &[&bob]).await;
        anns.calls("presence.unwatch", json!({})).await.ok();
        for socket in [&bobs, &cids] {
            socket.calls("presence.set", json!({ "status": "away" })).await.ok();
        }
        watches(&anns, &[&ann]).await;
        anns.calls("presence.set", json!({ "status": "away" })).await.ok();
        sees(&anns, &ann, "away").await;
        let seen = anns.heard();
        let shown = |who: &Person, status: &str| {
            seen.iter().any(|frame| frame["data"]["userId"] == json!(who.id) && frame["data"]["status"] == status)
        };
        assert!(!shown(&bob, "busy") && !shown(&bob, "away") && !shown(&cid, "away"));
    }
}

/// Watches somebody who is connected, until they are shown so.
async fn sees_after_watching(socket: &Socket, whom: &Person) {
    if watches(socket, &[whom]).await[0]["status"] != "online" {
        sees(socket, whom, "online").await;
    }
}
