//! What may be said at a socket, how much of it and in which frames, and what ends it otherwise.

use crate::support::*;
use tokio_tungstenite::tungstenite::Message;

fn profile(id: &str) -> Value {
    json!({ "id": id, "cmd": "users.getProfile", "data": { "userId": "me" } })
}

/// What was said, as the rows must have it: one socket's messages stand in the order in which it sent them. Their replies
/// may come in any.
fn in_the_order_sent(mut said: Vec<u32>) -> Value {
    said.sort_unstable();
    said.iter().map(u32::to_string).collect()
}

stories! {
    async fn a_frame_may_be_as_large_as_said_and_no_larger(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let padded = |bytes: usize| {
            let bare =
                json!({ "id": "c0", "cmd": "users.getProfile", "data": { "userId": "me", "padding": "" } }).to_string();
            bare.replace("\"padding\":\"\"", &format!("\"padding\":\"{}\"", "x".repeat(bytes - bare.len())))
        };
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        assert_eq!(padded(65_536).len(), 65_536);
        wire.sends(Message::text(padded(65_536))).await;
        assert_eq!(wire.hears().await["ok"]["id"], json!(ann.id));
        wire.sends(Message::text(padded(65_537))).await;
        assert_eq!(wire.is_closed().await, 4413);
    }

    async fn a_message_may_come_in_several_frames(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        wire.says_in_parts(&profile("c0").to_string(), 7).await;
        assert_eq!(wire.hears().await["re"], "c0");
        wire.says_in_parts(&"x".repeat(2 << 20), 60_000).await;
        assert_eq!(wire.is_closed().await, 4413);
    }

    async fn a_ping_is_answered(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        wire.sends(Message::Ping("are you there?".into())).await;
        assert_eq!(wire.next().await, Some(Message::Pong("are you there?".into())));
        wire.sends(Message::Close(None)).await;
        assert!(matches!(wire.next().await, Some(Message::Close(_))));
        assert_eq!(wire.next().await, None);
    }

    async fn binary_frames_are_not_spoken_here(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        wire.sends(Message::binary(profile("c0").to_string().into_bytes())).await;
        assert!((1002..=1003).contains(&wire.is_closed().await));
    }

    async fn frames_that_are_not_as_they_should_be_end_the_socket(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        // The last part or not, and the opcode; masked or not, and the length (RFC 6455, section 5.2).
        let long = [&[0x89, 0xfe, 0x00, 0x7e, 0, 0, 0, 0][..], &[b'x'; 126]].concat();
        for (what, bytes) in [
            ("a text that is not masked", &[0x81, 0x02, b'{', b'}'][..]),
            ("a compressed text", &[0xc1, 0x80, 0, 0, 0, 0]),
            ("a reserved opcode", &[0x83, 0x80, 0, 0, 0, 0]),
            ("a reserved control opcode", &[0x8b, 0x80, 0, 0, 0, 0]),
            ("a ping in parts", &[0x09, 0x80, 0, 0, 0, 0]),
            ("a ping that is too long", &long),
            ("a part of nothing", &[0x80, 0x80, 0, 0, 0, 0]),
            ("a text within a text", &[0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0]),
        ] {
            let mut wire = Wire::open(&node, ann.dial()).await;
            wire.is_ready(json!({})).await;
            wire.says_raw(bytes).await;
            assert_eq!(wire.is_closed().await, 1002, "{what}");
        }
    }

    async fn a_frame_that_would_never_end_is_not_waited_for(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        for dial in [ann.dial(), Dial::new()] {
            let mut endless = Wire::open(&node, dial).await;
            endless.says_raw(&[0x81, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).await;
            for _ in 0..32 {
                // The node may have heard enough.
                if !endless.may_say_raw(&[b'x'; 64 << 10]).await {
                    break;
                }
            }
            assert_eq!(endless.is_closed().await, 4413);
        }
    }

    async fn a_command_without_an_id_gets_no_reply(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        let data = json!({ "conversationId": pair, "text": "no answer needed", "clientId": "key" });
        anns.says(json!({ "cmd": "messages.send", "data": data })).await;
        bobs.hears_said("no answer needed").await;
        let refused = json!({ "conversationId": pair, "text": "", "clientId": "key 2" });
        anns.says(json!({ "cmd": "messages.send", "data": refused })).await;
        anns.is_served().await;
        anns.is_served().await;
        let replies: Vec<Value> = anns.heard().into_iter().filter(|frame| frame.get("event").is_none()).collect();
        assert_eq!(replies.len(), 2, "{replies:?}");
    }

    async fn a_sockets_sends_keep_their_order(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.connects().await;
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        wire.says_at_once((0..32).map(|at| {
            let data = json!({ "conversationId": pair, "text": at.to_string(), "clientId": at.to_string() });
            json!({ "id": at.to_string(), "cmd": "messages.send", "data": data })
        }))
        .await;
        for at in 0..32 {
            assert_eq!(bobs.hears("message.created").await["data"]["text"], at.to_string());
        }
    }

    async fn whoever_commands_too_often_is_slowed_down(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            (config.limits.commands_per_sec, config.limits.command_burst) = (2, 4);
        })
        .await;
        let [ann] = node.people(["ann"]).await;
        let (anns, another) = (ann.connects().await, ann.connects().await);
        assert_eq!(anns.ready["limits"]["commandsPerSec"], 2);
        for _ in 0..4 {
            anns.is_served().await;
        }
        let refused = anns.opens_list().await.is_refused(ErrorCode::RequestRateLimited);
        assert_eq!(refused["retryAfterMs"], 500);
        another.is_served().await;
        node.clock.advance(millis(500));
        anns.is_served().await;
        anns.opens_list().await.is_refused(ErrorCode::RequestRateLimited);
    }

    async fn whoever_does_not_stop_commanding_is_thrown_out(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            (config.limits.commands_per_sec, config.limits.command_burst) = (1, 1);
        })
        .await;
        let [ann] = node.people(["ann"]).await;
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        wire.says_at_once((0..300).map(|at| profile(&at.to_string()))).await;
        assert_eq!(wire.is_closed().await, 4429);
    }

    async fn no_more_commands_are_under_way_than_allowed(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.limits.in_flight = 2).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let mut wire = Wire::open(&node, ann.dial()).await;
        assert_eq!(wire.is_ready(json!({})).await["limits"]["inFlight"], 2);
        wire.says_at_once((0..20).map(|at| {
            let data = json!({ "conversationId": pair, "text": at.to_string(), "clientId": at.to_string() });
            json!({ "id": at.to_string(), "cmd": "messages.send", "data": data })
        }))
        .await;
        let (mut said, mut refused) = (Vec::new(), 0);
        while said.len() + refused < 20 {
            let frame = wire.hears().await;
            if let Some(ok) = frame.get("ok") {
                said.push(ok["message"]["text"].as_str().unwrap().parse::<u32>().unwrap());
            } else if let Some(error) = frame.get("error") {
                assert_eq!(error["code"], ErrorCode::RequestTooManyInFlight.as_str());
                assert!(error["retryable"] == true && error["retryAfterMs"].is_u64());
                refused += 1;
            }
        }
        assert!(said.len() >= 2 && refused > 0, "{said:?}");
        let there = Replica::afresh(&bob, pair).await;
        assert_eq!(json!(there.of(pair).texts()), in_the_order_sent(said));
    }

    async fn a_full_queue_asks_to_come_again(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.journal.queue_items = 2).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        wire.says_at_once((0..32).map(|at| {
            let data = json!({ "conversationId": pair, "text": at.to_string(), "clientId": at.to_string() });
            json!({ "id": at.to_string(), "cmd": "messages.send", "data": data })
        }))
        .await;
        let (mut said, mut refused) = (Vec::new(), 0);
        while said.len() + refused < 32 {
            let frame = wire.hears().await;
            if let Some(ok) = frame.get("ok") {
                said.push(ok["message"]["text"].as_str().unwrap().parse::<u32>().unwrap());
            } else if let Some(error) = frame.get("error") {
                assert_eq!(error["code"], ErrorCode::ConversationBusy.as_str());
                assert!(error["retryable"] == true && error["retryAfterMs"].is_u64());
                refused += 1;
            }
        }
        assert!(said.len() >= 2 && refused > 0, "{said:?}");
        assert_eq!(json!(Replica::afresh(&bob, pair).await.of(pair).texts()), in_the_order_sent(said));
        // What was refused has taken no number, and its key is free.
        for at in 0..32 {
            ann.sends_as(pair, &at.to_string(), &at.to_string()).await.ok();
        }
        assert_eq!(bob.opens(pair).await.ok()["lastSeq"], 32);
    }

    async fn the_call_socket_takes_no_chat(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let calls = ann.connects_at("/ws/webrtc").await;
        assert_eq!(calls.ready["user"]["id"], json!(ann.id));
        calls.sends(pair, "hello").await.is_refused(ErrorCode::RequestWrongDoor);
        calls.history(pair).await.is_refused(ErrorCode::RequestWrongDoor);
        calls.reads(pair, 1).await.is_refused(ErrorCode::RequestWrongDoor);
        calls.opens(pair).await.is_refused(ErrorCode::RequestWrongDoor);
        for command in ["messages.typing", "users.getProfile", "users.changes", "conversations.create"] {
            calls.calls(command, json!({})).await.is_refused(ErrorCode::RequestWrongDoor);
        }
        calls.calls("presence.get", json!({ "userIds": [bob.id] })).await.ok();
        calls.calls("auth.renew", json!({ "accessToken": ann.access_token() })).await.ok();

        let chat = ann.connects_at("/ws/chat").await;
        chat.sends(pair, "hello").await.ok();
        chat.calls("presence.get", json!({ "userIds": [bob.id] })).await.ok();
    }
}
