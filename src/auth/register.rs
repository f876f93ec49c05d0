//! Registering with a password: an account for a number or an address that a code has shown to be somebody's own.
//! Never a sign-in of who has an account already.

use super::contact::Contact;
use super::login::owner;
use super::otp::Passed;
use super::passwords;
use super::sessions::Origin;
use super::sign_in::Entering;
use super::{Auth, accounts, audit};
use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::protocol::command::{OtpPurpose, Register};
use actors::protocol::{Error, ErrorCode, Outcome, check, view};
use actors::retry::transact;
use entities::{Settings, user};
use sea_orm::DatabaseTransaction;

impl Auth {
    /// Makes an account and begins its first session.
    ///
    /// # Errors
    /// Those of `try_code`; `auth.account_exists`, which only whoever has the number or address hears;
    /// `user.username_taken`; those of `hash_new`; a fault of the database.
    pub async fn register(&self, command: Register, origin: Origin) -> Outcome<view::SignedIn> {
        let Register { verification_id, code, .. } = &command;
        let passed = self.try_code(verification_id, code, OtpPurpose::Register, origin.address).await?;
        let made = self.make(&command, &passed, origin).await;
        if let Err(Error::Refused(_)) = &made {
            // The code was right: it may come again with what was wrong beside it.
            self.otp.hand_back(&passed).await?;
        }
        made
    }

    async fn make(&self, command: &Register, passed: &Passed, origin: Origin) -> Outcome<view::SignedIn> {
        if owner(&passed.contact).one(self.db.read()).await?.is_some() {
            return Err(ErrorCode::AuthAccountExists.into());
        }
        // Before anything is hashed; whether it is still free, the row decides.
        if let Some(name) = &command.username
            && user::by_username_key(&check::username(name)?).one(self.db.read()).await?.is_some()
        {
            return Err(ErrorCode::UserUsernameTaken.into());
        }
        let known = [command.username.as_deref(), command.display_name.as_deref(), Some(passed.contact.key())];
        let known = known.into_iter().flatten().map(str::to_owned).collect();
        let phc = self.hash_new(&command.verification_id, &command.password, known, "password").await?;
        let new = self.row(command, &passed.contact)?;
        transact(&self.db, &*self.clock, async |transaction| {
            self.otp.consume(transaction, passed).await?;
            let user = new.clone();
            if !accounts::make(transaction, &*self.clock, user.clone()).await? {
                return Err(taken(transaction, &passed.contact).await?.into());
            }
            passwords::set(transaction, &*self.clock, user.id, &phc).await?;
            let event = audit::Event {
                user: Some(user.id),
                address: origin.address,
                ..audit::Event::of(audit::Kind::PasswordSet)
            };
            audit::record(transaction, &*self.clock, event).await?;
            let by = "registration".to_owned();
            self.enter(transaction, Entering { user, origin: origin.clone(), by, is_new: true }).await
        })
        .await
    }

    fn row(&self, command: &Register, contact: &Contact) -> Outcome<user::Model> {
        let mut row = user::Model::new(self.clock.user_id(), self.clock.now());
        match contact {
            Contact::Phone(phone) => row.phone = Some(phone.clone()),
            Contact::Email(_) => {
                row.email = Some(contact.spelt().to_owned());
                row.email_key = Some(contact.key().to_owned());
            }
        }
        if let Some(name) = &command.username {
            row.username_key = Some(check::username(name)?);
            row.username = Some(name.clone());
        }
        if let Some(name) = &command.display_name {
            row.display_name = name.trim().to_owned();
            row.name_key = row.display_name.to_lowercase();
        }
        if let Some(locale) = &command.locale {
            row.settings = Settings { locale: check::locale(locale)?, ..Settings::default() };
            row.settings_user_rev = row.user_rev;
        }
        Ok(row)
    }
}

/// What somebody else has who was faster: the number or the address, or the name.
async fn taken(transaction: &DatabaseTransaction, contact: &Contact) -> Outcome<ErrorCode> {
    let is_known = owner(contact).one(transaction).await?.is_some();
    Ok(if is_known { ErrorCode::AuthAccountExists } else { ErrorCode::UserUsernameTaken })
}

impl Run for Register {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::SignedIn> {
        let origin = Origin::of(caller, self.device.clone());
        let signed_in = app.auth.register(self, origin).await?;
        app.contacts.look_for_arrivals();
        Ok(signed_in)
    }
}
