//! An OpenID Connect issuer: what it publishes about itself, its keys, and whether an id token is one of its own.
//! Never who the person is here.
//!
//! # Why the tokens are checked by what checks our own
//! `openidconnect` brings a second stack of cryptography along, with an `rsa` that has an advisory (RUSTSEC-2023-0071).
//! The flow is the `oauth2` crate's; signatures are `jsonwebtoken`'s, on aws-lc-rs; the claims are compared here, by our
//! clock, as OpenID Connect Core says in section 3.1.3.7.

use super::cached::Cached;
use super::web::{Web, WebError};
use super::{Who, invalid, unavailable};
use actors::clock::Clock;
use actors::protocol::{Error, Outcome};
use entities::Timestamp;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use oauth2::url::Url;
use serde::Deserialize;
use serde_json::Value;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

/// How old what an issuer publishes may be.
const PUBLISHED_FOR: Duration = Duration::from_secs(3600);
/// How old keys may be that do not know a token's: so often is an issuer asked because of a token that anybody may send.
const KEYS_AGAIN: Duration = Duration::from_secs(60);
/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 60;
/// The longest `sub` (OpenID Connect Core, section 2).
const SUBJECT: usize = 255;
/// What an id token may be signed with: what only the issuer can make, and anybody can check.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What an issuer publishes about itself (OpenID Connect Discovery 1.0, section 3).
#[derive(Debug, Deserialize)]
pub struct Metadata {
    issuer: String,
    /// Where browsers are sent.
    pub authorization_endpoint: Url,
    /// Where codes are exchanged.
    pub token_endpoint: Url,
    /// Where claims are that are not in the id token.
    pub userinfo_endpoint: Option<Url>,
    jwks_uri: Url,
    /// How clients show their secret.
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether what comes back says from whom (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// An issuer.
pub struct Issuer {
    /// Its URL, as its tokens name it.
    pub url: String,
    /// What else its tokens may name it.
    aliases: &'static [&'static str],
    /// What our configuration calls it, for the log.
    provider: String,
    /// Where its keys are, if it is not asked for that.
    keys_at: Option<Url>,
    web: Web,
    metadata: Cached<Metadata>,
    keys: Cached<Vec<Jwk>>,
}

/// What an id token must be for.
pub struct Expected<'a> {
    /// Whom it is for: one of these.
    pub audiences: &'a [&'a str],
    /// The nonce, if there is to be a certain one.
    pub nonce: Option<&'a str>,
    /// Since when the person must have signed in at the issuer, if it is not all the same. One that does not tell has
    /// made the token since then.
    pub since: Option<Timestamp>,
}

/// An id token that is good.
pub struct Good {
    /// Whom it names.
    pub who: Who,
    /// When it is over, the clocks' difference included.
    pub until: Timestamp,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

/// The claims that matter (OpenID Connect Core, sections 2 and 5.1).
#[derive(Debug, Default, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    // Some write times as numbers with a fraction.
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    // Nobody but who asks for it minds how it is written.
    #[serde(default)]
    auth_time: Value,
    nonce: Option<String>,
    #[serde(flatten)]
    person: Person,
}

/// What a token, or the issuer when it is asked, says of the person.
#[derive(Debug, Default, Deserialize)]
pub struct Person {
    email: Option<String>,
    #[serde(default)]
    email_verified: Flag,
    name: Option<String>,
}

/// Apple and Amazon write it as a text.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Flag {
    Is(bool),
    Says(String),
    #[default]
    Unsaid,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Default for Audience {
    fn default() -> Audience {
        Audience::Several(Vec::new())
    }
}

impl Issuer {
    /// The issuer of this URL, which says itself where everything is.
    pub fn new(provider: &str, url: &str, web: &Web) -> Issuer {
        let aliases: &[&str] = match url {
            // https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken
            "https://accounts.google.com" => &["accounts.google.com"],
            _ => &[],
        };
        let (metadata, keys) = (Cached::new(), Cached::new());
        let (url, provider) = (url.to_owned(), provider.to_owned());
        Issuer { url, aliases, provider, keys_at: None, web: web.clone(), metadata, keys }
    }

