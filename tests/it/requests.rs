//! Requests: private conversations that others have opened, and that wait until whom they asked takes them up.

use crate::support::speech::id_of;
use crate::support::*;

async fn listed(door: &impl Speaks, requests: bool) -> Vec<Value> {
    let query = if requests { json!({ "requests": true }) } else { json!({}) };
    let page = door.calls("conversations.getByUser", query).await.ok();
    page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect()
}

stories! {
    async fn a_private_chat_of_somebody_who_is_left_out_is_a_request(stage: Stage) {
        let node = Node::start(&stage).await;
        // Audience, and for whom a new chat opens as one: a contact, a stranger.
        for (audience, opens) in [("everyone", [true, true]), ("contacts", [true, false]), ("nobody", [false, false])] {
            let [bob, contact, stranger] = node.people(["bob", "contact", "stranger"]).await;
            bob.befriends(&contact).await.ok();
            bob.lets("privateChats", audience).await;
            let bobs = bob.connects().await;
            for (person, opens) in [&contact, &stranger].into_iter().zip(opens) {
                let pair = person.meets(&bob).await;
                person.says_in(pair, "hello, bob").await;
                let added = bobs.hears_that("conversation.added", |frame| frame["conversationId"] == json!(pair)).await;
                assert_eq!(added["data"]["me"]["request"] == true, !opens, "{audience}: {added}");
                for door in bob.doors().await {
                    assert_eq!(listed(&door, false).await.contains(&json!(pair)), opens, "{audience}");
                    assert_eq!(listed(&door, true).await.contains(&json!(pair)), !opens, "{audience}");
                    assert_eq!(door.opens(pair).await.ok()["me"]["request"] == true, !opens, "{audience}");
                }
                // Who asked has a conversation like any other.
                assert_eq!(listed(person, false).await, [json!(pair)]);
                assert!(listed(person, true).await.is_empty());
                let anew = bob.connects().await;
                let heads = anew.ready["heads"].as_array().unwrap().clone();
                let head = heads.iter().find(|head| head["conversationId"] == json!(pair)).unwrap();
                assert_eq!((head["request"] == true, &head["unread"]), (!opens, &json!(1)), "{audience}");
            }
        }
    }

    async fn a_request_tells_nothing_of_who_was_asked(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        bob.lets("privateChats", "nobody").await;
        let pair = ann.meets(&bob).await;
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        ann.says_in(pair, "hello, bob").await;
        // As one who is hidden, or not there: who asks cannot tell which.
        let offline = json!([{ "userId": bob.id, "status": "offline" }]);
        let asked = json!({ "userIds": [bob.id] });
        assert_eq!(anns.calls("presence.watch", asked.clone()).await.ok()["items"], offline);
        assert_eq!(ann.calls("presence.get", asked.clone()).await.ok()["items"], offline);
        bobs.receives(pair, 1).await.ok();
        bob.reads(pair, 1).await.ok();
        bobs.calls("messages.typing", json!({ "conversationId": pair, "typing": true })).await.ok();
        bobs.calls("presence.set", json!({ "status": "busy" })).await.ok();
        let members = ann.opens(pair).await.ok()["participants"].clone();
        let bob_seen = members.as_array().unwrap().iter().find(|member| member["userId"] == json!(bob.id)).unwrap();
        assert!(bob_seen.get("readSeq").is_none() && bob_seen.get("deliveredSeq").is_none(), "{bob_seen}");
        ann.says_in(pair, "are you there?").await;
        anns.hears_said("are you there?").await;
        for event in ["receipt.read", "receipt.delivered", "typing.started", "presence.changed"] {
            assert!(!anns.has_heard(event), "{event}");
        }
        // Whom Bob asks himself has answered with it: nothing is hidden from him.
        let theirs = bob.meets(&cid).await;
        let _cids = cid.connects().await;
        assert_eq!(bob.opens(theirs).await.ok()["me"].get("request"), None);
        until("cid to be there", async || {
            let found = bobs.calls("presence.get", json!({ "userIds": [cid.id] })).await.ok();
            found["items"][0]["status"] == "online"
        })
        .await;
    }

    async fn answering_takes_a_request_up_on_all_devices(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        for answer in ["a message", "a reaction", "a word to the node"] {
            let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
            bob.lets("privateChats", "contacts").await;
            let pair = ann.meets(&bob).await;
            let hello: MessageId = id_of(&ann.says_in(pair, "hello, bob").await);
            let anns = ann.at(&fleet[1]).connects().await;
            let (phone, laptop) = (bob.connects().await, bob.at(&fleet[1]).connects().await);
            let user_rev = laptop.ready["userRev"].as_i64().unwrap();
            anns.calls("presence.watch", json!({ "userIds": [bob.id] })).await.ok();
            let again = json!({ "conversationId": pair, "request": true });
            phone.calls("conversations.updateMine", again).await.is_refused_for(ErrorCode::RequestInvalid, "request");
            match answer {
                "a message" => drop(phone.says_in(pair, "hello, ann").await),
                "a reaction" => drop(phone.reacts(hello, "☕").await.ok()),
                _ => {
                    let mine = json!({ "conversationId": pair, "request": false });
                    assert_eq!(bob.calls("conversations.updateMine", mine.clone()).await.ok().get("request"), None);
                    bob.calls("conversations.updateMine", mine).await.ok();
                }
            }
            let told = laptop.hears("conversation.mine").await;
            assert_eq!((&told["conversationId"], told["data"].get("request")), (&json!(pair), None));
            assert_eq!(told["userRev"], user_rev + 1);
            let changes = bob.own_changes(user_rev).await.ok();
            assert_eq!(changes["items"].as_array().unwrap().len(), 1, "{changes}");
            assert_eq!((listed(&bob, false).await, listed(&bob, true).await), (vec![json!(pair)], vec![]));
            // From now on Ann sees what Bob's privacy lets her.
            let seen = |frame: &Value| frame["data"]["userId"] == json!(bob.id) && frame["data"]["status"] == "online";
            anns.hears_that("presence.changed", seen).await;
            let seq = ann.says_in(pair, "there you are").await["seq"].as_i64().unwrap();
            phone.reads(pair, seq).await.ok();
            anns.hears_that("receipt.read", |frame| frame["data"]["seq"] == seq).await;
        }
    }

    async fn the_same_answer_from_two_devices_takes_it_up_once(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        bob.lets("privateChats", "nobody").await;
        let pair = ann.meets(&bob).await;
        let user_rev = bob.connects().await.ready["userRev"].as_i64().unwrap();
        let there = bob.at(&fleet[1]);
        let mine = json!({ "conversationId": pair, "request": false });
        let (said, taken) =
            tokio::join!(bob.sends(pair, "hello, ann"), there.calls("conversations.updateMine", mine));
        said.ok();
        taken.ok();
        assert_eq!(bob.own_changes(user_rev).await.ok()["nextUserRev"], user_rev + 1);
        assert!(listed(&bob, true).await.is_empty());
    }
}
