//! Blocks: what neither of the two hears of the other any more, and what stays as it was.

use crate::support::answer::Answer;
use crate::support::speech::id_of;
use crate::support::*;

/// Awaits that somebody is shown so.
async fn sees(socket: &Socket, whom: &Person, status: &str) {
    let fits = |frame: &Value| frame["data"]["userId"] == json!(whom.id) && frame["data"]["status"] == status;
    socket.hears_that("presence.changed", fits).await;
}

/// A conversation that was opened, as far as it tells of whom it was opened with.
fn opened(mut created: Value, with: &Person) -> Value {
    let fields = created.as_object_mut().unwrap();
    ["id", "createdBy", "createdAt"].iter().for_each(|own| drop(fields.remove(*own)));
    let members = fields.remove("participants").unwrap();
    let other = members.as_array().unwrap().iter().find(|member| member["userId"] == json!(with.id)).unwrap();
    let mut other = other.clone();
    ["rev", "joinedAt"].iter().for_each(|own| drop(other.as_object_mut().unwrap().remove(*own)));
    json!([created, other])
}

/// What an answer says, also as a refusal.
fn told(answer: Answer) -> Value {
    match &answer.result {
        Ok(told) => told.clone(),
        Err(_) => answer.gist(),
    }
}

stories! {
    async fn nothing_is_said_between_two_of_whom_one_blocks_the_other(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs: MessageId = id_of(&bob.says_in(pair, "hello").await);
        let first = bob.sends_as(pair, "hello again", "key").await.ok();
        let anns: MessageId = id_of(&ann.says_in(pair, "hello, bob").await);
        ann.blocks(&bob).await.ok_with(200);
        ann.blocks(&bob).await.ok();
        let blocked = ErrorCode::ConversationBlocked;
        for person in [&ann, &bob] {
            for door in person.doors().await {
                door.sends(pair, "are you there?").await.is_refused(blocked);
                door.edits(if person.id == ann.id { anns } else { bobs }, "changed").await.is_refused(blocked);
                door.reacts(bobs, "☕").await.is_refused(blocked);
                door.takes_back(bobs, "☕").await.is_refused(blocked);
                if let Door::Socket(socket) = &door {
                    let typing = json!({ "conversationId": pair, "typing": true });
                    socket.calls("messages.typing", typing).await.is_refused(blocked);
                }
                // What was said is there, and what one has read is one's own.
                assert_eq!(door.history(pair).await.ok()["items"].as_array().unwrap().len(), 3);
                assert_eq!(door.reads(pair, 3).await.ok()["readSeq"], 3);
                assert_eq!(id_of::<ConversationId>(&door.creates("private", &[&ann, &bob]).await.ok()), pair);
            }
        }
        // A repeat of what was said before gets its answer.
        let again = bob.sends_as(pair, "hello again", "key").await.ok();
        assert_eq!(again["message"]["id"], first["message"]["id"]);
        ann.unblocks(&bob).await.ok_with(204);
        bob.says_in(pair, "thank you").await;
    }

    async fn in_groups_both_stay_and_hear_each_other(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        ann.blocks(&bob).await.ok();
        let group = cid.creates_group("tea", &[&ann, &bob]).await;
        let anns = ann.connects().await;
        bob.says_in(group, "hello everybody").await;
        anns.hears_said("hello everybody").await;
    }

    async fn who_is_blocked_opens_a_chat_like_one_whom_privacy_leaves_out(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        for subject in ["privateChats", "addedToGroups", "foundByNumber", "phoneNumber", "lastSeen"] {
            ann.lets(subject, "nobody").await;
        }
        for at in 0..2 {
            let [bob, cid] = &node.people(["bob", "cid"]).await;
            ann.blocks(bob).await.ok();
            let anns = ann.connects().await;
            let user_rev = ann.own_changes(0).await.ok()["nextUserRev"].as_i64().unwrap();
            let (bobs, cids) = (&bob.doors().await[at], &cid.doors().await[at]);
            let (blocked, left_out) =
                (bobs.creates("private", &[&ann]).await.ok(), cids.creates("private", &[&ann]).await.ok());
            let pair: ConversationId = id_of(&blocked);
            assert_eq!(opened(blocked, &ann), opened(left_out, &ann));
            // Once more it is the same one; and at the other doors both are answered alike.
            assert_eq!(bobs.creates("private", &[&ann]).await.ok()["duplicate"], true);
            for (command, data) in [
                ("conversations.create", json!({ "kind": "group", "name": "tea", "participantIds": [ann.id] })),
                ("users.addContact", json!({ "phoneNumber": ann.phone })),
                ("users.search", json!({ "q": ann.phone })),
                ("users.search", json!({ "q": "ann" })),
                ("users.getProfile", json!({ "userId": ann.id })),
                ("presence.get", json!({ "userIds": [ann.id] })),
            ] {
                let (blocked, left_out) = (bobs.calls(command, data.clone()).await, cids.calls(command, data).await);
                assert_eq!(told(blocked), told(left_out), "{command}");
            }
            bobs.sends(pair, "hello, ann").await.is_refused(ErrorCode::ConversationBlocked);
            bobs.opens(pair).await.ok();
            // Ann hears nothing of it.
            for requests in [false, true] {
                let listed = ann.calls("conversations.getByUser", json!({ "requests": requests })).await.ok();
                assert!(!listed.to_string().contains(&pair.to_string()), "{listed}");
            }
            assert!(!ann.own_changes(user_rev).await.ok().to_string().contains(&pair.to_string()));
            anns.is_served().await;
            assert!(!anns.heard().iter().any(|frame| frame["conversationId"] == json!(pair)));
            // She has to lift her block before she writes to him; then what he asked is a request to her.
            ann.unblocks(bob).await.ok();
            let added = anns.hears_that("conversation.added", |frame| frame["conversationId"] == json!(pair)).await;
            assert_eq!(added["data"]["me"]["request"], true);
            bobs.says_in(pair, "hello, ann").await;
            anns.hears_said("hello, ann").await;
        }
    }

    async fn whoever_blocks_lifts_that_before_they_open_a_chat(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        ann.blocks(&bob).await.ok();
        for door in ann.doors().await {
            door.creates("private", &[&bob]).await.is_refused(ErrorCode::ConversationBlocked);
        }
        bob.blocks(&ann).await.ok();
        bob.creates("private", &[&ann]).await.is_refused(ErrorCode::ConversationBlocked);
        bob.unblocks(&ann).await.ok();
        let pair = bob.meets(&ann).await;
        ann.unblocks(&bob).await.ok();
        assert_eq!(ann.meets(&bob).await, pair);
        ann.says_in(pair, "hello, bob").await;
        bob.says_in(pair, "hello, ann").await;
    }

    async fn a_block_takes_a_request_away_from_whoever_was_asked_and_from_nobody_else(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        ann.lets("privateChats", "nobody").await;
        let pair = bob.meets(&ann).await;
        bob.says_in(pair, "hello, ann").await;
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        let user_rev = anns.ready["userRev"].as_i64().unwrap();
        let requests = async || {
            let listed = ann.calls("conversations.getByUser", json!({ "requests": true })).await.ok();
            listed["items"].as_array().unwrap().len()
        };
        // Whom she asked hears nothing of her block either.
        bob.blocks(&ann).await.ok();
        anns.is_served().await;
        assert_eq!((requests().await, anns.has_heard("conversation.removed")), (1, false));
        bob.unblocks(&ann).await.ok();
        ann.blocks(&bob).await.ok();
        let told = anns.hears("conversation.removed").await;
        assert_eq!((&told["conversationId"], &told["userRev"]), (&json!(pair), &json!(user_rev + 2)));
        assert_eq!(requests().await, 0);
        assert_eq!(bob.opens(pair).await.ok()["me"].get("request"), None);
        ann.unblocks(&bob).await.ok();
        assert_eq!(anns.hears("conversation.added").await["data"]["me"]["request"], true);
        assert_eq!(requests().await, 1);
        bobs.is_served().await;
        assert!(!bobs.has_heard("conversation.removed"));
    }

    async fn a_block_is_lifted_when_both_have_lifted_theirs(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        ann.blocks(&bob).await.ok();
        bob.blocks(&ann).await.ok();
        ann.unblocks(&bob).await.ok();
        for person in [&ann, &bob] {
            person.sends(pair, "?").await.is_refused(ErrorCode::ConversationBlocked);
        }
        bob.unblocks(&ann).await.ok();
        bob.unblocks(&ann).await.ok();
        ann.says_in(pair, "again").await;
    }

    async fn whom_one_blocks_is_listed_to_oneself_alone(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.contacts.most = 3).await;
        let [ann, bob, cid, dan, eve] = node.people(["ann", "bob", "cid", "dan", "eve"]).await;
        ann.befriends(&bob).await.ok();
        for whom in [&bob, &cid, &dan] {
            ann.blocks(whom).await.ok();
        }
        ann.blocks(&eve).await.is_refused(ErrorCode::ContactsFull);
        ann.unblocks(&cid).await.ok();
        ann.unblocks(&eve).await.ok_with(204);
        for door in ann.doors().await {
            let (mut query, mut found) = (json!({ "limit": 1 }), Vec::new());
            loop {
                let page = door.calls("users.listBlocked", query).await.ok();
                found.extend(page["items"].as_array().unwrap().iter().map(|item| item["user"]["displayName"].clone()));
                let Some(cursor) = page.get("nextCursor") else { break };
                query = json!({ "limit": 1, "cursor": cursor });
            }
            found.sort_by_key(ToString::to_string);
            assert_eq!(found, ["bob", "dan"]);
            let nobody = json!({ "userId": "01990000-0000-7000-8000-000000000001" });
            door.calls("users.block", nobody.clone()).await.is_refused(ErrorCode::UserNotFound);
            door.calls("users.unblock", nobody).await.ok_with(204);
            door.blocks(&ann).await.is_refused_for(ErrorCode::RequestInvalid, "userId");
            let bad = door.calls("users.listBlocked", json!({ "cursor": "x" })).await;
            bad.is_refused_for(ErrorCode::RequestInvalid, "cursor");
        }
        for other in bob.doors().await {
            assert_eq!(other.calls("users.listBlocked", json!({})).await.ok()["items"], json!([]));
        }
        // An entry in the address book outlives a block.
        let book = ann.calls("users.getContacts", json!({})).await.ok();
        assert_eq!(book["items"][0]["userId"], json!(bob.id));
    }
}

