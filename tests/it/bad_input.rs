//! What clients should not send: each is refused by a code that they can act on, at both doors, and nothing happens.

use crate::support::speech::id_of;
use crate::support::*;
use actix_web::http::Method;
use tokio_tungstenite::tungstenite::Message;

const UNKNOWN: &str = "01990000-0000-7000-8000-000000000001";

/// One input that is wrong.
struct Wrong {
    what: &'static str,
    command: &'static str,
    data: Value,
    field: &'static str,
}

fn wrong(what: &'static str, command: &'static str, data: Value, field: &'static str) -> Wrong {
    Wrong { what, command, data, field }
}

/// What is wrong whichever door it comes through.
fn wrong_values(pair: ConversationId, message: MessageId, bob: UserId) -> Vec<Wrong> {
    let send = |field: &str, value: Value| {
        let mut data = json!({ "conversationId": pair, "text": "x", "clientId": "bad" });
        data[field] = value;
        data
    };
    let page = |field: &str, value: Value| {
        let mut data = json!({ "conversationId": pair });
        data[field] = value;
        data
    };
    let create = |field: &str, value: Value| {
        let mut data = json!({ "kind": "group", "participantIds": [bob] });
        data[field] = value;
        data
    };
    let profile = |field: &str, value: Value| {
        let mut data = json!({ "userId": "me" });
        data[field] = value;
        data
    };
    let over = |most: usize| json!("x".repeat(most + 1));
    let both = |one: &str, other: &str| json!({ "conversationId": pair, one: 1, other: 2 });
    let many = |count: usize| -> Value { (0..count).map(|_| json!(bob)).collect() };
    vec![
        wrong("no text", "messages.send", json!({ "conversationId": pair, "clientId": "bad" }), "text"),
        wrong("a text that is a number", "messages.send", send("text", json!(7)), "text"),
        wrong("a text that is a list", "messages.send", send("text", json!(["x"])), "text"),
        wrong("a text that is null", "messages.send", send("text", Value::Null), "text"),
        wrong("an empty text", "messages.send", send("text", json!("")), "text"),
        wrong("a text of spaces", "messages.send", send("text", json!(" \n\t ")), "text"),
        wrong("a text that is too long", "messages.send", send("text", over(8192)), "text"),
        wrong("a text that is too long in bytes", "messages.send", send("text", json!("é".repeat(4097))), "text"),
        wrong("a text with NUL", "messages.send", send("text", json!("a\0b")), "text"),
        wrong("no key", "messages.send", json!({ "conversationId": pair, "text": "x" }), "clientId"),
        wrong("an empty key", "messages.send", send("clientId", json!("")), "clientId"),
        wrong("a key that is too long", "messages.send", send("clientId", over(64)), "clientId"),
        wrong("a key that is a number", "messages.send", send("clientId", json!(7)), "clientId"),
        wrong("an answer to no id", "messages.send", send("replyTo", json!("that one")), "replyTo"),
        wrong("an empty edit", "messages.edit", json!({ "messageId": message, "text": "" }), "text"),
        wrong("an edit that is too long", "messages.edit", json!({ "messageId": message, "text": over(8192) }), "text"),
        wrong("an edit of nothing", "messages.edit", json!({ "messageId": message }), "text"),
        wrong("a letter as reaction", "messages.addReaction", json!({ "messageId": message, "emoji": "a" }), "emoji"),
        wrong("a name as reaction", "messages.addReaction", json!({ "messageId": message, "emoji": ":+1:" }), "emoji"),
        wrong(
            "two reactions in one",
            "messages.addReaction",
            json!({ "messageId": message, "emoji": "👍👍" }),
            "emoji",
        ),
        wrong("a long reaction", "messages.addReaction", json!({ "messageId": message, "emoji": over(1000) }), "emoji"),
        wrong("a letter taken back", "messages.removeReaction", json!({ "messageId": message, "emoji": "a" }), "emoji"),
        wrong("before and after", "messages.getByConversation", both("beforeSeq", "afterSeq"), "afterSeq"),
        wrong("before and around", "messages.getByConversation", both("beforeSeq", "aroundSeq"), "aroundSeq"),
        wrong("after and around", "messages.getByConversation", both("afterSeq", "aroundSeq"), "aroundSeq"),
        wrong("a page of nothing", "messages.getByConversation", page("limit", json!(0)), "limit"),
        wrong("a page of too much", "messages.getByConversation", page("limit", json!(101)), "limit"),
        wrong("a page of less than nothing", "messages.getByConversation", page("limit", json!(-1)), "limit"),
        wrong("a page of many", "messages.getByConversation", page("limit", json!("many")), "limit"),
        wrong("a page after a word", "messages.getByConversation", page("afterSeq", json!("x")), "afterSeq"),
        wrong("a page after a negative", "messages.getByConversation", page("afterSeq", json!(-1)), "afterSeq"),
        wrong(
            "a page before too much",
            "messages.getByConversation",
            page("beforeSeq", json!(1_i64 << 53)),
            "beforeSeq",
        ),
        wrong("a page around a half", "messages.getByConversation", page("aroundSeq", json!(1.5)), "aroundSeq"),
        wrong("changes after nothing", "messages.changes", json!({ "conversationId": pair }), "afterRev"),
        wrong("changes after a negative", "messages.changes", page("afterRev", json!(-1)), "afterRev"),
        wrong("changes after too much", "messages.changes", page("afterRev", json!(1_i64 << 53)), "afterRev"),
        wrong("read up to nothing", "messages.markRead", json!({ "conversationId": pair }), "seq"),
        wrong("read up to a negative", "messages.markRead", page("seq", json!(-1)), "seq"),
        wrong("read up to a word", "messages.markRead", page("seq", json!("all")), "seq"),
        wrong("received up to a negative", "messages.markDelivered", page("seq", json!(-1)), "seq"),
        wrong("received up to a list", "messages.markDelivered", page("seq", json!([1])), "seq"),
        wrong("no kind", "conversations.create", json!({ "participantIds": [bob] }), "kind"),
        wrong("an unknown kind", "conversations.create", create("kind", json!("party")), "kind"),
        wrong(
            "people that are no list",
            "conversations.create",
            create("participantIds", json!("bob")),
            "participantIds",
        ),
        wrong(
            "people that are no ids",
            "conversations.create",
            create("participantIds", json!([bob, "cid"])),
            "participantIds[1]",
        ),
        wrong("an empty name", "conversations.create", create("name", json!("")), "name"),
        wrong("a name that is too long", "conversations.create", create("name", over(200)), "name"),
        wrong(
            "a description that is too long",
            "conversations.create",
            create("description", over(2000)),
            "description",
        ),
        wrong("a key of a group that is too long", "conversations.create", create("clientId", over(64)), "clientId"),
        wrong("an empty new name", "conversations.update", page("name", json!("")), "name"),
        wrong("a new name with NUL", "conversations.update", page("name", json!("\0")), "name"),
        wrong("a mark that is no flag", "conversations.updateMine", page("markedUnread", json!("yes")), "markedUnread"),
        wrong("nobody to add", "conversations.addParticipant", page("userIds", json!([])), "userIds"),
        wrong("too many to add", "conversations.addParticipant", page("userIds", many(101)), "userIds"),
        wrong("no ids to add", "conversations.addParticipant", page("userIds", json!(["bob"])), "userIds[0]"),
        wrong(
            "a role that is none",
            "conversations.setRole",
            json!({ "conversationId": pair, "userId": bob, "role": "king" }),
            "role",
        ),
        wrong("no role", "conversations.setRole", json!({ "conversationId": pair, "userId": bob }), "role"),
        wrong("an owner that is no id", "conversations.transferOwnership", page("userId", json!("bob")), "userId"),
        wrong("a list after nonsense", "conversations.getByUser", json!({ "cursor": "nonsense" }), "cursor"),
        wrong("a list of too much", "conversations.getByUser", json!({ "limit": 101 }), "limit"),
        wrong("members after nonsense", "conversations.listParticipants", page("cursor", json!("nonsense")), "cursor"),
        wrong("an empty display name", "users.updateProfile", profile("displayName", json!("")), "displayName"),
        wrong(
            "a display name that is too long",
            "users.updateProfile",
            profile("displayName", over(100)),
            "displayName",
        ),
        wrong("a username that is too short", "users.updateProfile", profile("username", json!("an")), "username"),
        wrong("a username with a space", "users.updateProfile", profile("username", json!("ann b")), "username"),
        wrong(
            "a username that begins with a digit",
            "users.updateProfile",
            profile("username", json!("1ann")),
            "username",
        ),
        wrong("a username that is too long", "users.updateProfile", profile("username", over(32)), "username"),
        wrong("a bio that is too long", "users.updateProfile", profile("bio", over(500)), "bio"),
        wrong("a bio that is a number", "users.updateProfile", profile("bio", json!(1)), "bio"),
        wrong("a search for nothing", "users.search", json!({}), "q"),
        wrong("a search for little", "users.search", json!({ "q": "an" }), "q"),
        wrong("a search for spaces", "users.search", json!({ "q": " a  " }), "q"),
        wrong("a search for too much", "users.search", json!({ "q": over(100) }), "q"),
        wrong("own changes after nothing", "users.changes", json!({}), "afterUserRev"),
        wrong("own changes after a word", "users.changes", json!({ "afterUserRev": "x" }), "afterUserRev"),
        wrong("own changes after a negative", "users.changes", json!({ "afterUserRev": -1 }), "afterUserRev"),
        wrong("shown as nothing", "presence.set", json!({}), "status"),
        wrong("shown as unknown", "presence.set", json!({ "status": "asleep" }), "status"),
        wrong("shown as offline", "presence.set", json!({ "status": "offline" }), "status"),
        wrong("presence of nobody", "presence.get", json!({ "userIds": [] }), "userIds"),
        wrong("presence of too many", "presence.get", json!({ "userIds": many(501) }), "userIds"),
        wrong("presence of no id", "presence.get", json!({ "userIds": ["bob"] }), "userIds[0]"),
    ]
}

