//! A second factor is asked for, whoever vouches for the first one.
//! Never what else a second factor does.

use super::node_at;
use crate::support::browser::signs_in;
use crate::support::*;
use speech::Request;

stories! {
    async fn who_has_a_second_factor_is_asked_for_it(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let first = signs_in(&node, &issuer, json!({})).await;
        let token = first["accessToken"].as_str();
        let setup = node.asks(token, Request::of("auth.setup2fa", json!({}))).await.ok();
        let authenticator = Authenticator::of(&setup);
        let code = json!({ "code": authenticator.shows(&node, 0) });
        node.asks(token, Request::of("auth.enable2fa", code)).await.ok();

        let asked = signs_in(&node, &issuer, json!({})).await;
        assert_eq!(asked["twoFactorRequired"], true);
        assert!(asked.get("accessToken").is_none() && asked.get("user").is_none(), "{asked}");
        let app = json!({ "provider": "issuer", "idToken": issuer.signs(&issuer.claims(&node, json!({}))) });
        let by_app = node.says("auth.oauthMobile", app).await.ok();
        assert_eq!(by_app["twoFactorRequired"], true);
        let code = authenticator.shows(&node, 1);
        let shown = json!({ "challengeToken": asked["challengeToken"], "code": code });
        let entered = node.says("auth.verify2fa", shown).await.ok();
        assert_eq!(entered["user"]["id"], first["user"]["id"]);
    }
}
