//! Signing in by who somebody is elsewhere: at Google, Apple, Facebook, or any OpenID Connect issuer.
//! Never a session (see `sign_in`), and never a provider's token in a row or in a redirect.
//!
//! # How a browser signs in
//! `start` seals a flow and sends the browser with it to the provider, which sends it back with a code; `callback`
//! exchanges that for who the person is, and sends the browser on to the client with a one-time code of ours. Only the client
//! that began can exchange that one, for it alone knows the verifier of its PKCE challenge (`exchange`).

mod apple;
mod cached;
mod exchange;
mod facebook;
mod flow;
#[cfg(test)]
mod fuzz;
pub mod http;
mod identities;
mod issuer;
mod mobile;
mod provider;
mod web;

pub use exchange::Arrival;
pub use flow::Intent;
pub use provider::Proof;

use crate::config;
use crate::config::oauth::ProviderKind;
use actors::protocol::{Error, ErrorCode, Fault, Outcome, Refusal};
use provider::Provider;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use web::Web;

/// Who vouches for people, and where browsers may be sent.
pub struct OAuth {
    redirect_allow: Vec<String>,
    providers: BTreeMap<String, Arc<Provider>>,
}

/// Who somebody is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// Who vouches for it: a URL.
    pub issuer: String,
    /// What the person is called there; never given to another.
    pub subject: String,
    /// Their e-mail address, as told.
    pub email: Option<String>,
    /// Whether the issuer says that it is theirs.
    pub email_verified: bool,
    /// Their name, as told.
    pub name: Option<String>,
}

impl OAuth {
    /// The providers of the configuration; nobody is asked anything yet.
    ///
    /// # Errors
    /// A private key that is none, or that the system trusts nobody over TLS.
    pub fn open(config: &config::OAuth) -> Outcome<OAuth> {
        let mut providers = BTreeMap::new();
        if !config.providers.is_empty() {
            let web = Web::open().map_err(Fault::new)?;
            for (name, provider) in &config.providers {
                let redirect = format!("{}/api/v1/auth/oauth/{name}/callback", config.base_url);
                providers.insert(name.clone(), Arc::new(Provider::open(name, provider, &redirect, &web)?));
            }
        }
        Ok(OAuth { redirect_allow: config.redirect_allow.clone(), providers })
    }

    /// The provider that clients call so.
    fn provider(&self, name: &str) -> Outcome<Arc<Provider>> {
        self.providers.get(name).cloned().ok_or_else(|| ErrorCode::AuthProviderUnknown.into())
    }

    /// Whether a browser may be sent there: exactly there (RFC 9700, section 4.1).
    fn allow(&self, redirect_uri: &str) -> Outcome<()> {
        if self.redirect_allow.iter().any(|allowed| allowed == redirect_uri) {
            return Ok(());
        }
        Err(Refusal::invalid("redirectUri", "is none of those that this node allows (oauth.redirect_allow)").into())
    }

    /// The place of that hash among those where browsers may be sent.
    fn redirect_of(&self, hashed: &str) -> Option<&str> {
        self.redirect_allow.iter().map(String::as_str).find(|allowed| flow::hash(allowed) == hashed)
    }

    /// Whether somebody may sign in by the provider of this name: it is configured.
    fn knows(&self, provider: &str) -> bool {
        self.providers.contains_key(provider)
    }
}

/// The provider is away, or does not do what it should. The reason is the operator's to know.
fn unavailable(provider: &str, why: impl Display) -> Error {
    tracing::warn!(provider, %why, "a provider of identities cannot be used");
    ErrorCode::AuthProviderUnavailable.into()
}

/// What somebody brought along is not the provider's, or not for us.
fn invalid(provider: &str, why: impl Display) -> Error {
    tracing::info!(provider, %why, "what is said to be of a provider was not accepted");
    ErrorCode::AuthIdentityInvalid.into()
}