    /// One whose keys are known to be there; it is asked for nothing else.
    pub fn with_keys_at(provider: &str, url: &str, keys_at: Url, web: &Web) -> Issuer {
        Issuer { keys_at: Some(keys_at), ..Issuer::new(provider, url, web) }
    }

    /// What the issuer publishes about itself.
    ///
    /// # Errors
    /// `auth.provider_unavailable`
    pub async fn metadata(&self, clock: &dyn Clock) -> Outcome<Arc<Metadata>> {
        let away = || unavailable(&self.provider, "the issuer has just failed to answer");
        self.metadata.get(clock, PUBLISHED_FOR, async || self.discover().await, away).await
    }

    async fn discover(&self) -> Outcome<Metadata> {
        let at = format!("{}/.well-known/openid-configuration", self.url.trim_end_matches('/'));
        let wrong = |why: &dyn Display| unavailable(&self.provider, format!("discovery: {why}"));
        let at = Url::parse(&at).map_err(|error| wrong(&error))?;
        let found: Metadata = self.web.json(&at, None).await.map_err(|error| wrong(&error))?;
        // Section 4.3: another name would be another issuer's.
        if found.issuer != self.url {
            return Err(wrong(&format!("it calls itself {:?}, and not {:?}", found.issuer, self.url)));
        }
        let endpoints = [&found.authorization_endpoint, &found.token_endpoint, &found.jwks_uri];
        for endpoint in endpoints.into_iter().chain(&found.userinfo_endpoint) {
            if endpoint.scheme() != "https" && endpoint.scheme() != at.scheme() {
                return Err(wrong(&format!("{endpoint} is not as safe as the issuer itself")));
            }
        }
        Ok(found)
    }

