//! A browser that a client sends to a provider, and that brings cookies along as browsers do.
//! Never what the provider does with it.

use super::answer::Answer;
use super::speech::encoded;
use super::{Issuer, Node};
use actix_web::http::Method;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::url::Url;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Where a client wants its browsers back.
pub const BACK: &str = "https://chat.example/in?from=there";
/// What a client makes its challenge of.
const VERIFIER: &str = "a-verifier.that_only~the-client-knows-0123456789";

/// A browser that was sent to a provider.
#[derive(Clone)]
pub struct Browser {
    node: Node,
    provider: String,
    /// What the provider was asked.
    pub asked: HashMap<String, String>,
    /// Where it was sent.
    pub sent_to: String,
    /// The cookie as it is sent, and all that the node said of it.
    pub cookie: String,
    pub cookie_attributes: String,
}

/// A SHA-256 in base64url.
pub fn s256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

fn parts(url: &str) -> (String, HashMap<String, String>) {
    let mut url = Url::parse(url).unwrap();
    let query = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    url.set_query(None);
    (url.into(), query)
}

impl Browser {
    /// The same browser, whose next request comes to another node.
    pub fn at(&self, node: &Node) -> Browser {
        Browser { node: node.clone(), ..self.clone() }
    }

    /// Asks to be sent to a provider; `more` stands in the query too.
    pub async fn asks(node: &Node, provider: &str, more: &str) -> super::node::Reply {
        let (back, challenge) = (encoded(BACK), s256(VERIFIER));
        let query = format!("redirectUri={back}&codeChallenge={challenge}&state=of%20the%20client{more}");
        node.gets(&format!("/api/v1/auth/oauth/{provider}/start?{query}")).await
    }

    /// Is sent to a provider.
    pub async fn sets_out(node: &Node, provider: &str, more: &str) -> Browser {
        let reply = Browser::asks(node, provider, more).await;
        assert_eq!(reply.status, 302, "{}", String::from_utf8_lossy(&reply.body));
        let (sent_to, asked) = parts(reply.header("location").unwrap());
        let cookie_attributes = reply.header("set-cookie").unwrap_or_default().to_owned();
        let cookie = cookie_attributes.split(';').next().unwrap().to_owned();
        Browser { node: node.clone(), provider: provider.to_owned(), asked, sent_to, cookie, cookie_attributes }
    }

    /// Has it signed in at the issuer, as whom these claims say, and comes back with a code.
    pub async fn signs_in_at(&self, issuer: &Issuer, claims: Value) -> HashMap<String, String> {
        let mut said = json!({ "nonce": self.asked["nonce"] });
        said.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        issuer.lets_in(&self.node, &self.asked["code_challenge"], said);
        self.comes_back("code=theirs").await
    }

    /// Comes back to the node, and is sent on to the client, with what this gives.
    pub async fn comes_back(&self, query: &str) -> HashMap<String, String> {
        let reply = self.calls_back(&format!("{query}&state={}", self.asked["state"])).await;
        assert_eq!(reply.status, 302, "{}", String::from_utf8_lossy(&reply.body));
        let (client, query) = parts(reply.header("location").unwrap());
        assert_eq!((client.as_str(), query["from"].as_str()), ("https://chat.example/in", "there"));
        assert_eq!(query["state"], "of the client");
        query
    }

    /// Comes back with this in the query.
    pub async fn calls_back(&self, query: &str) -> super::node::Reply {
        let path = format!("/api/v1/auth/oauth/{}/callback?{query}", self.provider);
        self.node.requests(Method::GET, &path, &[("cookie", self.cookie.clone())], "").await
    }
}

/// Exchanges a code of the node's, as the client that began.
pub async fn exchanges(node: &Node, code: &str) -> Answer {
    exchanges_with(node, code, VERIFIER).await
}

/// The same with another verifier.
pub async fn exchanges_with(node: &Node, code: &str, verifier: &str) -> Answer {
    let data = json!({ "code": code, "codeVerifier": verifier, "device": { "name": "a browser" } });
    node.says("auth.oauthExchange", data).await
}

/// What links the identity of a code to whoever says it.
pub fn linking(code: &str) -> Value {
    json!({ "code": code, "codeVerifier": VERIFIER })
}

/// Signs in by an issuer that the node calls `issuer`.
pub async fn signs_in(node: &Node, issuer: &Issuer, claims: Value) -> Value {
    let browser = Browser::sets_out(node, "issuer", "").await;
    let back = browser.signs_in_at(issuer, claims).await;
    exchanges(node, back.get("code").unwrap_or_else(|| panic!("{back:?}"))).await.ok()
}
