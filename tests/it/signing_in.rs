//! Signing in with a code: who gets one, and what a try comes to.

use crate::support::answer::Answer;
use crate::support::speech::Request;
use crate::support::*;

const MINUTE: Duration = secs(60);
const NUMBER: &str = "+49 151 12345678";

async fn asks_for_code(node: &Node, number: &str) -> Answer {
    node.says("auth.sendOtp", json!({ "phoneNumber": number })).await
}

async fn tries(node: &Node, verification: &str, code: &str) -> Answer {
    node.says("auth.verifyOtp", json!({ "verificationId": verification, "code": code })).await
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
        for number in
            ["", "015112345678", "+49", "+49 151 1234567890123", "nonsense", "+1 800 FLOWERS", "+999123456789"]
        {
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
        let answer = node.says("auth.sendOtp", purpose).await;
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
