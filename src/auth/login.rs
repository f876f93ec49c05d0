//! Signing in with a password: who is meant, whether it may be tried now, and what a try comes to.
//! Never how a hash is computed (see `hasher`), nor how long one waits (see `delays`).
//!
//! # Why nothing tells who has an account
//! Whoever asks gets one answer for a name that nobody has, for an account without a password, and for a wrong one; and
//! all of them cost the same: the same questions to the database, the same rows written, and one hash.
//!
//! # Why a wrong password at home is answered like a stranger's
//! Else whoever shares an address would learn by the answers which accounts are used there. So the right one lets its
//! owner in, beside the strangers who wait, as long as that place's own tries last; a wrong one counts as a stranger's
//! and hears what a stranger hears, the wait too. A neighbour cannot shut such a place by trying other names: so those
//! who share an address may try each account that is used there as often as that place's own tries allow.
//!
//! A stopwatch may still tell who shares an address with somebody that an account is used there: a wrong password is
//! hashed while strangers would wait, and counted in one transaction more.

use super::contact::Contact;
use super::delays::{Key, Reserved};
use super::hasher::{Place, Verdict};
use super::otp::Passed;
use super::sessions::{self, Origin};
use super::sign_in::Entering;
use super::strength::Normal;
use super::{Auth, audit};
use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::protocol::command::{Login, OtpPurpose, Password, VerifyOtp};
use actors::protocol::{Error, ErrorCode, Fault, Outcome, Refusal, check, view};
use actors::retry::transact;
use entities::{UserId, password, user};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, Select, Set};
use serde_json::json;
use std::iter;
use std::net::IpAddr;
use uuid::Uuid;

/// What somebody is called by when they sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier {
    /// A number or an e-mail address.
    Contact(Contact),
    /// A username, in lower case.
    Username(String),
}

impl Identifier {
    /// Reads what somebody typed: a number begins with its `+`, an address has an `@`, and no username has either.
    ///
    /// # Errors
    /// `request.invalid` if it can be none of them.
    pub fn read(text: &str) -> Outcome<Identifier> {
        let text = text.trim();
        let read = match () {
            () if text.contains('@') => Contact::email(text).map(Identifier::Contact),
            () if text.starts_with('+') => Contact::phone(text).map(Identifier::Contact),
            () => check::username(text).map(Identifier::Username),
        };
        let message = "must be a phone number with its +, an e-mail address, or a username";
        read.map_err(|_| Refusal::invalid("identifier", message).into())
    }

    /// In one normal form; no number, address or name has another's.
    pub fn key(&self) -> &str {
        match self {
            Identifier::Contact(contact) => contact.key(),
            Identifier::Username(key) => key,
        }
    }

    /// Whose it is.
    pub fn owner(&self) -> Select<user::Entity> {
        match self {
            Identifier::Contact(contact) => owner(contact),
            Identifier::Username(key) => user::by_username_key(key),
        }
    }
}

/// Whose number or address it is.
pub fn owner(contact: &Contact) -> Select<user::Entity> {
    match contact {
        Contact::Phone(phone) => user::by_phone(phone),
        Contact::Email(_) => user::by_email_key(contact.key()),
    }
}

/// What is known of whoever is to sign in.
struct Found {
    user: Option<UserId>,
    phc: Option<String>,
    /// Whether they have been at this address before.
    is_at_home: bool,
}

impl Auth {
    /// Tries a password and begins a session of its owner, or asks for their second factor.
    ///
    /// # Errors
    /// `request.invalid`, `auth.credentials_invalid`, `auth.too_many_tries`, `auth.busy`; a fault of the database.
    pub async fn log_in(&self, identifier: &str, password: &Password, origin: Origin) -> Outcome<view::SignedIn> {
        let identifier = Identifier::read(identifier)?;
        let found = self.find(&identifier, origin.address).await?;
        let (name, address) = (identifier.key(), origin.address);
        let strangers: Vec<Key<'_>> = iter::once(Key::Identifier(name)).chain(address.map(Key::Address)).collect();
        let home = address.filter(|_| found.is_at_home).map(|address| [Key::Place(name, address)]);
        let at_home = match home {
            // Where that place's own tries are used up, one is a stranger's.
            Some(home) => self.admit(&home).await.ok(),
            None => None,
        };
        let is_beside = at_home.is_some();
        let (place, reserved) = match at_home {
            Some(admitted) => admitted,
            None => self.admit(&strangers).await?,
        };
        match (place.verify(Normal::of(password.expose()), found.phc.clone()).await?, found.user) {
            (Verdict::Right { rehashed }, Some(user)) => {
                let right = Right { user, phc: found.phc, rehashed, reserved };
                self.let_in(right, origin).await
            }
            _ => {
                let heard = if is_beside { self.delays.reserve(&strangers).await.map(Some) } else { Ok(None) };
                let is_step = |counted: &Option<Reserved>| counted.as_ref().is_some_and(|counted| counted.is_step);
                let is_step = reserved.is_step || heard.as_ref().is_ok_and(is_step);
                self.note_failure(found.user, address, is_step, "password").await?;
                heard?;
                Err(ErrorCode::AuthCredentialsInvalid.into())
            }
        }
    }

