//! Signing in by who somebody is elsewhere, and linking such identities to an account.
//! Never what a provider must say: that is checked where it is asked.

use super::{Access, Command, Device, Doors};
use crate::protocol::check;
use crate::protocol::error::{Outcome, Refusal};
use crate::protocol::view;
use entities::SessionId;
use serde::Deserialize;
use utoipa::ToSchema;

/// The longest name of a provider.
pub(super) const PROVIDER: usize = 32;
/// The longest one-time code of ours; one has 43 bytes.
const CODE: usize = 64;
/// The longest nonce.
pub(super) const NONCE: usize = 256;
/// The longest token or answer of a provider.
pub(super) const FOREIGN: usize = 8 * 1024;

/// Sends a browser to a provider. It comes back to `redirectUri` with a `code` for `auth.oauthExchange`, or an `error`.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct OauthStart {
    /// Who is asked, as this node calls it.
    #[serde(default)]
    #[param(ignore)]
    pub provider: String,
    /// Where the browser is sent at the end: one of those that this node allows, letter by letter.
    pub redirect_uri: String,
    /// The client's own PKCE challenge (RFC 7636, S256): whoever knows its verifier may exchange the code.
    pub code_challenge: String,
    /// Given back at the end as it is.
    pub state: Option<String>,
    /// To link instead of signing in: the `sessionId` by which `auth.linkAccount` is going to be called.
    pub link_session: Option<SessionId>,
    /// To show again who one is instead of signing in: the `sessionId` by which `auth.reauthenticate` is going to be
    /// called. The provider is asked to have the person sign in anew.
    pub reauthenticate_session: Option<SessionId>,
    /// What holds the flow to the browser; never a client's to say.
    #[serde(skip)]
    #[schema(ignore)]
    #[param(ignore)]
    pub browser: String,
}
command!(OauthStart = "auth.oauthStart" -> view::OauthStarted, ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    check::text("provider", &c.provider, 1, PROVIDER)?;
    check::text("redirectUri", &c.redirect_uri, 1, 2048)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if c.code_challenge.len() != 43 || !c.code_challenge.bytes().all(plain) {
        return Err(Refusal::invalid("codeChallenge", "must be a SHA-256 in base64url: 43 characters").into());
    }
    if c.link_session.is_some() && c.reauthenticate_session.is_some() {
        return Err(Refusal::invalid("reauthenticateSession", "give one of linkSession and reauthenticateSession").into());
    }
    c.state.as_ref().map_or(Ok(()), |state| check::text("state", state, 1, 512))
});

/// What a provider sends a browser back with (RFC 6749, section 4.1.2).
#[derive(Debug, Default, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct OauthCallback {
    /// Who it is.
    #[serde(default)]
    #[param(ignore)]
    pub provider: String,
    /// The flow.
    pub state: Option<String>,
    /// What the provider gives tokens for.
    pub code: Option<String>,
    /// Why it gives none.
    pub error: Option<String>,
    /// Who answers (RFC 9207).
    pub iss: Option<String>,
    /// Apple: who the person is, in JSON, on their first sign-in.
    pub user: Option<String>,
    /// What was posted, sealed: a POST from another site brings no cookie along.
    pub posted: Option<String>,
    /// What holds the flow to the browser, from its cookies.
    #[serde(skip)]
    #[schema(ignore)]
    #[param(ignore)]
    pub browser: Vec<String>,
}
command!(OauthCallback = "auth.oauthCallback" -> view::Redirection, ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    check::text("provider", &c.provider, 1, PROVIDER)?;
    let given = [("state", &c.state), ("code", &c.code), ("error", &c.error), ("iss", &c.iss), ("user", &c.user),
        ("posted", &c.posted)];
    for (field, value) in given {
        value.as_ref().map_or(Ok(()), |value| check::text(field, value, 0, FOREIGN))?;
    }
    Ok(())
});

/// Signs in with the code that the browser came back with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OauthExchange {
    /// The code; good for a minute, once.
    pub code: String,
    /// What the client's PKCE challenge was made of.
    pub code_verifier: String,
    /// What the person calls from.
    pub device: Option<Device>,
}
command!(OauthExchange = "auth.oauthExchange" -> view::SignedIn, ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    check::text("code", &c.code, 1, CODE)?;
    verifier(&c.code_verifier)?;
    c.device.as_ref().map_or(Ok(()), Device::check)
});

/// Signs in with what a provider's own SDK has given a native app.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OauthMobile {
    /// Who gave it, as this node calls it.
    pub provider: String,
    /// An id token of OpenID Connect; taken once.
    pub id_token: Option<String>,
    /// Facebook: an access token instead.
    pub access_token: Option<String>,
    /// The nonce that the app asked for, as it stands in the id token.
    pub nonce: Option<String>,
    /// What the person is called; Apple's SDK tells it to the app alone, once. For a new account.
    pub display_name: Option<String>,
    /// What the person calls from.
    pub device: Option<Device>,
}
command!(OauthMobile = "auth.oauthMobile" -> view::SignedIn, ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    check::text("provider", &c.provider, 1, PROVIDER)?;
    match (&c.id_token, &c.access_token) {
        (Some(token), None) => check::text("idToken", token, 1, FOREIGN)?,
        (None, Some(token)) => check::text("accessToken", token, 1, FOREIGN)?,
        _ => return Err(Refusal::invalid("idToken", "give one of idToken and accessToken").into()),
    }
    c.nonce.as_ref().map_or(Ok(()), |nonce| check::text("nonce", nonce, 1, NONCE))?;
    c.display_name.as_ref().map_or(Ok(()), |name| check::text("displayName", name, 1, 100))?;
    c.device.as_ref().map_or(Ok(()), Device::check)
});

/// Links to the caller's account who they are elsewhere, with the code of a flow that was begun for that.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkAccount {
    /// The code; good for a minute, once.
    pub code: String,
    /// What the client's PKCE challenge was made of.
    pub code_verifier: String,
}
command!(LinkAccount = "auth.linkAccount" -> view::LinkedAccount, ACCESS: Access::Fresh; |c| {
    check::text("code", &c.code, 1, CODE)?;
    verifier(&c.code_verifier)
});

/// Who the caller is elsewhere.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkedAccounts {}
command!(LinkedAccounts = "auth.linkedAccounts" -> view::Page<view::LinkedAccount>);

/// Forgets who the caller is at a provider; refused if there were no way left to sign in. An issuer whose verified
/// addresses this node trusts opens the account again, as long as both have the same address.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnlinkAccount {
    /// The provider, as this node calls it.
    pub provider: String,
}
command!(UnlinkAccount = "auth.unlinkAccount" -> (), ACCESS: Access::Fresh;
    |c| check::text("provider", &c.provider, 1, PROVIDER));

/// RFC 7636, section 4.1.
pub(super) fn verifier(value: &str) -> Outcome<()> {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    if !(43..=128).contains(&value.len()) || !value.bytes().all(unreserved) {
        return Err(
            Refusal::invalid("codeVerifier", "must be 43 to 128 of A-Z, a-z, 0-9, '-', '.', '_' and '~'").into()
        );
    }
    Ok(())
}
