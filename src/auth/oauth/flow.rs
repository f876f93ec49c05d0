//! A sign-in under way in a browser: how it begins, how it comes back, and what ties both ends to one browser.
//! Never a session: what comes out is a one-time code that its client alone can exchange.
//!
//! # Why no row is written before a provider has vouched for somebody
//! Anybody may begin a flow, from as many addresses as they have. So nothing is kept of one: its `state` is all of it,
//! sealed by the key ring that every node has, and good in the browser alone that holds the cookie. What is posted goes
//! the same way. Of a flow that has ended well its nonce is noted until the flow would be over, so that it ends once.

use super::provider::{Answer, Asked, Provider, Secrets};
use super::{Who, invalid};
use crate::auth::Auth;
use crate::auth::challenges::{self, Purpose};
use crate::auth::sealing::Context;
use actors::protocol::command::{OauthCallback, OauthStart};
use actors::protocol::{Error, ErrorCode, Fault, Outcome, Refusal, view};
use actors::retry::transact;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::{SessionId, Timestamp};
use oauth2::url::Url;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a browser may be away.
pub const AWAY: Duration = Duration::from_secs(600);
/// What a flow is sealed as, and what is noted of one that has come to its end.
const FLOW: &str = "oauthFlow";
/// What is sealed of what a provider has posted may be so long: a URL carries it, and balancers in front of us cut that.
const POSTED: usize = 4096;
/// What a client exchanges. A few tries, since an answer may be lost before anything is done; it is used once.
pub const CODE: Purpose = Purpose { name: "oauthCode", ttl: Duration::from_secs(60), tries: 3 };

/// What a flow was begun for, and what its code is good for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Intent {
    /// To sign in.
    SignIn,
    /// To link who somebody is to the account of this session.
    Link(SessionId),
    /// To show again that this session is its account's owner's.
    Reauthenticate(SessionId),
}

impl Intent {
    fn of(command: &OauthStart) -> Intent {
        match (command.link_session, command.reauthenticate_session) {
            (Some(session), _) => Intent::Link(session),
            (None, Some(session)) => Intent::Reauthenticate(session),
            (None, None) => Intent::SignIn,
        }
    }
}

/// A flow, as its `state` carries it.
#[derive(Debug, Serialize, Deserialize)]
struct Flow {
    /// The hash of where the browser is sent at the end.
    redirect: String,
    client_state: Option<String>,
    code_challenge: String,
    intent: Intent,
    /// The hash of what the browser's cookie holds.
    browser: String,
    secrets: Secrets,
    until: Timestamp,
}

impl Flow {
    /// Since when the person must have shown who they are: to sign in, or to link, being signed in there is enough.
    fn shown_since(&self) -> Option<Timestamp> {
        matches!(self.intent, Intent::Reauthenticate(_)).then(|| self.until.minus(AWAY))
    }
}

