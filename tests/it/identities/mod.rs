//! Signing in by who somebody is elsewhere: at an OpenID Connect issuer, in a browser.
//! Never a real provider's server: those that speak for themselves are in `tests/peers`.

mod apple;
mod facebook;
mod flows;
mod linking;
mod native;
mod reauthenticating;
mod second_factor;
mod tokens;

use crate::support::browser::{BACK, exchanges, exchanges_with, s256, signs_in};
use crate::support::issuer::CLIENT;
use crate::support::*;
use quckchat::config::Config;
use quckchat::config::oauth::Provider;
use wiremock::ResponseTemplate;

/// A node whose clients may be sent to these providers.
pub async fn node_with<const N: usize>(stage: &Stage, providers: [(&str, Provider); N]) -> Node {
    Node::start_with(stage, |config: &mut Config| allow(config, providers)).await
}

/// Lets clients be sent to these providers.
pub fn allow<const N: usize>(config: &mut Config, providers: [(&str, Provider); N]) {
    config.oauth.base_url = "http://node.example".to_owned();
    config.oauth.redirect_allow = vec![BACK.to_owned()];
    config.oauth.providers = providers.map(|(name, section)| (name.to_owned(), section)).into();
}

/// The same with one, which it calls `issuer`.
pub async fn node_at(stage: &Stage, issuer: &Issuer) -> Node {
    node_with(stage, [("issuer", issuer.section())]).await
}