    /// A place in the queue for a try that is written down, if it is looked at now.
    async fn admit(&self, keys: &[Key<'_>]) -> Outcome<(Place, Reserved)> {
        // Most of an attack ends here: nothing is written, and nothing computed.
        self.delays.check(keys).await?;
        let place = self.hasher.place()?;
        Ok((place, self.delays.reserve(keys).await?))
    }

    /// Who is meant, in as many questions as if it were nobody.
    async fn find(&self, identifier: &Identifier, address: Option<IpAddr>) -> Outcome<Found> {
        let user = identifier.owner().one(self.db.read()).await?.map(|row| row.id);
        let whose = user.unwrap_or(UserId::from_uuid(Uuid::nil()));
        let phc = password::of_user(whose).one(self.db.read()).await?.map(|row| row.phc);
        let is_at_home = match address {
            Some(address) => sessions::is_known_place(self.db.read(), whose, address).await?,
            None => false,
        };
        Ok(Found { user, phc, is_at_home })
    }

    /// # Why the password's row is locked
    /// Whoever sets another one ends the sessions that there are. One that was about to begin with the old password
    /// either begins before that, and is ended, or finds that its password is not the one any more.
    async fn let_in(&self, right: Right, origin: Origin) -> Outcome<view::SignedIn> {
        transact(&self.db, &*self.clock, async |transaction| {
            let held = password::of_user(right.user).lock_exclusive().one(transaction).await?;
            if held.map(|row| row.phc) != right.phc {
                return Err(ErrorCode::AuthCredentialsInvalid.into());
            }
            if let Some(phc) = &right.rehashed {
                let renewed = password::ActiveModel { phc: Set(phc.clone()), ..Default::default() };
                let own = password::COLUMN.user_id.eq(right.user);
                password::Entity::update_many().set(renewed).filter(own).exec(transaction).await?;
            }
            self.delays.clear(transaction, &right.reserved).await?;
            let user = user::by_id(right.user).one(transaction).await?;
            let user = user.ok_or(ErrorCode::AuthCredentialsInvalid)?;
            let by = "password".to_owned();
            self.enter(transaction, Entering { user, origin: origin.clone(), by, is_new: false }).await
        })
        .await
    }

    /// Notes a wrong try, if it is a step: if it makes the next one wait. So a row a delay, and not one a try.
    ///
    /// # Errors
    /// A fault of the database.
    pub(super) async fn note_failure(
        &self,
        user: Option<UserId>,
        address: Option<IpAddr>,
        is_step: bool,
        by: &str,
    ) -> Outcome<()> {
        if !is_step {
            return Ok(());
        }
        let event =
            audit::Event { user, address, detail: json!({ "by": by }), ..audit::Event::of(audit::Kind::SignInFailed) };
        Ok(self.db.heard(audit::record(self.db.write(), &*self.clock, event)).await?)
    }

    /// Tries a one-time code. A wrong one counts for the address that it came from.
    ///
    /// # Why an address that waits may still try its codes
    /// Many people may share it, and one of them could shut out the others. What bounds guessing is how many codes are
    /// sent, and that each may be tried a few times, from wherever. So such an address is refused what has no tries
    /// left, or never was: that costs a few reads, and no more is written for whoever floods the node with it.
    ///
    /// # Errors
    /// Those of `Otp::attempt`, and `auth.too_many_tries`.
    pub async fn try_code(
        &self,
        verification_id: &str,
        code: &str,
        purpose: OtpPurpose,
        address: Option<IpAddr>,
    ) -> Outcome<Passed> {
        let Some(address) = address else { return self.otp.attempt(verification_id, code, purpose).await };
        let keys = [Key::Address(address)];
        if let Err(waits) = self.delays.check(&keys).await
            && !self.otp.is_open(verification_id, purpose).await?
        {
            return Err(waits);
        }
        let passed = self.otp.attempt(verification_id, code, purpose).await;
        let is_wrong = |error: &Error| error.code() == ErrorCode::AuthOtpInvalid;
        if passed.as_ref().is_err_and(is_wrong) {
            self.delays.count(&keys).await?;
        }
        passed
    }
}

/// A password that was right.
struct Right {
    user: UserId,
    /// What it fits.
    phc: Option<String>,
    rehashed: Option<String>,
    reserved: Reserved,
}

impl Run for Login {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::SignedIn> {
        let origin = Origin::of(caller, self.device.clone());
        match (self.identifier, self.password, self.verification_id, self.code) {
            (Some(identifier), Some(password), ..) => app.auth.log_in(&identifier, &password, origin).await,
            (_, _, Some(verification_id), Some(code)) => {
                let signed_in =
                    app.auth.sign_in(VerifyOtp { verification_id, code, device: self.device }, origin).await?;
                app.contacts.look_for_arrivals();
                Ok(signed_in)
            }
            _ => Err(Fault::new("a login that was checked is neither of both").into()),
        }
    }
}