fleet_stories! {
    async fn what_is_under_way_when_somebody_blocks_is_refused_too(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let there = bob.at(&fleet[1]);
        let pair = ann.meets(&bob).await;
        let (bobs, anns) = (there.connects().await, ann.connects().await);
        for round in 0..4 {
            let sends = (0..24).map(|n| {
                let socket = bobs.clone();
                async move { socket.sends(pair, &format!("{round} {n}")).await }
            });
            let blocks = async {
                ann.blocks(&bob).await.ok();
                // By the rows, as whoever blocks finds them when it is done.
                ann.opens(pair).await.ok()["lastSeq"].clone()
            };
            let (answers, last) = tokio::join!(futures_util::future::join_all(sends), blocks);
            for refused in answers.into_iter().filter_map(|answer| answer.result.err()) {
                assert_eq!(refused["code"], ErrorCode::ConversationBlocked.as_str());
            }
            for door in [Door::Socket(bobs.clone()), Door::Rest(bob.clone()), Door::Socket(anns.clone())] {
                door.sends(pair, "too late").await.is_refused(ErrorCode::ConversationBlocked);
            }
            assert_eq!(ann.opens(pair).await.ok()["lastSeq"], last, "something was said after the block");
            ann.unblocks(&bob).await.ok();
            bobs.says_in(pair, &format!("{round} done")).await;
            anns.hears_of(&format!("{round} done")).await;
        }
        assert!(!anns.heard().iter().any(|frame| frame["data"]["text"] == "too late"));
    }

    async fn a_chat_that_is_opened_while_somebody_blocks_is_blocked(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob, cid, dan, eve] = fleet[0].people(["ann", "bob", "cid", "dan", "eve"]).await;
        for other in [&bob, &cid, &dan, &eve] {
            let there = other.at(&fleet[1]);
            let with = [&ann];
            let (opened, blocked) = tokio::join!(there.creates("private", &with), ann.blocks(other));
            blocked.ok();
            other.sends(id_of(&opened.ok()), "?").await.is_refused(ErrorCode::ConversationBlocked);
        }
    }

    async fn many_who_block_and_talk_at_once_do_not_wait_for_each_other(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let people = fleet[0].people(["ann", "bob", "cid", "dan"]).await;
        let group = people[0].creates_group("tea", &[&people[1], &people[2], &people[3]]).await;
        let busy = |one: usize, other: usize| {
            let (person, whom) = (people[one].at(&fleet[(one + other) % 2]), people[other].clone());
            async move {
                let mut answers = Vec::new();
                for round in 0..6 {
                    let created = person.creates("private", &[&whom]).await;
                    if let Ok(chat) = &created.result {
                        let pair = id_of(chat);
                        answers.push(person.sends(pair, "hello").await);
                        answers.push(person.reads(pair, 1 + round).await);
                    }
                    answers.push(created);
                    answers.push(person.blocks(&whom).await);
                    answers.push(person.befriends(&whom).await);
                    answers.push(person.reads(group, round).await);
                    answers.push(person.sends(group, "tea?").await);
                    answers.push(person.unblocks(&whom).await);
                }
                answers
            }
        };
        let pairs = (0..4).flat_map(|one| (0..4).filter(move |other| *other != one).map(move |other| (one, other)));
        let all = futures_util::future::join_all(pairs.map(|(one, other)| busy(one, other))).await;
        for refused in all.into_iter().flatten().filter_map(|answer| answer.result.err()) {
            assert_eq!(refused["code"], ErrorCode::ConversationBlocked.as_str());
        }
        // All have lifted what they did: whatever the order was, everybody may talk to everybody.
        for one in &people {
            for other in people.iter().filter(|other| other.id != one.id) {
                let pair = one.meets(other).await;
                one.says_in(pair, "hello").await;
            }
        }
    }

    async fn neither_is_shown_whether_the_other_is_there(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let (anns, bobs) = (ann.connects().await, bob.at(&fleet[1]).connects().await);
        let cids = cid.connects().await;
        let watches = async |socket: &Socket, whom: &Person| {
            let watched = socket.calls("presence.watch", json!({ "userIds": [whom.id] })).await.ok();
            if watched["items"][0]["status"] != "online" {
                sees(socket, whom, "online").await;
            }
        };
        watches(&anns, &bob).await;
        watches(&bobs, &ann).await;
        watches(&cids, &ann).await;
        ann.blocks(&bob).await.ok();
        sees(&anns, &bob, "offline").await;
        sees(&bobs, &ann, "offline").await;
        for (socket, status) in [(&anns, "busy"), (&bobs, "away")] {
            socket.calls("presence.set", json!({ "status": status })).await.ok();
        }
        ann.calls("users.updateProfile", json!({ "userId": "me", "bio": "I moved." })).await.ok();
        // Others see what they saw.
        sees(&cids, &ann, "busy").await;
        cid.says_in(group, "hello").await;
        for (socket, whom, status) in [(&anns, &bob, "away"), (&bobs, &ann, "busy")] {
            socket.hears_said("hello").await;
            let asked = socket.calls("presence.get", json!({ "userIds": [whom.id] })).await.ok();
            assert!(!asked.to_string().contains(status), "{asked}");
            let of_them = |frame: &Value| frame["data"]["userId"] == json!(whom.id);
            assert!(!socket.heard().iter().any(|frame| of_them(frame) && frame["data"]["status"] == status));
            assert!(!socket.has_heard("profile.changed"));
        }
        let seen = bob.calls("users.getProfile", json!({ "userId": ann.id })).await.ok();
        assert_eq!((&seen["displayName"], seen.get("bio")), (&json!("ann"), None));
        ann.unblocks(&bob).await.ok();
        sees(&anns, &bob, "away").await;
        sees(&bobs, &ann, "busy").await;
    }
}
