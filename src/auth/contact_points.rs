//! Another e-mail address or phone number for an account, by the code that was sent there.
//! Never who may ask for such a code: see `asking`.

use super::asking::locale_of;
use super::contact::Contact;
use super::otp::Passed;
use super::texts::News;
use super::{Auth, audit};
use crate::app::App;
use crate::gateway::dispatch::Run;
use crate::users::contacts::joined;
use actors::caller::{Caller, Identity};
use actors::protocol::command::{ChangePhone, OtpPurpose, VerifyEmail};
use actors::protocol::{Error, ErrorCode, Outcome, view};
use actors::retry::transact;
use entities::user;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QuerySelect, Set, SqlErr};
use serde_json::json;
use std::net::IpAddr;

/// An account before and after it was given another contact.
pub struct Changed {
    /// As it was.
    pub before: user::Model,
    /// As it is.
    pub after: user::Model,
}

impl Run for VerifyEmail {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::User> {
        let by = caller.identity()?;
        let (id, purpose) = (&self.verification_id, OtpPurpose::ChangeEmail);
        let passed = app.auth.try_code(id, &self.code, purpose, caller.address).await?;
        let Changed { before, after } = app.auth.take_contact(by, caller.address, &passed).await?;
        app.entries.user_changed(by.user);
        app.auth.notices.tell(&before, News::EmailChanged);
        Ok(view::User::own(after))
    }
}

impl Run for ChangePhone {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::User> {
        let by = caller.identity()?;
        let (id, purpose) = (&self.verification_id, OtpPurpose::ChangePhone);
        let passed = app.auth.try_code(id, &self.code, purpose, caller.address).await?;
        let Changed { before, after } = app.auth.take_contact(by, caller.address, &passed).await?;
        app.entries.user_changed(by.user);
        app.entries.profile_changed(by.user);
        app.contacts.look_for_arrivals();
        app.auth.notices.tell(&before, News::PhoneChanged);
        // Whoever has the old number learns of it even where there is an e-mail address.
        if let (Some(number), Some(_)) = (&before.phone, &before.email) {
            app.auth.notices.tell_at(Contact::Phone(number.clone()), locale_of(&before), News::PhoneChanged);
        }
        Ok(view::User::own(after))
    }
}

impl Auth {
    /// Gives an account the contact whose code was right; all its devices see the change.
    ///
    /// # Errors
    /// `auth.otp_expired` if the code was for another account or is used up; `auth.email_taken`, `auth.phone_taken` if
    /// another account has the contact: whoever hears that has shown that it is theirs. A fault of the database.
    pub async fn take_contact(&self, by: Identity, address: Option<IpAddr>, passed: &Passed) -> Outcome<Changed> {
        if passed.user != Some(by.user) {
            return Err(ErrorCode::AuthOtpExpired.into());
        }
        transact(&self.db, &*self.clock, async |transaction| {
            self.otp.consume(transaction, passed).await?;
            // Held until the end, so that what is told as the old contact is the last before this one.
            let before =
                user::by_id(by.user).lock_exclusive().one(transaction).await?.ok_or(ErrorCode::UserNotFound)?;
            let after = self.write_contact(transaction, &before, &passed.contact).await?;
            if matches!(passed.contact, Contact::Phone(_)) {
                joined(transaction, &*self.clock, by.user).await?;
            }
            let (kind, is_first) = match &passed.contact {
                Contact::Phone(_) => (audit::Kind::PhoneChanged, before.phone.is_none()),
                Contact::Email(_) => (audit::Kind::EmailChanged, before.email.is_none()),
            };
            let event = audit::Event {
                kind,
                user: Some(by.user),
                session: Some(by.session),
                address,
                detail: json!({ "isFirst": is_first }),
            };
            audit::record(transaction, &*self.clock, event).await?;
            Ok(Changed { before, after })
        })
        .await
    }

    /// One statement writes the contact, raises the counter and stamps the profile with it.
    async fn write_contact(
        &self,
        transaction: &DatabaseTransaction,
        before: &user::Model,
        contact: &Contact,
    ) -> Outcome<user::Model> {
        let mut changed = user::ActiveModel { updated_at: Set(self.clock.now()), ..user::ActiveModel::default() };
        match contact {
            Contact::Phone(number) => changed.phone = Set(Some(number.clone())),
            Contact::Email(email) => {
                changed.email = Set(Some(email.spelt.clone()));
                changed.email_key = Set(Some(email.key.clone()));
            }
        }
        let updated = user::Entity::update_many()
            .set(changed)
            .col_expr(user::Column::UserRev, user::COLUMN.user_rev.add(1))
            .col_expr(user::Column::ProfileUserRev, user::COLUMN.user_rev.add(1))
            .filter(user::COLUMN.id.eq(before.id))
            .exec_with_returning(transaction)
            .await
            .map_err(|error| taken(error, contact))?;
        Ok(updated.into_iter().next().ok_or(ErrorCode::UserNotFound)?)
    }
}

/// The contact alone is unique among what is written.
fn taken(error: DbErr, contact: &Contact) -> Error {
    match (error.sql_err(), contact) {
        (Some(SqlErr::UniqueConstraintViolation(_)), Contact::Phone(_)) => ErrorCode::AuthPhoneTaken.into(),
        (Some(SqlErr::UniqueConstraintViolation(_)), Contact::Email(_)) => ErrorCode::AuthEmailTaken.into(),
        _ => error.into(),
    }
}
