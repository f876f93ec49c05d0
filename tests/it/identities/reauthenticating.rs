//! Showing again who one is by who one is elsewhere, where an account has nothing else to show.
//! Never what a session may do that is fresh.

use super::node_at;
use crate::support::browser::{BACK, exchanges, linking, s256, signs_in};
use crate::support::speech::encoded;
use crate::support::*;
use actors::clock::Clock;

/// Who has come from the issuer, and has no number, address or password.
async fn arrives(node: &Node, issuer: &Issuer, sub: &str) -> Person {
    Person::of(node, sub, "", &signs_in(node, issuer, json!({ "sub": sub })).await)
}

/// The session is fresh no more.
async fn goes_stale(person: &Person) {
    person.node.clock.advance(secs(301));
    person.refreshes().await;
}

/// The browser of a flow to show again that this session is its account's owner's.
async fn sets_out(person: &Person) -> Browser {
    Browser::sets_out(&person.node, "issuer", &format!("&reauthenticateSession={}", person.session())).await
}

/// What shows it, of whom these claims say.
async fn shown(person: &Person, issuer: &Issuer, claims: Value) -> Value {
    linking(&sets_out(person).await.signs_in_at(issuer, claims).await["code"])
}

/// Whether the last way in is refused for being the last, or because it was not shown who calls.
async fn is_fresh(person: &Person) -> bool {
    let answer = person.calls("auth.unlinkAccount", json!({ "provider": "issuer" })).await;
    let code = answer.result.unwrap_err()["code"].clone();
    assert!(code == "auth.last_way_in" || code == "auth.reauthentication_required", "{code}");
    code == "auth.last_way_in"
}

fn now(node: &Node) -> i64 {
    node.clock.now().millis() / 1000
}

