//! Staying signed in: access and refresh tokens, what ends a session, and what is no token of ours.

use crate::support::process::{Process, runs};
use crate::support::speech::Request;
use crate::support::*;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const MINUTE: Duration = secs(60);

/// A token's header or claims.
fn part(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// Tokens that look like this one, by people who do not have the key.
fn forgeries(good: &str, public: &[u8]) -> Vec<(&'static str, String)> {
    let (header, claims) = (part(good, 0), part(good, 1));
    let signature = good.split('.').nth(2).unwrap();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let signed = |header: &Value, claims: &Value| {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    };
    let with = |mut part: Value, field: &str, value: Value| {
        part[field] = value;
        part
    };
    let none = with(header.clone(), "alg", json!("none"));
    let hmac = {
        let header = with(header.clone(), "alg", json!("HS256"));
        let message = format!("{}.{}", encoded(&header), encoded(&claims));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public);
        let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
    };
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()) });
    vec![
        ("nothing", String::new()),
        ("rubbish", "rubbish".to_owned()),
        ("three empty parts", "..".to_owned()),
        ("alg none", format!("{}.{}.", encoded(&none), encoded(&claims))),
        ("alg none, signed", format!("{}.{}.{signature}", encoded(&none), encoded(&claims))),
        ("no signature", format!("{}.{}.", encoded(&header), encoded(&claims))),
        (
            "other claims",
            format!("{}.{}.{signature}", encoded(&header), encoded(&with(claims.clone(), "exp", json!(i64::MAX)))),
        ),
        ("another key", signed(&header, &claims)),
        ("another key by its own name", signed(&with(header.clone(), "kid", json!("mine")), &claims)),
        ("another key that it brings along", signed(&with(header.clone(), "jwk", jwk), &claims)),
        ("the public key as a secret", hmac),
        ("far too long", "x".repeat(6000)),
    ]
}

