//! Those for whom a provider vouches: by the one-time code of a flow, or by what an SDK has given an app; and letting
//! them in.
//! Never who may have which account: see `identities`.

use super::Who;
use super::flow::{CODE, Intent, Passed, hash, place};
use super::identities::Came;
use super::provider::Provider;
use crate::auth::Auth;
use crate::auth::challenges::{self, Open};
use crate::auth::sessions::Origin;
use crate::auth::sign_in::Entering;
use crate::auth::texts::News;
use actors::clock::Clock;
use actors::protocol::{ErrorCode, Outcome, view};
use actors::retry::transact;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use entities::Timestamp;
use sea_orm::DatabaseTransaction;
use std::sync::Arc;

/// What is noted of an id token that was taken, so that it is taken once.
const TAKEN: &str = "idToken";

/// Somebody for whom a provider vouches.
pub struct Arrival {
    /// Who says so.
    pub provider: Arc<Provider>,
    /// Who the person is there.
    pub who: Who,
    /// What showed it.
    pub ticket: Ticket,
}

/// What shows for whom a provider vouches; used up with what it is for.
pub enum Ticket {
    /// The code of a flow.
    Code(Open),
    /// An id token: what names it, and until when it is good.
    Token {
        /// All that is signed, hashed.
        name: String,
        /// The clocks' difference included.
        until: Timestamp,
    },
    /// An access token, which is good again and again.
    Access,
}

impl Arrival {
    /// Uses up what showed it, in the transaction of what it is for.
    ///
    /// # Errors
    /// `auth.challenge_expired` where it was used before; a fault of the database.
    pub async fn use_up(&self, transaction: &DatabaseTransaction, clock: &dyn Clock) -> Outcome<()> {
        match &self.ticket {
            Ticket::Code(open) => challenges::consume(transaction, clock, open).await,
            Ticket::Token { name, until } => challenges::take_once(transaction, clock, TAKEN, name, *until).await,
            Ticket::Access => Ok(()),
        }
    }
}

impl Auth {
    /// Tries a code: a flow's that was begun for this.
    ///
    /// # Errors
    /// `auth.challenge_expired` for one that is over, used, or another's; `auth.challenge_exhausted`;
    /// `auth.provider_unknown` where its provider is known no longer.
    pub async fn arrival(&self, code: &str, verifier: &str, intent: Intent) -> Outcome<Arrival> {
        let open = challenges::attempt(&self.db, &*self.clock, &CODE, code).await?;
        let passed: Passed = open.detail()?;
        let knows = verify_slices_are_equal(hash(verifier).as_bytes(), passed.code_challenge.as_bytes()).is_ok();
        if !knows || passed.intent != intent {
            return Err(ErrorCode::AuthChallengeExpired.into());
        }
        let who = self.unseal(&place(CODE.name, &passed.code_challenge), &passed.who).await?;
        Ok(Arrival { provider: self.oauth.provider(&passed.provider)?, who, ticket: Ticket::Code(open) })
    }

    /// Lets in whom a provider vouches for; registers whom nobody knows yet. Whose account it has opened for the first
    /// time is told.
    ///
    /// # Errors
    /// Those of `Arrival::use_up`; `auth.identity_invalid` where their account is gone; `user.not_found` where it has
    /// just ended.
    pub(super) async fn let_in_by(&self, arrival: &Arrival, origin: Origin) -> Outcome<view::SignedIn> {
        let (signed_in, linked) = transact(&self.db, &*self.clock, async |transaction| {
            arrival.use_up(transaction, &*self.clock).await?;
            let (user, came) = self.find_or_join(transaction, arrival, origin.address).await?;
            let linked = (came == Came::Linked).then(|| user.clone());
            let by = format!("oauth:{}", arrival.provider.name);
            let entering = Entering { user, origin: origin.clone(), by, is_new: came == Came::New };
            Ok((self.enter(transaction, entering).await?, linked))
        })
        .await?;
        if let Some(account) = linked {
            self.notices.tell(&account, News::IdentityLinked);
        }
        Ok(signed_in)
    }
}
