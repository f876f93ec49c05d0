//! Devices that were away: what they are told when they come back, and that it is everything, once.

use crate::support::speech::id_of;
use crate::support::*;
use actix_web::rt;
use std::collections::BTreeMap;

fn heads(socket: &Socket) -> BTreeMap<String, Value> {
    let heads = socket.ready["heads"].as_array().unwrap();
    heads.iter().map(|head| (head["conversationId"].as_str().unwrap().to_owned(), head.clone())).collect()
}

/// What a person's `users.changes` says of one conversation now.
async fn mine(person: &impl Speaks, after_user_rev: i64, conversation: ConversationId) -> Vec<Value> {
    let page = person.own_changes(after_user_rev).await.ok();
    let items = page["items"].as_array().unwrap().iter();
    items.filter(|item| item["conversationId"] == json!(conversation)).cloned().collect()
}

stories! {
    async fn a_fresh_device_is_told_where_everything_stands(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let (pair, group) = (ann.meets(&bob).await, ann.creates_group("tea", &[&bob]).await);
        ann.says_in(pair, "one").await;
        let last = ann.says_in(pair, "two").await;
        bob.reads(pair, 1).await.ok();
        let bobs = bob.connects_with(json!({ "client": { "name": "story", "version": "1" }, "deviceId": "d" })).await;
        let ready = &bobs.ready;
        assert_eq!((&ready["user"]["id"], &ready["user"]["phoneNumber"]), (&json!(bob.id), &json!(bob.phone)));
        assert_eq!((&ready["sessionId"], &ready["more"]), (&json!(bob.session()), &json!(false)));
        assert_eq!((&ready["node"], &ready["gone"], ready.get("pull")), (&json!("node-0"), &json!([]), None));
        assert_eq!(ready["heartbeatSecs"], 600);
        let limits = &ready["limits"];
        assert_eq!((&limits["frameBytes"], &limits["inFlight"]), (&json!(65_536), &json!(32)));
        assert_eq!((&limits["queueBytes"], &limits["commandsPerSec"]), (&json!(1_048_576), &json!(1_000_000)));
        let heads = heads(&bobs);
        assert_eq!(heads.len(), 2);
        assert_eq!(
            heads[&pair.to_string()],
            json!({
                "conversationId": pair, "lastSeq": 2, "lastRev": last["rev"],
                "readSeq": 1, "deliveredSeq": 1, "unread": 1, "mentions": 0,
            })
        );
        assert_eq!(heads[&group.to_string()]["lastSeq"], 0);
        // Registered, named, met, added, and read once.
        assert_eq!(ready["userRev"], 5);
    }

    async fn many_heads_come_in_pages(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let mut expected = Vec::new();
        for at in 0..401 {
            expected.push(json!(ann.creates_group(&at.to_string(), &[]).await));
        }
        let anns = ann.connects().await;
        assert_eq!((anns.ready["heads"].as_array().unwrap().len(), &anns.ready["more"]), (200, &json!(true)));
        let (second, third) = (anns.hears("heads").await, anns.hears("heads").await);
        assert_eq!((&second["data"]["more"], &third["data"]["more"]), (&json!(true), &json!(false)));
        let pages = [&anns.ready, &second["data"], &third["data"]];
        let heads = pages.iter().flat_map(|page| page["heads"].as_array().unwrap());
        let mut found: Vec<Value> = heads.map(|head| head["conversationId"].clone()).collect();
        found.sort_by_key(ToString::to_string);
        expected.sort_by_key(ToString::to_string);
        assert_eq!(found, expected);
    }

    async fn a_device_that_was_away_sees_what_changed_and_nothing_else(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let (pair, quiet) = (ann.meets(&bob).await, ann.creates_group("quiet", &[&bob]).await);
        let kept: MessageId = id_of(&ann.says_in(pair, "kept").await);
        let edited: MessageId = id_of(&ann.says_in(pair, "helo").await);
        let deleted: MessageId = id_of(&ann.says_in(pair, "oops").await);
        ann.reacts(kept, "☕").await.ok();
        let mut phone = Replica::default();
        phone.catches_up(&bob, pair).await;
        phone.catches_up(&bob, quiet).await;
        let user_rev = bob.connects().await.ready["userRev"].clone();

        ann.edits(edited, "hello").await.ok();
        ann.deletes(deleted).await.ok();
        ann.takes_back(kept, "☕").await.ok();
        bob.reacts(edited, "👍").await.ok();
        ann.says_in(pair, "new").await;

        let bobs = bob.connects_with(json!({ "known": phone.known(), "userRev": user_rev })).await;
        assert_eq!(heads(&bobs).keys().collect::<Vec<_>>(), [&pair.to_string()]);
        let told = phone.catches_up(&bobs, pair).await;
        assert_eq!(told.len(), 4, "each row once, in its present state: {told:?}");
        assert_eq!(phone.of(pair).texts(), [Some("kept"), Some("hello"), None, Some("new")]);
        let messages = phone.of(pair).messages();
        assert!(messages[0].get("reactions").is_none() && messages[1]["reactions"][0]["count"] == 1);
        assert!(messages[2]["deletedAt"].is_string());

        let again = bob.connects_with(json!({ "known": phone.known(), "userRev": user_rev })).await;
        assert_eq!(again.ready["heads"], json!([]));
        assert!(phone.catches_up(&again, pair).await.is_empty());
    }

    async fn a_device_that_hears_and_one_that_reads_hold_the_same(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let bobs = bob.connects().await;
        let mut hearing = Replica::afresh(&bobs, group).await;
        let mut messages: Vec<MessageId> = Vec::new();
        for round in 0..6 {
            messages.push(id_of(&ann.says_in(group, &format!("ann {round}")).await));
            messages.push(id_of(&bob.says_in(group, &format!("bob {round}")).await));
            ann.edits(messages[round], &format!("edited {round}")).await.result.ok();
            bob.reacts(messages[round], "☕").await.ok();
            match round {
                1 => drop(ann.adds(&[&cid], group).await.ok()),
                2 => drop(ann.makes(&cid, "admin", group).await.ok()),
                3 => drop(cid.deletes(messages[6]).await.ok()),
                4 => drop(ann.removes(&cid, group).await.ok()),
                _ => drop(ann.renames(group, &format!("tea {round}")).await.ok()),
            }
        }
        ann.says_in(group, "done").await;
        bobs.hears_said("done").await;
        hearing.hears(&bobs.heard());
        assert_eq!(hearing, Replica::afresh(&bob, group).await);
        assert_eq!(hearing.of(group).roles().len(), 2);
    }

    async fn changes_come_in_pages_and_begin_anew_beyond_the_end(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        for at in 0..5 {
            ann.says_in(pair, &at.to_string()).await;
        }
        for door in bob.doors().await {
            let page = async |after: i64, limit: u32| {
                let data = json!({ "conversationId": pair, "afterRev": after, "limit": limit });
                door.calls("messages.changes", data).await.ok()
            };
            // The conversation and its two members have the first three numbers.
            let first = page(0, 4).await;
            assert_eq!(
                (first["items"].as_array().unwrap().len(), &first["nextRev"], &first["more"]),
                (4, &json!(4), &json!(true))
            );
            let rest = page(4, 100).await;
            assert_eq!(
                (rest["items"].as_array().unwrap().len(), &rest["nextRev"], &rest["more"]),
                (4, &json!(8), &json!(false))
            );
            assert_eq!(page(8, 100).await, json!({ "items": [], "nextRev": 8, "more": false }));
            assert_eq!(page(9, 100).await, json!({ "items": [], "nextRev": 8, "more": false, "reset": true }));
        }
    }

    async fn changes_are_the_same_however_they_are_paged(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let mut messages: Vec<MessageId> = Vec::new();
        for at in 0..6 {
            messages.push(id_of(&ann.says_in(group, &at.to_string()).await));
        }
        ann.adds(&[&cid], group).await.ok();
        ann.edits(messages[4], "edited").await.ok();
        ann.deletes(messages[1]).await.ok();
        ann.renames(group, "more tea").await.ok();
        bob.reacts(messages[0], "☕").await.ok();
        ann.removes(&cid, group).await.ok();
        ann.says_in(group, "last").await;
        let whole = ann.changes(group, 0).await.ok();
        assert_eq!(
            (&whole["more"], &whole["nextRev"]),
            (&json!(false), &whole["items"].as_array().unwrap().last().unwrap()["rev"])
        );
        for limit in [1, 2, 3, 5] {
            let (mut after, mut items) = (json!(0), Vec::new());
            loop {
                let asked = json!({ "conversationId": group, "afterRev": after, "limit": limit });
                let page = ann.calls("messages.changes", asked).await.ok();
                assert!(page["items"].as_array().unwrap().len() <= limit);
                items.extend(page["items"].as_array().unwrap().clone());
                after = page["nextRev"].clone();
                if page["more"] == false {
                    break;
                }
            }
            assert_eq!((&json!(items), &after), (&whole["items"], &whole["nextRev"]), "by {limit}");
        }
        // From wherever a client stands, it is what lies above.
        for after in 0..=whole["nextRev"].as_i64().unwrap() {
            let rest = ann.changes(group, after).await.ok();
            let above = whole["items"].as_array().unwrap().iter().filter(|item| item["rev"].as_i64() > Some(after));
            assert_eq!(rest["items"], above.cloned().collect::<Value>(), "after {after}");
        }
    }

    async fn paging_through_changes_while_they_happen_misses_nothing(stage: Stage) {
        let node = Node::in_real_time(&stage, |_| ()).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let writing = rt::spawn({
            let ann = ann.clone();
            async move {
                let socket = ann.connects().await;
                let mut messages: Vec<MessageId> = Vec::new();
                for at in 0..80 {
                    messages.push(id_of(&socket.says_in(pair, &at.to_string()).await));
                    // What was read a moment ago moves to the end.
                    socket.edits(messages[at / 2], &format!("{at}, edited")).await.ok();
                }
            }
        });
        let mut phone = Replica::default();
        while !writing.is_finished() {
            phone.catches_up_by(&bob, pair, 3).await;
        }
        writing.await.unwrap();
        phone.catches_up_by(&bob, pair, 3).await;
        assert_eq!(phone, Replica::afresh(&bob, pair).await);
        assert_eq!(phone.of(pair).messages().len(), 80);
    }

    async fn a_hello_may_claim_what_it_likes(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        for rev in [-1, 0, 2, 4, 1 << 53, i64::MAX, i64::MIN] {
            for user_rev in [-1, 0, 1 << 53, i64::MAX, i64::MIN] {
                let hello = json!({ "known": [[pair, rev], [pair, rev]], "userRev": user_rev });
                let bobs = bob.connects_with(hello).await;
                assert_eq!(heads(&bobs).keys().collect::<Vec<_>>(), [&pair.to_string()], "{rev} {user_rev}");
            }
        }
        // Who says nothing of their own is told everything of it.
        let hello = json!({ "known": [[pair, 3]] });
        assert_eq!(heads(&bob.connects_with(hello).await).len(), 1);
    }

    async fn what_the_phone_read_the_laptop_knows(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        for text in ["one", "two"] {
            ann.says_in(pair, text).await;
        }
        let (phone, laptop) = (bob.connects().await, bob.on_another_device().await.connects().await);
        let user_rev = laptop.ready["userRev"].as_i64().unwrap();
        phone.reads(pair, 2).await.ok();
        let told = laptop.hears("conversation.mine").await;
        assert_eq!((&told["userRev"], &told["conversationId"]), (&json!(user_rev + 1), &json!(pair)));
        assert_eq!((&told["data"]["readSeq"], &told["data"]["unread"]), (&json!(2), &json!(0)));
        assert!(told.get("rev").is_none());
        // Nobody else hears it.
        let anns = ann.connects().await;
        node.clock.advance(secs(1));
        phone.calls("conversations.updateMine", json!({ "conversationId": pair, "markedUnread": true })).await.ok();
        laptop.hears("conversation.mine").await;
        ann.says_in(pair, "three").await;
        anns.hears_said("three").await;
        assert!(!anns.has_heard("conversation.mine"));
    }

    async fn what_the_phone_read_while_the_laptop_was_away_it_learns(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let (pair, quiet) = (ann.meets(&bob).await, ann.creates_group("quiet", &[&bob]).await);
        ann.says_in(pair, "one").await;
        let mut laptop = Replica::default();
        laptop.catches_up(&bob, pair).await;
        laptop.catches_up(&bob, quiet).await;
        let user_rev = bob.connects().await.ready["userRev"].as_i64().unwrap();
        bob.reads(pair, 1).await.ok();

        // The conversation did not change, but what is Bob's own of it did.
        let resumed = bob.connects_with(json!({ "known": laptop.known(), "userRev": user_rev })).await;
        let heads = heads(&resumed);
        assert_eq!(heads.len(), 1);
        assert_eq!((&heads[&pair.to_string()]["readSeq"], &heads[&pair.to_string()]["unread"]), (&json!(1), &json!(0)));
        for door in bob.doors().await {
            let items = mine(&door, user_rev, pair).await;
            assert_eq!(items.len(), 1);
            assert_eq!((&items[0]["type"], &items[0]["readSeq"]), (&json!("mine"), &json!(1)));
            let page = door.own_changes(user_rev).await.ok();
            assert_eq!((&page["nextUserRev"], &page["more"]), (&resumed.ready["userRev"], &json!(false)));
            let none = door.own_changes(user_rev + 1).await.ok();
            assert_eq!(none, json!({ "items": [], "nextUserRev": user_rev + 1, "more": false }));
            assert_eq!(door.own_changes(user_rev + 2).await.ok()["reset"], true);
        }
    }

    async fn own_changes_come_in_pages(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        for at in 0..3 {
            ann.creates_group(&at.to_string(), &[&bob]).await;
        }
        bob.calls("users.updateProfile", json!({ "userId": "me", "bio": "hello" })).await.ok();
        for door in bob.doors().await {
            let (mut after, mut found) = (0, Vec::new());
            loop {
                let page = door.calls("users.changes", json!({ "afterUserRev": after, "limit": 1 })).await.ok();
                let items = page["items"].as_array().unwrap();
                assert_eq!(items.len(), 1);
                found.push(items[0]["type"].clone());
                assert_eq!(items[0]["userRev"], page["nextUserRev"]);
                after = page["nextUserRev"].as_i64().unwrap();
                if page["more"] == false {
                    break;
                }
            }
            assert_eq!(found, ["mine", "mine", "mine", "profile"]);
        }
    }

    async fn what_one_left_while_a_device_was_away_is_gone(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let (group, other) = (ann.creates_group("tea", &[&bob]).await, ann.creates_group("coffee", &[&bob]).await);
        let mut phone = Replica::default();
        phone.catches_up(&bob, group).await;
        phone.catches_up(&bob, other).await;
        let user_rev = bob.connects().await.ready["userRev"].as_i64().unwrap();
        ann.removes(&bob, group).await.ok();
        ann.says_in(group, "without bob").await;
        let resumed = bob.connects_with(json!({ "known": phone.known(), "userRev": user_rev })).await;
        let until = phone.of(group).rev + 1;
        assert_eq!(resumed.ready["gone"], json!([{ "conversationId": group, "untilRev": until }]));
        assert_eq!(resumed.ready["heads"], json!([]));
        let items = mine(&resumed, user_rev, group).await;
        assert_eq!(
            items,
            [json!({ "type": "gone", "userRev": user_rev + 1, "conversationId": group, "untilRev": until })]
        );
    }

    async fn what_one_was_added_to_while_away_is_among_the_heads(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let known = ann.creates_group("known", &[&bob]).await;
        let mut phone = Replica::default();
        phone.catches_up(&bob, known).await;
        let user_rev = bob.connects().await.ready["userRev"].clone();
        let new = ann.creates_group("new", &[&cid]).await;
        ann.says_in(new, "before bob").await;
        ann.adds(&[&bob], new).await.ok();
        let resumed = bob.connects_with(json!({ "known": phone.known(), "userRev": user_rev })).await;
        let heads = heads(&resumed);
        assert_eq!(heads.keys().collect::<Vec<_>>(), [&new.to_string()]);
        assert_eq!((&heads[&new.to_string()]["unread"], &heads[&new.to_string()]["readSeq"]), (&json!(0), &json!(1)));
    }

    async fn a_send_whose_answer_was_lost_is_there_once_after_the_resend(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.connects().await;
        let anns = ann.connects().await;
        for at in 0..20 {
            let data = json!({ "conversationId": pair, "text": at.to_string(), "clientId": format!("key {at}") });
            anns.begins("messages.send", data).await;
        }
        // Some may have arrived, some not; Ann does not know.
        drop(anns);
        let anns = ann.connects().await;
        for at in 0..20 {
            anns.sends_as(pair, &at.to_string(), &format!("key {at}")).await.ok();
        }
        let replica = Replica::afresh(&bob, pair).await;
        let mut texts: Vec<String> =
            replica.of(pair).texts().into_iter().map(|text| text.unwrap().to_owned()).collect();
        let seqs: Vec<i64> =
            replica.of(pair).messages().iter().map(|message| message["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, (1..=20).collect::<Vec<i64>>());
        texts.sort_by_key(|text| text.parse::<u32>().unwrap());
        assert_eq!(texts, (0..20).map(|at| at.to_string()).collect::<Vec<_>>());
        ann.says_in(pair, "done").await;
        bobs.hears_said("done").await;
        let told = bobs.heard().iter().filter(|frame| frame["event"] == "message.created").count();
        assert_eq!(told, 21);
    }

    async fn reconnecting_while_others_send_loses_and_doubles_nothing(stage: Stage) {
        let node = Node::in_real_time(&stage, |_| ()).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let mut phone = Replica::afresh(&bob, group).await;
        let mut user_rev = 0;
        let talking = [ann, cid].map(|person| {
            rt::spawn(async move {
                let socket = person.connects().await;
                for at in 0..60 {
                    let message: MessageId = id_of(&socket.says_in(group, &format!("{} {at}", person.name)).await);
                    if at % 3 == 0 {
                        socket.edits(message, &format!("{} {at}, edited", person.name)).await.ok();
                    }
                }
            })
        });
        for _ in 0..12 {
            let socket = bob.connects_with(json!({ "known": phone.known(), "userRev": user_rev })).await;
            user_rev = socket.ready["userRev"].as_i64().unwrap();
            // What is heard while catching up is merged after it, as any client may.
            phone.catches_up(&socket, group).await;
            socket.hears("message.created").await;
            phone.hears(&socket.heard());
        }
        for talk in talking {
            talk.await.unwrap();
        }
        let socket = bob.connects_with(json!({ "known": phone.known(), "userRev": user_rev })).await;
        phone.catches_up(&socket, group).await;
        assert_eq!(phone, Replica::afresh(&bob, group).await);
        let seqs: Vec<i64> =
            phone.of(group).messages().iter().map(|message| message["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, (1..=120).collect::<Vec<i64>>());
    }

    async fn a_socket_hears_without_a_gap_from_where_its_ready_stands(stage: Stage) {
        let node = Node::in_real_time(&stage, |_| ()).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let talk = rt::spawn({
            let ann = ann.clone();
            async move {
                let socket = ann.connects().await;
                for at in 0..150 {
                    socket.says_in(pair, &at.to_string()).await;
                }
            }
        });
        let mut sockets = Vec::new();
        for _ in 0..15 {
            sockets.push(bob.connects().await);
        }
        talk.await.unwrap();
        let last = ann.says_in(pair, "done").await["rev"].as_i64().unwrap();
        for socket in sockets {
            socket.hears_said("done").await;
            let head = heads(&socket)[&pair.to_string()]["lastRev"].as_i64().unwrap();
            let revs: Vec<i64> = socket.heard_of(pair).iter().filter_map(|frame| frame["rev"].as_i64()).collect();
            assert_eq!(revs, (head + 1..=last).collect::<Vec<i64>>(), "after {head}");
        }
    }
}
