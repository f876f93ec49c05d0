//! A sign-in under way in a browser: how it begins, how it comes back, and what ties both ends to one browser.
//! Never a session: what comes out is a one-time code that its client alone can exchange.

use super::provider::{Answer, Provider, Secrets};
use super::{Who, invalid};
use crate::auth::Auth;
use crate::auth::challenges::{self, Purpose};
use crate::auth::sealing::Context;
use actors::protocol::command::{OauthCallback, OauthStart};
use actors::protocol::{Error, ErrorCode, Fault, Outcome, view};
use actors::retry::transact;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::{SessionId, challenge};
use oauth2::url::Url;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A flow, named by its `state`. One try: whoever comes back with it has come back.
pub const FLOW: Purpose = Purpose { name: "oauthFlow", ttl: Duration::from_secs(600), tries: 1 };
/// What a provider has posted, until the browser comes by with its cookie.
const POSTED: Purpose = Purpose { name: "oauthPosted", ttl: Duration::from_secs(60), tries: 1 };
/// What a client exchanges. A few tries, since an answer may be lost before anything is done; it is used once.
pub const CODE: Purpose = Purpose { name: "oauthCode", ttl: Duration::from_secs(60), tries: 3 };

/// What is noted of a flow.
#[derive(Debug, Serialize, Deserialize)]
struct Flow {
    provider: String,
    redirect_uri: String,
    client_state: Option<String>,
    code_challenge: String,
    link: Option<SessionId>,
    /// The hash of what the browser's cookie holds.
    browser: String,
    secrets: Sealed,
}

/// What a client may exchange.
#[derive(Debug, Serialize, Deserialize)]
pub struct Passed {
    /// Who says so.
    pub provider: String,
    /// The client's own PKCE challenge.
    pub code_challenge: String,
    /// The session that links it, where it does not sign in.
    pub link: Option<SessionId>,
    /// Who the person is there.
    pub who: Sealed,
}

/// What rests under the key ring, and opens in its place alone.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sealed(String);

impl Auth {
    pub(super) fn seal<T: Serialize>(&self, place: &Context<'_>, plain: &T) -> Outcome<Sealed> {
        let plain = serde_json::to_vec(plain).map_err(Fault::new)?;
        Ok(Sealed(URL_SAFE_NO_PAD.encode(self.ring.seal(place, &plain)?)))
    }

    pub(super) async fn unseal<T: DeserializeOwned>(&self, place: &Context<'_>, sealed: &Sealed) -> Outcome<T> {
        let sealed = URL_SAFE_NO_PAD.decode(&sealed.0).map_err(Fault::new)?;
        Ok(serde_json::from_slice(&self.ring.unseal(place, &sealed).await?).map_err(Fault::new)?)
    }

    /// Sends a browser to the provider; back to the client, if that cannot be.
    ///
    /// # Errors
    /// `auth.provider_unknown`; `request.invalid` for a redirect URI that is not allowed.
    pub(super) async fn start(&self, command: OauthStart) -> Outcome<view::OauthStarted> {
        let provider = self.oauth.provider(&command.provider)?;
        self.oauth.allow(&command.redirect_uri)?;
        match self.begin_flow(&provider, &command).await {
            Ok((location, state)) => Ok(view::OauthStarted { location: location.into(), state: Some(state) }),
            Err(error) => {
                let location = back(&command.redirect_uri, Err(&error), command.state.as_deref())?;
                Ok(view::OauthStarted { location, state: None })
            }
        }
    }

    async fn begin_flow(&self, provider: &Provider, command: &OauthStart) -> Outcome<(Url, String)> {
        let random = || URL_SAFE_NO_PAD.encode(self.clock.random::<32>());
        let secrets = Secrets { verifier: random(), nonce: random() };
        let browser = hash(&command.browser);
        let flow = Flow {
            provider: provider.name.clone(),
            redirect_uri: command.redirect_uri.clone(),
            client_state: command.state.clone(),
            code_challenge: command.code_challenge.clone(),
            link: command.link_session,
            secrets: self.seal(&place("oauthFlow", &browser), &secrets)?,
            browser,
        };
        // Before the row: whoever does not answer costs none.
        provider.authorize_url(&*self.clock, "", &secrets).await?;
        let opening = async |transaction: &sea_orm::DatabaseTransaction| {
            challenges::open(transaction, &*self.clock, &FLOW, None, &flow).await
        };
        let state = transact(&self.db, &*self.clock, opening).await?;
        Ok((provider.authorize_url(&*self.clock, &state, &secrets).await?, state))
    }

