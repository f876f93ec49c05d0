//! Signing in with what was right: the second factor if there is one, then the session; and signing out.
//! Never the code, password or identity itself (see `otp` and the others beside it).

use super::challenges::{self, Purpose};
use super::contact::Contact;
use super::sessions::Origin;
use super::{Auth, accounts, audit, sessions};
use actors::protocol::command::{OtpPurpose, VerifyOtp};
use actors::protocol::{ErrorCode, Fault, Outcome, view};
use actors::retry::transact;
use entities::{SessionId, UserId, second_factor, session, user};
use sea_orm::sea_query::LockType;
use sea_orm::{DatabaseTransaction, QuerySelect};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;

/// What whoever has a second factor is asked after the first: only `auth.verify2fa` takes it.
pub const SECOND_FACTOR: Purpose = Purpose { name: "secondFactor", ttl: Duration::from_secs(300), tries: 5 };

/// Somebody who has shown who they are.
#[derive(Debug, Clone)]
pub struct Entering {
    /// Who.
    pub user: user::Model,
    /// From where.
    pub origin: Origin,
    /// By what, in a word, for the audit trail: `otp`, `password`, ...
    pub by: String,
    /// Whether this made the account.
    pub is_new: bool,
}

/// What is noted while somebody looks for their second factor.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pending {
    /// From where they came.
    pub origin: Origin,
    /// By what.
    pub by: String,
}

impl Auth {
    /// Tries the code and begins a session of whoever has its number; whom nobody knows yet is registered.
    ///
    /// # Errors
    /// Those of `try_code`; a fault of the database.
    pub async fn sign_in(&self, command: VerifyOtp, origin: Origin) -> Outcome<view::SignedIn> {
        let VerifyOtp { verification_id, code, .. } = &command;
        let passed = self.try_code(verification_id, code, OtpPurpose::SignIn, origin.address).await?;
        transact(&self.db, &*self.clock, async |transaction| {
            self.otp.consume(transaction, &passed).await?;
            let (user, is_new) = match &passed.contact {
                Contact::Phone(phone) => self.find_or_create(transaction, phone).await?,
                Contact::Email(address) => {
                    let known = user::by_email_key(&address.key).one(transaction).await?;
                    (known.ok_or(ErrorCode::AuthOtpExpired)?, false)
                }
            };
            self.enter(transaction, Entering { user, origin: origin.clone(), by: "otp".to_owned(), is_new }).await
        })
        .await
    }