stories! {
    async fn who_has_nothing_but_an_identity_shows_that(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let ann = arrives(&node, &issuer, "ann").await;
        goes_stale(&ann).await;
        assert!(!is_fresh(&ann).await);
        ann.calls("auth.reauthenticate", json!({})).await.is_refused_for(ErrorCode::RequestInvalid, "verificationId");
        assert_eq!(sets_out(&ann).await.asked["max_age"], "0", "who is signed in there is asked again");
        for door in ann.doors().await {
            let proof = shown(&ann, &issuer, json!({ "sub": "ann", "auth_time": now(&node) })).await;
            let reply = door.calls("auth.reauthenticate", proof.clone()).await.ok();
            assert!(reply["freshUntil"].is_string() && is_fresh(&ann).await, "{}", door.name());
            door.calls("auth.reauthenticate", proof).await.is_refused(ErrorCode::AuthChallengeExpired);
            goes_stale(&ann).await;
        }
        // An issuer that does not tell when somebody has signed in there has at least just vouched for them.
        let proof = shown(&ann, &issuer, json!({ "sub": "ann" })).await;
        ann.calls("auth.reauthenticate", proof).await.ok_with(200);
        let events = ann.calls("auth.listEvents", json!({})).await.ok();
        let noted = events["items"].as_array().unwrap().iter().filter(|event| event["kind"] == "reauthenticated");
        let noted: Vec<&Value> = noted.collect();
        assert!(noted.len() == 3 && noted.iter().all(|event| event["detail"]["by"] == "oauth:issuer"), "{noted:?}");
    }

    async fn only_its_own_identity_makes_a_session_fresh(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let ann = arrives(&node, &issuer, "ann").await;
        let bob = arrives(&node, &issuer, "bob").await;
        let laptop = arrives(&node, &issuer, "ann").await;
        goes_stale(&ann).await;
        let tries = async |person: &Person, proof: Value| person.calls("auth.reauthenticate", proof).await;
        let of_bob = shown(&ann, &issuer, json!({ "sub": "bob" })).await;
        tries(&ann, of_bob).await.is_refused(ErrorCode::AuthIdentityTaken);
        let of_nobody = shown(&ann, &issuer, json!({ "sub": "cid" })).await;
        tries(&ann, of_nobody).await.is_refused(ErrorCode::AuthIdentityNotFound);

        // A flow is one session's, and good for what it was begun for.
        let proof = shown(&ann, &issuer, json!({ "sub": "ann" })).await;
        bob.refreshes().await;
        laptop.refreshes().await;
        for other in [&bob, &laptop] {
            tries(other, proof.clone()).await.is_refused(ErrorCode::AuthChallengeExpired);
        }
        exchanges(&node, proof["code"].as_str().unwrap()).await.is_refused(ErrorCode::AuthChallengeExpired);
        for more in [String::new(), format!("&linkSession={}", ann.session())] {
            let browser = Browser::sets_out(&node, "issuer", &more).await;
            let code = browser.signs_in_at(&issuer, json!({ "sub": "ann" })).await["code"].clone();
            tries(&ann, linking(&code)).await.is_refused(ErrorCode::AuthChallengeExpired);
        }
        let (back, session) = (encoded(BACK), ann.session());
        let both = format!("linkSession={session}&reauthenticateSession={session}&codeChallenge={}", s256("x"));
        let reply = node.gets(&format!("/api/v1/auth/oauth/issuer/start?redirectUri={back}&{both}")).await;
        reply.answer().is_refused_for(ErrorCode::RequestInvalid, "reauthenticateSession");

        // Whoever was not asked again has shown nothing.
        let long_past = json!({ "sub": "ann", "auth_time": now(&node) - 3600 });
        assert_eq!(sets_out(&ann).await.signs_in_at(&issuer, long_past).await["error"], "auth.identity_invalid");
        assert!(!is_fresh(&ann).await);
    }

    async fn an_app_shows_an_id_token_that_was_just_made(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let ann = arrives(&node, &issuer, "ann").await;
        arrives(&node, &issuer, "bob").await;
        let brings = async |claims: Value| {
            let token = issuer.signs(&issuer.claims(&node, claims));
            ann.calls("auth.reauthenticate", json!({ "provider": "issuer", "idToken": token, "nonce": "n" })).await
        };
        goes_stale(&ann).await;
        for long_past in [json!({ "iat": now(&node) - 400 }), json!({ "auth_time": now(&node) - 400 })] {
            brings(long_past).await.is_refused(ErrorCode::AuthIdentityInvalid);
        }
        brings(json!({ "nonce": "another" })).await.is_refused(ErrorCode::AuthIdentityInvalid);
        brings(json!({ "sub": "bob" })).await.is_refused(ErrorCode::AuthIdentityTaken);
        let halves = [json!({ "provider": "issuer" }), json!({ "idToken": "x" })];
        for half in halves {
            ann.calls("auth.reauthenticate", half).await.is_refused_for(ErrorCode::RequestInvalid, "idToken");
        }
        assert!(!is_fresh(&ann).await);
        brings(json!({})).await.ok_with(200);
        assert!(is_fresh(&ann).await);
        brings(json!({})).await.is_refused(ErrorCode::AuthChallengeExpired);
    }

    async fn an_identity_stands_beside_a_code_and_below_a_password(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let [bob] = node.people(["bob"]).await;
        let browser = Browser::sets_out(&node, "issuer", &format!("&linkSession={}", bob.session())).await;
        let code = browser.signs_in_at(&issuer, json!({ "sub": "bob" })).await["code"].clone();
        bob.calls("auth.linkAccount", linking(&code)).await.ok();
        goes_stale(&bob).await;
        let proof = shown(&bob, &issuer, json!({ "sub": "bob" })).await;
        bob.calls("auth.reauthenticate", proof).await.ok();
        bob.calls("auth.changePassword", json!({ "newPassword": "four lamps over Trondheim" })).await.ok();
        let proof = shown(&bob, &issuer, json!({ "sub": "bob" })).await;
        bob.calls("auth.reauthenticate", proof).await.is_refused_for(ErrorCode::RequestInvalid, "password");
    }
}
