//! Native apps, whose people sign in by a provider's own SDK, and which bring along what that has given them.
//! Never a browser.

use super::exchange::{Arrival, Ticket};
use super::flow::hash;
use super::invalid;
use super::issuer::Good;
use super::provider::{Proof, Provider};
use crate::auth::Auth;
use crate::auth::sessions::Origin;
use actors::protocol::command::OauthMobile;
use actors::protocol::{Fault, Outcome, view};

impl Auth {
    /// Signs in with an id token, or with an access token of Facebook.
    ///
    /// # Errors
    /// `auth.provider_unknown`, `auth.identity_invalid`, `auth.provider_unavailable`; `request.invalid` for an access
    /// token of a provider that gives id tokens; `auth.challenge_expired` for an id token that was taken before.
    pub(super) async fn mobile(&self, command: OauthMobile, origin: Origin) -> Outcome<view::SignedIn> {
        let provider = self.oauth.provider(&command.provider)?;
        let (mut who, ticket) = match (&command.id_token, &command.access_token) {
            (Some(id_token), _) => {
                let proof = Proof { id_token, nonce: command.nonce.as_deref() };
                let Good { who, until } = provider.vouched(&*self.clock, proof).await?;
                (who, Ticket::Token { name: signed_part(&provider, id_token)?, until })
            }
            (None, Some(access_token)) => (provider.vouched_by_access(access_token).await?, Ticket::Access),
            (None, None) => return Err(Fault::new("a command that was checked has no token").into()),
        };
        who.name = who.name.or(command.display_name);
        self.let_in_by(&Arrival { provider, who, ticket }, origin).await
    }
}

/// What names a token: all that is signed. A signature may be written in two ways.
fn signed_part(provider: &Provider, id_token: &str) -> Outcome<String> {
    let (signed, _) = id_token.rsplit_once('.').ok_or_else(|| invalid(&provider.name, "no JWT"))?;
    Ok(hash(signed))
}