stories! {
    async fn an_access_token_is_what_its_standard_says(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let token = ann.access_token();
        let (header, claims) = (part(&token, 0), part(&token, 1));
        assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
        assert_eq!(
            (&claims["iss"], &claims["aud"], &claims["sub"]),
            (&json!("quckchat"), &json!("quckchat"), &json!(ann.id))
        );
        assert_eq!(claims["sid"], json!(ann.session()));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
        assert!(claims["jti"].is_string() && claims["client_id"].is_string());

        let keys = node.gets("/.well-known/jwks.json").await;
        assert!(keys.header("cache-control").unwrap().contains("max-age"));
        let keys = keys.json();
        let key = &keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
        assert_eq!((&key["kty"], &key["crv"], key.get("d")), (&json!("OKP"), &json!("Ed25519"), None));
        let public = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let verifier = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, public);
        verifier.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    }

    async fn a_refresh_token_is_spent_for_the_next(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let (access, refresh) = (ann.access_token(), ann.refresh_token());
        let next = ann.spends(&refresh).await.ok_with(200);
        assert_eq!((&next["sessionId"], &next["expiresInSecs"]), (&json!(ann.session()), &json!(900)));
        assert_ne!(next["refreshToken"], json!(refresh));
        assert_ne!(next["accessToken"], json!(access));
        let third = ann.spends(next["refreshToken"].as_str().unwrap()).await.ok();
        let token = third["accessToken"].as_str().unwrap();
        node.asks(Some(token), Request::of("users.getProfile", json!({ "userId": "me" }))).await.ok();
        for unknown in ["x", &refresh[1..], &"x".repeat(43)] {
            ann.spends(unknown).await.is_refused(ErrorCode::AuthRefreshInvalid);
        }
    }

    async fn a_refresh_whose_answer_was_lost_gives_a_sibling(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let anns = ann.connects().await;
        let first = ann.refresh_token();
        let lost = ann.spends(&first).await.ok();
        node.clock.advance(10 * MINUTE);
        let sibling = ann.spends(&first).await.ok();
        assert_ne!(lost["refreshToken"], sibling["refreshToken"]);
        ann.spends(sibling["refreshToken"].as_str().unwrap()).await.ok();
        anns.is_served().await;
        // Now the lost one has come to light: somebody else holds it.
        ann.spends(lost["refreshToken"].as_str().unwrap()).await.is_refused(ErrorCode::AuthRefreshReused);
        assert_eq!(anns.is_closed().await, 4403);
    }

    async fn a_refresh_token_that_comes_again_after_its_successor_was_used_ends_the_session(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let other = ann.on_another_device().await;
        let (phone, laptop) = (ann.connects().await, other.connects().await);
        let stolen = ann.refresh_token();
        ann.refreshes().await;
        ann.refreshes().await;
        ann.spends(&stolen).await.is_refused(ErrorCode::AuthRefreshReused);
        assert_eq!(phone.hears("session.revoked").await["data"]["sessionId"], json!(ann.session()));
        assert_eq!(phone.is_closed().await, 4403);
        ann.opens_list().await.is_refused(ErrorCode::AuthSessionRevoked);
        ann.spends(&ann.refresh_token()).await.is_refused(ErrorCode::AuthSessionRevoked);
        let mut wire = Wire::open(&node, ann.dial()).await;
        wire.says_hello(json!({})).await;
        assert_eq!(wire.is_closed().await, 4403);
        // The other device's session is another one.
        laptop.is_served().await;
        other.opens_list().await.ok();
    }

    async fn a_spent_refresh_token_that_comes_too_late_ends_the_session(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let first = ann.refresh_token();
        ann.refreshes().await;
        node.clock.advance(10 * MINUTE + millis(1));
        ann.spends(&first).await.is_refused(ErrorCode::AuthRefreshReused);
        ann.spends(&ann.refresh_token()).await.is_refused(ErrorCode::AuthSessionRevoked);
    }

    async fn a_refresh_token_that_was_not_used_for_too_long_is_over(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        node.clock.advance(secs(60 * 86_400));
        ann.spends(&ann.refresh_token()).await.is_refused(ErrorCode::AuthRefreshInvalid);
    }

    async fn many_refreshes_at_once_leave_one_line(stage: Stage) {
        let node = Node::in_real_time(&stage, |_| ()).await;
        let [ann] = node.people(["ann"]).await;
        let token = ann.refresh_token();
        let siblings = futures_util::future::join_all((0..6).map(|_| ann.spends(&token))).await;
        let siblings: Vec<Value> = siblings.into_iter().map(|answer| answer.ok()).collect();
        let one = siblings[0]["refreshToken"].as_str().unwrap();
        ann.spends(one).await.ok();
        ann.spends(siblings[1]["refreshToken"].as_str().unwrap()).await.is_refused(ErrorCode::AuthRefreshReused);
    }

    async fn signing_out_ends_the_session_at_once(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let anns = ann.connects().await;
        ann.signs_out().await.ok_with(204);
        assert_eq!(anns.hears("session.revoked").await["data"]["sessionId"], json!(ann.session()));
        assert_eq!(anns.is_closed().await, 4403);
        ann.opens_list().await.is_refused(ErrorCode::AuthSessionRevoked);
        ann.spends(&ann.refresh_token()).await.is_refused(ErrorCode::AuthSessionRevoked);
        // Twice is once.
        ann.signs_out().await.ok_with(204);
        let nobodys = node.says("auth.logout", json!({ "refreshToken": "x" })).await;
        nobodys.is_refused(ErrorCode::AuthRefreshInvalid);
    }

    async fn a_forged_token_is_good_at_no_door(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let keys = node.gets("/.well-known/jwks.json").await.json();
        let public = URL_SAFE_NO_PAD.decode(keys["keys"][0]["x"].as_str().unwrap()).unwrap();
        let anns = ann.connects().await;
        for (what, token) in forgeries(&ann.access_token(), &public) {
            let answer = node.asks(Some(&token), Request::of("users.getProfile", json!({ "userId": "me" }))).await;
            assert_eq!(answer.status, Some(401), "{what}");
            answer.is_refused(ErrorCode::AuthUnauthenticated);
            let mut by_header = Wire::open(&node, Dial::new().bearer(&token)).await;
            assert_eq!(by_header.is_closed().await, 4401, "{what}");
            let mut by_hello = Wire::open(&node, Dial::new()).await;
            by_hello.says_hello(json!({ "token": token })).await;
            assert_eq!(by_hello.is_closed().await, 4401, "{what}");
            let renewal = anns.calls("auth.renew", json!({ "accessToken": token })).await.error();
            assert!(
                renewal["code"] == "auth.unauthenticated" || renewal["field"] == "accessToken",
                "{what}: {renewal}"
            );
            if !token.is_empty() && !token.contains(' ') {
                let list = format!("quckchat.v1, bearer.{token}");
                let mut by_protocol = Wire::open(&node, Dial::new().with("sec-websocket-protocol", list)).await;
                assert_eq!(by_protocol.is_closed().await, 4401, "{what}");
            }
        }
        anns.is_served().await;
    }

    async fn without_a_token_nothing_is_served(stage: Stage) {
        let node = Node::start(&stage).await;
        for command in ["users.search", "conversations.getByUser", "users.changes", "presence.get"] {
            node.says(command, json!({})).await.is_refused(ErrorCode::AuthUnauthenticated);
        }
        let basic = [("authorization", "Basic YW5uOmFubg==".to_owned())];
        let reply = node.requests(actix_web::http::Method::GET, "/api/v1/users/me", &basic, "").await;
        assert!(reply.header("www-authenticate").unwrap().starts_with("Bearer"));
        reply.answer().is_refused(ErrorCode::AuthUnauthenticated);
    }

    async fn an_expired_token_is_good_at_no_door(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        node.clock.advance(15 * MINUTE - millis(1));
        ann.opens_list().await.ok();
        ann.connects().await;
        node.clock.advance(millis(1));
        ann.opens_list().await.is_refused(ErrorCode::AuthTokenExpired);
        let mut by_header = Wire::open(&node, ann.dial()).await;
        assert_eq!(by_header.is_closed().await, 4401);
        let mut by_hello = Wire::open(&node, Dial::new()).await;
        by_hello.says_hello(json!({ "token": ann.access_token() })).await;
        assert_eq!(by_hello.is_closed().await, 4401);
        ann.refreshes().await;
        ann.opens_list().await.ok();
    }

    async fn a_socket_ends_with_its_token_unless_it_is_renewed(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let (kept, left) = (ann.connects().await, ann.connects().await);
        node.clock.advance(10 * MINUTE);
        ann.refreshes().await;
        let renewed = kept.calls("auth.renew", json!({ "accessToken": ann.access_token() })).await.ok();
        assert_eq!(renewed["expiresAt"].as_str().unwrap(), "2026-02-02T03:05:00.000Z");
        node.clock.advance(5 * MINUTE);
        assert_eq!(left.is_closed().await, 4401);
        kept.is_served().await;
        node.clock.advance(10 * MINUTE);
        assert_eq!(kept.is_closed().await, 4401);
    }

    async fn a_socket_is_renewed_by_its_own_session_alone(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let anns = ann.connects().await;
        let laptop = ann.on_another_device().await;
        for token in [bob.access_token(), laptop.access_token()] {
            let refused = anns.calls("auth.renew", json!({ "accessToken": token })).await;
            refused.is_refused_for(ErrorCode::RequestInvalid, "accessToken");
        }
        anns.calls("auth.renew", json!({})).await.is_refused_for(ErrorCode::RequestInvalid, "accessToken");
        node.clock.advance(15 * MINUTE);
        let expired = ann.access_token();
        assert_eq!(anns.is_closed().await, 4401);
        ann.refreshes().await;
        let anns = ann.connects().await;
        anns.calls("auth.renew", json!({ "accessToken": expired })).await.is_refused(ErrorCode::AuthTokenExpired);
        anns.is_served().await;
    }

    async fn a_cookie_is_taken_from_pages_that_may_bring_it(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            config.gateway.allowed_origins = vec!["https://chat.example".to_owned()];
        })
        .await;
        let [ann] = node.people(["ann"]).await;
        let cookie = ("cookie", format!("quckchat_refresh={}", ann.refresh_token()));
        let wish = ("x-quckchat-session", "cookie".to_owned());
        let from = |origin: &str| ("origin", origin.to_owned());
        let page = from("https://chat.example");
        let post = async |path: &str, headers: &[(&str, String)]| {
            node.requests(actix_web::http::Method::POST, &format!("/api/v1/auth/{path}"), headers, "").await
        };
        for path in ["refresh", "logout"] {
            // The header alone is no token, and a cookie without the header is not looked at.
            let bare = post(path, &[wish.clone(), page.clone()]).await;
            bare.answer().is_refused(ErrorCode::AuthRefreshInvalid);
            let unasked = post(path, &[cookie.clone(), page.clone()]).await;
            unasked.answer().is_refused(ErrorCode::RequestUnsupportedMediaType);
            for origin in ["https://evil.example", "http://chat.example", "https://chat.example.evil.example", "null"] {
                let foreign = post(path, &[cookie.clone(), wish.clone(), from(origin)]).await;
                assert!(foreign.header("set-cookie").is_none());
                foreign.answer().is_refused(ErrorCode::RequestForbiddenOrigin);
            }
            let nowhere = post(path, &[cookie.clone(), wish.clone()]).await;
            nowhere.answer().is_refused(ErrorCode::RequestForbiddenOrigin);
            let other = ("cookie", "quckchat_refresh=x".to_owned());
            let unknown = post(path, &[other, wish.clone(), page.clone()]).await;
            unknown.answer().is_refused(ErrorCode::AuthRefreshInvalid);
        }
        // None of these has spent it.
        let reply = post("refresh", &[cookie.clone(), wish.clone(), page.clone()]).await;
        assert!(reply.header("set-cookie").unwrap().starts_with("quckchat_refresh="));
        assert!(reply.answer().ok().get("refreshToken").is_none());
        // A page of the node itself is no stranger.
        let own = from(&format!("http://{}", node.address));
        post("refresh", &[cookie, wish, own]).await.answer().ok();
    }

    async fn keys_are_replaced_by_a_command_of_the_program(stage: Stage) {
        let process = Process::serves(&stage, &[]).await;
        let [ann] = process.people(["ann"]).await;
        // The first pair is young: nothing is done to it. Sealing keys alike.
        let ended = runs(&stage, &["admin", "rotate-keys"], &[]).await;
        assert!(ended.status.success(), "{}", ended.log);
        let lines: Vec<&str> = ended.out.lines().collect();
        assert!(lines[0].starts_with("signing: ") && lines[1].starts_with("sealing: "), "{lines:?}");
        for (flag, word) in [("--signing", "signing: "), ("--sealing", "sealing: ")] {
            let ended = runs(&stage, &["admin", "rotate-keys", flag], &[]).await;
            assert!(ended.out.starts_with(word) && ended.out.lines().count() == 1, "{}", ended.out);
        }
        let ended = runs(&stage, &["admin", "rotate-keys"], &[("QUCKCHAT__SECRETS__MASTER", &"x".repeat(40))]).await;
        assert!(!ended.status.success() && ended.log.contains("secrets.master"), "{}", ended.log);
        ann.opens_list().await.ok();
    }
}