    /// Lets somebody in whose first factor was right: begins a session, or asks for the second factor.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn enter(&self, transaction: &DatabaseTransaction, entering: Entering) -> Outcome<view::SignedIn> {
        let user = entering.user.id;
        if second_factor::guarding(user).one(transaction).await?.is_none() {
            return Ok(view::SignedIn::Done(Box::new(self.begin(transaction, entering).await?)));
        }
        let pending = Pending { origin: entering.origin, by: entering.by };
        let challenge_token = challenges::open(transaction, &*self.clock, &SECOND_FACTOR, Some(user), &pending).await?;
        let expires_in_secs = SECOND_FACTOR.ttl.as_secs();
        Ok(view::SignedIn::Challenged(view::Challenged { two_factor_required: true, challenge_token, expires_in_secs }))
    }

    /// Begins a session of somebody who has shown all that is asked for.
    ///
    /// # Errors
    /// `user.not_found` if the account ended a moment ago; a fault of the database.
    pub async fn begin(&self, transaction: &DatabaseTransaction, entering: Entering) -> Outcome<view::Entered> {
        let Entering { user, origin, by, is_new } = entering;
        // Held until the session is there: the account does not end meanwhile, and one that has ended lets nobody in.
        let holder = user::by_id(user.id).lock(LockType::KeyShare).one(transaction).await?;
        if holder.is_none_or(|row| row.left_at.is_some()) {
            return Err(ErrorCode::UserNotFound.into());
        }
        let session = self.clock.session_id();
        let address = origin.address;
        let beginning = sessions::Beginning { session, user: user.id, origin, at: self.clock.now() };
        sessions::begin(transaction, beginning).await?;
        let refresh_token = self.refresh.first(transaction, session).await?;
        let event = audit::Event {
            kind: audit::Kind::SignedIn,
            user: Some(user.id),
            session: Some(session),
            address,
            detail: json!({ "by": by, "isNewUser": is_new }),
        };
        audit::record(transaction, &*self.clock, event).await?;
        let tokens = self.pair(user.id, session, refresh_token)?;
        Ok(view::Entered { tokens, user: view::User::own(user), is_new_user: is_new })
    }

    /// Ends a session; gives whose it was, if it was still alive. Whoever calls closes its sockets.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn sign_out(&self, session: SessionId, address: Option<IpAddr>) -> Outcome<Option<UserId>> {
        transact(&self.db, &*self.clock, async |transaction| {
            let Some(row) = session::by_id(session).one(transaction).await? else { return Ok(None) };
            if !sessions::revoke(transaction, session, sessions::SIGNED_OUT, self.clock.now()).await? {
                return Ok(None);
            }
            let event = audit::Event {
                user: Some(row.user_id),
                session: Some(session),
                address,
                ..audit::Event::of(audit::Kind::SignedOut)
            };
            audit::record(transaction, &*self.clock, event).await?;
            Ok(Some(row.user_id))
        })
        .await
    }

    /// Whose number it is; a new account for whom nobody knows.
    async fn find_or_create(&self, transaction: &DatabaseTransaction, phone: &str) -> Outcome<(user::Model, bool)> {
        if let Some(known) = user::by_phone(phone).one(transaction).await? {
            return Ok((known, false));
        }
        let new = user::Model::new(self.clock.user_id(), self.clock.now());
        let new = user::Model { phone: Some(phone.to_owned()), ..new };
        if accounts::make(transaction, &*self.clock, new.clone()).await? {
            return Ok((new, true));
        }
        let faster = user::by_phone(phone).one(transaction).await?;
        Ok((faster.ok_or_else(|| Fault::new("a number that is taken is nobody's"))?, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::otp::Asking;
    use crate::auth::testing::{Setting, code};
    use actors::protocol::ErrorCode;
    use actors::protocol::command::Device;
    use sea_orm::EntityTrait;

    impl Setting {
        async fn sign_in(&self, command: VerifyOtp, address: Option<IpAddr>) -> Outcome<view::Entered> {
            let device = command.device.clone().unwrap_or_default();
            match self.auth.sign_in(command, Origin { device, address, user_agent: None }).await? {
                view::SignedIn::Done(entered) => Ok(*entered),
                view::SignedIn::Challenged(_) => panic!("nobody has a second factor here"),
            }
        }

        async fn code(&self) -> VerifyOtp {
            let contact = Contact::phone("+4915112345678").unwrap();
            let sent = self.auth.otp.send(Asking::to_sign_in(&contact)).await.unwrap();
            let code = self.pocket.code(&sent.verification_id);
            let device = Some(Device { name: Some("Ann's phone".to_owned()), ..Device::default() });
            VerifyOtp { verification_id: sent.verification_id, code, device }
        }
    }

    #[actix_web::test]
    async fn the_first_sign_in_makes_the_user() {
        for setting in Setting::each().await {
            let address = Some("2001:db8::1".parse().unwrap());
            let first = setting.sign_in(setting.code().await, address).await.unwrap();
            let second = setting.sign_in(setting.code().await, None).await.unwrap();
            assert!(first.is_new_user && !second.is_new_user);
            assert_eq!(first.user.id, second.user.id);
            assert_eq!(first.user.phone_number.as_deref(), Some("+4915112345678"));
            assert_ne!(first.tokens.session_id, second.tokens.session_id);
            let row = session::by_id(first.tokens.session_id).one(setting.scratch.db.read()).await.unwrap().unwrap();
            assert_eq!(row.address.as_deref(), Some("2001:db8::1"));
            assert_eq!(row.device_name.as_deref(), Some("Ann's phone"));
            let identity = setting.auth.tokens.verify(&first.tokens.access_token, setting.auth.clock.now()).unwrap();
            assert_eq!((identity.user, identity.session), (first.user.id, first.tokens.session_id));
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn two_verifications_that_end_at_once_make_one_user() {
        for setting in Setting::each().await {
            let (one, other) = (setting.code().await, setting.code().await);
            let (one, other) = tokio::join!(setting.sign_in(one, None), setting.sign_in(other, None));
            let (one, other) = (one.unwrap(), other.unwrap());
            assert_eq!(one.user.id, other.user.id);
            assert!(one.is_new_user != other.is_new_user);
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn one_code_signs_in_once_even_if_it_comes_twice_at_once() {
        for setting in Setting::each().await {
            let one = setting.code().await;
            let other =
                VerifyOtp { verification_id: one.verification_id.clone(), code: one.code.clone(), device: None };
            let (one, other) = tokio::join!(setting.sign_in(one, None), setting.sign_in(other, None));
            assert!(one.is_ok() != other.is_ok());
            assert_eq!(code(one.and(other)), Some(ErrorCode::AuthOtpExpired));
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn who_signed_out_is_out() {
        for setting in Setting::each().await {
            let signed_in = setting.sign_in(setting.code().await, None).await.unwrap();
            let (user, session) = (signed_in.user.id, signed_in.tokens.session_id);
            assert_eq!(setting.auth.sign_out(session, None).await.unwrap(), Some(user));
            assert_eq!(setting.auth.sign_out(session, None).await.unwrap(), None);
            let refreshed = setting.auth.refresh.spend(&signed_in.tokens.refresh_token.unwrap(), None).await;
            assert_eq!(code(refreshed), Some(ErrorCode::AuthSessionRevoked));
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn nobody_gets_into_an_account_that_has_just_ended() {
        for setting in Setting::each().await {
            let entered = setting.sign_in(setting.code().await, None).await.unwrap();
            let db = &setting.scratch.db;
            // The code was right, and the account's row was read, before it ended.
            let user = user::by_id(entered.user.id).one(db.read()).await.unwrap().unwrap();
            let ended = user::ActiveModel {
                left_at: sea_orm::Set(Some(setting.auth.clock.now())),
                ..user::ActiveModel::default()
            };
            user::Entity::update_many().set(ended).exec(db.write()).await.unwrap();
            let entering = Entering { user, origin: Origin::default(), by: "otp".to_owned(), is_new: false };
            let begun = transact(db, &*setting.auth.clock, async |transaction| {
                setting.auth.begin(transaction, entering.clone()).await
            });
            assert_eq!(code(begun.await), Some(ErrorCode::UserNotFound));
            assert_eq!(session::Entity::find().all(db.read()).await.unwrap().len(), 1);
            setting.scratch.drop().await;
        }
    }
}