/// What a client may exchange.
#[derive(Debug, Serialize, Deserialize)]
pub struct Passed {
    /// Who says so.
    pub provider: String,
    /// The client's own PKCE challenge.
    pub code_challenge: String,
    /// What it is good for.
    pub intent: Intent,
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
        let flow = Flow {
            redirect: hash(&command.redirect_uri),
            client_state: command.state.clone(),
            code_challenge: command.code_challenge.clone(),
            intent: Intent::of(command),
            browser: hash(&command.browser),
            secrets: Secrets { verifier: random(), nonce: random() },
            until: self.clock.now().plus(AWAY),
        };
        let Sealed(state) = self.seal(&place(FLOW, &provider.name), &flow)?;
        let asked = Asked { state: &state, secrets: &flow.secrets, anew: flow.shown_since().is_some() };
        Ok((provider.authorize_url(&*self.clock, asked).await?, state))
    }

    /// The flow of a `state`, while it is under way at this provider.
    async fn under_way(&self, provider: &Provider, state: &str) -> Outcome<Flow> {
        // What does not open is none of ours, or another provider's. Each has a redirect URI of its own: what comes to
        // another one's is mixed up (RFC 9700, section 4.4).
        let opened = self.unseal(&place(FLOW, &provider.name), &Sealed(state.to_owned())).await;
        let flow: Flow = opened.map_err(|_| ErrorCode::AuthChallengeExpired)?;
        if flow.until <= self.clock.now() {
            return Err(ErrorCode::AuthChallengeExpired.into());
        }
        if challenges::was_taken(self.db.read(), FLOW, &flow.secrets.nonce).await? {
            return Err(ErrorCode::AuthChallengeExhausted.into());
        }
        Ok(flow)
    }

    /// Seals what a provider has posted, for the browser to carry it on.
    ///
    /// # Errors
    /// `auth.provider_unknown`, `auth.challenge_expired`, `auth.challenge_exhausted` where no flow is under way for which
    /// it could be; `request.invalid` for more than a URL carries.
    pub(super) async fn seal_posted(&self, posted: OauthCallback) -> Outcome<String> {
        let provider = self.oauth.provider(&posted.provider)?;
        let state = posted.state.as_deref().unwrap_or_default();
        self.under_way(&provider, state).await?;
        let answer = Answer { code: posted.code, error: posted.error, iss: posted.iss, user: posted.user };
        let Sealed(sealed) = self.seal(&place("oauthPosted", state), &answer)?;
        if sealed.len() > POSTED {
            return Err(Refusal::invalid("code", "is too long, with what was posted beside it").into());
        }
        Ok(sealed)
    }

    /// Takes a browser that comes back, and sends it on to the client.
    ///
    /// # Errors
    /// `auth.provider_unknown`, `auth.challenge_expired`, `auth.challenge_exhausted` where no flow is known to be under
    /// way, and so nobody to send it to.
    pub(super) async fn come_back(&self, command: OauthCallback) -> Outcome<view::Redirection> {
        let provider = self.oauth.provider(&command.provider)?;
        let state = command.state.as_deref().unwrap_or_default();
        let flow = self.under_way(&provider, state).await?;
        let redirect_uri = self.oauth.redirect_of(&flow.redirect).ok_or(ErrorCode::AuthChallengeExpired)?;
        let arrived = self.arrive(&provider, &flow, &command, state).await;
        let location = back(redirect_uri, arrived.as_deref(), flow.client_state.as_deref())?;
        Ok(view::Redirection { location })
    }

    async fn arrive(&self, provider: &Provider, flow: &Flow, command: &OauthCallback, state: &str) -> Outcome<String> {
        // Somebody else's flow, put upon this browser: it would sign in as whoever began it (RFC 6749, 10.12).
        let is_same = |held: &String| verify_slices_are_equal(hash(held).as_bytes(), flow.browser.as_bytes()).is_ok();
        if !command.browser.iter().any(is_same) {
            return Err(invalid(&provider.name, "an answer in another browser than the question"));
        }
        let answer = match &command.posted {
            Some(sealed) => {
                let opened = self.unseal(&place("oauthPosted", state), &Sealed(sealed.clone())).await;
                // What was posted to another flow does not open.
                opened.map_err(|_| ErrorCode::AuthChallengeExpired)?
            }
            None => Answer {
                code: command.code.clone(),
                error: command.error.clone(),
                iss: command.iss.clone(),
                // A query is not signed by anybody, and Apple never uses one.
                user: None,
            },
        };
        let who = provider.identify(&*self.clock, &answer, &flow.secrets, flow.shown_since()).await?;
        self.pass(provider, flow, &who).await
    }

    /// A one-time code for who it turned out to be; the flow has come to its end.
    async fn pass(&self, provider: &Provider, flow: &Flow, who: &Who) -> Outcome<String> {
        let passed = Passed {
            provider: provider.name.clone(),
            code_challenge: flow.code_challenge.clone(),
            intent: flow.intent,
            who: self.seal(&place("oauthCode", &flow.code_challenge), who)?,
        };
        transact(&self.db, &*self.clock, async |transaction| {
            challenges::take_once(transaction, &*self.clock, FLOW, &flow.secrets.nonce, flow.until).await?;
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
