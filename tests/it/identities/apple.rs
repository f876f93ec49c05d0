//! Sign in with Apple: what is sent there and posted back, field by field as
//! <https://developer.apple.com/documentation/signinwithapplerestapi> says.
//! Never Apple's own server: a small issuer stands in its place.

use super::node_with;
use crate::support::browser::exchanges;
use crate::support::issuer::{CLIENT, form, pkcs8, section};
use crate::support::*;
use actix_web::http::Method;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, decode, decode_header};
use node::Reply;
use oauth2::url::form_urlencoded;
use quckchat::config::oauth::Provider;
use serde_json::Map;
use wiremock::ResponseTemplate;

/// Six months, as Apple counts them.
const LONGEST_SECRET: i64 = 15_777_000;

fn provider(issuer: &Issuer, key: &[u8]) -> Provider {
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(key));
    section(json!({
        "kind": "apple", "issuer": issuer.url(), "team_id": "TEAM", "key_id": "KEY", "private_key": pem,
    }))
}

/// Has the browser post a form, as Apple's page does: from another site, and so with no cookie.
async fn posts(node: &Node, fields: &[(&str, &str)]) -> Reply {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let headers = [
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ("origin", "https://appleid.apple.com".to_owned()),
    ];
    node.requests(Method::POST, "/api/v1/auth/oauth/apple/callback", &headers, body).await
}

/// Where the browser goes from there: the query, in which nothing of what was posted stands.
fn sent_on(reply: &Reply) -> String {
    assert_eq!(reply.status, 303, "{}", String::from_utf8_lossy(&reply.body));
    let query = reply.header("location").unwrap().strip_prefix('?').unwrap().to_owned();
    assert!(!query.contains("code-of-apple") && !query.contains("Ann"), "{query}");
    query
}

/// Answers the next code with a token of these claims.
fn lets_in(node: &Node, issuer: &Issuer, browser: &Browser, claims: Value) {
    let mut said =
        json!({ "nonce": browser.asked["nonce"], "email": "x@privaterelay.appleid.com", "email_verified": "true" });
    said.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let token = issuer.signs(&issuer.claims(node, said));
    let answer = json!({
        "access_token": "theirs", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "r", "id_token": token,
    });
    issuer.answers(Some(ResponseTemplate::new(200).set_body_json(answer)));
}

const NAME: &str = r#"{"name":{"firstName":"Ann","lastName":"Example"},"email":"somebody.else@example.org"}"#;

