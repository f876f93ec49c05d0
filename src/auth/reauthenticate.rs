//! Showing again who one is: what makes a session fresh, so that it may change how its account is signed in to.
//! Never a new session.
//!
//! # Why not any of them
//! Whoever has found a device that is signed in may read the codes there that come to it. So the strongest is asked for
//! that the account has: its second factor, else its password, and a code or a linked identity only where there is
//! neither.
//!
//! # What that does not keep out
//! A session that has just begun is fresh, by whatever it began. With a second factor that is no way around: none begins
//! without it. With a password alone it is one, as is `auth.forgotPassword`: whoever reads the account's codes may sign
//! in by one and set a new password. Against them there is only the second factor.

use super::delays::{Key, Reserved};
use super::hasher::Verdict;
use super::login::owner;
use super::oauth::{Arrival, Intent, Proof};
use super::otp::Passed;
use super::second_factor::{self, Place, Showing};
use super::strength::Normal;
use super::{Auth, audit};
use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::{Caller, Identity};
use actors::protocol::command::{OtpPurpose, Reauthenticate};
use actors::protocol::{ErrorCode, Outcome, Refusal, view};
use actors::retry::transact;
use entities::{Timestamp, password, second_factor as factors, session};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Set};
use serde_json::json;
use std::net::IpAddr;

/// What was right, and is used up with the session's becoming fresh.
enum Shown {
    SecondFactor(second_factor::Shown),
    Password { phc: String, reserved: Reserved },
    Code(Passed),
    Identity(Arrival),
}

impl Shown {
    fn by(&self) -> String {
        match self {
            Shown::SecondFactor(shown) => shown.kind().to_owned(),
            Shown::Password { .. } => "password".to_owned(),
            Shown::Code(_) => "otp".to_owned(),
            Shown::Identity(arrival) => format!("oauth:{}", arrival.provider.name),
        }
    }
}

impl Auth {
    /// Makes the session fresh; tells until when it is.
    ///
    /// # Errors
    /// `request.invalid` for what the account asks for and was not given; those of what was; a fault of the database.
    pub async fn reauthenticate(
        &self,
        command: &Reauthenticate,
        identity: Identity,
        address: Option<IpAddr>,
    ) -> Outcome<Timestamp> {
        let shown = self.show(command, identity, address).await?;
        transact(&self.db, &*self.clock, async |transaction| {
            self.use_up(transaction, &shown, identity).await?;
            let now = self.clock.now();
            let fresh = session::ActiveModel { authenticated_at: Set(Some(now)), ..session::ActiveModel::default() };
            let live = session::COLUMN.id.eq(identity.session).and(session::COLUMN.revoked_at.is_null());
            if session::Entity::update_many().set(fresh).filter(live).exec(transaction).await?.rows_affected == 0 {
                return Err(ErrorCode::AuthSessionRevoked.into());
            }
            let event = audit::Event {
                kind: audit::Kind::Reauthenticated,
                user: Some(identity.user),
                session: Some(identity.session),
                address,
                detail: json!({ "by": shown.by() }),
            };
            audit::record(transaction, &*self.clock, event).await?;
            Ok(now.plus(self.fresh))
        })
        .await
    }

    async fn show(&self, command: &Reauthenticate, identity: Identity, address: Option<IpAddr>) -> Outcome<Shown> {
        let Identity { user, session, .. } = identity;
        if factors::guarding(user).one(self.db.read()).await?.is_some() {
            let missing = || Refusal::invalid("code", "is asked for: the account has a second factor");
            let code = command.code.as_ref().ok_or_else(missing)?;
            let showing = Showing { user, place: Place::Session(session), code, address };
            return Ok(Shown::SecondFactor(self.try_second_factor(showing).await?));
        }
        match password::of_user(user).one(self.db.read()).await? {
            Some(row) => self.show_password(command, identity, address, row.phc).await,
            None => self.show_other(command, identity, address).await,
        }
    }

    async fn show_password(
        &self,
        command: &Reauthenticate,
        identity: Identity,
        address: Option<IpAddr>,
        phc: String,
    ) -> Outcome<Shown> {
        let missing = || Refusal::invalid("password", "is asked for: the account has one");
        let given = command.password.as_ref().ok_or_else(missing)?;
        // Whoever guesses has this session: its tries are no others'.
        let keys = [Key::Session(identity.session)];
        self.delays.check(&keys).await?;
        let place = self.hasher.place_of(&identity.user.to_string())?;
        let reserved = self.delays.reserve(&keys).await?;
        match place.verify(Normal::of(given.expose()), Some(phc.clone())).await? {
            Verdict::Right { .. } => Ok(Shown::Password { phc, reserved }),
            Verdict::Wrong => {
                self.note_failure(Some(identity.user), address, reserved.is_step, "password").await?;
                Err(ErrorCode::AuthCredentialsInvalid.into())
            }
        }
    }

    /// By a code, or by an identity: what an account is signed in to with that has neither of the others.
    async fn show_other(
        &self,
        command: &Reauthenticate,
        identity: Identity,
        address: Option<IpAddr>,
    ) -> Outcome<Shown> {
        let arrival = match (command, &command.code, &command.code_verifier) {
            (Reauthenticate { provider: Some(provider), id_token: Some(id_token), .. }, ..) => {
                // One that was made long ago may have been found on the device.
                let since = Some(self.clock.now().minus(self.fresh));
                self.vouched(provider, Proof { id_token, nonce: command.nonce.as_deref(), since }).await?
            }
            (_, Some(code), Some(verifier)) => {
                self.arrival(code, verifier, Intent::Reauthenticate(identity.session)).await?
            }
            _ => return self.show_code(command, identity, address).await,
        };
        Ok(Shown::Identity(arrival))
    }

    async fn show_code(&self, command: &Reauthenticate, identity: Identity, address: Option<IpAddr>) -> Outcome<Shown> {
        let missing = "is asked for: send a code for this purpose, or show a linked identity (codeVerifier, idToken)";
        let missing = || Refusal::invalid("verificationId", missing);
        let verification_id = command.verification_id.as_ref().ok_or_else(missing)?;
        let code = command.code.as_ref().ok_or_else(|| Refusal::invalid("code", "is missing"))?;
        let passed = self.try_code(verification_id, code, OtpPurpose::Reauthenticate, address).await?;
        // It must be a number or an address of this account, not just any that somebody has.
        if owner(&passed.contact).one(self.db.read()).await?.is_none_or(|user| user.id != identity.user) {
            return Err(ErrorCode::AuthOtpExpired.into());
        }
        Ok(Shown::Code(passed))
    }

    async fn use_up(&self, transaction: &DatabaseTransaction, shown: &Shown, identity: Identity) -> Outcome<()> {
        match shown {
            Shown::SecondFactor(shown) => self.use_second_factor(transaction, shown).await,
            Shown::Password { phc, reserved } => {
                let held = password::of_user(identity.user).lock_exclusive().one(transaction).await?;
                if held.is_none_or(|row| row.phc != *phc) {
                    return Err(ErrorCode::AuthCredentialsInvalid.into());
                }
                Ok(self.delays.clear(transaction, reserved).await?)
            }
            Shown::Code(passed) => self.otp.consume(transaction, passed).await,
            Shown::Identity(arrival) => self.recognise(transaction, arrival, identity.user).await,
        }
    }
}

impl Run for Reauthenticate {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Reauthenticated> {
        let identity = caller.identity()?;
        let fresh_until = app.auth.reauthenticate(&self, identity, caller.address).await?;
        app.sessions.forget(identity.session);
        Ok(view::Reauthenticated { fresh_until })
    }
}
