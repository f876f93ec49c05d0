//! How sockets open: the handshake, the token, the hello, and how many there may be.

use crate::support::*;
use tokio_tungstenite::tungstenite::Message;

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
        let answered =
            |wire: &Wire| wire.headers.get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());

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
        let whole = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for missing in whole {
            let headers = whole.iter().filter(|header| **header != missing);
            let headers: String = headers.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let (status, problem) =
                node.hears_bytes(format!("GET /ws HTTP/1.1\r\nHost: node\r\n{headers}\r\n").as_bytes()).await;
            assert!((400..=426).contains(&status), "without {}: {status}", missing.0);
            assert_eq!(problem["code"], "request.malformed", "without {}", missing.0);
        }
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
}
