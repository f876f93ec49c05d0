//! One-time codes: who may have one sent, what is stored of it, and what a try comes to.
//! Never a user: the answers are the same for numbers and addresses that we know and that we do not.

mod asking;
mod budget;
mod carriage;
mod notice;
#[cfg(test)]
mod tests;

pub use asking::{Asking, Recipient};

use super::carriers::{Carriers, Unsent};
use super::contact::Contact;
use super::texts::Texts;
use super::{login, phone, sessions};
use crate::config;
use actors::clock::Clock;
use actors::protocol::command::{OtpChannel, OtpPurpose};
use actors::protocol::{Error, ErrorCode, Outcome, Refusal, view};
use actors::retry::transact;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use budget::{Budgets, Counted, Item};
use carriage::{Parcel, carry, unattended};
use entities::{Db, Timestamp, UserId, otp_verification, user};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect, QueryTrait, Set};
use std::sync::Arc;
use std::time::Duration;

/// The budgets look back a day; rows older than this tell nothing any more.
const KEPT: Duration = Duration::from_secs(2 * 86_400);
/// Rows that one statement deletes.
const SWEPT_AT_ONCE: u64 = 500;

/// Sends codes and tries them.
pub struct Otp {
    db: Db,
    clock: Arc<dyn Clock>,
    key: hmac::Key,
    carriers: Carriers,
    texts: Arc<Texts>,
    budgets: Budgets,
    countries: Vec<String>,
    ttl: Duration,
    tries: i32,
}

/// A code that was right.
#[derive(Debug)]
pub struct Passed {
    /// Where it was sent to.
    pub contact: Contact,
    /// For whose account, as `Asking` said.
    pub user: Option<UserId>,
    id: Vec<u8>,
}

/// What is written down of a code before it goes out.
struct Reserved<'a> {
    id: [u8; 16],
    channel: OtpChannel,
    country: Option<&'a str>,
    code_hash: Vec<u8>,
    carrier: Option<String>,
}