/// The name of the key that signed a token.
fn kid(token: &str) -> String {
    part(token, 0)["kid"].as_str().unwrap().to_owned()
}

async fn kids(node: &Node) -> Vec<String> {
    let keys = node.gets("/.well-known/jwks.json").await.json();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fleet_stories! {
    async fn tokens_of_a_replaced_key_are_good_through_the_overlap_and_refused_after_it(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann] = fleet[0].people(["ann"]).await;
        let (config, clock) = (stage.config(), fleet.clock.clone());
        let db = entities::Db::open(&entities::Options::new(stage.database_url())).await.unwrap();
        // Somebody whose token is good for a day, longer than its key will be.
        let mut out = Vec::new();
        quckchat::admin::seed(&config, &db, clock.clone(), 1, &mut out).await.unwrap();
        let eve = Person::seeded(&fleet[0], "eve", &serde_json::from_slice(&out).unwrap());
        let old = kid(&ann.access_token());
        clock.advance(10 * MINUTE);
        ann.refreshes().await;
        let eves = eve.at(&fleet[1]).connects().await;

        let mut said = Vec::new();
        let both = quckchat::admin::Which { signing: true, sealing: true };
        quckchat::admin::rotate_keys(&config, &db, clock.clone(), both, &mut said).await.unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("it signs from 2026-02-02T02:52:00.000Z"), "{said}");
        assert!(said.contains("count until 2026-02-02T03:09:00.000Z"), "{said}");

        // Nodes learn of it within half a minute; until it is two minutes old nobody signs with it.
        clock.let_pass_for(2, secs(30)).await;
        for node in [&fleet[0], &fleet[1]] {
            until("the new key to be known", async || kids(node).await.len() == 2).await;
            let there = ann.at(node);
            there.refreshes().await;
            assert_eq!(kid(&there.access_token()), old);
        }
        let last_of_old = ann.access_token();
        clock.advance(secs(90));
        ann.at(&fleet[1]).refreshes().await;
        let new = kid(&ann.access_token());
        assert!(new != old && kids(&fleet[0]).await.contains(&new));
        let me = || Request::of("users.getProfile", json!({ "userId": "me" }));
        for node in [&fleet[0], &fleet[1]] {
            ann.at(node).opens_list().await.ok();
            node.asks(Some(&last_of_old), me()).await.ok();
            eve.at(node).opens_list().await.ok();
        }

        // The last token of the old key is over before the key is.
        clock.advance(14 * MINUTE);
        fleet[0].asks(Some(&last_of_old), me()).await.is_refused(ErrorCode::AuthTokenExpired);
        clock.advance(3 * MINUTE - millis(1));
        for node in [&fleet[0], &fleet[1]] {
            eve.at(node).opens_list().await.ok();
        }
        clock.advance(millis(1));
        for node in [&fleet[0], &fleet[1]] {
            eve.at(node).opens_list().await.is_refused(ErrorCode::AuthUnauthenticated);
            assert_eq!(kids(node).await, std::slice::from_ref(&new));
            let mut wire = Wire::open(node, eve.dial()).await;
            assert_eq!(wire.is_closed().await, 4401);
            let again = ann.at(node);
            again.refreshes().await;
            again.opens_list().await.ok();
        }
        // Whoever it had let in before stays: their session stands.
        eves.is_served().await;
        db.close().await.unwrap();
    }
}
