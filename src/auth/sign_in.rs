//! Signing in with a code that was right, and signing out.
//! Never the code itself (see `otp`).

use super::{Auth, audit, sessions};
use actors::protocol::command::{OtpPurpose, VerifyOtp};
use actors::protocol::{Fault, Outcome, view};
use actors::retry::transact;
use entities::{SessionId, Timestamp, UserId, session, user};
use sea_orm::{ConnectionTrait, DatabaseTransaction, EntityTrait, IntoActiveModel};
use serde_json::json;
use std::net::IpAddr;

impl Auth {
    /// Tries the code and begins a session of whoever has its number; whom nobody knows yet is registered.
    ///
    /// # Errors
    /// Those of `Otp::attempt`; a fault of the database.
    pub async fn sign_in(&self, command: VerifyOtp, address: Option<IpAddr>) -> Outcome<view::SignedIn> {
        let passed = self.otp.attempt(&command.verification_id, &command.code, OtpPurpose::SignIn).await?;
        let device = command.device.unwrap_or_default();
        let signed_in = transact(&self.db, &*self.clock, async |transaction| {
            let now = self.clock.now();
            self.otp.consume(transaction, &passed).await?;
            let (user, is_new_user) = self.find_or_create(transaction, &passed.phone, now).await?;
            let session = self.clock.session_id();
            let beginning = sessions::Beginning { session, user: user.id, device: device.clone(), address, at: now };
            sessions::begin(transaction, beginning).await?;
            let refresh_token = self.refresh.first(transaction, session).await?;
            let event = audit::Event {
                kind: "signed_in",
                user: Some(user.id),
                session: Some(session),
                address,
                detail: json!({ "isNewUser": is_new_user }),
            };
            audit::record(transaction, &*self.clock, event).await?;
            Ok((user, is_new_user, session, refresh_token))
        });
        let (user, is_new_user, session, refresh_token) = signed_in.await?;
        let tokens = self.pair(user.id, session, refresh_token)?;
        let viewer = user.id;
        Ok(view::SignedIn { tokens, user: view::User::from_row(user, viewer), is_new_user })
    }

    /// Ends a session; gives whose it was, if it was still alive. Whoever calls closes its sockets.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn sign_out(&self, session: SessionId, address: Option<IpAddr>) -> Outcome<Option<UserId>> {
        transact(&self.db, &*self.clock, async |transaction| {
            let Some(row) = session::by_id(session).one(transaction).await? else { return Ok(None) };
            if !sessions::revoke(transaction, session, "signed_out", self.clock.now()).await? {
                return Ok(None);
            }
            let event = audit::Event {
                kind: "signed_out",
                user: Some(row.user_id),
                session: Some(session),
                address,
                ..audit::Event::default()
            };
            audit::record(transaction, &*self.clock, event).await?;
            Ok(Some(row.user_id))
        })
        .await
    }

    /// # Why the row decides who is new
    /// Two verifications of one number may end at once, on two nodes. The number is unique: one of them makes the
    /// user, the other waits for it and finds the row.
    async fn find_or_create(
        &self,
        transaction: &DatabaseTransaction,
        phone: &str,
        now: Timestamp,
    ) -> Outcome<(user::Model, bool)> {
        if let Some(known) = user::by_phone(phone).one(transaction).await? {
            return Ok((known, false));
        }
        let new = newcomer(self.clock.user_id(), Some(phone.to_owned()), now);
        let id = new.id;
        insert_unless_known(transaction, new).await?;
        let row = user::by_phone(phone).one(transaction).await?;
        let row = row.ok_or_else(|| Fault::new("a user that was just made is not there"))?;
        let is_new = row.id == id;
        Ok((row, is_new))
    }
}

async fn insert_unless_known(db: &impl ConnectionTrait, row: user::Model) -> Result<(), sea_orm::DbErr> {
    user::Entity::insert(row.into_active_model())
        .on_conflict_do_nothing_on([user::Column::Phone])
        .exec_without_returning(db)
        .await?;
    Ok(())
}

/// An account that has not said anything of itself yet.
pub fn newcomer(id: UserId, phone: Option<String>, now: Timestamp) -> user::Model {
    user::Model {
        id,
        phone,
        username: None,
        username_key: None,
        name_key: String::new(),
        display_name: String::new(),
        bio: String::new(),
        // Its profile is the first thing that `users.changes` tells.
        user_rev: 1,
        profile_user_rev: 1,
        last_seen_at: None,
        created_at: now,
        updated_at: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Pocket, Scratch};
    use crate::config::Config;
    use actors::protocol::ErrorCode;
    use actors::protocol::command::Device;
    use std::sync::Arc;

    struct Setting {
        scratch: Scratch,
        pocket: Arc<Pocket>,
        auth: Auth,
    }

    async fn each() -> Vec<Setting> {
        let mut all = Vec::new();
        for scratch in Scratch::each().await {
            let mut config = Config::shipped().unwrap();
            let folder = tempfile::tempdir().unwrap();
            config.data = folder.path().to_owned();
            let pocket = Arc::new(Pocket::default());
            let auth = Auth::open(&config, scratch.db.clone(), FakeClock::new(), pocket.clone()).await.unwrap();
            all.push(Setting { scratch, pocket, auth });
        }
        all
    }

    impl Setting {
        async fn code(&self) -> VerifyOtp {
            let sent = self.auth.otp.send("+4915112345678", OtpPurpose::SignIn).await.unwrap();
            let code = self.pocket.code(&sent.verification_id);
            let device = Some(Device { name: Some("Ann's phone".to_owned()), ..Device::default() });
            VerifyOtp { verification_id: sent.verification_id, code, device }
        }
    }

    #[actix_web::test]
    async fn the_first_sign_in_makes_the_user() {
        for setting in each().await {
            let address = Some("2001:db8::1".parse().unwrap());
            let first = setting.auth.sign_in(setting.code().await, address).await.unwrap();
            let second = setting.auth.sign_in(setting.code().await, None).await.unwrap();
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
        for setting in each().await {
            let (one, other) = (setting.code().await, setting.code().await);
            let (one, other) = tokio::join!(setting.auth.sign_in(one, None), setting.auth.sign_in(other, None));
            let (one, other) = (one.unwrap(), other.unwrap());
            assert_eq!(one.user.id, other.user.id);
            assert!(one.is_new_user != other.is_new_user);
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn one_code_signs_in_once_even_if_it_comes_twice_at_once() {
        for setting in each().await {
            let one = setting.code().await;
            let other =
                VerifyOtp { verification_id: one.verification_id.clone(), code: one.code.clone(), device: None };
            let (one, other) = tokio::join!(setting.auth.sign_in(one, None), setting.auth.sign_in(other, None));
            assert!(one.is_ok() != other.is_ok());
            assert_eq!(one.and(other).err().map(|error| error.code()), Some(ErrorCode::AuthOtpExpired));
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn who_signed_out_is_out() {
        for setting in each().await {
            let signed_in = setting.auth.sign_in(setting.code().await, None).await.unwrap();
            let (user, session) = (signed_in.user.id, signed_in.tokens.session_id);
            assert_eq!(setting.auth.sign_out(session, None).await.unwrap(), Some(user));
            assert_eq!(setting.auth.sign_out(session, None).await.unwrap(), None);
            let refreshed = setting.auth.refresh.spend(&signed_in.tokens.refresh_token.unwrap(), None).await;
            assert_eq!(refreshed.err().map(|error| error.code()), Some(ErrorCode::AuthSessionRevoked));
            setting.scratch.drop().await;
        }
    }
}
