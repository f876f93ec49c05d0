//! How far people have read, who is typing, and the lists and pages in which everything is found again.

use crate::support::speech::id_of;
use crate::support::*;

stories! {
    async fn marks_are_only_raised_and_told_to_the_others(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        for text in ["one", "two", "three"] {
            ann.says_in(pair, text).await;
        }
        bob.says_in(pair, "four").await;
        let anns = ann.connects().await;
        let me = async || bob.opens(pair).await.ok()["me"].clone();
        assert_eq!((&me().await["unread"], &me().await["readSeq"]), (&json!(3), &json!(0)));

        assert_eq!(bob.receives(pair, 3).await.ok_with(200)["deliveredSeq"], 3);
        let receipt = anns.hears("receipt.delivered").await;
        assert_eq!(receipt["data"], json!({ "userId": bob.id, "seq": 3 }));
        assert!(receipt.get("rev").is_none() && receipt["conversationId"] == json!(pair));

        let read = bob.reads(pair, 2).await.ok_with(200);
        assert_eq!((&read["readSeq"], &read["deliveredSeq"], &read["unread"]), (&json!(2), &json!(3), &json!(1)));
        assert_eq!(anns.hears("receipt.read").await["data"], json!({ "userId": bob.id, "seq": 2 }));

        // Neither back, nor beyond what was said.
        assert_eq!(bob.reads(pair, 1).await.ok()["readSeq"], 2);
        let all = bob.reads(pair, 99).await.ok();
        assert_eq!((&all["readSeq"], &all["deliveredSeq"], &all["unread"]), (&json!(4), &json!(4), &json!(0)));
        assert_eq!(anns.hears("receipt.read").await["data"]["seq"], 4);
        assert_eq!(me().await, all);
        // What was taken back is not waited for.
        let unread: MessageId = id_of(&ann.says_in(pair, "five").await);
        assert_eq!(me().await["unread"], 1);
        ann.deletes(unread).await.ok();
        assert_eq!(me().await["unread"], 0);
        // Marks are private: they do not move the conversation's own counter.
        assert_eq!(ann.opens(pair).await.ok()["lastRev"], json!(3 + 4 + 2));
    }

    async fn a_sockets_marks_travel_once_a_second(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        for text in ["one", "two", "three", "four"] {
            ann.says_in(pair, text).await;
        }
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        assert_eq!(bobs.reads(pair, 1).await.ok()["readSeq"], 1);
        anns.hears("receipt.read").await;
        let data = |seq: i64| json!({ "conversationId": pair, "seq": seq });
        let waiting = [
            bobs.begins("messages.markRead", data(2)).await,
            bobs.begins("messages.markRead", data(4)).await,
            bobs.begins("messages.markRead", data(3)).await,
        ];
        bobs.is_served().await;
        assert_eq!(bob.opens(pair).await.ok()["me"]["readSeq"], 1);
        node.clock.advance(secs(1));
        for id in waiting {
            assert_eq!(bobs.reply(&id).await.ok()["readSeq"], 4);
        }
        assert_eq!(anns.hears("receipt.read").await["data"]["seq"], 4);
    }

    async fn who_is_mentioned_is_counted_until_they_have_read(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        for (person, name) in [(&bob, "Bob_B"), (&cid, "cid.c")] {
            person.calls("users.updateProfile", json!({ "userId": "me", "username": name })).await.ok();
        }
        ann.says_in(group, "is @bob_b or @cid.c there?").await;
        let second: MessageId = id_of(&ann.says_in(group, "@BOB_B!").await);
        let mentions = async || bob.opens(group).await.ok()["me"]["mentions"].clone();
        assert_eq!(mentions().await, 2);
        ann.edits(second, "nobody").await.ok();
        assert_eq!(mentions().await, 1);
        let bobs = bob.connects().await;
        assert_eq!(bobs.ready["heads"][0]["mentions"], 1);
        assert_eq!(bobs.ready["heads"][0]["unread"], 2);
        assert_eq!(bob.reads(group, 1).await.ok()["mentions"], 0);
    }

    async fn a_conversation_may_be_marked_unread_until_it_is_read(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        ann.says_in(pair, "hello").await;
        bob.reads(pair, 1).await.ok();
        let laptop = bob.connects().await;
        for door in bob.doors().await {
            let mark = json!({ "conversationId": pair, "markedUnread": true });
            let mine = door.calls("conversations.updateMine", mark).await.ok_with(200);
            assert_eq!((&mine["markedUnread"], &mine["unread"]), (&json!(true), &json!(0)));
            let told = laptop.hears_that("conversation.mine", |frame| frame["data"]["markedUnread"] == true).await;
            assert!(told["userRev"].is_i64() && told["conversationId"] == json!(pair), "{told}");
            assert_eq!(door.reads(pair, 1).await.ok()["markedUnread"], false);
            laptop.hears_that("conversation.mine", |frame| frame["data"]["markedUnread"] == false).await;
        }
    }

    async fn in_a_large_conversation_nobody_is_told_who_types_or_has_read(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let mut crowd = Vec::new();
        for _ in 0..99 {
            crowd.push(Person::arrives(&node, "somebody").await);
        }
        let others: Vec<&Person> = crowd.iter().chain([&bob]).collect();
        let group = ann.creates_group("a hundred and one", &others).await;
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        anns.says_in(group, "hello, all").await;
        bobs.hears_said("hello, all").await;
        let doing = async || {
            bobs.calls("messages.typing", json!({ "conversationId": group })).await.ok();
            bobs.receives(group, 1).await.ok();
            bob.reads(group, 1).await.ok();
            bobs.says_in(group, "done").await;
            anns.hears_said("done").await;
        };
        doing().await;
        let about = |frame: &&Value| {
            ["typing.", "receipt."].iter().any(|name| frame["event"].as_str().unwrap_or("").starts_with(name))
        };
        assert_eq!(anns.heard().iter().filter(about).count(), 0);
        // What has been read is known to its reader all the same.
        assert_eq!(bob.opens(group).await.ok()["me"]["readSeq"], 1);
        ann.removes(&crowd[0], group).await.ok();
        node.clock.advance(secs(1));
        doing().await;
        assert!(anns.has_heard("typing.started"));
    }

    async fn the_list_has_the_latest_conversation_first(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let mut groups = Vec::new();
        for name in ["one", "two", "three"] {
            groups.push(ann.creates_group(name, &[&bob]).await);
            node.clock.advance(secs(1));
        }
        ann.says_in(groups[0], "hello").await;
        for door in bob.doors().await {
            let whole = door.calls("conversations.getByUser", json!({})).await.ok();
            let names: Vec<&Value> = whole["items"].as_array().unwrap().iter().map(|item| &item["name"]).collect();
            assert_eq!(names, ["one", "three", "two"]);
            assert!(whole.get("nextCursor").is_none());
            let first = &whole["items"][0];
            assert_eq!((&first["lastMessage"]["text"], &first["me"]["unread"]), (&json!("hello"), &json!(1)));
            assert!(first.get("participants").is_none() && whole["items"][1].get("lastMessage").is_none());

            let mut paged = Vec::new();
            let mut query = json!({ "limit": 1 });
            loop {
                let page = door.calls("conversations.getByUser", query).await.ok();
                paged.extend(page["items"].as_array().unwrap().clone());
                let Some(cursor) = page.get("nextCursor") else { break };
                query = json!({ "limit": 1, "cursor": cursor });
            }
            assert_eq!(json!(paged), whole["items"]);
        }
    }

    async fn conversations_of_the_same_moment_are_all_listed(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let mut made = Vec::new();
        for name in ["one", "two", "three", "four", "five"] {
            made.push(ann.creates_group(name, &[]).await.to_string());
        }
        let (mut query, mut found) = (json!({ "limit": 2 }), Vec::new());
        loop {
            let page = ann.calls("conversations.getByUser", query).await.ok();
            let ids = page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned());
            found.extend(ids);
            let Some(cursor) = page.get("nextCursor") else { break };
            query = json!({ "limit": 2, "cursor": cursor });
        }
        found.sort();
        made.sort();
        assert_eq!(found, made);
    }

    async fn the_members_are_listed_in_pages(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid, stranger] = node.people(["ann", "bob", "cid", "stranger"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let mut expected = vec![json!(ann.id), json!(bob.id), json!(cid.id)];
        expected.sort_by_key(ToString::to_string);
        for door in bob.doors().await {
            let first = json!({ "conversationId": group, "limit": 2 });
            let first = door.calls("conversations.listParticipants", first).await.ok();
            let second = json!({ "conversationId": group, "limit": 2, "cursor": first["nextCursor"] });
            let second = door.calls("conversations.listParticipants", second).await.ok();
            assert!(second.get("nextCursor").is_none());
            let pages = [&first, &second].map(|page| page["items"].as_array().unwrap().clone()).concat();
            let ids: Vec<Value> = pages.iter().map(|member| member["userId"].clone()).collect();
            assert_eq!(ids, expected);
            let owner = pages.iter().find(|member| member["userId"] == json!(ann.id)).unwrap();
            assert_eq!(owner["role"], "owner");
        }
        let asked = json!({ "conversationId": group });
        stranger.calls("conversations.listParticipants", asked).await.is_refused(ErrorCode::ConversationNotFound);
    }

    async fn the_history_is_read_in_pages_either_way(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        for seq in 1..=7 {
            ann.says_in(pair, &seq.to_string()).await;
        }
        for door in bob.doors().await {
            // What is asked for; then the seqs, and whether there is more before and after.
            for (asked, seqs, before, after) in [
                (json!({}), vec![1, 2, 3, 4, 5, 6, 7], false, false),
                (json!({ "limit": 3 }), vec![5, 6, 7], true, false),
                (json!({ "limit": 3, "beforeSeq": 5 }), vec![2, 3, 4], true, true),
                (json!({ "limit": 3, "beforeSeq": 3 }), vec![1, 2], false, true),
                (json!({ "limit": 3, "beforeSeq": 1 }), vec![], false, true),
                (json!({ "limit": 3, "beforeSeq": 0 }), vec![], false, true),
                (json!({ "limit": 3, "beforeSeq": 99 }), vec![5, 6, 7], true, false),
                (json!({ "limit": 3, "afterSeq": 0 }), vec![1, 2, 3], false, true),
                (json!({ "limit": 3, "afterSeq": 3 }), vec![4, 5, 6], true, true),
                (json!({ "limit": 3, "afterSeq": 4 }), vec![5, 6, 7], true, false),
                (json!({ "limit": 3, "afterSeq": 7 }), vec![], true, false),
                (json!({ "limit": 3, "afterSeq": 99 }), vec![], true, false),
                (json!({ "limit": 3, "aroundSeq": 4 }), vec![3, 4, 5], true, true),
                (json!({ "limit": 4, "aroundSeq": 1 }), vec![1, 2, 3], false, true),
                (json!({ "limit": 4, "aroundSeq": 7 }), vec![6, 7], true, false),
            ] {
                let mut data = asked.clone();
                data["conversationId"] = json!(pair);
                let page = door.calls("messages.getByConversation", data).await.ok();
                let found: Vec<i64> =
                    page["items"].as_array().unwrap().iter().map(|item| item["seq"].as_i64().unwrap()).collect();
                let more = (page["moreBefore"] == true, page["moreAfter"] == true);
                assert_eq!((found, more), (seqs, (before, after)), "{asked} at {}", door.name());
                assert_eq!((&page["lastSeq"], &page["lastRev"]), (&json!(7), &json!(3 + 7)));
            }
        }
    }

    async fn a_page_is_cut_where_a_reply_would_be_too_long(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.limits.reply_bytes = 32 << 10).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let text = "x".repeat(8 << 10);
        for _ in 0..5 {
            ann.says_in(pair, &text).await;
        }
        for door in bob.doors().await {
            let mut seqs = Vec::new();
            let mut after = 0;
            loop {
                let asked = json!({ "conversationId": pair, "afterSeq": after });
                let page = door.calls("messages.getByConversation", asked).await.ok();
                assert!(page.to_string().len() <= 32 << 10);
                let items = page["items"].as_array().unwrap().clone();
                seqs.extend(items.iter().map(|item| item["seq"].as_i64().unwrap()));
                after = *seqs.last().unwrap();
                if page["moreAfter"] == false {
                    break;
                }
            }
            assert_eq!(seqs, [1, 2, 3, 4, 5]);
            let newest = door.history(pair).await.ok();
            let items = newest["items"].as_array().unwrap();
            assert_eq!((&items.last().unwrap()["seq"], &newest["moreBefore"]), (&json!(5), &json!(true)));
            assert_eq!(Replica::afresh(&door, pair).await.of(pair).messages().len(), 5);
        }
    }

    async fn who_types_is_told_until_they_stop(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        let types = async |typing: bool| {
            anns.calls("messages.typing", json!({ "conversationId": pair, "typing": typing })).await.ok();
        };
        let starts = async || {
            let told = bobs.hears("typing.started").await;
            assert_eq!((&told["data"], &told["conversationId"]), (&json!({ "userId": ann.id }), &json!(pair)));
        };
        types(true).await;
        starts().await;
        types(false).await;
        assert_eq!(bobs.hears("typing.stopped").await["data"], json!({ "userId": ann.id }));

        // Who goes on says so again, and is not told again.
        types(true).await;
        starts().await;
        node.clock.advance(secs(4));
        types(true).await;
        node.clock.advance(secs(4));
        anns.says_in(pair, "there").await;
        bobs.hears("typing.stopped").await;
        bobs.hears_said("there").await;
        let told = bobs.heard().iter().filter(|frame| frame["event"].as_str().unwrap().starts_with("typing.")).count();
        assert_eq!(told, 4);

        // Who says nothing any more has stopped.
        types(true).await;
        starts().await;
        node.clock.let_pass(secs(6)).await;
        bobs.hears("typing.stopped").await;
    }

    async fn typing_is_for_members_at_sockets(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let pair = ann.meets(&bob).await;
        let (bobs, cids) = (bob.connects().await, cid.connects().await);
        for typing in [true, false] {
            let data = json!({ "conversationId": pair, "typing": typing });
            cids.calls("messages.typing", data).await.is_refused(ErrorCode::ConversationNotFound);
        }
        ann.says_in(pair, "hello").await;
        bobs.hears_said("hello").await;
        assert!(!bobs.has_heard("typing.started"));
    }
}
