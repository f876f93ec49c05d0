//! Who belongs to a group, who decides that, and what those hear who came late, went, or never belonged.

use crate::support::answer::Answer;
use crate::support::speech::id_of;
use crate::support::*;

/// Every way to ask for something of a conversation, as a stranger would.
async fn attempts(
    door: &impl Speaks,
    group: ConversationId,
    message: MessageId,
    whom: &Person,
) -> Vec<(&'static str, Value)> {
    let gist = |answer: Answer| answer.gist();
    let read = gist(door.reads(group, 1).await);
    // A socket's marks of one conversation travel once a second.
    whom.node.clock.advance(secs(1));
    vec![
        ("get", gist(door.opens(group).await)),
        ("send", gist(door.sends_as(group, "let me in", "key").await)),
        ("history", gist(door.history(group).await)),
        ("changes", gist(door.changes(group, 0).await)),
        ("members", gist(door.calls("conversations.listParticipants", json!({ "conversationId": group })).await)),
        ("add", gist(door.adds(&[whom], group).await)),
        ("remove", gist(door.removes(whom, group).await)),
        ("leave", gist(door.leaves(group).await)),
        ("role", gist(door.makes(whom, "admin", group).await)),
        ("owner", gist(door.hands_over(group, whom).await)),
        ("rename", gist(door.renames(group, "mine").await)),
        ("read", read),
        ("delivered", gist(door.receives(group, 1).await)),
        (
            "mine",
            gist(
                door.calls("conversations.updateMine", json!({ "conversationId": group, "markedUnread": true })).await,
            ),
        ),
        ("message", gist(door.looks_at(message).await)),
        ("edit", gist(door.edits(message, "mine").await)),
        ("delete", gist(door.deletes(message).await)),
        ("react", gist(door.reacts(message, "☕").await)),
        ("unreact", gist(door.takes_back(message, "☕").await)),
    ]
}

