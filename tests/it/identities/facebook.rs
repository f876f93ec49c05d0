//! Facebook Login, Limited Login and the Graph API, field by field as <https://developers.facebook.com/docs> says.
//! Never Facebook's own server: a stand-in answers as those pages do.

use super::node_with;
use crate::support::browser::exchanges;
use crate::support::issuer::{form, received, section};
use crate::support::*;
use actors::clock::Clock;
use aws_lc_rs::hmac;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use quckchat::config::oauth::Provider;
use std::collections::HashMap;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const APP: &str = "1234567890";
const SECRET: &str = "app secret";

fn provider(facebook: &MockServer) -> Provider {
    let url = facebook.uri();
    section(json!({
        "kind": "facebook", "issuer": url, "graph_url": url, "client_id": APP, "client_secret": SECRET,
        "trust_email": true,
    }))
}

async fn answers(facebook: &MockServer, verb: &str, at: &str, status: u16, body: Value) {
    let mock = Mock::given(method(verb)).and(path(at)).respond_with(ResponseTemplate::new(status).set_body_json(body));
    mock.with_priority(if status == 200 { 5 } else { 1 }).mount(facebook).await;
}

/// A Facebook at which everybody is Ann.
async fn facebook() -> MockServer {
    let facebook = MockServer::start().await;
    let token = json!({ "access_token": "EAAB", "token_type": "bearer", "expires_in": 5_183_944 });
    answers(&facebook, "POST", "/v24.0/oauth/access_token", 200, token).await;
    let me = json!({ "id": "1020", "name": "Ann Example", "email": "ann@example.org" });
    answers(&facebook, "GET", "/v24.0/me", 200, me).await;
    facebook
}

