//! Native apps, which bring along what a provider's own SDK has given them.
//! Never a browser.

use super::node_with;
use crate::support::browser::signs_in;
use crate::support::issuer::CLIENT;
use crate::support::*;

async fn brings(node: &Node, data: Value) -> answer::Answer {
    let mut command = json!({ "provider": "issuer" });
    command.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
    node.says("auth.oauthMobile", command).await
}

stories! {
    async fn an_id_token_of_an_app_of_ours_signs_in_once(stage: Stage) {
        let issuer = Issuer::start().await;
        let mut section = issuer.section();
        section.audiences = vec!["our app".to_owned()];
        let node = node_with(&stage, [("issuer", section)]).await;
        let token = |claims: Value| issuer.signs(&issuer.claims(&node, claims));
        let of_app = |more: Value| {
            let mut claims = json!({ "aud": "our app" });
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            token(claims)
        };
        let first = of_app(json!({}));
        let named = json!({ "idToken": first, "nonce": "n", "displayName": "Ann", "device": { "platform": "ios" } });
        let signed_in = brings(&node, named.clone()).await.ok_with(200);
        assert_eq!((&signed_in["isNewUser"], &signed_in["user"]["displayName"]), (&json!(true), &json!("Ann")));
        brings(&node, named).await.is_refused(ErrorCode::AuthChallengeExpired);
        let by_browser = signs_in(&node, &issuer, json!({ "aud": CLIENT })).await;
        assert_eq!(by_browser["user"]["id"], signed_in["user"]["id"]);
        // An app that asked for no nonce says none; tokens for the node itself are fine too.
        brings(&node, json!({ "idToken": of_app(json!({ "nonce": null, "jti": "2" })) })).await.ok();
        brings(&node, json!({ "idToken": token(json!({ "azp": "our app" })) })).await.ok();

        for claims in [
            json!({ "aud": "another app" }),
            json!({ "azp": "another app" }),
            json!({ "iss": "https://evil.example" }),
            json!({ "nonce": "m" }),
            json!({ "nonce": null }),
        ] {
            let data = json!({ "idToken": of_app(claims.clone()), "nonce": "n" });
            brings(&node, data).await.is_refused(ErrorCode::AuthIdentityInvalid);
        }
        node.clock.advance(secs(360));
        brings(&node, json!({ "idToken": first })).await.is_refused(ErrorCode::AuthIdentityInvalid);
    }

    async fn a_token_that_comes_twice_at_once_signs_in_once(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_with(&stage, [("issuer", issuer.section())]).await;
        for round in 0..4 {
            let token = issuer.signs(&issuer.claims(&node, json!({ "sub": format!("{round}") })));
            let tries = (0..4).map(|_| brings(&node, json!({ "idToken": token })));
            let all = futures_util::future::join_all(tries).await;
            assert_eq!(all.iter().filter(|one| one.result.is_ok()).count(), 1, "{all:?}");
            for one in all.iter().filter(|one| one.result.is_err()) {
                one.is_refused(ErrorCode::AuthChallengeExpired);
            }
        }
    }

    async fn what_is_no_token_is_refused(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_with(&stage, [("issuer", issuer.section())]).await;
        for nonsense in ["x", "a.b.c", "..", "eyJhbGciOiJub25lIn0.e30.", "ä.ö.ü"] {
            brings(&node, json!({ "idToken": nonsense })).await.is_refused(ErrorCode::AuthIdentityInvalid);
        }
        brings(&node, json!({ "idToken": "" })).await.is_refused_for(ErrorCode::RequestInvalid, "idToken");
        brings(&node, json!({ "accessToken": "x" })).await.is_refused_for(ErrorCode::RequestInvalid, "accessToken");
        let unknown = json!({ "provider": "nobody", "idToken": "x" });
        brings(&node, unknown).await.is_refused(ErrorCode::AuthProviderUnknown);
    }
}
