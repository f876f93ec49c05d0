//! The end of a flow at its client: a one-time code and the verifier that only the client knows.
//! Never who may have which account: see `identities`.

use super::Who;
use super::flow::{CODE, Passed, hash, place};
use super::provider::Provider;
use crate::auth::Auth;
use crate::auth::challenges::{self, Open};
use crate::auth::sessions::Origin;
use crate::auth::sign_in::Entering;
use actors::protocol::{ErrorCode, Outcome, view};
use actors::retry::transact;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use entities::SessionId;
use sea_orm::DatabaseTransaction;
use std::sync::Arc;

/// A code that was right.
pub struct Arrival {
    /// Who says so.
    pub provider: Arc<Provider>,
    /// Who the person is there.
    pub who: Who,
    /// To be used up with what it is for.
    pub open: Open,
}

impl Auth {
    /// Tries a code: a flow's that was begun to sign in, or to link by a certain session.
    ///
    /// # Errors
    /// `auth.challenge_expired` for one that is over, used, or another's; `auth.challenge_exhausted`.
    pub(super) async fn arrival(&self, code: &str, verifier: &str, link: Option<SessionId>) -> Outcome<Arrival> {
        let open = challenges::attempt(&self.db, &*self.clock, &CODE, code).await?;
        let passed: Passed = open.detail()?;
        let knows = verify_slices_are_equal(hash(verifier).as_bytes(), passed.code_challenge.as_bytes()).is_ok();
        if !knows || passed.link != link {
            return Err(ErrorCode::AuthChallengeExpired.into());
        }
        let who = self.unseal(&place(CODE.name, &passed.code_challenge), &passed.who).await?;
        Ok(Arrival { provider: self.oauth.provider(&passed.provider)?, who, open })
    }

    /// Signs in whom a code stands for; registers whom nobody knows yet.
    ///
    /// # Errors
    /// Those of `arrival` and of `enter_as`.
    pub(super) async fn exchange(&self, code: &str, verifier: &str, origin: Origin) -> Outcome<view::SignedIn> {
        let Arrival { provider, who, open } = self.arrival(code, verifier, None).await?;
        transact(&self.db, &*self.clock, async |transaction| {
            challenges::consume(transaction, &*self.clock, &open).await?;
            self.enter_as(transaction, &provider, &who, &origin).await
        })
        .await
    }

    /// Lets in whom a provider vouches for.
    ///
    /// # Errors
    /// `auth.identity_invalid` where their account is gone; a fault of the database.
    pub(super) async fn enter_as(
        &self,
        transaction: &DatabaseTransaction,
        provider: &Provider,
        who: &Who,
        origin: &Origin,
    ) -> Outcome<view::SignedIn> {
        let (user, is_new) = self.find_or_join(transaction, provider, who, origin.address).await?;
        let by = format!("oauth:{}", provider.name);
        self.enter(transaction, Entering { user, origin: origin.clone(), by, is_new }).await
    }
}