    async fn keys(&self, clock: &dyn Clock, at_most: Duration) -> Outcome<Arc<Vec<Jwk>>> {
        let away = || unavailable(&self.provider, "the issuer's keys were just not to be had");
        let fetch = async || {
            let at = match &self.keys_at {
                Some(at) => at.clone(),
                None => self.metadata(clock).await?.jwks_uri.clone(),
            };
            let wrong = |error: WebError| unavailable(&self.provider, format!("its keys: {error}"));
            let published: Published = self.web.json(&at, None).await.map_err(wrong)?;
            // A key of a kind that we do not know is none, and says nothing about the others.
            Ok(published.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok()).collect())
        };
        self.keys.get(clock, at_most, fetch, away).await
    }

    /// The key of a token's header. One that we do not know may be new.
    async fn key(&self, clock: &dyn Clock, kid: Option<&str>, alg: Algorithm) -> Outcome<DecodingKey> {
        for at_most in [PUBLISHED_FOR, KEYS_AGAIN] {
            let keys = self.keys(clock, at_most).await?;
            let mut fitting = keys.iter().filter(|key| fits(key, kid, alg));
            // Without a name there must be no choice (OpenID Connect Core, section 10.1).
            if let (Some(key), None) = (fitting.next(), fitting.next()) {
                return DecodingKey::from_jwk(key).map_err(|error| self.not_good(&error));
            }
        }
        // What is held is older than was asked for if the issuer does not answer: then nobody knows.
        if self.keys.fresh(clock.now(), KEYS_AGAIN).is_none() {
            return Err(unavailable(&self.provider, "a token names a new key, and the keys are not to be had"));
        }
        Err(self.not_good(&"no key of the issuer has the token's name and algorithm"))
    }

    /// Checks an id token as OpenID Connect Core says in section 3.1.3.7.
    ///
    /// # Errors
    /// `auth.identity_invalid`; `auth.provider_unavailable` where the issuer's keys are not to be had.
    pub async fn check(&self, clock: &dyn Clock, token: &str, expected: Expected<'_>) -> Outcome<Good> {
        let header = decode_header(token).map_err(|error| self.not_good(&error))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(self.not_good(&"its algorithm is none that an issuer alone can use"));
        }
        let key = self.key(clock, header.kid.as_deref(), header.alg).await?;
        let mut validation = Validation::new(header.alg);
        // All claims are compared below, by our clock.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let decoded = decode::<Claims>(token, &key, &validation).map_err(|error| self.not_good(&error))?;
        let claims = decoded.claims;
        self.compare(&claims, &expected, clock.now().millis() / 1000).map_err(|why| self.not_good(&why))?;
        let until = Timestamp::from_millis((claims.exp as i64).saturating_add(LEEWAY).saturating_mul(1000));
        Ok(Good { who: claims.person.named(&self.url, claims.sub), until })
    }

    fn compare(&self, claims: &Claims, expected: &Expected<'_>, now: i64) -> Result<(), &'static str> {
        let is_us = |who: &String| expected.audiences.contains(&who.as_str());
        let (for_us, several) = match &claims.aud {
            Audience::One(one) => (is_us(one), false),
            Audience::Several(all) => (all.iter().any(is_us), all.len() > 1),
        };
        let (exp, iat) = (claims.exp as i64, claims.iat as i64);
        let shown_at = claims.auth_time.as_f64().map_or(iat, |at| at as i64);
        let since = expected.since.map(|since| since.millis() / 1000);
        match () {
            () if claims.iss != self.url && !self.aliases.contains(&claims.iss.as_str()) => Err("another issuer's"),
            () if !for_us => Err("for another audience"),
            () if several && claims.azp.is_none() => Err("for several, and it does not say whom it was given to"),
            () if claims.azp.as_ref().is_some_and(|azp| !is_us(azp)) => Err("given to somebody else"),
            () if exp <= now.saturating_sub(LEEWAY) => Err("over"),
            () if iat > now + LEEWAY => Err("made in the future"),
            () if since.is_some_and(|since| shown_at < since - LEEWAY) => Err("of a sign-in that is long past"),
            () if claims.nbf.is_some_and(|nbf| nbf as i64 > now + LEEWAY) => Err("not good yet"),
            () if expected.nonce.is_some() && claims.nonce.as_deref() != expected.nonce => Err("for another request"),
            () if claims.sub.is_empty() || claims.sub.len() > SUBJECT || claims.sub.contains('\0') => {
                Err("without a subject")
            }
            () => Ok(()),
        }
    }

    /// What the issuer says of a person when it is asked, where the id token did not say it (section 5.3).
    ///
    /// # Errors
    /// `auth.provider_unavailable`; `auth.identity_invalid` if it speaks of somebody else.
    pub async fn complete(&self, who: Who, at: &Url, access_token: &str) -> Outcome<Who> {
        #[derive(Deserialize)]
        struct Told {
            sub: String,
            #[serde(flatten)]
            person: Person,
        }
        let wrong = |error: WebError| unavailable(&self.provider, format!("its userinfo: {error}"));
        let told: Told = self.web.json(at, Some(access_token)).await.map_err(wrong)?;
        if told.sub != who.subject {
            return Err(self.not_good(&"its userinfo is somebody else's"));
        }
        let name = who.name;
        let told = told.person.named(&self.url, told.sub);
        Ok(Who { name: name.or(told.name), ..told })
    }

    fn not_good(&self, why: &dyn Display) -> Error {
        invalid(&self.provider, format!("an id token: {why}"))
    }
}

impl Person {
    fn named(self, issuer: &str, subject: String) -> Who {
        let email_verified = match self.email_verified {
            Flag::Is(is) => is,
            Flag::Says(text) => text == "true",
            Flag::Unsaid => false,
        };
        Who { issuer: issuer.to_owned(), subject, email: self.email, email_verified, name: self.name }
    }
}

fn fits(key: &Jwk, kid: Option<&str>, alg: Algorithm) -> bool {
    use Algorithm::*;
    let of_family = match &key.algorithm {
        AlgorithmParameters::RSA(_) => matches!(alg, RS256 | RS384 | RS512 | PS256 | PS384 | PS512),
        AlgorithmParameters::EllipticCurve(_) => matches!(alg, ES256 | ES384),
        AlgorithmParameters::OctetKeyPair(_) => alg == EdDSA,
        _ => false,
    };
    let common = &key.common;
    let signs = common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
    let is_its = common.key_algorithm.is_none_or(|its| its == KeyAlgorithm::from(alg));
    of_family && signs && is_its && kid.is_none_or(|kid| common.key_id.as_deref() == Some(kid))
}
