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
            match answer {
                "a message" => drop(phone.says_in(pair, "hello, ann").await),
                "a reaction" => drop(phone.reacts(hello, "☕").await.ok()),
                _ => {
                    assert_eq!(bob.accepts(pair).await.ok_with(200)["me"].get("request"), None);
                    phone.accepts(pair).await.ok();
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
        let (said, taken) = tokio::join!(bob.sends(pair, "hello, ann"), there.accepts(pair));
        said.ok();
        taken.ok();
        assert_eq!(bob.own_changes(user_rev).await.ok()["nextUserRev"], user_rev + 1);
        assert!(listed(&bob, true).await.is_empty());
    }

    async fn a_declined_request_is_gone_from_every_device_and_whoever_asked_hears_nothing(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        for at in 0..2 {
            let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
            bob.lets("privateChats", "nobody").await;
            let pair = ann.meets(&bob).await;
            ann.says_in(pair, "hello, bob").await;
            let anns = ann.at(&fleet[1]).connects().await;
            let (phone, laptop) = (bob.connects().await, bob.at(&fleet[1]).connects().await);
            let user_rev = laptop.ready["userRev"].as_i64().unwrap();
            let seen = ann.opens(pair).await.ok();
            let door = &bob.doors().await[at];
            door.declines(pair).await.ok_with(204);
            for device in [&phone, &laptop] {
                let told = device.hears("conversation.removed").await;
                assert_eq!((&told["conversationId"], &told["userRev"]), (&json!(pair), &json!(user_rev + 1)));
            }
            // Once more is nothing new.
            bob.declines(pair).await.ok();
            let changes = bob.own_changes(user_rev).await.ok();
            assert_eq!((&changes["items"][0]["type"], &changes["nextUserRev"]), (&json!("gone"), &json!(user_rev + 1)));
            // For Ann all is as before; what she writes is kept, and does not bring it back.
            assert_eq!(ann.opens(pair).await.ok(), seen);
            let said = ann.says_in(pair, "are you there?").await;
            anns.hears_said("are you there?").await;
            let events: Vec<Value> = anns.heard().iter().map(|frame| frame["event"].clone()).collect();
            assert_eq!(events, ["message.created"]);
            assert!(listed(&bob, true).await.is_empty() && listed(&bob, false).await.is_empty());
            for device in [&phone, &laptop] {
                device.is_served().await;
                assert!(!device.has_heard("message.created"));
            }
            let known = json!({ "known": [[pair, seen["lastRev"]]], "userRev": user_rev });
            let anew = bob.connects_with(known).await;
            assert_eq!((&anew.ready["heads"], &anew.ready["gone"][0]["conversationId"]), (&json!([]), &json!(pair)));
            assert_eq!(bob.connects().await.ready["heads"], json!([]));
            // He thinks otherwise: it comes back with all that was said.
            if at == 0 {
                bob.accepts(pair).await.ok();
            } else {
                bob.meets(&ann).await;
                phone.says_in(pair, "hello, ann").await;
                anns.hears_said("hello, ann").await;
            }
            let told = laptop.hears("conversation.added").await;
            assert_eq!((&told["conversationId"], told["data"]["me"].get("request")), (&json!(pair), None));
            assert_eq!(listed(&bob, false).await, [json!(pair)]);
            assert_eq!(laptop.history(pair).await.ok()["items"][1], said);
        }
    }

    async fn only_a_request_to_oneself_is_declined(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        bob.lets("privateChats", "nobody").await;
        let (asked, open) = (ann.meets(&bob).await, ann.meets(&cid).await);
        let group = ann.creates_group("tea", &[&bob]).await;
        for (person, conversation, code) in [
            (&ann, asked, ErrorCode::ConversationNotARequest),
            (&cid, open, ErrorCode::ConversationNotARequest),
            (&bob, group, ErrorCode::ConversationNotARequest),
            (&cid, asked, ErrorCode::ConversationNotFound),
        ] {
            for door in person.doors().await {
                door.declines(conversation).await.is_refused(code);
            }
        }
        cid.accepts(asked).await.is_refused(ErrorCode::ConversationNotFound);
        // What is no request any more is not declined; what never was one needs no taking up.
        bob.accepts(asked).await.ok();
        bob.declines(asked).await.is_refused(ErrorCode::ConversationNotARequest);
        let rev = ann.own_changes(0).await.ok()["nextUserRev"].clone();
        ann.accepts(asked).await.ok();
        assert_eq!(ann.own_changes(0).await.ok()["nextUserRev"], rev);
    }

    async fn of_two_devices_that_answer_at_once_the_one_that_takes_it_up_prevails(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let people = fleet[0].people(["ann", "cid", "dan", "eve"]).await;
        let [bob] = fleet[0].people(["bob"]).await;
        bob.lets("privateChats", "nobody").await;
        let there = bob.at(&fleet[1]);
        for other in &people {
            let pair = other.meets(&bob).await;
            let (declined, taken) = tokio::join!(bob.declines(pair), there.accepts(pair));
            taken.ok();
            if let Err(refused) = declined.result {
                assert_eq!(refused["code"], ErrorCode::ConversationNotARequest.as_str());
            }
            assert!(listed(&bob, false).await.contains(&json!(pair)));
        }
    }
}