impl Otp {
    /// Codes under this key, with these limits.
    pub fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        key: [u8; 32],
        carriers: Carriers,
        texts: Arc<Texts>,
        config: &config::Auth,
    ) -> Otp {
        Otp {
            db,
            clock,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            carriers,
            texts,
            budgets: Budgets::new(config),
            countries: config.otp_countries.clone(),
            ttl: config.otp_ttl,
            tries: config.otp_tries,
        }
    }

    /// Sends a new code; see `Recipient` for when the answer waits for that.
    ///
    /// # Errors
    /// `request.invalid` if this way leads to no such contact, `auth.otp_country` for a number of a country that gets
    /// none, `auth.otp_budget` if there were enough of them; a fault of the database, or of a carrier that is waited for.
    /// A code that surely did not go out by such a fault is as if nobody had asked for it.
    pub async fn send(&self, asking: Asking<'_>) -> Outcome<view::OtpSent> {
        let channel = self.channel(&asking)?;
        let country = self.country(asking.contact)?;
        let id: [u8; 16] = self.clock.random();
        let code = format!("{:06}", self.clock.below(1_000_000));
        let decoy = asking.recipient == Recipient::Nobody;
        // A decoy's hash is one of no code; a code that the carrier makes has none until it was right.
        let checker = self.carriers.sms.checker().filter(|_| channel != OtpChannel::Email);
        let code_hash = match (decoy, checker) {
            (true, _) => self.clock.random::<32>().to_vec(),
            (false, Some(_)) => Vec::new(),
            (false, None) => self.hash(asking.purpose, &id, &code),
        };
        // An owner's has such a name until the carrier gives one, so that whoever tries at once waits as for a decoy.
        let unheard = checker.filter(|_| asking.recipient != Recipient::Anybody);
        let carrier = unheard.map(|checker| checker.name_of_nothing(self.clock.random()));
        let reserved = Reserved { id, channel, country: country.as_deref(), code_hash, carrier };
        let (retry_after, counted) = self.reserve(&asking, &reserved).await?;
        let verification_id = URL_SAFE_NO_PAD.encode(id);
        let parcel = Parcel {
            contact: asking.contact.clone(),
            channel,
            id,
            verification_id: verification_id.clone(),
            code,
            locale: self.texts.locale(asking.locale).to_owned(),
            ttl: self.ttl,
        };
        let carriage = carry(self.carriers.clone(), self.texts.clone(), self.db.clone(), parcel);
        match asking.recipient {
            Recipient::Anybody => {
                if let Err(unsent) = carriage.await {
                    return Err(self.give_back(&id, &counted, unsent).await);
                }
            }
            Recipient::Owner => drop(tokio::spawn(unattended(carriage))),
            Recipient::Nobody => drop(tokio::spawn(async { drop(carriage) })),
        }
        Ok(view::OtpSent {
            verification_id,
            expires_in_secs: self.ttl.as_secs(),
            retry_after_secs: retry_after.as_millis().div_ceil(1000) as u64,
        })
    }

    /// How the code travels, if there is such a way.
    fn channel(&self, asking: &Asking<'_>) -> Outcome<OtpChannel> {
        let fits = match (asking.contact, asking.channel) {
            (Contact::Email(_), None | Some(OtpChannel::Email)) => return Ok(OtpChannel::Email),
            (Contact::Email(_), Some(_)) | (Contact::Phone(_), Some(OtpChannel::Email)) => None,
            (Contact::Phone(_), chosen) => Some(chosen.unwrap_or(OtpChannel::Sms)),
        };
        let carried = fits.filter(|channel| self.carriers.sms.channels().contains(channel));
        Ok(carried.ok_or_else(|| Refusal::invalid("channel", "no codes travel this way to there"))?)
    }

    /// The country of a number, if codes go there.
    fn country(&self, contact: &Contact) -> Outcome<Option<String>> {
        let Contact::Phone(number) = contact else { return Ok(None) };
        let country = phone::country(number);
        let listed = country.as_ref().is_some_and(|country| self.countries.contains(country));
        if !self.countries.is_empty() && !listed {
            return Err(ErrorCode::AuthOtpCountry.into());
        }
        Ok(country)
    }

    /// Takes one code from all budgets and notes its hash; tells when the next one may be had.
    async fn reserve(&self, asking: &Asking<'_>, reserved: &Reserved<'_>) -> Outcome<(Duration, Vec<Counted>)> {
        let item = if asking.recipient == Recipient::Nobody { Item::Decoy } else { Item::Code };
        let is_at_home = self.is_at_home(asking).await?;
        let claim = budget::Claim::new(item, asking.contact, asking.address, reserved.country, is_at_home);
        transact(&self.db, &*self.clock, async |transaction| {
            let now = self.clock.now();
            let next = self.budgets.claim(transaction, &claim, now).await?;
            let row = otp_verification::ActiveModel {
                id: Set(reserved.id.to_vec()),
                phone: Set(asking.contact.key().to_owned()),
                spelt: Set(Some(asking.contact.spelt().to_owned())),
                purpose: Set(name(asking.purpose).to_owned()),
                code_hash: Set(reserved.code_hash.clone()),
                tries: Set(0),
                created_at: Set(now),
                expires_at: Set(now.plus(self.ttl)),
                channel: Set(channel_name(reserved.channel).to_owned()),
                address: Set(claim.network.clone()),
                country: Set(reserved.country.map(str::to_owned)),
                carrier: Set(reserved.carrier.clone()),
                user_id: Set(asking.user),
                consumed_at: Set(None),
            };
            otp_verification::Entity::insert(row).exec_without_returning(transaction).await?;
            // Last: whom many wait for is held no longer than the commit takes.
            let counted = self.budgets.count(transaction, &*self.clock, &claim, now).await?;
            Ok((next, counted))
        })
        .await
    }

    /// Whether the owner of the contact has been where it is asked for.
    async fn is_at_home(&self, asking: &Asking<'_>) -> Result<bool, DbErr> {
        let Some(address) = asking.address else { return Ok(false) };
        let owner = login::owner(asking.contact).select_only().column(user::Column::Id).into_query();
        sessions::is_known_place(self.db.read(), owner, address).await
    }

    /// What whoever waited hears of a code that was not sent. Where that is sure, and the carrier's fault, they may ask
    /// again at once when it is mended. A refusal counts: it is about what they asked for, and cost a request.
    async fn give_back(&self, id: &[u8], counted: &[Counted], unsent: Unsent) -> Error {
        if let Unsent::Surely(Error::Fault(_)) = &unsent {
            let given_back = transact(&self.db, &*self.clock, async |transaction| {
                Ok(budget::give_back(transaction, id, counted).await?)
            });
            if let Err(error) = given_back.await {
                tracing::warn!(%error, "a code that was not sent is counted all the same");
            }
        }
        unsent.into()
    }

    /// Tries a code. The try is counted before the code is looked at, so no two count as one.
    ///
    /// # Errors
    /// `auth.otp_invalid` if it is wrong, `auth.otp_exhausted` after too many, `auth.otp_expired` for a verification
    /// that is over or never was; a fault of the database, or of the carrier where that makes the codes. Where there are
    /// decoys, whatever the carrier refuses is `auth.otp_invalid`.
    pub async fn attempt(&self, verification_id: &str, code: &str, purpose: OtpPurpose) -> Outcome<Passed> {
        let id = read_id(verification_id).ok_or(ErrorCode::AuthOtpExpired)?;
        let now = self.clock.now();
        let columns = &otp_verification::COLUMN;
        let open = columns
            .id
            .eq(id.to_vec())
            .and(columns.purpose.eq(name(purpose)))
            .and(columns.consumed_at.is_null())
            .and(columns.expires_at.gt(now))
            .and(columns.tries.lt(self.tries));
        let counted = transact(&self.db, &*self.clock, async |transaction| {
            let counting = otp_verification::Entity::update_many()
                .col_expr(otp_verification::Column::Tries, columns.tries.add(1))
                .filter(open.clone());
            Ok(counting.exec_with_returning(transaction).await?)
        });
        let counted = counted.await?;
        let Some(row) = counted.into_iter().next() else {
            let stands = self.standing(&id, purpose, now).await?.is_some();
            return Err(if stands { ErrorCode::AuthOtpExhausted } else { ErrorCode::AuthOtpExpired }.into());
        };
        if hmac::verify(&self.key, &bound(purpose, &id, code), &row.code_hash).is_err() {
            self.ask_carrier(&row, purpose, &id, code).await?;
        }
        let contact = Contact::of_spelt(row.spelt.unwrap_or(row.phone));
        Ok(Passed { contact, user: row.user_id, id: row.id })
    }

    /// Whether the code is right by the carrier that made it. It says so once: the hash is noted, so that the same code
    /// may come again if what it was for could not be done.
    async fn ask_carrier(
        &self,
        row: &otp_verification::Model,
        purpose: OtpPurpose,
        id: &[u8],
        code: &str,
    ) -> Outcome<()> {
        let (Some(checker), Some(name)) = (self.carriers.sms.checker(), &row.carrier) else {
            return Err(ErrorCode::AuthOtpInvalid.into());
        };
        match checker.check(name, code).await {
            // The carrier never heard of a decoy, and counts tries by number: all that it refuses looks like a wrong code.
            Err(Error::Refused(_)) if has_decoys(purpose) => return Err(ErrorCode::AuthOtpInvalid.into()),
            checked => checked?,
        }
        let right = otp_verification::Entity::update_many()
            .col_expr(otp_verification::Column::CodeHash, self.hash(purpose, id, code).into())
            .filter(otp_verification::COLUMN.id.eq(id.to_vec()));
        self.db.heard(right.exec(self.db.write())).await?;
        Ok(())
    }

    /// Whether a verification has tries left. Counts none.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn is_open(&self, verification_id: &str, purpose: OtpPurpose) -> Result<bool, DbErr> {
        let Some(id) = read_id(verification_id) else { return Ok(false) };
        let row = self.standing(&id, purpose, self.clock.now()).await?;
        Ok(row.is_some_and(|row| row.tries < self.tries))
    }

    /// A verification that is not over.
    async fn standing(
        &self,
        id: &[u8],
        purpose: OtpPurpose,
        now: Timestamp,
    ) -> Result<Option<otp_verification::Model>, DbErr> {
        let row = otp_verification::by_id(id).one(self.db.read()).await?;
        Ok(row.filter(|row| row.purpose == name(purpose) && row.consumed_at.is_none() && row.expires_at > now))
    }

    /// Uses up the code that was right, in the transaction of what it was for.
    ///
    /// # Errors
    /// `auth.otp_expired` if somebody was faster.
    pub async fn consume(&self, db: &impl ConnectionTrait, passed: &Passed) -> Outcome<()> {
        let used = otp_verification::ActiveModel {
            consumed_at: Set(Some(self.clock.now())),
            ..otp_verification::ActiveModel::default()
        };
        let unused =
            otp_verification::COLUMN.id.eq(passed.id.clone()).and(otp_verification::COLUMN.consumed_at.is_null());
        let updated = otp_verification::Entity::update_many().set(used).filter(unused).exec(db).await?;
        if updated.rows_affected == 0 {
            return Err(ErrorCode::AuthOtpExpired.into());
        }
        Ok(())
    }

    /// Gives the try of a code that was right back, where something else was wrong beside it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn hand_back(&self, passed: &Passed) -> Result<(), DbErr> {
        let columns = &otp_verification::COLUMN;
        let given_back = otp_verification::Entity::update_many()
            .col_expr(otp_verification::Column::Tries, columns.tries.sub(1))
            .filter(columns.id.eq(passed.id.clone()).and(columns.tries.gt(0)));
        self.db.heard(given_back.exec(self.db.write())).await?;
        Ok(())
    }

    /// Deletes what tells nothing any more; tells how many rows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sweep(&self) -> Result<u64, DbErr> {
        let mut swept = budget::sweep(&self.db, self.clock.now()).await?;
        loop {
            let old: Vec<Vec<u8>> = otp_verification::Entity::find()
                .select_only()
                .column(otp_verification::Column::Id)
                .filter(otp_verification::COLUMN.created_at.lt(self.clock.now().minus(KEPT)))
                .limit(SWEPT_AT_ONCE)
                .into_tuple()
                .all(self.db.read())
                .await?;
            let full = old.len() as u64 == SWEPT_AT_ONCE;
            if !old.is_empty() {
                let chosen = otp_verification::Column::Id.is_in(old);
                let delete = otp_verification::Entity::delete_many().filter(chosen);
                let deleted = self.db.heard(delete.exec(self.db.write())).await?;
                swept += deleted.rows_affected;
            }
            if !full {
                return Ok(swept);
            }
        }
    }

    fn hash(&self, purpose: OtpPurpose, id: &[u8], code: &str) -> Vec<u8> {
        hmac::sign(&self.key, &bound(purpose, id, code)).as_ref().to_vec()
    }
}

