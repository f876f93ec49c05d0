//! Setting a password: another one, a first one, or a new one for who has forgotten theirs.
//! Never a sign-in: whoever has set a new one by a code signs in with it next.

use super::asking::{holder, languages};
use super::delays::Key;
use super::login::{Identifier, owner};
use super::otp::{Asking, Passed, Recipient};
use super::strength::Normal;
use super::texts::News;
use super::{Auth, audit, challenges, close, sessions, sign_in};
use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::{Caller, Identity};
use actors::clock::Clock;
use actors::protocol::command::{ChangePassword, ForgotPassword, OtpPurpose, Password, ResetPassword};
use actors::protocol::{Error, ErrorCode, Outcome, Refusal, view};
use actors::retry::transact;
use entities::{SessionId, UserId, password, user};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, Set};
use serde_json::json;
use std::net::IpAddr;

/// Keeps a user's password from now on.
///
/// # Errors
/// Those of the database.
pub async fn set(db: &impl ConnectionTrait, clock: &dyn Clock, user: UserId, phc: &str) -> Result<(), DbErr> {
    let row = password::ActiveModel { user_id: Set(user), phc: Set(phc.to_owned()), changed_at: Set(clock.now()) };
    let replaced = [password::Column::Phc, password::Column::ChangedAt];
    let over = OnConflict::column(password::Column::UserId).update_columns(replaced).to_owned();
    password::Entity::insert(row).on_conflict(over).exec_without_returning(db).await?;
    Ok(())
}

/// A password that is to be an account's.
struct Setting<'a> {
    user: UserId,
    phc: &'a str,
    /// The session that goes on.
    but: Option<SessionId>,
    keep_sessions: bool,
    event: audit::Event,
}

impl Auth {
    /// Sets the password of whoever has signed in; gives the sessions that it ended.
    ///
    /// # Errors
    /// Those of `hash_new`; a fault of the database.
    pub async fn change_password(
        &self,
        command: &ChangePassword,
        identity: Identity,
        address: Option<IpAddr>,
    ) -> Outcome<Vec<SessionId>> {
        let user = user::by_id(identity.user).one(self.db.read()).await?.ok_or(ErrorCode::UserNotFound)?;
        let phc = self.accept(&user.id.to_string(), &command.new_password, &user).await?;
        let ended = transact(&self.db, &*self.clock, async |transaction| {
            let had = password::of_user(user.id).one(transaction).await?.is_some();
            let event = audit::Event {
                kind: if had { audit::Kind::PasswordChanged } else { audit::Kind::PasswordSet },
                user: Some(user.id),
                session: Some(identity.session),
                address,
                detail: json!({ "keepSessions": command.keep_sessions }),
            };
            let (but, keep_sessions) = (Some(identity.session), command.keep_sessions);
            self.set(transaction, Setting { user: user.id, phc: &phc, but, keep_sessions, event }).await
        })
        .await?;
        self.notices.tell(&user, News::PasswordChanged);
        Ok(ended)
    }

    /// Sets a new password with a code that was sent to its owner; gives who that is, and the sessions that it ended.
    ///
    /// # Errors
    /// Those of `try_code` and of `hash_new`; a fault of the database.
    pub async fn reset_password(
        &self,
        command: &ResetPassword,
        address: Option<IpAddr>,
    ) -> Outcome<(UserId, Vec<SessionId>)> {
        let ResetPassword { verification_id, code, .. } = command;
        let passed = self.try_code(verification_id, code, OtpPurpose::ResetPassword, address).await?;
        let done = self.reset(&passed, command, address).await;
        if let Err(Error::Refused(_)) = &done {
            // The code was right: it may come again with a better password.
            self.otp.hand_back(&passed).await?;
        }
        done
    }

