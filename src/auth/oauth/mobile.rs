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
    /// Those of `vouched`; `request.invalid` for an access token of a provider that gives id tokens;
    /// `auth.challenge_expired` for an id token that was taken before.
    pub(super) async fn mobile(&self, command: OauthMobile, origin: Origin) -> Outcome<view::SignedIn> {
        let mut arrival = match (&command.id_token, &command.access_token) {
            (Some(id_token), _) => {
                let proof = Proof { id_token, nonce: command.nonce.as_deref(), since: None };
                self.vouched(&command.provider, proof).await?
            }
            (None, Some(access_token)) => {
                let provider = self.oauth.provider(&command.provider)?;
                let who = provider.vouched_by_access(access_token).await?;
                Arrival { provider, who, ticket: Ticket::Access }
            }
            (None, None) => return Err(Fault::new("a command that was checked has no token").into()),
        };
        arrival.who.name = arrival.who.name.or(command.display_name);
        self.let_in_by(&arrival, origin).await
    }

    /// Whom an id token names that a native app brings along.
    ///
    /// # Errors
    /// `auth.provider_unknown`, `auth.identity_invalid`, `auth.provider_unavailable`
    pub async fn vouched(&self, provider: &str, proof: Proof<'_>) -> Outcome<Arrival> {
        let provider = self.oauth.provider(provider)?;
        let name = signed_part(&provider, proof.id_token)?;
        let Good { who, until } = provider.vouched(&*self.clock, proof).await?;
        Ok(Arrival { provider, who, ticket: Ticket::Token { name, until } })
    }
}

/// What names a token: all that is signed. A signature may be written in two ways.
fn signed_part(provider: &Provider, id_token: &str) -> Outcome<String> {
    let (signed, _) = id_token.rsplit_once('.').ok_or_else(|| invalid(&provider.name, "no JWT"))?;
    Ok(hash(signed))
}
