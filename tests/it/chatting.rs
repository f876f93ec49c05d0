//! People who talk: what is said, changed and read, and that everybody hears the same.

use crate::support::speech::{fresh_key, id_of};
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
        let devices =
            [ann.connects().await, bob.connects().await, bob.connects().await, cid.connects_at("/ws/chat").await];
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
            assert!(
                deleted.get("text").is_none() && deleted.get("reactions").is_none() && deleted["deletedAt"].is_string()
            );
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
            let answering =
                json!({ "conversationId": pair, "text": "one thing", "clientId": "key", "replyTo": first["id"] });
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
            let participants = [with.id];
            json!({ "kind": "group", "name": name, "participantIds": participants, "clientId": "key" })
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
            door.hands_over(group, &ann).await.ok();
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
        assert_eq!(
            seen["reactions"],
            json!([
                { "emoji": "☕", "count": 1, "userIds": [ann.id] },
                { "emoji": "🍵", "count": 1, "userIds": [bob.id] },
            ])
        );
        for door in ann.doors().await {
            door.reacts(message, "🎉").await.is_refused(ErrorCode::MessageTooManyReactions);
        }
        assert_eq!(ann.reacts(message, "🍵").await.ok()["reactions"][1]["count"], 2);
        ann.takes_back(message, "☕").await.ok();
        ann.reacts(message, "🎉").await.ok();
    }

    async fn any_emoji_and_any_key_come_through_both_doors(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let longest = "é".repeat(32);
        for door in ann.doors().await {
            for key in ["\"'; --", "a/b?c#d%00", "你好", "\u{202e}", &longest] {
                let key = format!("{}{key}", if key == longest { "" } else { door.name() });
                let sent = door.sends_as(pair, &key, &key).await.ok()["message"].clone();
                assert_eq!(sent["clientId"], json!(key));
                let message: MessageId = id_of(&sent);
                for emoji in ["#️⃣", "*️⃣", "🇩🇪", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👩🏽‍🚀"]
                {
                    let seen = door.reacts(message, emoji).await.ok();
                    assert_eq!(seen["reactions"], json!([{ "emoji": emoji, "count": 1, "userIds": [ann.id] }]));
                    assert!(door.takes_back(message, emoji).await.ok().get("reactions").is_none());
                }
            }
        }
    }

    async fn an_answer_is_to_a_message_of_the_same_conversation(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let (pair, group) = (ann.meets(&bob).await, ann.creates_group("tea", &[&bob]).await);
        let here = ann.says_in(pair, "a question").await;
        let elsewhere = ann.says_in(group, "something else").await;
        for door in bob.doors().await {
            let answer = |to: &Value| {
                let key = fresh_key();
                json!({ "conversationId": pair, "text": "an answer", "clientId": key, "replyTo": to["id"] })
            };
            let sent = door.calls("messages.send", answer(&here)).await.ok();
            assert_eq!(sent["message"]["replyTo"], here["id"]);
            let unknown = json!({ "id": "01990000-0000-7000-8000-000000000001" });
            for other in [&elsewhere, &unknown] {
                door.calls("messages.send", answer(other)).await.is_refused_for(ErrorCode::MessageNotFound, "replyTo");
            }
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

    async fn a_room_that_nobody_used_for_a_while_opens_again(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.rooms.idle = secs(13)).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.connects().await;
        for seq in 1..=3 {
            let text = format!("message {seq}");
            assert_eq!(ann.says_in(pair, &text).await["seq"], seq);
            assert_eq!(bobs.hears_said(&text).await["seq"], seq);
            bobs.calls("messages.typing", json!({ "conversationId": pair })).await.ok();
            bobs.hears("typing.started").await;
            // Typing ends, and then the room.
            node.clock.advance(secs(6));
            bobs.hears("typing.stopped").await;
            node.clock.advance(secs(13));
            bobs.is_served().await;
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
            for text in ["你好，世界", "שלום \u{202e}x", "a\tb\r\n\"c\" \\ </script>", "👩‍👩‍👧", &longest]
            {
                let sent = door.says_in(pair, text).await;
                assert_eq!(sent["text"], text);
                let told = bobs.hears_that("message.created", |frame| frame["seq"] == sent["seq"]).await;
                assert_eq!(told["data"]["text"], text);
            }
        }
    }
}