    async fn reset(
        &self,
        passed: &Passed,
        command: &ResetPassword,
        address: Option<IpAddr>,
    ) -> Outcome<(UserId, Vec<SessionId>)> {
        let owner = || owner(&passed.contact);
        let user = owner().one(self.db.read()).await?.ok_or(ErrorCode::AuthOtpExpired)?;
        let phc = self.accept(&command.verification_id, &command.new_password, &user).await?;
        let ended = transact(&self.db, &*self.clock, async |transaction| {
            self.otp.consume(transaction, passed).await?;
            // The number or address may have gone to somebody else meanwhile.
            if owner().one(transaction).await?.is_none_or(|now| now.id != user.id) {
                return Err(ErrorCode::AuthOtpExpired.into());
            }
            let event = audit::Event { user: Some(user.id), address, ..audit::Event::of(audit::Kind::PasswordReset) };
            let setting = Setting { user: user.id, phc: &phc, but: None, keep_sessions: false, event };
            let ended = self.set(transaction, setting).await?;
            // After the password's row, as `let_in` does, so that no two wait for each other.
            let names = [&user.phone, &user.email_key, &user.username_key];
            let names: Vec<Key<'_>> = names.into_iter().flatten().map(|name| Key::Identifier(name)).collect();
            self.delays.forget(transaction, &names).await?;
            self.forget_second_factor_tries(transaction, user.id).await?;
            Ok(ended)
        })
        .await?;
        self.notices.tell(&user, News::PasswordChanged);
        Ok((user.id, ended))
    }

    /// # Why in this order
    /// Whoever signs in with the old password holds its row until their session has begun, and it is waited for here:
    /// so that session is among those that end. See `let_in`.
    async fn set(&self, transaction: &DatabaseTransaction, setting: Setting<'_>) -> Outcome<Vec<SessionId>> {
        let Setting { user, phc, but, keep_sessions, event } = setting;
        set(transaction, &*self.clock, user, phc).await?;
        let reason: &str = event.kind.into();
        audit::record(transaction, &*self.clock, event).await?;
        // Also of those that go on: nobody comes in any more by the password before.
        challenges::close_all(transaction, &*self.clock, &sign_in::SECOND_FACTOR, user).await?;
        if keep_sessions {
            return Ok(Vec::new());
        }
        Ok(sessions::revoke_all(transaction, user, but, reason, self.clock.now()).await?)
    }

    async fn accept(&self, whose: &str, new_password: &Password, user: &user::Model) -> Outcome<String> {
        let known = [user.phone.as_ref(), user.email.as_ref(), user.username.as_ref(), Some(&user.display_name)];
        let known = known.into_iter().flatten().cloned().collect();
        self.hash_new(whose, new_password, known, "newPassword").await
    }

    /// The hash of a password that somebody is to have. `whose` it is tells what they have shown: a session's user, or
    /// a verification; by neither does anybody hold up whoever has the other.
    ///
    /// # Errors
    /// `auth.too_many_tries` for whoever does it again and again; those of `Place::accept`; `auth.busy`.
    pub(super) async fn hash_new(
        &self,
        whose: &str,
        password: &Password,
        known: Vec<String>,
        field: &'static str,
    ) -> Outcome<String> {
        let keys = [Key::Setting(whose)];
        self.delays.check(&keys).await?;
        let place = self.hasher.place_of(whose)?;
        self.delays.reserve(&keys).await?;
        place.accept(Normal::of(password.expose()), known, field).await
    }
}

impl Run for ChangePassword {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<()> {
        let identity = caller.identity()?;
        let ended = app.auth.change_password(&self, identity, caller.address).await?;
        ended.into_iter().for_each(|session| close(app, identity.user, session));
        Ok(())
    }
}

impl Run for ForgotPassword {
    /// # Why no username
    /// Everybody knows it: who may have texts sent to its owner, and learn from a budget that is used up which number
    /// that is, would be anybody. A number or an address is asked for, and the answer does not tell whose it is.
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::OtpSent> {
        let Identifier::Contact(contact) = Identifier::read(&self.identifier)? else {
            let message = "must be a phone number with its +, or an e-mail address: codes go there";
            return Err(Refusal::invalid("identifier", message).into());
        };
        let known = holder(app.db.read(), &contact).await?;
        let of_account = known.as_ref().and_then(|holder| holder.locale.as_deref());
        let languages = languages(self.locale.as_deref(), of_account, caller);
        let asking = Asking {
            contact: &contact,
            recipient: Recipient::owner(known.is_some()),
            channel: self.channel,
            purpose: OtpPurpose::ResetPassword,
            user: None,
            address: caller.address,
            locale: Some(&languages),
        };
        app.auth.otp.send(asking).await
    }
}

impl Run for ResetPassword {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<()> {
        let (user, ended) = app.auth.reset_password(&self, caller.address).await?;
        ended.into_iter().for_each(|session| close(app, user, session));
        Ok(())
    }
}