stories! {
    async fn somebody_signs_in_by_an_issuer(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let browser = Browser::sets_out(&node, "issuer", "").await;
        assert_eq!(browser.sent_to, format!("{}/authorize", issuer.url()));
        let asked = |name: &str| browser.asked[name].as_str();
        assert_eq!((asked("response_type"), asked("client_id")), ("code", CLIENT));
        assert_eq!(asked("redirect_uri"), "http://node.example/api/v1/auth/oauth/issuer/callback");
        assert_eq!((asked("scope"), asked("code_challenge_method")), ("openid email profile", "S256"));
        assert!(asked("nonce").len() == 43 && asked("code_challenge").len() == 43);
        assert!(asked("state").len() < 1000, "the state carries the flow, and issuers take no URL of any length");
        for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/api/v1/auth/oauth", "Max-Age=600"] {
            assert!(browser.cookie_attributes.split("; ").any(|found| found == attribute), "{attribute}");
        }

        let back = browser.signs_in_at(&issuer, json!({ "name": "Ann Example" })).await;
        assert!(!back.contains_key("error") && back.len() == 3, "{back:?}");
        let first = exchanges(&node, &back["code"]).await.ok_with(200);
        assert_eq!((&first["isNewUser"], &first["user"]["displayName"]), (&json!(true), &json!("Ann Example")));
        assert!(first["accessToken"].is_string() && first["refreshToken"].is_string());
        assert!(first["user"].get("email").is_none(), "an address is not believed unless the operator says so");

        let again = signs_in(&node, &issuer, json!({ "name": "Ann Other" })).await;
        assert_eq!((&again["isNewUser"], &again["user"]), (&json!(false), &first["user"]));
        let other = signs_in(&node, &issuer, json!({ "sub": "bob" })).await;
        assert_ne!(other["user"]["id"], first["user"]["id"]);
        assert_eq!(issuer.asked("/.well-known/openid-configuration").await, 1, "what it publishes is kept");
        assert_eq!(issuer.asked("/jwks").await, 1);
    }

    async fn a_code_is_its_clients_alone_and_good_once_for_a_minute(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let code = async || {
            let browser = Browser::sets_out(&node, "issuer", "").await;
            browser.signs_in_at(&issuer, json!({})).await["code"].clone()
        };
        let stolen = code().await;
        let of_thief = "x".repeat(43);
        exchanges_with(&node, &stolen, &of_thief).await.is_refused(ErrorCode::AuthChallengeExpired);
        exchanges_with(&node, &stolen, "short").await.is_refused_for(ErrorCode::RequestInvalid, "codeVerifier");
        exchanges(&node, &stolen).await.ok();
        exchanges(&node, &stolen).await.is_refused(ErrorCode::AuthChallengeExpired);
        exchanges(&node, "nonsense").await.is_refused(ErrorCode::AuthChallengeExpired);

        let tried = code().await;
        for _ in 0..3 {
            exchanges_with(&node, &tried, &of_thief).await.is_refused(ErrorCode::AuthChallengeExpired);
        }
        exchanges(&node, &tried).await.is_refused(ErrorCode::AuthChallengeExhausted);

        let late = code().await;
        node.clock.advance(secs(60));
        exchanges(&node, &late).await.is_refused(ErrorCode::AuthChallengeExpired);
    }

    async fn a_flow_is_one_browsers_and_ends_once(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_with(&stage, [("issuer", issuer.section()), ("other", issuer.section())]).await;
        // Whoever lures somebody else's browser into their own flow would have them act as themselves.
        let mut lured = Browser::sets_out(&node, "issuer", "").await;
        lured.cookie.replace_range(lured.cookie.len() - 4.., "AAAA");
        assert_eq!(lured.signs_in_at(&issuer, json!({})).await["error"], "auth.identity_invalid");
        let mut bare = Browser::sets_out(&node, "issuer", "").await;
        bare.cookie = "quckchat_oauth_=".to_owned();
        assert_eq!(bare.signs_in_at(&issuer, json!({})).await["error"], "auth.identity_invalid");
        assert_eq!(issuer.asked("/token").await, 0, "no code is spent for them");

        let browser = Browser::sets_out(&node, "issuer", "").await;
        browser.signs_in_at(&issuer, json!({})).await;
        let again = browser.calls_back(&format!("code=theirs&state={}", browser.asked["state"])).await;
        again.answer().is_refused(ErrorCode::AuthChallengeExhausted);
        // At another provider's redirect URI it is mixed up.
        let mixed = Browser::sets_out(&node, "other", "").await;
        let elsewhere = format!("/api/v1/auth/oauth/issuer/callback?code=theirs&state={}", mixed.asked["state"]);
        let cookie = [("cookie", mixed.cookie.clone())];
        let reply = node.requests(actix_web::http::Method::GET, &elsewhere, &cookie, "").await;
        reply.answer().is_refused(ErrorCode::AuthChallengeExpired);

        let late = Browser::sets_out(&node, "issuer", "").await;
        node.clock.advance(secs(600));
        let reply = late.calls_back(&format!("code=theirs&state={}", late.asked["state"])).await;
        reply.answer().is_refused(ErrorCode::AuthChallengeExpired);
        for query in ["code=theirs", "code=theirs&state=", "code=theirs&state=nonsense"] {
            late.calls_back(query).await.answer().is_refused(ErrorCode::AuthChallengeExpired);
        }
    }

    async fn browsers_are_sent_to_places_of_a_list_alone(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let challenge = s256("x");
        let start = async |query: String| {
            node.gets(&format!("/api/v1/auth/oauth/issuer/start?{query}")).await.answer()
        };
        for near in ["https://chat.example/in", "https://chat.example/in?from=there&x", "https://evil.example/", "x"] {
            let query = format!("redirectUri={}&codeChallenge={challenge}", speech::encoded(near));
            start(query).await.is_refused_for(ErrorCode::RequestInvalid, "redirectUri");
        }
        let back = speech::encoded(BACK);
        start(format!("redirectUri={back}")).await.is_refused_for(ErrorCode::RequestInvalid, "codeChallenge");
        let plain = format!("redirectUri={back}&codeChallenge=plain");
        start(plain).await.is_refused_for(ErrorCode::RequestInvalid, "codeChallenge");
        let unknown = Browser::asks(&node, "nobody", "").await;
        unknown.answer().is_refused(ErrorCode::AuthProviderUnknown);
    }

    async fn who_does_not_want_or_does_not_answer_is_told_to_the_client(stage: Stage) {
        let issuer = Issuer::start().await;
        let away = issuer::section(json!({ "issuer": format!("http://{}", free_address()) }));
        let node = node_with(&stage, [("issuer", issuer.section()), ("away", away)]).await;
        let start = async || Browser::sets_out(&node, "issuer", "").await;
        assert_eq!(start().await.comes_back("error=access_denied").await["error"], "auth.provider_refused");
        let tired = start().await.comes_back("error=temporarily_unavailable").await;
        assert_eq!(tired["error"], "auth.provider_unavailable");
        assert_eq!(start().await.comes_back("").await["error"], "auth.identity_invalid");
        for (status, body, error) in [
            (400, r#"{"error":"invalid_grant"}"#, "auth.identity_invalid"),
            (401, r#"{"error":"invalid_client"}"#, "auth.provider_unavailable"),
            (200, r#"{"access_token":"a","token_type":"Bearer"}"#, "auth.provider_unavailable"),
            (200, "nonsense", "auth.provider_unavailable"),
            (302, "", "auth.provider_unavailable"),
            (500, "", "auth.provider_unavailable"),
        ] {
            let answer = ResponseTemplate::new(status).insert_header("location", issuer.url());
            issuer.answers(Some(answer.set_body_raw(body, "application/json")));
            assert_eq!(start().await.signs_in_at(&issuer, json!({})).await["error"], error, "{status} {body}");
        }
        let long = ResponseTemplate::new(200).set_body_raw("x".repeat(300_000), "application/json");
        issuer.answers(Some(long));
        assert_eq!(start().await.signs_in_at(&issuer, json!({})).await["error"], "auth.provider_unavailable");

        let sent_back = Browser::sets_out(&node, "away", "").await;
        assert_eq!(sent_back.sent_to, "https://chat.example/in");
        assert_eq!(sent_back.asked["error"], "auth.provider_unavailable");
        assert_eq!((sent_back.asked["state"].as_str(), sent_back.cookie.as_str()), ("of the client", ""));
    }

    async fn one_person_who_comes_twice_at_once_is_one_user(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        for round in 0..4 {
            let mut codes = Vec::new();
            for _ in 0..3 {
                let browser = Browser::sets_out(&node, "issuer", "").await;
                codes.push(browser.signs_in_at(&issuer, json!({ "sub": format!("{round}") })).await["code"].clone());
            }
            let all = futures_util::future::join_all(codes.iter().map(|code| exchanges(&node, code))).await;
            let all: Vec<Value> = all.into_iter().map(|answer| answer.ok()).collect();
            assert!(all.iter().all(|one| one["user"]["id"] == all[0]["user"]["id"]), "{all:?}");
            assert_eq!(all.iter().filter(|one| one["isNewUser"] == true).count(), 1);
            let same = Browser::sets_out(&node, "issuer", "").await;
            let code = same.signs_in_at(&issuer, json!({})).await["code"].clone();
            let (one, other) = futures_util::join!(exchanges(&node, &code), exchanges(&node, &code));
            assert!(one.result.is_ok() != other.result.is_ok(), "a code is good once, also at once");
        }
    }

    async fn a_browser_may_keep_its_refresh_token_in_a_cookie(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let browser = Browser::sets_out(&node, "issuer", "").await;
        let back = browser.signs_in_at(&issuer, json!({})).await;
        let headers =
            [("content-type", "application/json".to_owned()), ("x-quckchat-session", "cookie".to_owned())];
        let body = browser::linking(&back["code"]).to_string();
        let path = "/api/v1/auth/oauth/exchange";
        let reply = node.requests(actix_web::http::Method::POST, path, &headers, body).await;
        assert!(reply.header("set-cookie").unwrap().starts_with("quckchat_refresh="));
        assert!(reply.answer().ok().get("refreshToken").is_none());
    }
}