    /// Keeps what a provider has posted, and gives the name of it.
    ///
    /// # Errors
    /// `auth.challenge_expired` where no flow is under way for which it could be.
    pub(super) async fn keep_posted(&self, posted: OauthCallback) -> Outcome<String> {
        let state = posted.state.as_deref().unwrap_or_default();
        let under_way = challenge::by_hash(&challenges::hash(state), FLOW.name).one(self.db.read()).await?;
        let now = self.clock.now();
        if under_way.is_none_or(|flow| flow.expires_at <= now || flow.tries > 0) {
            return Err(ErrorCode::AuthChallengeExpired.into());
        }
        let answer = Answer { code: posted.code, error: posted.error, iss: posted.iss, user: posted.user };
        let sealed = self.seal(&place("oauthPosted", state), &answer)?;
        transact(&self.db, &*self.clock, async |transaction| {
            challenges::open(transaction, &*self.clock, &POSTED, None, &sealed).await
        })
        .await
    }

    /// Takes back what was posted, for the flow of this state.
    async fn posted(&self, name: &str, state: &str) -> Outcome<Answer> {
        let open = challenges::attempt(&self.db, &*self.clock, &POSTED, name).await?;
        // Kept for another flow, it does not open.
        let answer = self.unseal(&place("oauthPosted", state), &open.detail()?).await;
        answer.map_err(|_| ErrorCode::AuthChallengeExpired.into())
    }

    /// Takes a browser that comes back, and sends it on to the client.
    ///
    /// # Errors
    /// `auth.provider_unknown`, `auth.challenge_expired`, `auth.challenge_exhausted` where no flow is known to be under
    /// way, and so nobody to send it to.
    pub(super) async fn come_back(&self, command: OauthCallback) -> Outcome<view::Redirection> {
        let provider = self.oauth.provider(&command.provider)?;
        let state = command.state.as_deref().ok_or(ErrorCode::AuthChallengeExpired)?;
        let flow: Flow = challenges::attempt(&self.db, &*self.clock, &FLOW, state).await?.detail()?;
        // Each provider has a redirect URI of its own: what comes to another one's is mixed up (RFC 9700, 4.4).
        if flow.provider != provider.name || self.oauth.allow(&flow.redirect_uri).is_err() {
            return Err(ErrorCode::AuthChallengeExpired.into());
        }
        let arrived = self.arrive(&provider, &flow, &command, state).await;
        let location = back(&flow.redirect_uri, arrived.as_deref(), flow.client_state.as_deref())?;
        Ok(view::Redirection { location })
    }

    async fn arrive(&self, provider: &Provider, flow: &Flow, command: &OauthCallback, state: &str) -> Outcome<String> {
        // Somebody else's flow, put upon this browser: it would sign in as whoever began it (RFC 6749, 10.12).
        let is_same = |held: &String| verify_slices_are_equal(hash(held).as_bytes(), flow.browser.as_bytes()).is_ok();
        if !command.browser.iter().any(is_same) {
            return Err(invalid(&provider.name, "an answer in another browser than the question"));
        }
        let answer = match &command.posted {
            Some(name) => self.posted(name, state).await?,
            None => Answer {
                code: command.code.clone(),
                error: command.error.clone(),
                iss: command.iss.clone(),
                // A query is not signed by anybody, and Apple never uses one.
                user: None,
            },
        };
        let secrets: Secrets = self.unseal(&place("oauthFlow", &flow.browser), &flow.secrets).await?;
        let who = provider.identify(&*self.clock, &answer, secrets).await?;
        self.pass(provider, flow, &who).await
    }

    /// A one-time code for who it turned out to be.
    async fn pass(&self, provider: &Provider, flow: &Flow, who: &Who) -> Outcome<String> {
        let passed = Passed {
            provider: provider.name.clone(),
            code_challenge: flow.code_challenge.clone(),
            link: flow.link,
            who: self.seal(&place("oauthCode", &flow.code_challenge), who)?,
        };
        transact(&self.db, &*self.clock, async |transaction| {
            challenges::open(transaction, &*self.clock, &CODE, None, &passed).await
        })
        .await
    }
}

/// Where a browser is sent at the end: with a code, or with why there is none. The reason is one of our codes alone.
fn back(redirect_uri: &str, arrived: Result<&str, &Error>, state: Option<&str>) -> Outcome<String> {
    let mut location = Url::parse(redirect_uri).map_err(Fault::new)?;
    let said = match arrived {
        Ok(code) => ("code", code),
        Err(error) => {
            if let Error::Fault(fault) = error {
                tracing::error!(error = %fault, "a sign-in elsewhere failed");
            }
            ("error", error.code().as_str())
        }
    };
    location.query_pairs_mut().append_pair(said.0, said.1).extend_pairs(state.map(|state| ("state", state)));
    Ok(location.into())
}

/// Where a secret is sealed: what it is, and of what.
pub fn place<'a>(what: &'a str, of: &'a str) -> Context<'a> {
    Context::UnderWay(what, of)
}

/// SHA-256 in base64url: as of RFC 7636's S256.
pub fn hash(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}
