//! Facebook: its dialog and its Graph API, and the id tokens of Limited Login.
//! Never an e-mail address that is believed: Facebook does not say whether it has verified one.

use super::issuer::{Expected, Good, Issuer};
use super::web::{Web, WebError};
use super::{Who, invalid, unavailable};
use crate::config::oauth as config;
use actors::clock::Clock;
use actors::protocol::{Error, Fault, Outcome};
use aws_lc_rs::hmac;
use oauth2::url::Url;
use serde::Deserialize;

/// Answers stay as they are for two years: <https://developers.facebook.com/docs/graph-api/guides/versioning>.
const VERSION: &str = "v24.0";
/// Who signs tokens of Limited Login beside the issuer itself:
/// <https://developers.facebook.com/docs/facebook-login/limited-login/token/validating>.
const LIMITED: &str = "https://limited.facebook.com";

/// Facebook.
pub struct Facebook {
    /// Where browsers are sent:
    /// <https://developers.facebook.com/docs/facebook-login/guides/advanced/manual-flow>.
    pub dialog: Url,
    /// Where codes are exchanged; the same page.
    pub token: Url,
    name: String,
    /// What identities name as who vouches for them.
    url: String,
    app_id: String,
    app_secret: String,
    graph: Url,
    web: Web,
    issuers: [Issuer; 2],
}

/// <https://developers.facebook.com/docs/graph-api/reference/user>
#[derive(Deserialize)]
struct Me {
    id: String,
    name: Option<String>,
    email: Option<String>,
}

/// <https://developers.facebook.com/docs/graph-api/reference/debug_token>
#[derive(Deserialize)]
struct Debugged {
    data: Debug,
}

#[derive(Deserialize)]
struct Debug {
    app_id: Option<String>,
    user_id: Option<String>,
    #[serde(default)]
    is_valid: bool,
}

impl Facebook {
    /// The app of this section.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn open(name: &str, config: &config::Provider, web: &Web) -> Outcome<Facebook> {
        let parse = |text: String| Url::parse(&text).map_err(Fault::new);
        let (url, graph) = (config.issuer().trim_end_matches('/'), config.graph_url().trim_end_matches('/'));
        let issuer = |url: &str| -> Outcome<Issuer> {
            let keys_at = parse(format!("{url}/.well-known/oauth/openid/jwks/"))?;
            Ok(Issuer::with_keys_at(name, url, keys_at, web))
        };
        Ok(Facebook {
            dialog: parse(format!("{url}/{VERSION}/dialog/oauth"))?,
            token: parse(format!("{graph}/{VERSION}/oauth/access_token"))?,
            graph: parse(format!("{graph}/{VERSION}/"))?,
            name: name.to_owned(),
            url: url.to_owned(),
            app_id: config.client_id.clone(),
            app_secret: config.client_secret.expose().to_owned(),
            web: web.clone(),
            issuers: [issuer(url)?, issuer(LIMITED)?],
        })
    }

    /// Whose access token it is, with proof that it is us who ask:
    /// <https://developers.facebook.com/docs/graph-api/guides/secure-requests>.
    ///
    /// # Errors
    /// `auth.provider_unavailable`, `auth.identity_invalid`
    pub async fn me(&self, access_token: &str) -> Outcome<Who> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.app_secret.as_bytes());
        let proof: String =
            hmac::sign(&key, access_token.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let query = [("fields", "id,name,email"), ("access_token", access_token), ("appsecret_proof", &proof)];
        let me: Me = self.ask("me", &query).await?;
        Ok(Who { issuer: self.url.clone(), subject: me.id, email: me.email, email_verified: false, name: me.name })
    }

    /// The same for a token that somebody else brings along: it must have been given to our app.
    ///
    /// # Errors
    /// `auth.provider_unavailable`, `auth.identity_invalid`
    pub async fn whose(&self, access_token: &str) -> Outcome<Who> {
        let app = format!("{}|{}", self.app_id, self.app_secret);
        let found: Debugged = self.ask("debug_token", &[("input_token", access_token), ("access_token", &app)]).await?;
        let Debug { app_id, user_id, is_valid } = found.data;
        if !is_valid || app_id.as_ref() != Some(&self.app_id) {
            return Err(invalid(&self.name, "an access token that is over, or another app's"));
        }
        let who = self.me(access_token).await?;
        if user_id.as_ref() != Some(&who.subject) {
            return Err(invalid(&self.name, "an access token of two people"));
        }
        Ok(who)
    }

    /// Checks an id token of Limited Login.
    ///
    /// # Errors
    /// Those of `Issuer::check`.
    pub async fn check(&self, clock: &dyn Clock, id_token: &str, expected: Expected<'_>) -> Outcome<Good> {
        #[derive(Deserialize)]
        struct Said {
            iss: String,
        }
        // Which keys to try; they then say whether it is true.
        let said = jsonwebtoken::dangerous::insecure_decode_claims::<Said>(id_token);
        let said = said.map_err(|error| invalid(&self.name, error))?;
        let issuer = self.issuers.iter().find(|issuer| issuer.url == said.iss);
        let issuer = issuer.ok_or_else(|| invalid(&self.name, "an id token of another issuer"))?;
        let Good { who, until } = issuer.check(clock, id_token, expected).await?;
        // One person, whichever way they came.
        Ok(Good { who: Who { issuer: self.url.clone(), email_verified: false, ..who }, until })
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, what: &str, query: &[(&str, &str)]) -> Outcome<T> {
        let mut url = self.graph.join(what).map_err(Fault::new)?;
        url.query_pairs_mut().extend_pairs(query);
        self.web.json(&url, None).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: WebError) -> Error {
        match error {
            // What Graph answers to a token that is not good (code 190), or to a proof that is not.
            WebError::Status(400 | 401 | 403) => invalid(&self.name, "Graph does not accept the access token"),
            error => unavailable(&self.name, format!("Graph: {error}")),
        }
    }
}