async fn asked(facebook: &MockServer, at: &str) -> HashMap<String, String> {
    let request = received(facebook, at).await.pop().unwrap();
    request.url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

async fn native(node: &Node, data: Value) -> answer::Answer {
    let mut command = json!({ "provider": "facebook", "device": { "name": "a phone" } });
    command.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    node.says("auth.oauthMobile", command).await
}

stories! {
    async fn somebody_signs_in_by_facebook(stage: Stage) {
        let facebook = facebook().await;
        let node = node_with(&stage, [("facebook", provider(&facebook))]).await;
        let browser = Browser::sets_out(&node, "facebook", "").await;
        // https://developers.facebook.com/docs/facebook-login/guides/advanced/manual-flow
        assert_eq!(browser.sent_to, format!("{}/v24.0/dialog/oauth", facebook.uri()));
        let redirect = "http://node.example/api/v1/auth/oauth/facebook/callback";
        for (name, value) in [
            ("client_id", APP),
            ("redirect_uri", redirect),
            ("response_type", "code"),
            ("scope", "public_profile email"),
            ("code_challenge_method", "S256"),
        ] {
            assert_eq!(browser.asked[name], value, "{name}");
        }
        let back = browser.comes_back("code=AQB").await;
        let signed_in = exchanges(&node, &back["code"]).await.ok();
        assert_eq!(signed_in["user"]["displayName"], "Ann Example");
        assert!(signed_in["user"].get("email").is_none(), "Facebook does not say whether it has verified it");

        let exchange = received(&facebook, "/v24.0/oauth/access_token").await.pop().unwrap();
        let sent = form(&exchange);
        for (name, value) in [
            ("client_id", APP),
            ("client_secret", SECRET),
            ("code", "AQB"),
            ("redirect_uri", redirect),
            ("grant_type", "authorization_code"),
        ] {
            assert_eq!(sent[name], value, "{name}");
        }
        assert_eq!(browser::s256(sent["code_verifier"].as_str().unwrap()), browser.asked["code_challenge"]);
        // https://developers.facebook.com/docs/graph-api/guides/secure-requests
        let me = asked(&facebook, "/v24.0/me").await;
        let proof = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), b"EAAB");
        let proof: String = proof.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((me["fields"].as_str(), me["access_token"].as_str()), ("id,name,email", "EAAB"));
        assert_eq!((&me["appsecret_proof"], me.len()), (&proof, 3));

        let again = Browser::sets_out(&node, "facebook", "").await.comes_back("code=AQC").await;
        assert_eq!(exchanges(&node, &again["code"]).await.ok()["user"], signed_in["user"]);
        answers(&facebook, "GET", "/v24.0/me", 400, json!({ "error": { "code": 190 } })).await;
        let back = Browser::sets_out(&node, "facebook", "").await.comes_back("code=AQD").await;
        assert_eq!(back["error"], "auth.identity_invalid");
    }

    async fn an_apps_access_token_must_be_of_our_app(stage: Stage) {
        let facebook = facebook().await;
        let node = node_with(&stage, [("facebook", provider(&facebook))]).await;
        // https://developers.facebook.com/docs/graph-api/reference/debug_token
        let debug = |app: &str, user: &str, valid: bool| {
            json!({ "data": { "app_id": app, "user_id": user, "is_valid": valid, "type": "USER" } })
        };
        for (app, user, valid, taken) in [
            (APP, "1020", true, true),
            ("666", "1020", true, false),
            (APP, "1020", false, false),
            (APP, "1021", true, false),
        ] {
            let server = facebook.register_as_scoped(
                Mock::given(method("GET"))
                    .and(path("/v24.0/debug_token"))
                    .respond_with(ResponseTemplate::new(200).set_body_json(debug(app, user, valid))),
            );
            let _guard = server.await;
            let answer = native(&node, json!({ "accessToken": "EAAC" })).await;
            match taken {
                true => assert_eq!(answer.ok()["user"]["displayName"], "Ann Example"),
                false => drop(answer.is_refused(ErrorCode::AuthIdentityInvalid)),
            }
            let query = asked(&facebook, "/v24.0/debug_token").await;
            assert_eq!(query["input_token"], "EAAC");
            assert_eq!((&query["access_token"], query.len()), (&format!("{APP}|{SECRET}"), 2));
        }
        native(&node, json!({})).await.is_refused_for(ErrorCode::RequestInvalid, "idToken");
        let both = json!({ "idToken": "a", "accessToken": "b" });
        native(&node, both).await.is_refused_for(ErrorCode::RequestInvalid, "idToken");
    }

    async fn limited_login_is_the_same_person(stage: Stage) {
        let facebook = facebook().await;
        let node = node_with(&stage, [("facebook", provider(&facebook))]).await;
        let key = issuer::key();
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some("one".to_owned());
        answers(&facebook, "GET", "/.well-known/oauth/openid/jwks/", 200, json!({ "keys": [jwk] })).await;
        let now = node.clock.now().millis() / 1000;
        let token = |key: &EncodingKey, claims: Value| {
            // https://developers.facebook.com/docs/facebook-login/limited-login/token
            let mut said = json!({
                "iss": facebook.uri(), "aud": APP, "sub": "1020", "iat": now, "exp": now + 3600, "jti": "j",
                "nonce": "123", "name": "Ann Example", "given_name": "Ann", "email": "ann@example.org",
            });
            said.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
            encode(&Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::ES256) }, &said, key).unwrap()
        };
        let first = native(&node, json!({ "idToken": token(&key, json!({})), "nonce": "123" })).await.ok();
        assert_eq!((&first["isNewUser"], &first["user"]["displayName"]), (&json!(true), &json!("Ann Example")));
        let back = Browser::sets_out(&node, "facebook", "").await.comes_back("code=AQB").await;
        assert_eq!(exchanges(&node, &back["code"]).await.ok()["user"]["id"], first["user"]["id"]);
        for (key, claims) in [
            (&key, json!({ "aud": "666", "jti": "k" })),
            (&key, json!({ "iss": "https://facebook.example" })),
            (&key, json!({ "exp": now - 60 })),
            (&key, json!({ "nonce": "124" })),
            (&issuer::key(), json!({ "jti": "l" })),
        ] {
            let data = json!({ "idToken": token(key, claims), "nonce": "123" });
            native(&node, data).await.is_refused(ErrorCode::AuthIdentityInvalid);
        }
        native(&node, json!({ "idToken": "nonsense" })).await.is_refused(ErrorCode::AuthIdentityInvalid);
    }
}
