//! Signing in and staying so: codes, tokens, and what ends a session.

use crate::support::answer::Answer;
use crate::support::speech::Request;
use crate::support::*;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const MINUTE: Duration = secs(60);
const NUMBER: &str = "+49 151 12345678";

async fn asks_for_code(node: &Node, number: &str) -> Answer {
    node.asks(None, Request::of("auth.sendOtp", json!({ "phoneNumber": number }))).await
}

async fn tries(node: &Node, verification: &str, code: &str) -> Answer {
    node.asks(None, Request::of("auth.verifyOtp", json!({ "verificationId": verification, "code": code }))).await
}

/// A verification and its code.
async fn sent(node: &Node, number: &str) -> (String, String) {
    let verification = asks_for_code(node, number).await.ok_with(200)["verificationId"].as_str().unwrap().to_owned();
    let code = node.letters.code(&verification).unwrap();
    (verification, code)
}

fn another(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

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
    async fn a_code_signs_in_and_registers_whom_nobody_knows(stage: Stage) {
        let node = Node::start(&stage).await;
        let answer = asks_for_code(&node, NUMBER).await.ok_with(200);
        assert_eq!((&answer["expiresInSecs"], &answer["retryAfterSecs"]), (&json!(300), &json!(0)));
        let verification = answer["verificationId"].as_str().unwrap();
        let code = node.letters.code(verification).unwrap();
        assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()));
        assert!(!answer.to_string().contains(&code));

        let signed_in = tries(&node, verification, &code).await.ok_with(200);
        assert_eq!((&signed_in["isNewUser"], &signed_in["expiresInSecs"]), (&json!(true), &json!(900)));
        assert_eq!(signed_in["user"]["phoneNumber"], "+4915112345678");
        let token = signed_in["accessToken"].as_str().unwrap();
        let me = node.asks(Some(token), Request::of("users.getProfile", json!({ "userId": "me" }))).await.ok();
        assert_eq!(me, signed_in["user"]);

        // The same number in another spelling is the same person, in another session.
        let again = Person::signs_in(&node, "+4915112345678").await.ok();
        assert_eq!((&again["isNewUser"], &again["user"]["id"]), (&json!(false), &me["id"]));
        assert_ne!(again["sessionId"], signed_in["sessionId"]);
    }

    async fn an_access_token_is_what_its_standard_says(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let token = ann.access_token();
        let (header, claims) = (part(&token, 0), part(&token, 1));
        assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
        assert_eq!((&claims["iss"], &claims["aud"], &claims["sub"]), (&json!("quckchat"), &json!("quckchat"), &json!(ann.id)));
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

    async fn a_code_is_good_once_and_for_five_minutes(stage: Stage) {
        let node = Node::start(&stage).await;
        let (verification, code) = sent(&node, NUMBER).await;
        tries(&node, &verification, &code).await.ok();
        tries(&node, &verification, &code).await.is_refused(ErrorCode::AuthOtpExpired);

        let (verification, code) = sent(&node, NUMBER).await;
        node.clock.advance(5 * MINUTE - millis(1));
        let (other, _) = sent(&node, NUMBER).await;
        tries(&node, &other, another(&node.letters.code(&other).unwrap())).await.is_refused(ErrorCode::AuthOtpInvalid);
        node.clock.advance(millis(1));
        tries(&node, &verification, &code).await.is_refused(ErrorCode::AuthOtpExpired);
        tries(&node, &other, &node.letters.code(&other).unwrap()).await.ok();
    }

    async fn a_code_is_bound_to_its_verification(stage: Stage) {
        let node = Node::start(&stage).await;
        let (verification, _) = sent(&node, NUMBER).await;
        let code = node.letters.code(&verification).unwrap();
        let (mallorys, mut others) = sent(&node, "+49 151 87654321").await;
        while others == code {
            (_, others) = sent(&node, "+49 151 87654321").await;
        }
        tries(&node, &verification, &others).await.is_refused(ErrorCode::AuthOtpInvalid);
        tries(&node, &mallorys, &code).await.is_refused(ErrorCode::AuthOtpInvalid);
        tries(&node, &verification, &code).await.ok();
    }

    async fn tries_are_counted_on_the_verification_and_not_on_the_number(stage: Stage) {
        let node = Node::start(&stage).await;
        let (owners, owners_code) = sent(&node, NUMBER).await;
        // A stranger asks for a code to the same number and guesses.
        let (strangers, strangers_code) = sent(&node, NUMBER).await;
        for _ in 0..3 {
            tries(&node, &strangers, another(&strangers_code)).await.is_refused(ErrorCode::AuthOtpInvalid);
        }
        tries(&node, &strangers, &strangers_code).await.is_refused(ErrorCode::AuthOtpExhausted);
        tries(&node, &owners, &owners_code).await.ok();
    }

    async fn a_number_gets_no_more_codes_than_its_budget(stage: Stage) {
        let node = Node::start(&stage).await;
        for at in 0..5 {
            let answer = asks_for_code(&node, NUMBER).await.ok();
            assert_eq!(answer["retryAfterSecs"], if at == 4 { 3600 } else { 0 });
        }
        let refused = asks_for_code(&node, "+49 (0)151/12345678").await.is_refused(ErrorCode::AuthOtpBudget);
        assert_eq!(refused["retryAfterMs"], 3_600_000);
        asks_for_code(&node, "+49 151 12345679").await.ok();
        node.clock.advance(60 * MINUTE);
        asks_for_code(&node, NUMBER).await.ok();
    }

    async fn what_is_no_number_or_code_is_refused_by_its_field(stage: Stage) {
        let node = Node::start(&stage).await;
        for number in ["", "015112345678", "+49", "+49 151 1234567890123", "nonsense", "+1 800 FLOWERS", "+999123456789"] {
            asks_for_code(&node, number).await.is_refused_for(ErrorCode::RequestInvalid, "phoneNumber");
        }
        let (verification, _) = sent(&node, NUMBER).await;
        for code in ["", "12345", "1234567", "12345x", "１２３４５６"] {
            tries(&node, &verification, code).await.is_refused_for(ErrorCode::RequestInvalid, "code");
        }
        for unknown in ["x", "AAAAAAAAAAAAAAAAAAAAAA", "../../etc/passwd"] {
            tries(&node, unknown, "123456").await.is_refused(ErrorCode::AuthOtpExpired);
        }
        let purpose = json!({ "phoneNumber": NUMBER, "purpose": "elections" });
        let answer = node.asks(None, Request::of("auth.sendOtp", purpose)).await;
        answer.is_refused_for(ErrorCode::RequestInvalid, "purpose");
    }

    async fn a_known_and_an_unknown_number_get_the_same_answer(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let mut known = asks_for_code(&node, &ann.phone).await.ok();
        let mut unknown = asks_for_code(&node, NUMBER).await.ok();
        for answer in [&mut known, &mut unknown] {
            assert_eq!(answer["verificationId"].as_str().unwrap().len(), 22);
            answer["verificationId"] = json!("");
        }
        assert_eq!(known, unknown);
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
        let nobodys = node.asks(None, Request::of("auth.logout", json!({ "refreshToken": "x" }))).await;
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
            assert!(renewal["code"] == "auth.unauthenticated" || renewal["field"] == "accessToken", "{what}: {renewal}");
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
            node.asks(None, Request::of(command, json!({}))).await.is_refused(ErrorCode::AuthUnauthenticated);
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

    async fn a_browser_may_keep_its_refresh_token_where_no_script_reads_it(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            config.gateway.allowed_origins = vec!["https://chat.example".to_owned()];
        })
        .await;
        let (verification, code) = sent(&node, NUMBER).await;
        let json = ("content-type", "application/json".to_owned());
        let wish = ("x-quckchat-session", "cookie".to_owned());
        let origin = ("origin", "https://chat.example".to_owned());
        let post = async |path: &str, headers: &[(&str, String)], body: Value| {
            let body = if body.is_null() { String::new() } else { body.to_string() };
            node.requests(actix_web::http::Method::POST, &format!("/api/v1/auth/{path}"), headers, body).await
        };
        let body = json!({ "verificationId": verification, "code": code });
        let reply = post("verify-otp", &[json.clone(), wish.clone(), origin.clone()], body).await;
        let cookie = reply.header("set-cookie").unwrap().to_owned();
        for attribute in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/api/v1/auth"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        assert_eq!(reply.header("access-control-allow-origin"), Some("https://chat.example"));
        let signed_in = reply.answer().ok();
        assert!(signed_in.get("refreshToken").is_none() && signed_in["accessToken"].is_string());

        let kept = ("cookie", cookie.split(';').next().unwrap().to_owned());
        // The cookie alone is what a forged request has.
        post("refresh", std::slice::from_ref(&kept), Value::Null).await.answer().error();
        let foreign = [kept.clone(), wish.clone(), ("origin", "https://evil.example".to_owned())];
        post("refresh", &foreign, Value::Null).await.answer().is_refused(ErrorCode::RequestForbiddenOrigin);
        let originless = [kept.clone(), wish.clone()];
        post("refresh", &originless, Value::Null).await.answer().is_refused(ErrorCode::RequestForbiddenOrigin);

        let reply = post("refresh", &[kept.clone(), wish.clone(), origin.clone()], Value::Null).await;
        let next = reply.header("set-cookie").unwrap().to_owned();
        assert_ne!(next, cookie);
        let refreshed = reply.answer().ok_with(200);
        assert!(refreshed.get("refreshToken").is_none());
        let kept = ("cookie", next.split(';').next().unwrap().to_owned());
        let reply = post("logout", &[kept, wish, origin], Value::Null).await;
        assert_eq!(reply.status, 204);
        assert!(reply.header("set-cookie").unwrap().contains("Max-Age=0"));
        let token = refreshed["accessToken"].as_str().unwrap();
        let me = node.asks(Some(token), Request::of("users.getProfile", json!({ "userId": "me" }))).await;
        me.is_refused(ErrorCode::AuthSessionRevoked);
    }
}