stories! {
    async fn a_wrong_value_is_refused_by_its_fields_name(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let message: MessageId = id_of(&ann.says_in(pair, "hello").await);
        let before = (ann.opens(pair).await.ok(), ann.connects().await.ready["userRev"].clone());
        let mut failed = Vec::new();
        for door in ann.doors().await {
            for Wrong { what, command, data, field } in wrong_values(pair, message, bob.id) {
                let answer = door.calls(command, data).await;
                let error = answer.result.as_ref().err().cloned().unwrap_or_default();
                if (&error["code"], &error["field"]) != (&json!("request.invalid"), &json!(field)) {
                    failed.push(format!("{what} at {}: {:?}", door.name(), answer.result));
                } else {
                    answer.is_refused_for(ErrorCode::RequestInvalid, field);
                }
            }
        }
        assert!(failed.is_empty(), "{failed:#?}");
        let after = (ann.opens(pair).await.ok(), ann.connects().await.ready["userRev"].clone());
        assert_eq!(before, after);
    }

    async fn what_is_no_id_names_nothing(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let socket = ann.connects().await;
        for (command, field, code, more) in [
            ("conversations.get", "conversationId", ErrorCode::ConversationNotFound, json!({})),
            ("messages.getByConversation", "conversationId", ErrorCode::ConversationNotFound, json!({})),
            (
                "messages.send",
                "conversationId",
                ErrorCode::ConversationNotFound,
                json!({ "text": "x", "clientId": "k" }),
            ),
            ("conversations.leave", "conversationId", ErrorCode::ConversationNotFound, json!({})),
            ("messages.get", "messageId", ErrorCode::MessageNotFound, json!({})),
            ("messages.edit", "messageId", ErrorCode::MessageNotFound, json!({ "text": "x" })),
            ("messages.addReaction", "messageId", ErrorCode::MessageNotFound, json!({ "emoji": "☕" })),
            ("users.getProfile", "userId", ErrorCode::UserNotFound, json!({})),
        ] {
            for id in ["nonsense", "1", "01990000", "../../etc/passwd", "01990000-0000-7000-8000-00000000000g"] {
                let mut data = more.clone();
                data[field] = json!(id);
                let by_rest = ann.calls(command, data.clone()).await.gist();
                data[field] = json!(UNKNOWN);
                assert_eq!(by_rest, ann.calls(command, data.clone()).await.gist(), "{command} {id}");
                assert_eq!(by_rest["code"], code.as_str());
                data[field] = json!(id);
                socket.calls(command, data).await.is_refused_for(ErrorCode::RequestInvalid, field);
            }
            for id in [json!(7), json!(null), json!(["x"])] {
                let mut data = more.clone();
                data[field] = id;
                socket.calls(command, data).await.is_refused_for(ErrorCode::RequestInvalid, field);
            }
            socket.calls(command, more).await.is_refused_for(ErrorCode::RequestInvalid, field);
        }
    }

    async fn what_is_not_json_is_malformed(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let path = format!("/api/v1/conversations/{pair}/messages");
        let headers = [
            ("authorization", format!("Bearer {}", ann.access_token())),
            ("content-type", "application/json".to_owned()),
        ];
        let deep = format!("{{\"mood\":{}", "[".repeat(50_000));
        let array = format!("[\"{pair}\",\"x\",\"key\"]");
        let bodies: [&[u8]; 13] = [
            b"",
            b"nonsense",
            b"{",
            b"{\"text\":\"x\"",
            b"[]",
            b"7",
            b"\"text\"",
            b"{'text':'x'}",
            b"{\"text\":\"x\"} x",
            b"{\"text\":\"\xff\",\"clientId\":\"k\"}",
            b"{\"text\":\"\\ud800\",\"clientId\":\"k\"}",
            deep.as_bytes(),
            array.as_bytes(),
        ];
        for body in bodies {
            let answer = node.requests(Method::POST, &path, &headers, body).await.answer();
            assert_eq!(answer.status, Some(400), "{:.80}", String::from_utf8_lossy(body));
            answer.is_refused(ErrorCode::RequestMalformed);
        }

        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        let unnamed =
            ["nonsense", "", "{", "[]", "7", "\"messages.send\"", "null", "{\"cmd\":7}", "{\"id\":7,\"cmd\":\"x\"}"];
        for text in unnamed {
            wire.sends(Message::text(text)).await;
            let refusal = wire.hears().await;
            assert_eq!(refusal["error"]["code"], "request.malformed", "{text}: {refusal}");
            assert!(refusal.get("re").is_none() && refusal["error"]["requestId"].is_string(), "{text}: {refusal}");
        }
        for (text, code) in [
            (r#"{"id":"c1"}"#, "request.malformed"),
            (r#"{"id":"c1","data":{}}"#, "request.malformed"),
            (r#"{"id":"c1","cmd":"messages.send","data":[]}"#, "request.malformed"),
            (r#"{"id":"c1","cmd":"messages.send","data":"x"}"#, "request.malformed"),
            (r#"{"id":"c1","cmd":"messages.send","data":7}"#, "request.malformed"),
            (r#"{"id":"c1","cmd":"messages.send"}"#, "request.invalid"),
            (r#"{"id":"c1","cmd":"messages.send","data":null}"#, "request.invalid"),
            (r#"{"id":"c1","cmd":"messages.markRead","data":[]}"#, "request.malformed"),
            (r#"{"id":"c1","cmd":"messages.markRead"}"#, "request.invalid"),
            (r#"{"id":"c1","cmd":"auth.renew"}"#, "request.invalid"),
        ] {
            wire.sends(Message::text(text)).await;
            let refusal = wire.hears().await;
            assert_eq!((&refusal["re"], &refusal["error"]["code"]), (&json!("c1"), &json!(code)), "{text}: {refusal}");
        }
        let lone = format!(
            r#"{{"id":"c1","cmd":"messages.send","data":{{"conversationId":"{pair}","text":"\ud800","clientId":"k"}}}}"#
        );
        wire.sends(Message::text(lone)).await;
        assert_eq!(wire.hears().await["error"]["code"], "request.malformed");
        let deep =
            format!(r#"{{"id":"c1","cmd":"users.getProfile","data":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        wire.sends(Message::text(deep)).await;
        assert!(wire.hears().await.get("error").is_some());
        wire.says(json!({ "id": "c2", "cmd": "users.getProfile", "data": { "userId": "me" } })).await;
        assert_eq!(wire.hears().await["re"], "c2");
        assert_eq!(bob.history(pair).await.ok()["items"], json!([]));
    }

    async fn a_socket_that_speaks_no_utf8_is_closed(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        wire.says_bytes(b"{\"id\":\"c1\",\"cmd\":\"users.getProfile\",\"data\":{\"userId\":\"\xff\"}}".to_vec()).await;
        assert_eq!(wire.is_closed().await, 1007);
    }

    async fn a_field_that_is_given_twice_is_refused(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let headers = [
            ("authorization", format!("Bearer {}", ann.access_token())),
            ("content-type", "application/json".to_owned()),
        ];
        let path = format!("/api/v1/conversations/{pair}/messages");
        let body = r#"{"text":"one","clientId":"k","text":"two"}"#;
        let answer = node.requests(Method::POST, &path, &headers, body).await.answer();
        answer.is_refused_for(ErrorCode::RequestInvalid, "text");
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        let data = format!(r#"{{"conversationId":"{pair}","text":"one","clientId":"k","text":"two"}}"#);
        wire.sends(Message::text(format!(r#"{{"id":"c1","cmd":"messages.send","data":{data}}}"#))).await;
        assert_eq!(wire.hears().await["error"]["field"], "text");
    }

    async fn what_nobody_asked_for_is_ignored(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        for (at, door) in ann.doors().await.into_iter().enumerate() {
            let data = json!({
                "conversationId": pair, "text": "hello", "clientId": at.to_string(),
                "mood": "fine", "seq": 99, "senderId": bob.id, "kind": "system", "replyTo": null,
            });
            let sent = door.calls("messages.send", data).await.ok()["message"].clone();
            assert_eq!(
                (&sent["seq"], &sent["senderId"], &sent["kind"]),
                (&json!(at + 1), &json!(ann.id), &json!("text"))
            );
        }
    }

    async fn unknown_commands_and_paths_are_told_from_wrong_methods(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let socket = ann.connects().await;
        for command in ["", "messages", "messages.shout", "MESSAGES.SEND", "calls.initiate", "../etc"] {
            socket.calls(command, json!({})).await.is_refused(ErrorCode::RequestUnknownCommand);
        }
        let headers = [("authorization", format!("Bearer {}", ann.access_token()))];
        for path in ["/", "/api/v1", "/api/v1/nothing", "/api/v2/conversations", "/api/v1/messages", "/etc/passwd"] {
            let reply = node.requests(Method::GET, path, &headers, "").await;
            assert_eq!(reply.status, 404, "{path}");
            reply.answer().is_refused(ErrorCode::RequestNotFound);
        }
        for (method, path, allowed) in [
            (Method::DELETE, "/api/v1/conversations".to_owned(), "GET, POST"),
            (Method::PUT, format!("/api/v1/messages/{UNKNOWN}"), "GET, PATCH, DELETE"),
            (Method::GET, "/api/v1/auth/send-otp".to_owned(), "POST"),
        ] {
            let reply = node.requests(method, &path, &headers, "").await;
            let sorted = |list: &str| {
                let mut names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
                names.sort();
                names
            };
            assert_eq!(reply.header("allow").map(sorted), Some(sorted(allowed)), "{path}");
            reply.answer().is_refused(ErrorCode::RequestMethodNotAllowed);
        }
    }

    async fn a_commands_own_id_is_short(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.is_ready(json!({})).await;
        for id in [String::new(), "x".repeat(65)] {
            wire.says(json!({ "id": id, "cmd": "users.getProfile", "data": { "userId": "me" } })).await;
            let refusal = wire.hears().await;
            assert_eq!(
                (&refusal["error"]["code"], &refusal["error"]["field"]),
                (&json!("request.invalid"), &json!("id"))
            );
        }
        wire.says(json!({ "id": "x".repeat(64), "cmd": "users.getProfile", "data": { "userId": "me" } })).await;
        assert_eq!(wire.hears().await["re"], "x".repeat(64));
    }

    async fn a_body_is_json_by_its_type_and_not_too_large(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let path = format!("/api/v1/conversations/{pair}/messages");
        let bearer = ("authorization", format!("Bearer {}", ann.access_token()));
        let body = json!({ "text": "x", "clientId": "k" }).to_string();
        for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
            let headers = [bearer.clone(), ("content-type", media_type.to_owned())];
            let answer = node.requests(Method::POST, &path, &headers, body.clone()).await.answer();
            answer.is_refused(ErrorCode::RequestUnsupportedMediaType);
        }
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: node\r\nAuthorization: {}\r\nContent-Type: application/json\r\n\
             X-Request-Id: mine\r\n",
            bearer.1
        );
        let announced = format!("{head}Content-Length: 1048577\r\n\r\n");
        let (status, problem) = node.hears_bytes(announced.as_bytes()).await;
        assert_eq!((status, &problem["code"]), (413, &json!("request.too_large")));
        assert_eq!(problem["requestId"], "mine");
        let chunk = format!("100001\r\n{}\r\n", "x".repeat(0x10_0001));
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}");
        let (status, problem) = node.hears_bytes(chunked.as_bytes()).await;
        assert_eq!((status, &problem["code"]), (413, &json!("request.too_large")));

        let headers = [bearer, ("content-type", "application/json; charset=utf-8".to_owned())];
        let padded = json!({ "text": "x", "clientId": "k", "padding": "x".repeat(1_048_000) }).to_string();
        node.requests(Method::POST, &path, &headers, padded).await.answer().ok_with(201);
    }

    async fn a_command_through_the_wrong_door_is_refused(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        for path in ["/ws", "/ws/chat", "/ws/webrtc"] {
            let socket = ann.connects_at(path).await;
            for command in ["auth.sendOtp", "auth.verifyOtp", "auth.refreshToken", "auth.logout"] {
                socket.calls(command, json!({ "phoneNumber": 7 })).await.is_refused(ErrorCode::RequestWrongDoor);
            }
        }
        let headers = [
            ("authorization", format!("Bearer {}", ann.access_token())),
            ("content-type", "application/json".to_owned()),
        ];
        for path in ["/api/v1/presence/watch", "/api/v1/auth/renew", "/api/v1/messages/typing"] {
            let reply = node.requests(Method::POST, path, &headers, "{}").await;
            assert!(reply.status == 404 || reply.status == 405, "{path}: {}", reply.status);
        }
    }

    async fn only_operators_do_what_operators_may(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        for door in ann.doors().await {
            let bobs = json!({ "userId": bob.id, "bio": "written by ann" });
            door.calls("users.updateProfile", bobs).await.is_refused(ErrorCode::AuthForbidden);
            let nobodys = json!({ "userId": UNKNOWN, "bio": "written by ann" });
            door.calls("users.updateProfile", nobodys).await.is_refused(ErrorCode::AuthForbidden);
            let own = json!({ "userId": ann.id, "bio": "written by ann" });
            assert_eq!(door.calls("users.updateProfile", own).await.ok()["bio"], "written by ann");
        }
        let seen = bob.calls("users.getProfile", json!({ "userId": "me" })).await.ok();
        assert!(seen.get("bio").is_none());
    }

    async fn whoever_asks_too_often_is_told_when_to_come_back(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            (config.limits.rest_per_user_per_sec, config.limits.rest_per_user_burst) = (2, 4);
        })
        .await;
        // Registering has cost each of them one.
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let headers = [("authorization", format!("Bearer {}", ann.access_token()))];
        let asks = async || node.requests(Method::GET, "/api/v1/users/me", &headers, "").await;
        for left in ["2", "1", "0"] {
            let reply = asks().await;
            assert_eq!((reply.status.as_u16(), reply.header("ratelimit-limit")), (200, Some("4")));
            assert_eq!(reply.header("ratelimit-remaining"), Some(left));
        }
        let refused = asks().await;
        assert_eq!((refused.header("retry-after"), refused.header("ratelimit-remaining")), (Some("1"), Some("0")));
        let error = refused.answer().is_refused(ErrorCode::RequestRateLimited);
        assert_eq!(error["retryAfterMs"], 500);
        bob.opens_list().await.ok();
        node.clock.advance(millis(500));
        assert_eq!(asks().await.status, 200);
        assert_eq!(asks().await.status, 429);
        // Probes are not counted.
        assert_eq!(node.gets("/api/v1/health/live").await.status, 200);
    }

    async fn an_address_that_asks_too_often_is_refused_whoever_asks(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            config.gateway.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
            (config.limits.rest_per_address_per_sec, config.limits.rest_per_address_burst) = (1, 3);
        })
        .await;
        let asks = async |hops: &str| {
            let headers = [("x-forwarded-for", hops.to_owned())];
            node.requests(Method::GET, "/api/v1/users/me", &headers, "").await.status.as_u16()
        };
        for (hops, status) in [
            ("203.0.113.9", 401),
            ("198.51.100.7, 203.0.113.9", 401),
            ("203.0.113.9, 127.0.0.1", 401),
            ("203.0.113.9", 429),
            // What the client itself wrote says nothing.
            ("198.51.100.8, 203.0.113.9", 429),
            ("203.0.113.10", 401),
            ("2001:db8:1:2::1", 401),
            ("2001:db8:1:2::2", 401),
            ("2001:db8:1:2:3::4", 401),
            ("2001:db8:1:2::5", 429),
            ("2001:db8:1:3::1", 401),
        ] {
            assert_eq!(asks(hops).await, status, "{hops}");
        }
        // Where no proxy is trusted, nobody is whoever they say.
        let node = Node::start_with(&stage, |config| {
            (config.limits.rest_per_address_per_sec, config.limits.rest_per_address_burst) = (1, 2);
        })
        .await;
        for (hops, status) in [("203.0.113.9", 401), ("203.0.113.10", 401), ("203.0.113.11", 429)] {
            let headers = [("x-forwarded-for", hops.to_owned()), ("forwarded", format!("for={hops}"))];
            let reply = node.requests(Method::GET, "/api/v1/users/me", &headers, "").await;
            assert_eq!(reply.status.as_u16(), status, "{hops}");
        }
    }
}
