//! The manners of sockets: how they open, what they may do, how they are kept alive, and why they are closed.

use crate::support::speech::fresh;
use crate::support::*;
use tokio_tungstenite::tungstenite::Message;

const NEXT: Duration = secs(25);
const ANSWER: Duration = secs(10);

fn profile(id: &str) -> Value {
    json!({ "id": id, "cmd": "users.getProfile", "data": { "userId": "me" } })
}

stories! {
    async fn a_hello_that_never_comes_ends_the_socket(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        for dial in [ann.dial(), Dial::new()] {
            let mut silent = Wire::open(&node, dial).await;
            node.clock.let_pass(secs(5)).await;
            assert_eq!(silent.is_closed().await, 4400);
        }
        // Who said it in time is not concerned.
        let anns = ann.connects().await;
        node.clock.let_pass(secs(5)).await;
        anns.is_served().await;
    }

    async fn what_is_no_hello_ends_the_socket(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        for first in [
            "nonsense".to_owned(),
            "{".to_owned(),
            "[]".to_owned(),
            json!({ "cmd": "heartbeat", "data": { "nonce": "x", "received": 0 } }).to_string(),
            profile("c0").to_string(),
            json!({ "cmd": "hello", "data": [] }).to_string(),
            json!({ "cmd": "hello", "data": { "known": [["not an id", 1]] } }).to_string(),
            json!({ "cmd": "hello", "data": { "known": "all" } }).to_string(),
            json!({ "cmd": "hello", "data": { "userRev": "one" } }).to_string(),
            json!({ "cmd": "hello", "data": { "heartbeat": "sometimes" } }).to_string(),
            json!({ "cmd": "hello", "data": { "token": 7 } }).to_string(),
            json!({ "event": "hello" }).to_string(),
        ] {
            let mut wire = Wire::open(&node, ann.dial()).await;
            wire.sends(Message::text(first.clone())).await;
            assert_eq!(wire.is_closed().await, 4400, "{first}");
        }
    }

    async fn a_second_hello_is_no_command(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let anns = ann.connects().await;
        anns.calls("hello", json!({})).await.is_refused(ErrorCode::RequestUnknownCommand);
    }

    async fn a_token_comes_in_one_of_three_ways(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let token = ann.access_token();
        let protocols = |list: String| Dial::new().with("sec-websocket-protocol", list);
        let answered = |wire: &Wire| wire.headers.get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());

        let mut by_header = Wire::open(&node, Dial::new().bearer(&token)).await;
        assert_eq!(answered(&by_header), None);
        assert_eq!(by_header.is_ready(json!({})).await["user"]["id"], json!(ann.id));

        for list in [format!("quckchat.v1, bearer.{token}"), format!("bearer.{token},quckchat.v1")] {
            let mut by_protocol = Wire::open(&node, protocols(list)).await;
            assert_eq!(answered(&by_protocol).as_deref(), Some("quckchat.v1"));
            assert_eq!(by_protocol.is_ready(json!({})).await["user"]["id"], json!(ann.id));
        }

        let mut by_hello = Wire::open(&node, protocols("quckchat.v1".to_owned())).await;
        assert_eq!(answered(&by_hello).as_deref(), Some("quckchat.v1"));
        assert_eq!(by_hello.is_ready(json!({ "token": token })).await["user"]["id"], json!(ann.id));

        // Never in the query, and a hello's only if the handshake had none.
        let mut by_query = Wire::open(&node, Dial::new().at(format!("/ws?token={token}&access_token={token}"))).await;
        by_query.says_hello(json!({})).await;
        assert_eq!(by_query.is_closed().await, 4401);
        let mut both = Wire::open(&node, Dial::new().bearer(&token)).await;
        both.is_ready(json!({ "token": "rubbish" })).await;
        let mut first_is_bad = Wire::open(&node, Dial::new().bearer("rubbish")).await;
        first_is_bad.says_hello(json!({ "token": token })).await;
        assert_eq!(first_is_bad.is_closed().await, 4401);
    }

    async fn without_a_token_there_is_no_ready(stage: Stage) {
        let node = Node::start(&stage).await;
        for hello in [json!({}), json!({ "token": "" }), json!({ "token": "rubbish" })] {
            let mut wire = Wire::open(&node, Dial::new()).await;
            wire.says_hello(hello).await;
            assert_eq!(wire.is_closed().await, 4401);
        }
        let mut basic = Wire::open(&node, Dial::new().with("authorization", "Basic YW5uOmFubg==")).await;
        assert_eq!(basic.is_closed().await, 4401);
    }

    async fn a_page_of_another_origin_has_no_business_here(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            config.gateway.allowed_origins = vec!["https://chat.example".to_owned()];
        })
        .await;
        let [ann] = node.people(["ann"]).await;
        for origin in ["https://evil.example", "http://chat.example", "https://chat.example:8443", "null"] {
            let (status, problem) = Wire::dial(&node, ann.dial().with("origin", origin)).await.err().expect(origin);
            assert_eq!((status, &problem["code"]), (403, &json!("request.forbidden_origin")), "{origin}");
        }
        for origin in ["https://chat.example".to_owned(), format!("http://{}", node.address)] {
            Wire::open(&node, ann.dial().with("origin", origin)).await.is_ready(json!({})).await;
        }
    }

    async fn what_is_no_handshake_is_refused(stage: Stage) {
        let node = Node::start(&stage).await;
        let plain = node.gets("/ws").await;
        assert_eq!(plain.status, 400);
        plain.answer().is_refused(ErrorCode::RequestMalformed);
    }

    async fn an_address_may_not_keep_too_many_waiting_for_its_hello(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.limits.waiting_hellos_per_address = 2).await;
        let [ann] = node.people(["ann"]).await;
        let mut first = Wire::open(&node, ann.dial()).await;
        let _second = Wire::open(&node, ann.dial()).await;
        let (status, problem) = Wire::dial(&node, ann.dial()).await.err().expect("a refusal");
        assert_eq!((status, &problem["code"]), (429, &json!("request.rate_limited")));
        first.is_ready(json!({})).await;
        Wire::open(&node, ann.dial()).await;
    }

    async fn a_frame_may_be_as_large_as_said_and_no_larger(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let padded = |bytes: usize| {
            let bare = json!({ "id": "c0", "cmd": "users.getProfile", "data": { "userId": "me", "padding": "" } }).to_string();
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

    async fn a_hello_may_be_larger_but_not_endless(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let hello = |bytes: usize| json!({ "client": { "name": "x".repeat(bytes) } });
        let mut large = Wire::open(&node, ann.dial()).await;
        large.is_ready(hello(1_048_000)).await;
        let mut endless = Wire::open(&node, ann.dial()).await;
        endless.says_hello(hello(1_048_576)).await;
        assert_eq!(endless.is_closed().await, 4413);
    }

    async fn whoever_knows_much_that_is_gone_is_told_so(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        // As after the database was made anew: a hello of an allowed size, and nothing of it is there.
        let known = (0..20_000).map(|at| json!([format!("01990000-0000-7000-8000-{at:012}"), 1])).collect::<Value>();
        let mut wire = Wire::open(&node, ann.dial()).await;
        let ready = wire.is_ready(json!({ "known": known })).await;
        assert!(!ready["gone"].as_array().unwrap().is_empty());
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
                said.push(ok["message"]["text"].clone());
            } else if let Some(error) = frame.get("error") {
                assert_eq!(error["code"], ErrorCode::RequestTooManyInFlight.as_str());
                assert!(error["retryable"] == true && error["retryAfterMs"].is_u64());
                refused += 1;
            }
        }
        assert!(said.len() >= 2 && refused > 0, "{said:?}");
        let there = Replica::afresh(&bob, pair).await;
        assert_eq!(json!(there.of(pair).texts()), json!(said));
    }

    async fn a_user_has_no_more_sockets_than_allowed(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.limits.sockets_per_user = 2).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let (first, _second) = (ann.connects().await, ann.on_another_device().await.connects().await);
        let mut third = Wire::open(&node, ann.dial()).await;
        third.says_hello(json!({})).await;
        assert_eq!(third.is_closed().await, 4409);
        bob.connects().await;
        first.hangs_up().await;
        ann.connects().await;
    }

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
                    let data = json!({ "conversationId": group, "text": "x".repeat(8 << 10), "clientId": fresh().to_string() });
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
        // The others' heartbeats are due before Bob's.
        node.clock.let_pass(NEXT).await;
        for socket in [&anns, &cids] {
            socket.hears("heartbeat").await;
            socket.is_served().await;
        }
        let hint = bobs.hears("heads").await;
        assert_eq!(hint["data"]["heads"], json!([{ "conversationId": group, "lastRev": last["rev"] }]));
        assert_eq!(bobs.numbered(), 0);
        phone.catches_up(&bobs, group).await;
        assert_eq!(phone, Replica::afresh(&cid, group).await);
        bobs.hears("heartbeat").await;
        bobs.is_served().await;
        node.clock.let_pass(ANSWER).await;
        for socket in [&anns, &cids, &bobs] {
            socket.is_served().await;
        }
        // With nothing left to hint at, it hears again.
        node.clock.advance(NEXT - ANSWER);
        bobs.hears("heartbeat").await;
        anns.says_in(group, "heard again").await;
        bobs.hears_said("heard again").await;
    }
}
