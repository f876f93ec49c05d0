//! People who talk: what is said, changed and read, and that everybody hears the same.

use crate::support::speech::{fresh, id_of};
use crate::support::*;

/// What `messages.changes` lists for one `rev`.
async fn listed(reader: &impl Speaks, conversation: ConversationId, rev: i64) -> Value {
    let page = reader.changes(conversation, rev - 1).await.ok();
    let items = page["items"].as_array().unwrap();
    items.iter().find(|item| item["rev"] == rev).unwrap_or_else(|| panic!("no {rev} in {page}")).clone()
}

stories! {
    async fn a_message_reaches_every_device_of_every_member(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let phone = ann.connects().await;
        let devices = [ann.connects().await, bob.connects().await, bob.connects().await, cid.connects_at("/ws/chat").await];
        for (seq, text) in [(1, "hello"), (2, "is anybody here?")] {
            let sent = phone.sends(group, text).await.ok();
            assert_eq!(sent["duplicate"], false);
            assert_eq!(sent["message"]["seq"], seq);
            for device in devices.iter().chain([&phone]) {
                let told = device.hears_said(text).await;
                assert_eq!((&told["seq"], &told["rev"]), (&sent["message"]["seq"], &sent["message"]["rev"]));
                assert_eq!(told["conversationId"], json!(group));
                assert_eq!(told["data"]["id"], sent["message"]["id"]);
                assert_eq!(told["data"]["senderId"], json!(ann.id));
            }
        }
    }

    async fn the_same_pair_always_has_one_conversation(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let first = ann.creates("private", &[&bob]).await.ok_with(201);
        assert_eq!((&first["kind"], &first["duplicate"]), (&json!("private"), &json!(false)));
        assert_eq!(first["participants"].as_array().unwrap().len(), 2);
        let again = [
            ann.creates("private", &[&bob]).await,
            ann.creates("private", &[&ann, &bob]).await,
            bob.creates("private", &[&ann]).await,
            bob.connects().await.creates("private", &[&ann]).await,
        ];
        for answer in again {
            let found = answer.ok_with(200);
            assert_eq!((&found["id"], &found["duplicate"]), (&first["id"], &json!(true)));
        }
    }

    async fn a_private_conversation_is_with_exactly_one_other(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        for door in ann.doors().await {
            for others in [vec![], vec![&ann], vec![&bob, &cid]] {
                door.creates("private", &others).await.is_refused_for(ErrorCode::RequestInvalid, "participantIds");
            }
            let named = json!({ "kind": "private", "participantIds": [bob.id], "name": "us" });
            door.calls("conversations.create", named).await.is_refused_for(ErrorCode::RequestInvalid, "name");
            let nobody = json!({ "kind": "private", "participantIds": ["01990000-0000-7000-8000-000000000001"] });
            door.calls("conversations.create", nobody).await.is_refused_for(ErrorCode::UserNotFound, "participantIds");
        }
    }

    async fn a_new_conversation_appears_on_every_device_at_once(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let (phone, laptop, bobs) = (ann.connects().await, ann.connects().await, bob.connects().await);
        let data = json!({ "kind": "group", "name": "tea", "description": "Every day", "participantIds": [bob.id] });
        let created = phone.calls("conversations.create", data).await.ok();
        let group: ConversationId = id_of(&created);
        for (device, role) in [(&phone, "owner"), (&laptop, "owner"), (&bobs, "member")] {
            let added = device.hears("conversation.added").await;
            let view = &added["data"];
            assert_eq!(added["conversationId"], json!(group));
            assert_eq!((&view["name"], &view["description"]), (&json!("tea"), &json!("Every day")));
            assert_eq!((&view["lastRev"], &view["participantCount"]), (&created["lastRev"], &json!(2)));
            assert_eq!(view["me"]["role"], role);
        }
        bobs.says_in(group, "thank you").await;
        for device in [&phone, &laptop, &bobs] {
            device.hears_said("thank you").await;
        }
    }

    async fn every_change_of_a_message_is_told_listed_and_answered_alike(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.connects().await;
        for door in ann.doors().await {
            let sent = door.sends(pair, "helo").await.ok()["message"].clone();
            let message: MessageId = id_of(&sent);
            let changes = [
                ("message.created", sent),
                ("message.updated", door.edits(message, "hello").await.ok_with(200)),
                ("reaction.added", door.reacts(message, "👍🏽").await.ok_with(200)),
                ("reaction.added", bob.reacts(message, "👍🏽").await.ok_with(200)),
                ("reaction.removed", door.takes_back(message, "👍🏽").await.ok_with(200)),
                ("message.deleted", door.deletes(message).await.ok_with(200)),
            ];
            for (event, mut answered) in changes.clone() {
                let told = bobs.hears_that(event, |frame| frame["rev"] == answered["rev"]).await;
                assert_eq!(told["seq"], answered["seq"]);
                let mut data = told["data"].clone();
                assert_eq!(data.as_object_mut().unwrap().remove("type"), Some(json!("message")));
                assert_eq!(answered.as_object_mut().unwrap().remove("conversationId"), Some(json!(pair)));
                assert_eq!(data, answered, "{event}");
            }
            let [created, updated, .., deleted] = changes.map(|(_, message)| message);
            assert_eq!((&created["text"], &updated["text"]), (&json!("helo"), &json!("hello")));
            assert!(created.get("editedAt").is_none() && updated["editedAt"].is_string());
            assert!(deleted.get("text").is_none() && deleted.get("reactions").is_none() && deleted["deletedAt"].is_string());
            // The rows hold the last state, under its number alone.
            let rev = deleted["rev"].as_i64().unwrap();
            let told = bobs.heard_of(pair).into_iter().find(|frame| frame["rev"] == rev).unwrap();
            assert_eq!(listed(&door, pair, rev).await, told["data"]);
            assert_eq!(door.looks_at(message).await.ok(), deleted);
        }
    }

    async fn an_events_data_is_what_the_changes_list_for_its_number(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let bobs = bob.connects().await;
        let mut rev = bob.opens(group).await.ok()["lastRev"].as_i64().unwrap();
        let mut next = async |event: &'static str| {
            rev += 1;
            let told = bobs.hears(event).await;
            assert_eq!(told["rev"], rev, "{event}");
            assert_eq!(told["conversationId"], json!(group));
            assert!(told["at"].is_string(), "{told}");
            assert_eq!(listed(&bob, group, rev).await, told["data"], "{event}");
        };
        let message: MessageId = id_of(&ann.says_in(group, "hello").await);
        next("message.created").await;
        ann.reacts(message, "☕").await.ok();
        next("reaction.added").await;
        ann.takes_back(message, "☕").await.ok();
        next("reaction.removed").await;
        ann.edits(message, "hello, you").await.ok();
        next("message.updated").await;
        ann.renames(group, "more tea").await.ok();
        next("conversation.updated").await;
        ann.adds(&[&cid], group).await.ok();
        next("participant.added").await;
        ann.makes(&cid, "admin", group).await.ok();
        next("participant.updated").await;
        ann.removes(&cid, group).await.ok();
        next("participant.removed").await;
        ann.deletes(message).await.ok();
        next("message.deleted").await;
    }

    async fn a_send_that_comes_again_gives_the_first_result(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.connects().await;
        let [rest, socket] = ann.doors().await;
        let first = rest.sends_as(pair, "once", "key").await.ok_with(201);
        assert_eq!(first["duplicate"], false);
        for door in [&rest, &socket] {
            let again = door.sends_as(pair, "once", "key").await.ok_with(200);
            assert_eq!(again["duplicate"], true);
            assert_eq!(again["message"], first["message"], "{}", door.name());
        }
        // The key is the sender's own.
        let bobs_own = bob.sends_as(pair, "once", "key").await.ok();
        assert_eq!((&bobs_own["duplicate"], &bobs_own["message"]["seq"]), (&json!(false), &json!(2)));
        // And the conversation's own.
        let group = ann.creates_group("tea", &[&bob]).await;
        bobs.hears("conversation.added").await;
        assert_eq!(ann.sends_as(group, "once", "key").await.ok()["duplicate"], false);
        bobs.hears_that("message.created", |frame| frame["conversationId"] == json!(group)).await;
        assert_eq!(bobs.heard_of(pair).len(), 2, "{:?}", bobs.heard_of(pair));
    }

    async fn a_key_that_comes_again_with_another_content_is_refused(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let first = ann.sends_as(pair, "one thing", "key").await.ok()["message"].clone();
        for door in ann.doors().await {
            door.sends_as(pair, "another", "key").await.is_refused_for(ErrorCode::MessageClientIdConflict, "clientId");
            let answering = json!({ "conversationId": pair, "text": "one thing", "clientId": "key", "replyTo": first["id"] });
            door.calls("messages.send", answering).await.is_refused_for(ErrorCode::MessageClientIdConflict, "clientId");
        }
        assert_eq!(bob.history(pair).await.ok()["items"], json!([first]));
    }

    async fn a_send_that_comes_again_after_an_edit_or_a_deletion_is_the_same_message(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let message: MessageId = id_of(&ann.sends_as(pair, "helo", "key").await.ok()["message"]);
        ann.edits(message, "hello").await.ok();
        for door in ann.doors().await {
            let again = door.sends_as(pair, "helo", "key").await.ok_with(200);
            assert_eq!((&again["duplicate"], &again["message"]["text"]), (&json!(true), &json!("hello")));
            door.sends_as(pair, "hello", "key").await.is_refused(ErrorCode::MessageClientIdConflict);
        }
        ann.deletes(message).await.ok();
        for door in ann.doors().await {
            let again = door.sends_as(pair, "helo", "key").await.ok_with(200);
            assert_eq!(again["duplicate"], true);
            assert!(again["message"]["deletedAt"].is_string());
        }
    }

    async fn the_key_may_stand_in_a_header(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let path = format!("/api/v1/conversations/{pair}/messages");
        let headers = [
            ("authorization", format!("Bearer {}", ann.access_token())),
            ("content-type", "application/json".to_owned()),
            ("idempotency-key", "\"key\"".to_owned()),
        ];
        let post = async |body: Value| {
            node.requests(actix_web::http::Method::POST, &path, &headers, body.to_string()).await.answer()
        };
        let first = post(json!({ "text": "once" })).await.ok_with(201);
        assert_eq!(first["message"]["clientId"], "key");
        assert_eq!(post(json!({ "text": "once" })).await.ok_with(200)["message"]["id"], first["message"]["id"]);
        assert_eq!(post(json!({ "text": "once", "clientId": "key" })).await.ok_with(200)["duplicate"], true);
        let other = post(json!({ "text": "once", "clientId": "other" })).await;
        other.is_refused_for(ErrorCode::RequestInvalid, "clientId");
        assert_eq!(ann.sends_as(pair, "once", "key").await.ok()["duplicate"], true);
    }

    async fn a_group_that_is_created_again_with_its_key_is_the_same(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = |name: &str, with: &Person| {
            json!({ "kind": "group", "name": name, "participantIds": [with.id], "clientId": "key" })
        };
        let first = ann.calls("conversations.create", group("tea", &bob)).await.ok_with(201);
        for door in ann.doors().await {
            let again = door.calls("conversations.create", group("tea", &bob)).await.ok_with(200);
            assert_eq!((&again["id"], &again["duplicate"]), (&first["id"], &json!(true)));
            for other in [group("coffee", &bob), group("tea", &cid)] {
                let refused = door.calls("conversations.create", other).await;
                refused.is_refused_for(ErrorCode::ConversationClientIdConflict, "clientId");
            }
        }
        let list = bob.calls("conversations.getByUser", json!({})).await.ok();
        assert_eq!(list["items"].as_array().unwrap().len(), 1);
        // Another person's key is another key.
        assert_eq!(cid.calls("conversations.create", group("tea", &bob)).await.ok_with(201)["duplicate"], false);
    }

    async fn what_changes_nothing_is_not_told(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let message: MessageId = id_of(&ann.says_in(group, "hello").await);
        ann.reacts(message, "☕").await.ok();
        let before = ann.opens(group).await.ok()["lastRev"].clone();
        for door in ann.doors().await {
            door.edits(message, "hello").await.ok();
            door.reacts(message, "☕").await.ok();
            door.takes_back(message, "🍵").await.ok();
            door.renames(group, "tea").await.ok();
            door.adds(&[&bob], group).await.ok();
            door.makes(&bob, "member", group).await.ok();
            assert_eq!(door.opens(group).await.ok()["lastRev"], before, "{}", door.name());
        }
        ann.deletes(message).await.ok();
        let tombstone = ann.deletes(message).await.ok();
        assert_eq!(json!(tombstone["rev"].as_i64().unwrap() - 1), before);
    }

    async fn a_deleted_message_takes_no_changes(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let message: MessageId = id_of(&ann.says_in(pair, "oops").await);
        ann.deletes(message).await.ok();
        for door in ann.doors().await {
            door.edits(message, "better").await.is_refused(ErrorCode::MessageDeleted);
            door.reacts(message, "☕").await.is_refused(ErrorCode::MessageDeleted);
        }
    }

    async fn a_message_carries_no_more_reactions_than_it_may(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.limits.reactions = 2).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let message: MessageId = id_of(&ann.says_in(pair, "hello").await);
        ann.reacts(message, "☕").await.ok();
        let seen = bob.reacts(message, "🍵").await.ok();
        assert_eq!(seen["reactions"], json!([
            { "emoji": "☕", "count": 1, "userIds": [ann.id] },
            { "emoji": "🍵", "count": 1, "userIds": [bob.id] },
        ]));
        for door in ann.doors().await {
            door.reacts(message, "🎉").await.is_refused(ErrorCode::MessageTooManyReactions);
        }
        assert_eq!(ann.reacts(message, "🍵").await.ok()["reactions"][1]["count"], 2);
        ann.takes_back(message, "☕").await.ok();
        ann.reacts(message, "🎉").await.ok();
    }

    async fn an_answer_is_to_a_message_of_the_same_conversation(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let (pair, group) = (ann.meets(&bob).await, ann.creates_group("tea", &[&bob]).await);
        let here = ann.says_in(pair, "a question").await;
        let elsewhere = ann.says_in(group, "something else").await;
        for door in bob.doors().await {
            let answer = |to: &Value| {
                json!({ "conversationId": pair, "text": "an answer", "clientId": format!("{}", fresh()), "replyTo": to["id"] })
            };
            let sent = door.calls("messages.send", answer(&here)).await.ok();
            assert_eq!(sent["message"]["replyTo"], here["id"]);
            let unknown = json!({ "id": "01990000-0000-7000-8000-000000000001" });
            for other in [&elsewhere, &unknown] {
                door.calls("messages.send", answer(other)).await.is_refused_for(ErrorCode::MessageNotFound, "replyTo");
            }
        }
    }

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
        // Marks are private: the conversation's own counter has not moved.
        assert_eq!(ann.opens(pair).await.ok()["lastRev"], json!(3 + 4));
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
                let found: Vec<i64> = page["items"].as_array().unwrap().iter().map(|item| item["seq"].as_i64().unwrap()).collect();
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

    async fn a_group_is_renamed_and_described_by_its_staff(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let bobs = bob.connects().await;
        let update = json!({ "conversationId": group, "name": "more tea", "description": "Every day" });
        let renamed = ann.calls("conversations.update", update).await.ok_with(200);
        assert_eq!((&renamed["name"], &renamed["description"]), (&json!("more tea"), &json!("Every day")));
        let told = bobs.hears("conversation.updated").await;
        assert_eq!((&told["data"]["name"], &told["data"]["description"]), (&json!("more tea"), &json!("Every day")));
        let plain = ann.calls("conversations.update", json!({ "conversationId": group, "description": "" })).await.ok();
        assert!(plain.get("description").is_none() && plain["name"] == "more tea");
        bob.renames(group, "coffee").await.is_refused(ErrorCode::ConversationForbidden);
        let pair = ann.meets(&bob).await;
        for door in ann.doors().await {
            door.renames(pair, "us").await.is_refused(ErrorCode::ConversationNotAGroup);
            door.adds(&[&bob], pair).await.is_refused(ErrorCode::ConversationNotAGroup);
            door.leaves(pair).await.is_refused(ErrorCode::ConversationNotAGroup);
        }
    }

    async fn what_was_said_is_there_after_the_node_was_started_anew(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let first = ann.sends_as(pair, "before", "key").await.ok()["message"].clone();
        node.stop().await;
        let node = Node::start(&stage).await;
        let (ann, bob) = (ann.at(&node), bob.at(&node));
        assert_eq!(bob.history(pair).await.ok()["items"], json!([first]));
        assert_eq!(ann.sends_as(pair, "before", "key").await.ok()["duplicate"], true);
        let bobs = bob.connects().await;
        ann.says_in(pair, "after").await;
        assert_eq!(bobs.hears_said("after").await["seq"], 2);
    }

    async fn a_text_may_be_of_any_script_and_exactly_as_long_as_allowed(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.connects().await;
        let longest = "é".repeat(4096);
        for door in ann.doors().await {
            for text in ["你好，世界", "שלום \u{202e}x", "a\tb\r\n\"c\" \\ </script>", "👩‍👩‍👧", &longest] {
                let sent = door.says_in(pair, text).await;
                assert_eq!(sent["text"], text);
                let told = bobs.hears_that("message.created", |frame| frame["seq"] == sent["seq"]).await;
                assert_eq!(told["data"]["text"], text);
            }
        }
    }
}
