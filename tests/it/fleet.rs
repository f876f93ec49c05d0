//! Several nodes on one database: whoever is at one of them talks with everybody at the others.

use crate::support::speech::id_of;
use crate::support::*;
use futures_util::future::join_all;

fleet_stories! {
    async fn people_at_two_nodes_hear_each_other(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let bob = bob.at(&fleet[1]);
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        assert_ne!(anns.ready["node"], bobs.ready["node"]);
        let pair = anns.meets(&bob).await;
        for socket in [&anns, &bobs] {
            socket.hears("conversation.added").await;
        }
        let hello = anns.says_in(pair, "hello").await;
        assert_eq!(bobs.hears_said("hello").await["data"]["id"], hello["id"]);
        bobs.reacts(id_of(&hello), "👋").await.ok();
        anns.hears("reaction.added").await;
        bobs.says_in(pair, "hello to you").await;
        assert_eq!(anns.hears_said("hello to you").await["seq"], 2);
        bobs.reads(pair, 2).await.ok();
        assert_eq!(anns.hears("receipt.read").await["data"], json!({ "userId": bob.id, "seq": 2 }));
        anns.calls("messages.typing", json!({ "conversationId": pair })).await.ok();
        bobs.hears("typing.started").await;
    }

    async fn two_devices_at_two_nodes_know_what_each_other_did(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        ann.says_in(pair, "hello").await;
        let (phone, laptop) = (bob.connects().await, bob.at(&fleet[1]).connects().await);
        phone.reads(pair, 1).await.ok();
        assert_eq!(laptop.hears("conversation.mine").await["data"]["readSeq"], 1);
        laptop.calls("users.updateProfile", json!({ "userId": "me", "bio": "at both" })).await.ok();
        assert_eq!(phone.hears("profile.updated").await["data"]["bio"], "at both");
    }

    async fn a_pair_that_is_made_at_both_nodes_at_once_is_one(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let bob = bob.at(&fleet[1]);
        for _ in 0..3 {
            let [cid] = fleet[0].people(["cid"]).await;
            let there = cid.at(&fleet[1]);
            let with = [&ann];
            let meetings = join_all([&cid, &there, &cid, &there].map(|cid| cid.creates("private", &with)));
            let made: Vec<Value> = meetings.await.into_iter().map(|answer| answer.ok()).collect();
            assert_eq!(made.iter().filter(|made| made["duplicate"] == false).count(), 1);
            assert!(made.iter().all(|one| one["id"] == made[0]["id"]));
        }
        let (one, other) = tokio::join!(ann.meets(&bob), bob.meets(&ann));
        assert_eq!(one, other);
        let list = bob.calls("conversations.getByUser", json!({})).await.ok();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
    }

    async fn a_key_that_is_used_at_both_nodes_at_once_is_one_message(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.connects().await;
        let there = ann.at(&fleet[1]);
        for round in 0..10 {
            let key = format!("key {round}");
            let sends = join_all([
                ann.sends_as(pair, "once", &key),
                there.sends_as(pair, "once", &key),
                ann.sends_as(pair, "once", &key),
            ]);
            let sent: Vec<Value> = sends.await.into_iter().map(|answer| answer.ok()).collect();
            assert_eq!(sent.iter().filter(|sent| sent["duplicate"] == false).count(), 1);
            assert!(sent.iter().all(|one| one["message"] == sent[0]["message"]));
        }
        ann.says_in(pair, "done").await;
        assert_eq!(bobs.hears_said("done").await["seq"], 11);
        let revs: Vec<i64> = bobs.heard_of(pair).iter().filter_map(|frame| frame["rev"].as_i64()).collect();
        assert_eq!(revs, (4..=14).collect::<Vec<i64>>());
    }

    async fn a_group_that_is_made_at_both_nodes_at_once_is_one(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let there = ann.at(&fleet[1]);
        for round in 0..5 {
            let data = json!({ "kind": "group", "participantIds": [bob.id], "clientId": format!("key {round}") });
            let creates = join_all([&ann, &there, &ann].map(|ann| ann.calls("conversations.create", data.clone())));
            let made: Vec<Value> = creates.await.into_iter().map(|answer| answer.ok()).collect();
            assert_eq!(made.iter().filter(|made| made["duplicate"] == false).count(), 1, "{made:?}");
            assert!(made.iter().all(|one| one["id"] == made[0]["id"]));
        }
    }

    async fn a_removal_at_one_node_holds_at_once_at_the_other(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let bob = bob.at(&fleet[1]);
        // The other node knows Bob as a member.
        let doors = bob.doors().await;
        for door in &doors {
            door.says_in(group, "hello").await;
        }
        // Whether or not it heard of the removal.
        fleet.bus.lose_hints(true);
        ann.removes(&bob, group).await.ok();
        for door in &doors {
            door.sends(group, "still here?").await.is_refused(ErrorCode::ConversationNotFound);
            door.history(group).await.is_refused(ErrorCode::ConversationNotFound);
        }
    }

    async fn a_role_that_was_taken_at_one_node_is_gone_at_the_other(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        ann.makes(&bob, "admin", group).await.ok();
        let bob = bob.at(&fleet[1]);
        bob.renames(group, "coffee").await.ok();
        fleet.bus.lose_hints(true);
        ann.makes(&bob, "member", group).await.ok();
        bob.renames(group, "mine").await.is_refused(ErrorCode::ConversationForbidden);
        bob.adds(&[&cid], group).await.is_refused(ErrorCode::ConversationForbidden);
    }

    async fn who_is_removed_at_one_node_hears_nothing_more_at_the_other(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let (group, pair) = (ann.creates_group("tea", &[&bob]).await, ann.meets(&bob).await);
        let bobs = bob.at(&fleet[1]).connects().await;
        ann.removes(&bob, group).await.ok();
        let removed = bobs.hears("participant.removed").await;
        bobs.hears("conversation.removed").await;
        ann.says_in(group, "without bob").await;
        ann.says_in(pair, "with bob").await;
        bobs.hears_said("with bob").await;
        assert_eq!(bobs.heard_of(group).into_iter().rfind(|frame| frame.get("rev").is_some()), Some(removed));
    }

    async fn a_session_that_ends_at_one_node_closes_its_sockets_at_the_other(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann] = fleet[0].people(["ann"]).await;
        let laptop = ann.on_another_device().await;
        let there = ann.at(&fleet[1]);
        let (phones, laptops) = (there.connects().await, laptop.at(&fleet[1]).connects().await);
        ann.signs_out().await.ok_with(204);
        assert_eq!(phones.hears("session.revoked").await["data"]["sessionId"], json!(ann.session()));
        assert_eq!(phones.is_closed().await, 4403);
        ann.opens_list().await.is_refused(ErrorCode::AuthSessionRevoked);
        // What another node learned of the session, it believes for a second.
        fleet.clock.advance(secs(1));
        there.opens_list().await.is_refused(ErrorCode::AuthSessionRevoked);
        laptops.is_served().await;
        laptops.stays_open();
    }

    async fn tokens_of_one_node_are_good_at_the_other(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann] = fleet[0].people(["ann"]).await;
        let there = ann.at(&fleet[1]);
        there.opens_list().await.ok();
        there.refreshes().await;
        ann.opens_list().await.ok();
        let keys = [&fleet[0], &fleet[1]].map(|node| {
            let node = node.clone();
            async move { node.gets("/.well-known/jwks.json").await.json() }
        });
        let [one, other] = keys;
        assert_eq!(one.await, other.await);
    }

    async fn a_node_that_goes_leaves_its_people_to_the_other(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let (anns, bobs) = (ann.connects().await, bob.at(&fleet[1]).connects().await);
        anns.says_in(pair, "before").await;
        bobs.hears_said("before").await;
        let mut replica = Replica::afresh(&ann, pair).await;
        fleet[0].stop().await;
        assert_eq!(anns.is_closed().await, 4001);
        bobs.says_in(pair, "meanwhile").await;
        let ann = ann.at(&fleet[1]);
        let anns = ann.connects_with(json!({ "known": replica.known() })).await;
        replica.catches_up(&anns, pair).await;
        anns.says_in(pair, "after").await;
        bobs.hears_said("after").await;
        assert_eq!(replica.of(pair).texts(), [Some("before"), Some("meanwhile")]);
    }
}
