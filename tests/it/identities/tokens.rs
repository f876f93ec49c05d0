//! Which id tokens are not taken, and what is fetched to tell.
//! Never how a token comes here: each is given for a code.

use super::{node_at, node_with};
use crate::support::browser::{exchanges, signs_in};
use crate::support::issuer::{CLIENT, key};
use crate::support::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use wiremock::ResponseTemplate;

/// What the node says to an issuer that gives this token for a code.
async fn given(node: &Node, issuer: &Issuer, token: impl FnOnce(&str) -> String) -> String {
    let browser = Browser::sets_out(node, "issuer", "").await;
    let token = token(&browser.asked["nonce"]);
    let answer = json!({ "access_token": "a", "token_type": "Bearer", "id_token": token });
    issuer.answers(Some(ResponseTemplate::new(200).set_body_json(answer)));
    let back = browser.comes_back("code=theirs").await;
    issuer.answers(None);
    back.get("error").cloned().unwrap_or_default()
}

stories! {
    async fn a_token_must_be_the_issuers_for_us_for_this_request_and_now(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        signs_in(&node, &issuer, json!({})).await;
        let now = issuer.claims(&node, json!({}))["iat"].as_i64().unwrap();
        for (wrong, claims) in [
            ("issuer", json!({ "iss": "https://evil.example" })),
            ("issuer", json!({ "iss": format!("{}/", issuer.url()) })),
            ("audience", json!({ "aud": "somebody else" })),
            ("audience", json!({ "aud": [] })),
            ("presenter", json!({ "aud": [CLIENT, "somebody else"] })),
            ("presenter", json!({ "aud": CLIENT, "azp": "somebody else" })),
            ("time", json!({ "exp": now - 60 })),
            ("time", json!({ "iat": now + 61 })),
            ("time", json!({ "nbf": now + 61 })),
            ("time", json!({ "exp": null })),
            ("time", json!({ "exp": "tomorrow" })),
            ("nonce", json!({ "nonce": "another" })),
            ("nonce", json!({ "nonce": null })),
            ("subject", json!({ "sub": "" })),
            ("subject", json!({ "sub": null })),
            ("subject", json!({ "sub": "x".repeat(256) })),
        ] {
            let browser = Browser::sets_out(&node, "issuer", "").await;
            let back = browser.signs_in_at(&issuer, claims.clone()).await;
            assert_eq!(back.get("error").map(String::as_str), Some("auth.identity_invalid"), "{wrong}: {claims}");
        }
        // Clocks may differ by a minute; several audiences are fine where it was given to us; times may have fractions.
        for right in [
            json!({ "exp": now - 59, "iat": now + 60, "nbf": now + 60 }),
            json!({ "aud": [CLIENT, "somebody else"], "azp": CLIENT }),
            json!({ "aud": [CLIENT], "exp": now as f64 + 0.5 }),
        ] {
            assert_eq!(signs_in(&node, &issuer, right).await["isNewUser"], false);
        }
    }

    async fn a_token_must_be_signed_by_a_key_of_the_issuer(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        signs_in(&node, &issuer, json!({})).await;
        let claims = |nonce: &str| issuer.claims(&node, json!({ "nonce": nonce }));
        let named = |alg| Header { kid: Some("first".to_owned()), ..Header::new(alg) };
        let plain = |header: &str, nonce: &str| {
            let claims = URL_SAFE_NO_PAD.encode(claims(nonce).to_string());
            format!("{}.{claims}.", URL_SAFE_NO_PAD.encode(header))
        };
        let secret = |header: Header, nonce: &str| {
            encode(&header, &claims(nonce), &EncodingKey::from_secret(b"public")).unwrap()
        };
        let signed = |kid: Option<&str>, nonce: &str| {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
            encode(&header, &claims(nonce), &key()).unwrap()
        };
        let bad = "auth.identity_invalid";
        assert_eq!(given(&node, &issuer, |nonce| plain(r#"{"alg":"none"}"#, nonce)).await, bad);
        assert_eq!(given(&node, &issuer, |nonce| plain(r#"{"alg":"ES256","kid":"first"}"#, nonce)).await, bad);
        assert_eq!(given(&node, &issuer, |nonce| secret(named(Algorithm::HS256), nonce)).await, bad);
        assert_eq!(given(&node, &issuer, |nonce| signed(Some("first"), nonce)).await, bad);
        assert_eq!(given(&node, &issuer, |nonce| signed(None, nonce)).await, bad);
        assert_eq!(given(&node, &issuer, |nonce| signed(Some("new"), nonce)).await, bad);
        assert_eq!(given(&node, &issuer, |_| "nonsense".to_owned()).await, bad);
        assert_eq!(given(&node, &issuer, |_| "a.b.c".to_owned()).await, bad);
        let turned = |nonce: &str| {
            let token = issuer.signs(&claims(nonce));
            let other = issuer.signs(&issuer.claims(&node, json!({ "sub": "bob", "nonce": nonce })));
            let (signed, _) = other.rsplit_once('.').unwrap();
            format!("{signed}.{}", token.rsplit_once('.').unwrap().1)
        };
        assert_eq!(given(&node, &issuer, turned).await, bad);
        assert_eq!(given(&node, &issuer, |nonce| issuer.signs(&claims(nonce))).await, "");
    }

    async fn new_keys_are_fetched_when_a_token_names_one_but_not_again_and_again(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        signs_in(&node, &issuer, json!({})).await;
        issuer.changes_keys("second");
        let refused = async || {
            let browser = Browser::sets_out(&node, "issuer", "").await;
            browser.signs_in_at(&issuer, json!({})).await.remove("error").unwrap()
        };
        for _ in 0..3 {
            assert_eq!(refused().await, "auth.identity_invalid");
        }
        assert_eq!(issuer.asked("/jwks").await, 1, "what was fetched less than a minute ago is believed");
        node.clock.advance(secs(60));
        signs_in(&node, &issuer, json!({})).await;
        assert_eq!(issuer.asked("/jwks").await, 2);
        // A key that went is gone after an hour at the latest.
        node.clock.advance(secs(3600));
        signs_in(&node, &issuer, json!({})).await;
        assert_eq!((issuer.asked("/jwks").await, issuer.asked("/.well-known/openid-configuration").await), (3, 2));
        // Where the new key is not to be had nobody knows whether the token is good.
        node.clock.advance(secs(60));
        issuer.changes_keys("third");
        issuer.hides_keys(true);
        assert_eq!(refused().await, "auth.provider_unavailable");
        issuer.hides_keys(false);
        node.clock.advance(secs(5));
        signs_in(&node, &issuer, json!({})).await;
    }

    async fn an_issuer_must_be_who_it_was_configured_as(stage: Stage) {
        let [named, plain] = [json!({ "issuer": "https://evil.example" }), json!({ "jwks_uri": "ftp://there/" })];
        let (named, plain) = (Issuer::with(named).await, Issuer::with(plain).await);
        let node = node_with(&stage, [("issuer", named.section()), ("plain", plain.section())]).await;
        for provider in ["issuer", "plain"] {
            let sent_back = Browser::sets_out(&node, provider, "").await;
            assert_eq!(sent_back.asked["error"], "auth.provider_unavailable");
        }
    }

    async fn who_answers_must_be_who_was_asked(stage: Stage) {
        let says = Issuer::with(json!({ "authorization_response_iss_parameter_supported": true })).await;
        let issuer = Issuer::start().await;
        let node = node_with(&stage, [("issuer", issuer.section()), ("says", says.section())]).await;
        let comes_back = async |issuer: &Issuer, provider: &str, iss: &str| {
            let browser = Browser::sets_out(&node, provider, "").await;
            let claims = json!({ "nonce": browser.asked["nonce"] });
            issuer.lets_in(&node, &browser.asked["code_challenge"], claims);
            browser.comes_back(&format!("code=theirs{iss}")).await.get("error").cloned().unwrap_or_default()
        };
        let [own, other] = [&says, &issuer].map(|issuer| format!("&iss={}", speech::encoded(&issuer.url())));
        let bad = "auth.identity_invalid";
        assert_eq!(comes_back(&says, "says", "").await, bad);
        assert_eq!(comes_back(&says, "says", &other).await, bad);
        assert_eq!(comes_back(&says, "says", &own).await, "");
        assert_eq!(comes_back(&issuer, "issuer", "").await, "");
        assert_eq!(comes_back(&issuer, "issuer", &own).await, bad);
    }

    async fn what_the_token_does_not_say_is_asked_for(stage: Stage) {
        let issuer = Issuer::start().await;
        let mut section = issuer.section();
        section.trust_email = true;
        let node = node_with(&stage, [("issuer", section)]).await;
        issuer.tells(json!({ "sub": "ann", "email": "Ann@Example.org", "email_verified": true, "name": "Ann" }));
        let user = &signs_in(&node, &issuer, json!({ "email": null })).await["user"];
        assert_eq!((&user["email"], &user["displayName"]), (&json!("Ann@example.org"), &json!("Ann")));
        let asked = issuer.asked("/userinfo").await;
        signs_in(&node, &issuer, json!({ "email": "ann@example.org" })).await;
        assert_eq!(issuer.asked("/userinfo").await, asked, "it was told already");
        let browser = Browser::sets_out(&node, "issuer", "").await;
        let back = browser.signs_in_at(&issuer, json!({ "sub": "bob", "email": null })).await;
        assert_eq!(back["error"], "auth.identity_invalid", "it is about somebody else");
        issuer.tells(json!("nonsense"));
        let browser = Browser::sets_out(&node, "issuer", "").await;
        let back = browser.signs_in_at(&issuer, json!({ "email": null })).await;
        assert_eq!(back["error"], "auth.provider_unavailable", "whoever has no address would be somebody else");
        issuer.tells(json!({ "sub": "ann" }));
        let back = Browser::sets_out(&node, "issuer", "").await.signs_in_at(&issuer, json!({ "email": null })).await;
        exchanges(&node, &back["code"]).await.ok();
    }
}
