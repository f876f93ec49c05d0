//! A small OpenID Connect issuer with a key of its own, which says what a story lets it say.
//! Never a check of what the node makes of that.

use super::Node;
use actors::clock::Clock;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use oauth2::url::form_urlencoded;
use parking_lot::Mutex;
use quckchat::config::oauth::Provider;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// What it calls the node.
pub const CLIENT: &str = "the node";
/// What both share.
pub const SECRET: &str = "s+cret";

/// The issuer.
pub struct Issuer {
    server: MockServer,
    state: Arc<Mutex<State>>,
}

struct State {
    keys: Vec<(String, EncodingKey)>,
    keys_are_hidden: bool,
    /// Of the code that is given next: the PKCE challenge, and the claims.
    challenge: String,
    claims: Value,
    /// Says this instead of a token.
    token: Option<ResponseTemplate>,
    userinfo: Value,
}

impl Issuer {
    /// An issuer with one key.
    pub async fn start() -> Issuer {
        Issuer::with(json!({})).await
    }

    /// The same with more in its discovery document.
    pub async fn with(published: Value) -> Issuer {
        let server = MockServer::start().await;
        let (challenge, claims, userinfo) = (String::new(), json!({}), json!({}));
        let state = State {
            keys: vec![("first".to_owned(), key())],
            keys_are_hidden: false,
            challenge,
            claims,
            token: None,
            userinfo,
        };
        let state = Arc::new(Mutex::new(state));
        let url = server.uri();
        let mut metadata = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "userinfo_endpoint": format!("{url}/userinfo"),
            "jwks_uri": format!("{url}/jwks"),
        });
        metadata.as_object_mut().unwrap().extend(published.as_object().unwrap().clone());
        let discovery = Mock::given(method("GET")).and(path("/.well-known/openid-configuration"));
        discovery.respond_with(ResponseTemplate::new(200).set_body_json(metadata)).mount(&server).await;
        let held = state.clone();
        let keys = move |_: &Request| match held.lock() {
            state if state.keys_are_hidden => ResponseTemplate::new(503),
            state => ResponseTemplate::new(200).set_body_json(state.published()),
        };
        Mock::given(method("GET")).and(path("/jwks")).respond_with(keys).mount(&server).await;
        let held = state.clone();
        let userinfo = move |_: &Request| ResponseTemplate::new(200).set_body_json(&held.lock().userinfo);
        Mock::given(method("GET")).and(path("/userinfo")).respond_with(userinfo).mount(&server).await;
        let held = state.clone();
        let token = move |request: &Request| held.lock().exchanges(request);
        Mock::given(method("POST")).and(path("/token")).respond_with(token).mount(&server).await;
        Issuer { server, state }
    }

    pub fn url(&self) -> String {
        self.server.uri()
    }

    /// The section of the configuration that names it.
    pub fn section(&self) -> Provider {
        section(json!({ "kind": "oidc", "issuer": self.url(), "client_secret": SECRET }))
    }

    /// The next code stands for this person; `claims` stand over what is right.
    pub fn lets_in(&self, node: &Node, challenge: &str, claims: Value) {
        let mut state = self.state.lock();
        state.challenge = challenge.to_owned();
        state.claims = self.claims(node, claims);
    }

    /// The right claims now, with these over them.
    pub fn claims(&self, node: &Node, over: Value) -> Value {
        let now = node.clock.now().millis() / 1000;
        let mut claims = json!({
            "iss": self.url(), "aud": CLIENT, "sub": "ann", "iat": now, "exp": now + 300, "nonce": "n",
            "email": "somebody@example.org",
        });
        for (name, value) in over.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        claims
    }

    /// A token by its newest key.
    pub fn signs(&self, claims: &Value) -> String {
        self.state.lock().signs(claims)
    }

    /// Signs with a new key from now on, and publishes that alone.
    pub fn changes_keys(&self, name: &str) {
        self.state.lock().keys = vec![(name.to_owned(), key())];
    }

    /// Whether its keys are to be had.
    pub fn hides_keys(&self, hidden: bool) {
        self.state.lock().keys_are_hidden = hidden;
    }

    /// Answers a code so, and not with a token.
    pub fn answers(&self, answer: Option<ResponseTemplate>) {
        self.state.lock().token = answer;
    }

    /// What it says when it is asked who somebody is.
    pub fn tells(&self, userinfo: Value) {
        self.state.lock().userinfo = userinfo;
    }

    /// How often it was asked for this path.
    pub async fn asked(&self, path: &str) -> usize {
        received(&self.server, path).await.len()
    }

    /// The last request for this path.
    pub async fn heard(&self, path: &str) -> Request {
        received(&self.server, path).await.pop().unwrap()
    }
}

impl State {
    fn published(&self) -> Value {
        let jwk = |(kid, key): &(String, EncodingKey)| {
            let mut jwk = Jwk::from_encoding_key(key, Algorithm::ES256).unwrap();
            jwk.common.key_id = Some(kid.clone());
            serde_json::to_value(jwk).unwrap()
        };
        // What nobody here can read, and what signs nothing, is among them.
        let mut keys = vec![json!({ "kty": "AKP", "kid": "new", "alg": "ML-DSA-44" })];
        keys.extend(self.keys.iter().map(jwk));
        json!({ "keys": keys })
    }

    fn signs(&self, claims: &Value) -> String {
        let (kid, key) = self.keys.last().unwrap();
        encode(&Header { kid: Some(kid.clone()), ..Header::new(Algorithm::ES256) }, claims, key).unwrap()
    }

    /// What a client that has sent this is answered: what a code, its PKCE verifier and its secret are good for.
    fn exchanges(&self, request: &Request) -> ResponseTemplate {
        if let Some(answer) = &self.token {
            return answer.clone();
        }
        let form = form(request);
        let verified = URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_str().unwrap().as_bytes()));
        let basic = base64::engine::general_purpose::STANDARD.encode("the+node:s%2Bcret");
        let shown = request.headers.get("authorization").unwrap().to_str().unwrap();
        if form["grant_type"] != "authorization_code" || verified != self.challenge || shown != format!("Basic {basic}")
        {
            return ResponseTemplate::new(400).set_body_json(json!({ "error": "invalid_grant" }));
        }
        ResponseTemplate::new(200).set_body_json(json!({
            "access_token": "theirs", "token_type": "Bearer", "id_token": self.signs(&self.claims),
        }))
    }
}

/// What a server was asked under a path.
pub async fn received(server: &MockServer, path: &str) -> Vec<Request> {
    let requests = server.received_requests().await.unwrap();
    requests.into_iter().filter(|request| request.url.path() == path).collect()
}

/// The fields of a form that was posted.
pub fn form(request: &Request) -> Map<String, Value> {
    form_urlencoded::parse(&request.body).map(|(name, value)| (name.into_owned(), value.into())).collect()
}

/// A section of the configuration: what is given, and the shipped values.
pub fn section(given: Value) -> Provider {
    let mut section = json!({
        "kind": "oidc", "issuer": "", "client_id": CLIENT, "client_secret": "", "team_id": "", "key_id": "",
        "private_key": "", "audiences": [], "scopes": [], "trust_email": false, "graph_url": "",
    });
    section.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
    serde_json::from_value(section).unwrap()
}

/// A key of P-256.
pub fn key() -> EncodingKey {
    EncodingKey::from_ec_der(&pkcs8())
}

pub fn pkcs8() -> Vec<u8> {
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    pair.unwrap().as_ref().to_vec()
}