stories! {
    async fn apple_is_asked_and_answers_in_its_own_way(stage: Stage) {
        let (issuer, key) = (Issuer::start().await, pkcs8());
        let node = node_with(&stage, [("apple", provider(&issuer, &key))]).await;
        let browser = Browser::sets_out(&node, "apple", "").await;
        // https://developer.apple.com/documentation/signinwithapplerestapi/request-an-authorization-to-the-sign-in-with-apple-server
        for (name, value) in [
            ("response_mode", "form_post"),
            ("response_type", "code"),
            ("scope", "openid email name"),
            ("client_id", CLIENT),
            ("redirect_uri", "http://node.example/api/v1/auth/oauth/apple/callback"),
        ] {
            assert_eq!(browser.asked[name], value, "{name}");
        }
        lets_in(&node, &issuer, &browser, json!({}));
        let fields = [("state", browser.asked["state"].as_str()), ("code", "code-of-apple"), ("user", NAME)];
        let query = sent_on(&posts(&node, &fields).await);
        let reply = browser.calls_back(&query).await;
        assert_eq!(reply.status, 302);
        let location = reply.header("location").unwrap().to_owned();
        let code = oauth2::url::Url::parse(&location).unwrap().query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
        let user = exchanges(&node, &code).await.ok()["user"].clone();
        assert_eq!(user["displayName"], "Ann Example");
        assert!(user.get("email").is_none(), "the address beside the name is signed by nobody");

        // https://developer.apple.com/documentation/signinwithapplerestapi/generate-and-validate-tokens
        let request = issuer.heard("/token").await;
        assert!(request.headers.get("authorization").is_none());
        let sent: Map<String, Value> = form(&request);
        let mut names: Vec<&str> = sent.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["client_id", "client_secret", "code", "code_verifier", "grant_type", "redirect_uri"]);
        for (name, value) in [
            ("client_id", CLIENT),
            ("code", "code-of-apple"),
            ("grant_type", "authorization_code"),
            ("redirect_uri", "http://node.example/api/v1/auth/oauth/apple/callback"),
        ] {
            assert_eq!(sent[name], value, "{name}");
        }
        // https://developer.apple.com/documentation/accountorganizationaldatasharing/creating-a-client-secret
        let secret = sent["client_secret"].as_str().unwrap();
        let header = decode_header(secret).unwrap();
        assert_eq!((header.alg, header.kid.as_deref()), (Algorithm::ES256, Some("KEY")));
        let public = Jwk::from_encoding_key(&EncodingKey::from_ec_der(&key), Algorithm::ES256).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.set_audience(&[issuer.url()]);
        let claims = decode::<Value>(secret, &DecodingKey::from_jwk(&public).unwrap(), &validation).unwrap().claims;
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("TEAM"), &json!(CLIENT)));
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert!(life > 0 && life <= LONGEST_SECRET, "{life}");
        assert_eq!(URL_SAFE_NO_PAD.decode(secret.rsplit('.').next().unwrap()).unwrap().len(), 64);
    }

    async fn the_name_is_told_once_and_stays(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_with(&stage, [("apple", provider(&issuer, &pkcs8()))]).await;
        let signs_in = async |user: &[(&str, &str)]| {
            let browser = Browser::sets_out(&node, "apple", "").await;
            lets_in(&node, &issuer, &browser, json!({}));
            let mut fields = vec![("state", browser.asked["state"].as_str()), ("code", "code-of-apple")];
            fields.extend(user);
            let query = sent_on(&posts(&node, &fields).await);
            let reply = browser.calls_back(&query).await;
            let location = oauth2::url::Url::parse(reply.header("location").unwrap()).unwrap();
            let code = location.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
            exchanges(&node, &code).await.ok()
        };
        let first = signs_in(&[("user", NAME)]).await;
        let second = signs_in(&[]).await;
        let forged = signs_in(&[("user", r#"{"name":{"firstName":"Mallory"}}"#)]).await;
        assert_eq!((&first["isNewUser"], &second["isNewUser"]), (&json!(true), &json!(false)));
        assert!([&second, &forged].iter().all(|one| one["user"] == first["user"]));
    }

    async fn what_was_posted_is_for_one_flow_and_one_browser_once(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_with(&stage, [("apple", provider(&issuer, &pkcs8()))]).await;
        let of = |browser: &Browser| browser.asked["state"].clone();
        let [ann, bob] = [Browser::sets_out(&node, "apple", "").await, Browser::sets_out(&node, "apple", "").await];
        lets_in(&node, &issuer, &ann, json!({}));
        let query = sent_on(&posts(&node, &[("state", &of(&ann)), ("code", "code-of-apple")]).await);
        let (_, posted) = query.split_once("posted=").unwrap();
        // Under another flow's state it does not open.
        assert_eq!(bob.comes_back(&format!("posted={posted}")).await["error"], "auth.challenge_expired");
        assert_eq!(issuer.asked("/token").await, 0);

        let mut other = ann.clone();
        other.cookie = bob.cookie.clone();
        assert_eq!(other.comes_back("code=x").await["error"], "auth.identity_invalid");
        // What others try with it does not end her flow; what she has begun does, and nothing is posted to it any more.
        assert!(ann.comes_back(&format!("posted={posted}")).await.contains_key("code"));
        let again = posts(&node, &[("state", &of(&ann)), ("code", "again")]).await;
        again.answer().is_refused(ErrorCode::AuthChallengeExhausted);
        let long = [("state", of(&bob)), ("code", "x".repeat(4000))];
        let long = long.each_ref().map(|(name, value)| (*name, value.as_str()));
        posts(&node, &long).await.answer().is_refused_for(ErrorCode::RequestInvalid, "code");
        for state in ["", "nonsense"] {
            let reply = posts(&node, &[("state", state), ("code", "x")]).await;
            reply.answer().is_refused(ErrorCode::AuthChallengeExpired);
        }
        let headers = [("content-type", "application/json".to_owned())];
        let path = "/api/v1/auth/oauth/apple/callback";
        let reply = node.requests(Method::POST, path, &headers, "{}").await;
        reply.answer().is_refused(ErrorCode::RequestUnsupportedMediaType);

        let refused = Browser::sets_out(&node, "apple", "").await;
        let query = sent_on(&posts(&node, &[("state", &of(&refused)), ("error", "user_cancelled_authorize")]).await);
        let reply = refused.calls_back(&query).await;
        assert!(reply.header("location").unwrap().contains("error=auth.provider_refused"));
    }
}
