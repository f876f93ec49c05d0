//! A second factor is asked for, whoever vouches for the first one.
//! Never what else a second factor does.

use super::node_at;
use crate::support::browser::signs_in;
use crate::support::*;
use actors::clock::Clock;
use aws_lc_rs::hmac;
use speech::Request;

/// The code of RFC 6238 for a secret in base32, so many steps from now.
fn totp(node: &Node, secret: &str, later: i64) -> String {
    let bits: String = secret
        .bytes()
        .map(|letter| format!("{:05b}", b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|b| *b == letter).unwrap()))
        .collect();
    let bytes = bits.as_bytes().chunks_exact(8);
    let key: Vec<u8> = bytes.map(|byte| u8::from_str_radix(str::from_utf8(byte).unwrap(), 2).unwrap()).collect();
    let step = node.clock.now().millis() / 30_000 + later;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let mac = hmac::sign(&key, &step.to_be_bytes());
    let at = usize::from(mac.as_ref()[19] & 15);
    let number = u32::from_be_bytes(mac.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

stories! {
    async fn who_has_a_second_factor_is_asked_for_it(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let first = signs_in(&node, &issuer, json!({})).await;
        let token = first["accessToken"].as_str().unwrap();
        let posts = async |token: Option<&str>, path: &str, body: Value| {
            node.asks(token, Request { method: "POST", path: path.to_owned(), body: Some(body) }).await
        };
        let secret = posts(Some(token), "/auth/2fa/setup", json!({})).await.ok()["secret"].as_str().unwrap().to_owned();
        let code = totp(&node, &secret, 0);
        posts(Some(token), "/auth/2fa/enable", json!({ "code": code })).await.ok();

        let asked = signs_in(&node, &issuer, json!({})).await;
        assert_eq!(asked["twoFactorRequired"], true);
        assert!(asked.get("accessToken").is_none() && asked.get("user").is_none(), "{asked}");
        let app = json!({ "provider": "issuer", "idToken": issuer.signs(&issuer.claims(&node, json!({}))) });
        let by_app = node.asks(None, Request::of("auth.oauthMobile", app)).await.ok();
        assert_eq!(by_app["twoFactorRequired"], true);
        let shown = json!({ "challengeToken": asked["challengeToken"], "code": totp(&node, &secret, 1) });
        let entered = posts(None, "/auth/2fa/verify", shown).await.ok();
        assert_eq!(entered["user"]["id"], first["user"]["id"]);
    }
}