fn read_id(verification_id: &str) -> Option<[u8; 16]> {
    URL_SAFE_NO_PAD.decode(verification_id).ok().and_then(|id| id.try_into().ok())
}

/// Whether a number that has no account gets a decoy of such a code. An e-mail address also does to sign in, but no
/// carrier makes the codes of letters.
fn has_decoys(purpose: OtpPurpose) -> bool {
    match purpose {
        OtpPurpose::ResetPassword => true,
        OtpPurpose::SignIn
        | OtpPurpose::Register
        | OtpPurpose::Reauthenticate
        | OtpPurpose::ChangePhone
        | OtpPurpose::ChangeEmail => false,
    }
}

/// What is hashed: no hash fits another purpose or verification.
fn bound(purpose: OtpPurpose, id: &[u8], code: &str) -> Vec<u8> {
    [name(purpose).as_bytes(), &[0], id, code.as_bytes()].concat()
}

fn name(purpose: OtpPurpose) -> &'static str {
    match purpose {
        OtpPurpose::SignIn => "signIn",
        OtpPurpose::Register => "register",
        OtpPurpose::Reauthenticate => "reauthenticate",
        OtpPurpose::ResetPassword => "resetPassword",
        OtpPurpose::ChangePhone => "changePhone",
        OtpPurpose::ChangeEmail => "changeEmail",
    }
}

fn channel_name(channel: OtpChannel) -> &'static str {
    match channel {
        OtpChannel::Sms => "sms",
        OtpChannel::Call => "call",
        OtpChannel::Whatsapp => "whatsapp",
        OtpChannel::Email => "email",
    }
}
