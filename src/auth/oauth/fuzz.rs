//! Anything at all in place of an id token or of what Apple posts: it is refused, and nothing more happens.
//! Never part of the node.

use super::issuer::{Expected, Issuer};
use super::web::Web;
use crate::auth::testing::FakeClock;
use actors::clock::Clock;
use actors::protocol::ErrorCode;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proptest::prelude::{Just, Strategy, any};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use proptest::{prop_oneof, proptest};
use serde_json::{Value, json};
use std::sync::Arc;
use wiremock::matchers::path;
use wiremock::{Mock, MockServer, ResponseTemplate};

struct Setting {
    clock: Arc<FakeClock>,
    /// It answers as long as it is kept.
    server: MockServer,
    issuer: Issuer,
    key: EncodingKey,
}

impl Setting {
    async fn new() -> Setting {
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ec_der(pair.as_ref());
        let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        jwk.common.key_id = Some("one".to_owned());
        let server = MockServer::start().await;
        let keys = ResponseTemplate::new(200).set_body_json(json!({ "keys": [jwk] }));
        Mock::given(path("/keys")).respond_with(keys).mount(&server).await;
        let at = format!("{}/keys", server.uri()).parse().unwrap();
        let issuer = Issuer::with_keys_at("issuer", "https://issuer.example", at, &Web::open().unwrap());
        Setting { clock: FakeClock::new(), server, issuer, key }
    }

    fn claims(&self) -> Value {
        let now = self.clock.now().millis() / 1000;
        json!({ "iss": "https://issuer.example", "aud": "us", "sub": "ann", "iat": now, "exp": now + 60, "nonce": "n" })
    }

    fn signs(&self, claims: &Value) -> String {
        let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.key).unwrap()
    }

    /// Who a token names, or the code that refuses it.
    async fn checks(&self, token: &str) -> Result<String, ErrorCode> {
        let expected = Expected { audiences: &["us"], nonce: Some("n"), since: None };
        let checked = self.issuer.check(&*self.clock, token, expected).await;
        checked.map(|good| good.who.subject).map_err(|error| error.code())
    }
}

#[actix_web::test]
async fn whatever_is_no_id_token_of_the_issuer_is_refused() {
    let setting = Setting::new().await;
    let good = setting.signs(&setting.claims());
    assert_eq!(setting.checks(&good).await.as_deref(), Ok("ann"));
    let (letters, cut, length) = (good.clone(), good.clone(), good.len());
    let changed = proptest::collection::vec((0..length, any::<char>()), 1..4).prop_map(move |changes| {
        let mut letters: Vec<char> = letters.chars().collect();
        changes.into_iter().for_each(|(at, letter)| letters[at] = letter);
        letters.into_iter().collect::<String>()
    });
    let anything = prop_oneof![
        changed,
        (0..length).prop_map(move |at| cut[..at].to_owned()),
        ".*",
        any::<(Vec<u8>, Vec<u8>, Vec<u8>)>().prop_map(|(header, claims, signature)| {
            [header, claims, signature].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
        }),
    ];
    let mut runner = TestRunner::deterministic();
    for _ in 0..2000 {
        let token = anything.new_tree(&mut runner).unwrap().current();
        let checked = setting.checks(&token).await;
        assert!(token == good || checked == Err(ErrorCode::AuthIdentityInvalid), "{token}: {checked:?}");
    }
    let asked = setting.server.received_requests().await.unwrap();
    assert_eq!(asked.len(), 1, "what anybody may send does not make the node ask again and again");
}

#[actix_web::test]
async fn claims_of_any_shape_name_the_right_one_or_nobody() {
    let setting = Setting::new().await;
    let names = prop_oneof![
        Just("iss"),
        Just("aud"),
        Just("azp"),
        Just("sub"),
        Just("exp"),
        Just("iat"),
        Just("nbf"),
        Just("nonce"),
        Just("email"),
        Just("email_verified"),
    ];
    let values = prop_oneof![
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        ".*".prop_map(|text| json!(text)),
        Just(json!(null)),
        Just(json!(["us", "them"])),
        Just(json!([{}])),
    ];
    let changes = (names, values);
    let mut runner = TestRunner::deterministic();
    for _ in 0..1000 {
        let (name, value) = changes.new_tree(&mut runner).unwrap().current();
        let mut claims = setting.claims();
        claims[name] = value.clone();
        let checked = setting.checks(&setting.signs(&claims)).await;
        let subject = claims["sub"].as_str().map(str::to_owned);
        let right = checked == Err(ErrorCode::AuthIdentityInvalid) || checked.clone().ok() == subject;
        assert!(right, "{name} = {value}: {checked:?}");
    }
}

proptest! {
    #[test]
    fn what_apple_posts_is_a_name_or_none(user in ".*", first in ".*", last in ".*") {
        let _ = super::apple::name(&user);
        let said = json!({ "name": { "firstName": first, "lastName": last } }).to_string();
        let name = super::apple::name(&said).unwrap_or_default();
        assert!(name.len() <= 100 && name.trim() == name);
    }
}