stories! {
    async fn a_removed_member_cannot_send(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        for door in bob.doors().await {
            door.says_in(group, "hello").await;
        }
        ann.removes(&bob, group).await.ok_with(204);
        for door in bob.doors().await {
            door.sends(group, "still here?").await.is_refused(ErrorCode::ConversationNotFound);
        }
    }

    async fn a_removed_member_hears_of_it_and_then_nothing(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let pair = ann.meets(&bob).await;
        let (bobs, cids) = (bob.connects().await, cid.connects().await);
        let message: MessageId = id_of(&ann.says_in(group, "with bob").await);
        ann.removes(&bob, group).await.ok();
        let removed = bobs.hears("participant.removed").await;
        assert_eq!((&removed["data"]["userId"], &removed["data"]["removed"]), (&json!(bob.id), &json!(true)));
        let gone = bobs.hears("conversation.removed").await;
        assert_eq!((&gone["conversationId"], &gone["data"]["untilRev"]), (&json!(group), &removed["rev"]));
        assert!(gone["userRev"].is_i64() && gone.get("rev").is_none());

        ann.says_in(group, "without bob").await;
        ann.edits(message, "changed without bob").await.ok();
        ann.renames(group, "secret tea").await.ok();
        cids.hears("conversation.updated").await;
        ann.says_in(pair, "about the tea").await;
        bobs.hears_said("about the tea").await;
        let last = bobs.heard_of(group).into_iter().rfind(|frame| frame.get("rev").is_some()).unwrap();
        assert_eq!(last, removed);
        cids.calls("messages.typing", json!({ "conversationId": group })).await.ok();
        cid.says_in(group, "done").await;
        ann.says_in(pair, "and again").await;
        bobs.hears_said("and again").await;
        assert!(!bobs.has_heard("typing.started"));
    }

    async fn a_removed_member_reads_no_more(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let message: MessageId = id_of(&ann.says_in(group, "hello").await);
        let unknown: ConversationId = "01990000-0000-7000-8000-000000000001".parse().unwrap();
        let no_message: MessageId = "01990000-0000-7000-8000-000000000002".parse().unwrap();
        ann.removes(&bob, group).await.ok();
        for door in bob.doors().await {
            let found = attempts(&door, group, message, &ann).await;
            assert_eq!(found, attempts(&door, unknown, no_message, &ann).await);
        }
        let list = bob.calls("conversations.getByUser", json!({})).await.ok();
        assert_eq!(list["items"], json!([]));
    }

    async fn a_stranger_learns_nothing_not_even_that_it_exists(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, mallory] = node.people(["ann", "bob", "mallory"]).await;
        let unknown: ConversationId = "01990000-0000-7000-8000-000000000001".parse().unwrap();
        let no_message: MessageId = "01990000-0000-7000-8000-000000000002".parse().unwrap();
        let (group, pair) = (ann.creates_group("tea", &[&bob]).await, ann.meets(&bob).await);
        for conversation in [group, pair] {
            let message: MessageId = id_of(&ann.says_in(conversation, "between us").await);
            let before = ann.opens(conversation).await.ok();
            for door in mallory.doors().await {
                let found = attempts(&door, conversation, message, &bob).await;
                for (what, answer) in &found {
                    let about_message = ["message", "edit", "delete", "react", "unreact"].contains(what);
                    let code = if about_message { ErrorCode::MessageNotFound } else { ErrorCode::ConversationNotFound };
                    assert_eq!(answer["code"], code.as_str(), "{what}: {answer}");
                }
                assert_eq!(found, attempts(&door, unknown, no_message, &bob).await);
                let answering = json!({
                    "conversationId": conversation, "text": "x", "clientId": "another key", "replyTo": message,
                });
                door.calls("messages.send", answering).await.is_refused(ErrorCode::ConversationNotFound);
            }
            assert_eq!(ann.opens(conversation).await.ok(), before);
        }
        let mallorys = mallory.connects().await;
        assert_eq!(mallorys.ready["heads"], json!([]));
    }

    async fn a_stranger_hears_nothing(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, mallory] = node.people(["ann", "bob", "mallory"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let theirs = ann.meets(&mallory).await;
        let known = json!({ "known": [[group, 0], [theirs, 0]] });
        let mallorys = mallory.connects_with(known).await;
        assert_eq!(mallorys.ready["gone"], json!([{ "conversationId": group, "untilRev": 0 }]));
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        anns.says_in(group, "between us").await;
        anns.calls("messages.typing", json!({ "conversationId": group })).await.ok();
        bobs.hears_said("between us").await;
        anns.says_in(theirs, "to mallory").await;
        mallorys.hears_said("to mallory").await;
        assert_eq!(mallorys.heard_of(group), [] as [Value; 0]);
        assert!(!mallorys.has_heard("typing.started"));
    }

    async fn who_was_added_hears_everything_from_then_on(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        ann.says_in(group, "before").await;
        let (bobs, cids) = (bob.connects().await, cid.connects().await);
        let grown = ann.adds(&[&cid], group).await.ok_with(200);
        assert_eq!(grown["participantCount"], 3);
        let told = bobs.hears("participant.added").await;
        assert_eq!((&told["data"]["userId"], &told["data"]["role"]), (&json!(cid.id), &json!("member")));
        let added = cids.hears("conversation.added").await;
        assert_eq!((&added["data"]["id"], &added["data"]["lastRev"]), (&json!(group), &grown["lastRev"]));
        assert_eq!((&added["data"]["me"]["unread"], added["data"].get("lastMessage")), (&json!(0), None));
        ann.says_in(group, "after").await;
        assert_eq!(cids.hears_said("after").await["seq"], 2);
        cids.says_in(group, "thank you").await;
        bobs.hears_said("thank you").await;
    }

    async fn what_was_said_before_one_came_stays_hidden_whatever_becomes_of_it(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let old: MessageId = id_of(&ann.says_in(group, "old").await);
        let older: MessageId = id_of(&ann.says_in(group, "older").await);
        let bobs = bob.connects().await;
        let cids = cid.connects().await;
        ann.adds(&[&cid], group).await.ok();
        let rev = cids.hears("conversation.added").await["data"]["lastRev"].as_i64().unwrap();
        let mut replica = Replica::default();
        replica.follows(group, rev);

        ann.edits(old, "old, changed").await.ok();
        bob.reacts(older, "☕").await.ok();
        ann.says_in(group, "new").await;
        ann.deletes(older).await.ok();
        ann.edits(old, "old, changed again").await.ok();
        let last = ann.says_in(group, "newer").await;

        bobs.hears_said("newer").await;
        cids.hears_said("newer").await;
        // What is not theirs to see counts, and says nothing.
        let heard: Vec<Value> =
            cids.heard_of(group).into_iter().filter(|frame| frame["rev"].as_i64() > Some(rev)).collect();
        replica.hears(&heard);
        assert_eq!(json!(replica.of(group).rev), last["rev"]);
        assert_eq!(replica.of(group).texts(), [Some("new"), Some("newer")]);
        assert!(!json!(heard).to_string().contains("old"));
        assert!(json!(bobs.heard_of(group)).to_string().contains("old, changed again"));

        for door in cid.doors().await {
            assert_eq!(Replica::afresh(&door, group).await.of(group).texts(), [Some("new"), Some("newer")]);
            let history = door.history(group).await.ok();
            let seqs: Vec<&Value> = history["items"].as_array().unwrap().iter().map(|item| &item["seq"]).collect();
            assert_eq!((seqs, &history["moreBefore"]), (vec![&json!(3), &json!(4)], &json!(false)));
            for message in [old, older] {
                door.looks_at(message).await.is_refused(ErrorCode::MessageNotFound);
                door.reacts(message, "☕").await.is_refused(ErrorCode::MessageNotFound);
                let answer = json!({ "conversationId": group, "text": "?", "clientId": "key", "replyTo": message });
                door.calls("messages.send", answer).await.is_refused_for(ErrorCode::MessageNotFound, "replyTo");
            }
            assert_eq!(door.opens(group).await.ok()["me"]["unread"], 2);
        }
    }

    async fn who_comes_back_sees_what_is_said_from_then_on(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let bobs = bob.connects().await;
        ann.says_in(group, "one").await;
        ann.removes(&bob, group).await.ok();
        bobs.hears("conversation.removed").await;
        ann.says_in(group, "two").await;
        ann.adds(&[&bob], group).await.ok();
        bobs.hears("conversation.added").await;
        ann.says_in(group, "three").await;
        assert_eq!(bobs.hears_said("three").await["seq"], 3);
        let history = bob.history(group).await.ok();
        assert_eq!(history["items"].as_array().unwrap().len(), 1);
        assert_eq!(bob.sends(group, "back").await.ok()["message"]["seq"], 4);
    }

    async fn a_resend_after_ones_removal_gives_the_first_result(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let first = bob.sends_as(group, "hello", "key").await.ok();
        ann.removes(&bob, group).await.ok();
        for door in bob.doors().await {
            let again = door.sends_as(group, "hello", "key").await.ok_with(200);
            assert_eq!((&again["duplicate"], &again["message"]["id"]), (&json!(true), &first["message"]["id"]));
            door.sends_as(group, "hello", "another").await.is_refused(ErrorCode::ConversationNotFound);
        }
    }

    async fn a_member_may_not_act_above_their_role(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid, dan, eve] = node.people(["ann", "bob", "cid", "dan", "eve"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid, &dan]).await;
        ann.makes(&bob, "admin", group).await.ok();
        let anns: MessageId = id_of(&ann.says_in(group, "ann's").await);
        let before = ann.opens(group).await.ok();
        let no = ErrorCode::ConversationForbidden;
        for door in cid.doors().await {
            door.adds(&[&eve], group).await.is_refused(no);
            door.removes(&dan, group).await.is_refused(no);
            door.removes(&ann, group).await.is_refused(no);
            door.makes(&cid, "owner", group).await.is_refused(no);
            door.hands_over(group, &cid).await.is_refused(no);
            door.renames(group, "mine").await.is_refused(no);
            door.edits(anns, "not what ann said").await.is_refused(no);
            door.deletes(anns).await.is_refused(no);
        }
        for door in bob.doors().await {
            door.removes(&ann, group).await.is_refused(no);
            door.makes(&bob, "owner", group).await.is_refused(no);
            door.makes(&cid, "admin", group).await.is_refused(no);
            door.hands_over(group, &bob).await.is_refused(no);
            door.edits(anns, "not what ann said").await.is_refused(no);
        }
        for door in ann.doors().await {
            door.makes(&eve, "admin", group).await.is_refused(ErrorCode::ParticipantNotFound);
            door.removes(&eve, group).await.is_refused(ErrorCode::ParticipantNotFound);
            door.hands_over(group, &eve).await.is_refused(ErrorCode::ParticipantNotFound);
        }
        assert_eq!(ann.opens(group).await.ok(), before);
    }

    async fn staff_may_do_what_members_may_not(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid, eve] = node.people(["ann", "bob", "cid", "eve"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let cids = cid.connects().await;
        assert_eq!(ann.makes(&bob, "admin", group).await.ok_with(200)["role"], "admin");
        let told = cids.hears("participant.updated").await;
        assert_eq!((&told["data"]["userId"], &told["data"]["role"]), (&json!(bob.id), &json!("admin")));
        let message: MessageId = id_of(&cid.says_in(group, "rubbish").await);
        bob.deletes(message).await.ok();
        bob.adds(&[&eve], group).await.ok();
        bob.renames(group, "more tea").await.ok();
        bob.removes(&cid, group).await.ok_with(204);
        bob.removes(&eve, group).await.ok_with(204);
        assert_eq!(ann.opens(group).await.ok()["participantCount"], 2);
        // Down again: at once no more than a member.
        ann.makes(&bob, "member", group).await.ok();
        bob.adds(&[&eve], group).await.is_refused(ErrorCode::ConversationForbidden);
    }

    async fn nobody_deletes_for_another_in_a_private_conversation(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let message: MessageId = id_of(&bob.says_in(pair, "mine").await);
        for door in ann.doors().await {
            door.deletes(message).await.is_refused(ErrorCode::ConversationForbidden);
            door.edits(message, "yours").await.is_refused(ErrorCode::ConversationForbidden);
        }
    }

    async fn the_last_owner_does_not_leave_the_others_alone(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        for door in ann.doors().await {
            door.leaves(group).await.is_refused(ErrorCode::ConversationLastOwner);
            door.removes(&ann, group).await.is_refused(ErrorCode::ConversationLastOwner);
            door.makes(&ann, "member", group).await.is_refused(ErrorCode::ConversationLastOwner);
        }
        let given = ann.hands_over(group, &bob).await.ok_with(200);
        assert_eq!(given["me"]["role"], "admin");
        ann.leaves(group).await.ok_with(204);
        ann.opens(group).await.is_refused(ErrorCode::ConversationNotFound);
        // Whoever is alone may put the light out.
        bob.leaves(group).await.ok_with(204);
        bob.sends(group, "anybody?").await.is_refused(ErrorCode::ConversationNotFound);
    }

    async fn two_owners_may_go_one_after_the_other_but_not_both(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        ann.makes(&bob, "owner", group).await.ok();
        ann.removes(&bob, group).await.is_refused(ErrorCode::ConversationForbidden);
        let (left, also) = tokio::join!(ann.leaves(group), bob.leaves(group));
        let refused: Vec<Value> = [left, also].into_iter().filter_map(|answer| answer.result.err()).collect();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0]["code"], ErrorCode::ConversationLastOwner.as_str());
        let members = cid.opens(group).await.ok()["participants"].clone();
        assert_eq!(members.as_array().unwrap().iter().filter(|member| member["role"] == "owner").count(), 1);
    }

    async fn a_transfer_is_told_as_two_roles(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let mut replica = Replica::afresh(&cid, group).await;
        let cids = cid.connects().await;
        ann.hands_over(group, &bob).await.ok();
        ann.says_in(group, "over to bob").await;
        cids.hears_said("over to bob").await;
        replica.hears(&cids.heard());
        let roles = replica.of(group).roles();
        assert_eq!(roles[&ann.id.to_string()], "admin");
        assert_eq!(roles[&bob.id.to_string()], "owner");
        assert_eq!(replica, Replica::afresh(&cid, group).await);
        // Bob's own devices hear what has become of him.
        assert_eq!(bob.opens(group).await.ok()["me"]["role"], "owner");
    }

    async fn one_who_leaves_is_gone_on_all_their_devices(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        let (phone, laptop, anns) = (bob.connects().await, bob.connects().await, ann.connects().await);
        phone.leaves(group).await.ok();
        for device in [&phone, &laptop] {
            device.hears("participant.removed").await;
            device.hears("conversation.removed").await;
        }
        assert_eq!(anns.hears("participant.removed").await["data"]["userId"], json!(bob.id));
    }

    async fn who_is_added_twice_is_there_once(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        ann.adds(&[&cid, &cid, &bob], group).await.ok();
        assert_eq!(ann.opens(group).await.ok()["participantCount"], 3);
        for door in ann.doors().await {
            let nobody = json!({ "conversationId": group, "userIds": ["01990000-0000-7000-8000-000000000001"] });
            door.calls("conversations.addParticipant", nobody).await.is_refused_for(ErrorCode::UserNotFound, "userIds");
        }
    }

    async fn a_group_has_no_more_members_than_it_may(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.limits.participants = 2).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob]).await;
        for door in ann.doors().await {
            door.adds(&[&cid], group).await.is_refused(ErrorCode::ConversationFull);
            door.creates("group", &[&bob, &cid]).await.is_refused(ErrorCode::ConversationFull);
        }
        ann.removes(&bob, group).await.ok();
        ann.adds(&[&cid], group).await.ok();
    }
}
