//! How sockets are kept alive, and why the node lets go of them: heartbeats, slow readers, a node that stops.

use crate::support::speech::fresh_key;
use crate::support::*;

const NEXT: Duration = secs(25);
const ANSWER: Duration = secs(10);

stories! {
    async fn a_heartbeat_counts_what_was_delivered(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.sockets.heartbeat = NEXT).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.connects().await;
        assert_eq!(bobs.ready["heartbeatSecs"], 25);
        node.clock.let_pass(NEXT).await;
        assert_eq!(bobs.hears("heartbeat").await["data"]["delivered"], 0);
        for count in 1..=3 {
            bobs.is_served().await;
            node.clock.let_pass(ANSWER).await;
            bobs.is_served().await;
            let text = count.to_string();
            let said = ann.says_in(pair, &text).await;
            bobs.hears_said(&text).await;
            bobs.reads(pair, said["seq"].as_i64().unwrap()).await.ok();
            bobs.hears("conversation.mine").await;
            for typing in [true, false] {
                bobs.calls("messages.typing", json!({ "conversationId": pair, "typing": typing })).await.ok();
            }
            bobs.hears("typing.stopped").await;
            node.clock.advance(NEXT - ANSWER);
            assert_eq!(bobs.hears("heartbeat").await["data"]["delivered"], count);
            assert_eq!(bobs.numbered(), count);
        }
        bobs.is_served().await;
        node.clock.let_pass(ANSWER).await;
        bobs.is_served().await;
    }

    async fn whoever_counts_otherwise_is_out_of_step(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.sockets.heartbeat = NEXT).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.connects().await;
        bobs.answers(Manner::Mistaken);
        ann.says_in(pair, "hello").await;
        bobs.hears_said("hello").await;
        node.clock.let_pass(NEXT).await;
        assert_eq!(bobs.is_closed().await, 4003);
    }

    async fn an_answer_to_no_heartbeat_says_nothing(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.sockets.heartbeat = NEXT).await;
        let [ann] = node.people(["ann"]).await;
        let anns = ann.connects().await;
        anns.answers(Manner::Silent);
        let answer = |nonce: &Value, received: u64| {
            let data = json!({ "nonce": nonce, "received": received });
            json!({ "cmd": "heartbeat", "data": data })
        };
        anns.says(answer(&json!("never asked"), 7)).await;
        node.clock.let_pass(NEXT).await;
        let first = anns.hears("heartbeat").await["data"]["nonce"].clone();
        anns.says(answer(&json!("never asked"), 7)).await;
        anns.says(answer(&first, 0)).await;
        anns.says(answer(&first, 7)).await;
        anns.is_served().await;
        node.clock.let_pass(ANSWER).await;
        anns.is_served().await;
        // What is no answer at all is out of step.
        anns.says(json!({ "cmd": "heartbeat", "data": { "nonce": 7 } })).await;
        assert_eq!(anns.is_closed().await, 4003);
    }

    async fn whoever_does_not_answer_a_heartbeat_is_gone(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.sockets.heartbeat = NEXT).await;
        let [ann] = node.people(["ann"]).await;
        let anns = ann.connects().await;
        anns.answers(Manner::Silent);
        node.clock.let_pass(NEXT).await;
        anns.hears("heartbeat").await;
        // Commands are no answer.
        anns.is_served().await;
        assert_eq!(node.clock.pass_until(ANSWER, anns.is_closed()).await, 4004);
    }

    async fn a_generic_tool_may_be_pinged_instead(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.sockets.heartbeat = NEXT).await;
        let [ann] = node.people(["ann"]).await;
        let anns = ann.connects_with(json!({ "heartbeat": "ping" })).await;
        node.clock.let_pass(NEXT).await;
        for times in 1..=3 {
            anns.is_pinged(times).await;
            anns.is_served().await;
            node.clock.let_pass(ANSWER).await;
            anns.is_served().await;
            node.clock.advance(NEXT - ANSWER);
        }
        anns.is_pinged(4).await;
        anns.is_served().await;
        assert!(!anns.has_heard("heartbeat"));
    }

    async fn a_ping_that_is_not_answered_ends_the_socket(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.sockets.heartbeat = NEXT).await;
        let [ann] = node.people(["ann"]).await;
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({ "heartbeat": "ping" })).await;
        node.clock.let_pass(NEXT).await;
        assert_eq!(wire.next_unanswered().await.0, 9);
        let (opcode, carried) = node.clock.pass_until(ANSWER, wire.next_unanswered()).await;
        assert_eq!((opcode, carried.get(..2)), (8, Some(&4004_u16.to_be_bytes()[..])));
    }

    async fn a_node_that_stops_sends_its_sockets_away(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let (anns, bobs) = (ann.connects().await, bob.connects_at("/ws/webrtc").await);
        let mut sending = Vec::new();
        for at in 0..20 {
            let data = json!({ "conversationId": pair, "text": at.to_string(), "clientId": format!("key {at}") });
            sending.push(anns.begins("messages.send", data).await);
        }
        anns.reply(&sending[0]).await.ok();
        let stopping = node.begins_to_stop();
        for socket in [&anns, &bobs] {
            let drain = socket.hears("drain").await;
            assert!(drain["data"]["reconnectAfterMs"].as_u64().unwrap() < 5000, "{drain}");
            assert_eq!(socket.is_closed().await, 4001);
        }
        within(stopping, "the node to stop").await.unwrap();

        // What was answered with ok is there; what was refused is not.
        let replies: Vec<Value> = anns.heard().into_iter().filter(|frame| frame.get("re").is_some()).collect();
        let node = Node::start(&stage).await;
        let texts = json!(Replica::afresh(&bob.at(&node), pair).await.of(pair).texts());
        for reply in replies {
            let at = sending.iter().position(|id| reply["re"] == **id).unwrap().to_string();
            let there = texts.as_array().unwrap().iter().any(|text| *text == at);
            assert_eq!(there, reply.get("ok").is_some(), "{reply} in {texts}");
        }
    }

    async fn one_who_does_not_read_is_closed_and_the_others_are_not_harmed(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.sockets.heartbeat = NEXT).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let (anns, cids) = (ann.connects().await, cid.connects().await);
        let mut phone = Replica::afresh(&bob, group).await;
        let mut said = 0;
        // More than the system's buffers and the socket's queue hold.
        let mut talks = async || {
            for _ in 0..100 {
                let mut sending = Vec::new();
                for _ in 0..8 {
                    said += 1;
                    let data = json!({ "conversationId": group, "text": "x".repeat(8 << 10), "clientId": fresh_key() });
                    sending.push(anns.begins("messages.send", data).await);
                }
                for id in sending {
                    anns.reply(&id).await.ok();
                }
            }
            said
        };

        for _ in 0..2 {
            let mut slow = Wire::open(&node, bob.dial().hearing_little()).await;
            let ready = slow.is_ready(json!({ "known": phone.known() })).await;
            assert_eq!(ready.get("pull"), None);
            let seq = talks().await;
            cids.hears_that("message.created", |frame| frame["seq"] == seq).await;
            assert_eq!(slow.is_closed().await, 4002);
            drop(slow);
            // It is forgotten only when it is really gone.
            node.clock.let_pass(secs(7)).await;
        }
        let revs: Vec<i64> = cids.heard_of(group).iter().filter_map(|frame| frame["rev"].as_i64()).collect();
        assert_eq!(revs, (5..=4 + 1600).collect::<Vec<i64>>());

        // Twice within a minute: from now on hints, until it has caught up.
        let bobs = bob.connects_with(json!({ "known": phone.known() })).await;
        assert_eq!(bobs.ready["pull"], true);
        phone.catches_up(&bobs, group).await;
        anns.says_in(group, "one hint").await;
        let last = anns.says_in(group, "for both").await;
        cids.hears_said("for both").await;
        let newest = |frame: &Value| frame["data"]["heads"][0]["lastRev"] == last["rev"];
        let hint = bobs.hears_that("heads", newest).await;
        assert_eq!(hint["data"]["heads"], json!([{ "conversationId": group, "lastRev": last["rev"] }]));
        assert_eq!(bobs.numbered(), 0);
        phone.catches_up(&bobs, group).await;
        assert_eq!(phone, Replica::afresh(&cid, group).await);
        // Who has nothing left to read at the next heartbeat hears again.
        node.clock.let_pass(NEXT).await;
        bobs.hears("heartbeat").await;
        anns.says_in(group, "heard again").await;
        bobs.hears_said("heard again").await;
    }
}
