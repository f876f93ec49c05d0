//! One-time codes: who may have one sent, what is stored of it, and what a try comes to.
//! Never a user: the answers are the same for numbers that we know and that we do not.

use super::contact::Contact;
use crate::config;
use actors::clock::Clock;
use actors::protocol::command::{OtpChannel, OtpPurpose};
use actors::protocol::{ErrorCode, Fault, Outcome, Refusal, view};
use actors::retry::transact;
use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::{Backend, Db, Timestamp, UserId, otp_verification};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Set};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// The budgets look back a day; rows older than this tell nothing any more.
const KEPT: Duration = Duration::from_secs(2 * 86_400);
/// Rows that one statement deletes.
const SWEPT_AT_ONCE: u64 = 500;

/// Carries codes to phones.
#[async_trait]
pub trait SmsSender: Send + Sync {
    /// Hands one over; what happens to it then is not known.
    async fn send(&self, sms: Sms<'_>) -> Result<(), SmsError>;
}

/// One text message with a code.
#[derive(Clone, Copy)]
pub struct Sms<'a> {
    /// The number, E.164.
    pub to: &'a str,
    /// What the person reads.
    pub text: &'a str,
    /// The code in it, for senders with words of their own.
    pub code: &'a str,
    /// What the code belongs to.
    pub verification_id: &'a str,
}

/// Why a message could not be handed over.
pub type SmsError = Box<dyn std::error::Error + Send + Sync>;

/// Sends codes and tries them.
pub struct Otp {
    db: Db,
    clock: Arc<dyn Clock>,
    key: hmac::Key,
    sms: Arc<dyn SmsSender>,
    budget: Budget,
    ttl: Duration,
    tries: i32,
}

/// A code that somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// To whom it goes.
    pub contact: &'a Contact,
    /// How it travels; by SMS to a number and by e-mail to an address if none is named.
    pub channel: Option<OtpChannel>,
    /// What it is for.
    pub purpose: OtpPurpose,
    /// For whose account, where whoever asks has signed in.
    pub user: Option<UserId>,
    /// From where it is asked for.
    pub address: Option<IpAddr>,
    /// The language of its text.
    pub locale: Option<&'a str>,
}

impl<'a> Asking<'a> {
    /// The plainest of all.
    pub fn to_sign_in(contact: &'a Contact) -> Asking<'a> {
        let purpose = OtpPurpose::SignIn;
        Asking { contact, channel: None, purpose, user: None, address: None, locale: None }
    }
}

/// A code that was right.
#[derive(Debug)]
pub struct Passed {
    /// Where it was sent to.
    pub contact: Contact,
    /// For whose account, where whoever asked had signed in.
    pub user: Option<UserId>,
    id: Vec<u8>,
}

impl Otp {
    /// Codes under this key, with these limits.
    pub fn new(db: Db, clock: Arc<dyn Clock>, key: [u8; 32], sms: Arc<dyn SmsSender>, config: &config::Auth) -> Otp {
        Otp {
            db,
            clock,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            sms,
            budget: Budget { per_hour: config.otp_per_hour, per_day: config.otp_per_day },
            ttl: config.otp_ttl,
            tries: config.otp_tries,
        }
    }

    /// Sends a new code.
    ///
    /// # Errors
    /// `request.invalid` if this way leads to no such contact, `auth.otp_budget` if it had enough of them; a fault of
    /// the database or the carrier.
    pub async fn send(&self, asking: Asking<'_>) -> Outcome<view::OtpSent> {
        let Contact::Phone(phone) = asking.contact else {
            return Err(Refusal::invalid("email", "codes by e-mail are not sent yet").into());
        };
        let id: [u8; 16] = self.clock.random();
        let code = format!("{:06}", self.clock.below(1_000_000));
        let retry_after = self.reserve(&asking, &id, &code).await?;
        let verification_id = URL_SAFE_NO_PAD.encode(id);
        let text = format!("{code} is your QuckChat code. Give it to nobody.");
        let sms = Sms { to: phone, text: &text, code: &code, verification_id: &verification_id };
        self.sms.send(sms).await.map_err(Fault::new)?;
        Ok(view::OtpSent {
            verification_id,
            expires_in_secs: self.ttl.as_secs(),
            retry_after_secs: retry_after.as_millis().div_ceil(1000) as u64,
        })
    }

    /// Takes one code from the contact's budget and notes its hash; tells when the next one may be had.
    async fn reserve(&self, asking: &Asking<'_>, id: &[u8; 16], code: &str) -> Outcome<Duration> {
        let Asking { contact, purpose, user, address, .. } = *asking;
        transact(&self.db, &*self.clock, async |transaction| {
            // On SQLite the transaction has the database to itself already. Rows that are not there yet cannot be locked.
            if self.db.backend() == Backend::Postgres {
                let key = lock_key(contact.key());
                let lock = Backend::Postgres.statement("SELECT pg_advisory_xact_lock($1)", [key.into()]);
                transaction.execute_raw(lock).await?;
            }
            let now = self.clock.now();
            let mut sent = self.sent(transaction, contact.key(), now).await?;
            self.budget.allows(&sent, now).map_err(|wait| Refusal::new(ErrorCode::AuthOtpBudget).after(wait))?;
            let row = otp_verification::ActiveModel {
                id: Set(id.to_vec()),
                phone: Set(contact.key().to_owned()),
                purpose: Set(name(purpose).to_owned()),
                code_hash: Set(hmac::sign(&self.key, &bound(purpose, id, code)).as_ref().to_vec()),
                tries: Set(0),
                created_at: Set(now),
                expires_at: Set(now.plus(self.ttl)),
                channel: Set("sms".to_owned()),
                address: Set(address.map(|address| address.to_string())),
                country: Set(None),
                carrier: Set(None),
                user_id: Set(user),
                consumed_at: Set(None),
            };
            otp_verification::Entity::insert(row).exec_without_returning(transaction).await?;
            sent.insert(0, now);
            Ok(self.budget.allows(&sent, now).err().unwrap_or_default())
        })
        .await
    }

    /// When codes were sent to a number, the last day, the newest first.
    async fn sent(&self, db: &impl ConnectionTrait, phone: &str, now: Timestamp) -> Result<Vec<Timestamp>, DbErr> {
        otp_verification::of_phone_since(phone, now.minus(DAY).plus_millis(1))
            .select_only()
            .column(otp_verification::Column::CreatedAt)
            .limit(self.budget.per_day as u64)
            .into_tuple()
            .all(db)
            .await
    }

    /// Tries a code. The try is counted before the code is looked at, so no two count as one.
    ///
    /// # Errors
    /// `auth.otp_invalid` if it is wrong, `auth.otp_exhausted` after too many, `auth.otp_expired` for a verification
    /// that is over or never was.
    pub async fn attempt(&self, verification_id: &str, code: &str, purpose: OtpPurpose) -> Outcome<Passed> {
        let id = URL_SAFE_NO_PAD.decode(verification_id).ok().and_then(|id| <[u8; 16]>::try_from(id).ok());
        let id = id.ok_or(ErrorCode::AuthOtpExpired)?;
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
            return Err(self.why_not(&id, purpose, now).await?.into());
        };
        hmac::verify(&self.key, &bound(purpose, &id, code), &row.code_hash).map_err(|_| ErrorCode::AuthOtpInvalid)?;
        Ok(Passed { contact: Contact::of_key(row.phone), user: row.user_id, id: row.id })
    }

    async fn why_not(&self, id: &[u8], purpose: OtpPurpose, now: Timestamp) -> Outcome<ErrorCode> {
        let row = otp_verification::by_id(id).one(self.db.read()).await?;
        let open = row.filter(|row| row.purpose == name(purpose) && row.consumed_at.is_none() && row.expires_at > now);
        Ok(if open.is_some() { ErrorCode::AuthOtpExhausted } else { ErrorCode::AuthOtpExpired })
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

    /// Deletes what tells nothing any more; tells how many rows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sweep(&self) -> Result<u64, DbErr> {
        let mut swept = 0;
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
}

/// How many codes a number may have.
struct Budget {
    per_hour: usize,
    per_day: usize,
}

impl Budget {
    /// Whether one more fits beside those sent, the newest first; else how long until it does.
    fn allows(&self, sent: &[Timestamp], now: Timestamp) -> Result<(), Duration> {
        // The one that must be out of the window before another fits.
        let wait = |most: usize, window: Duration| {
            let last = sent.get(most - 1)?;
            let left = last.plus(window).since(now);
            (!left.is_zero()).then_some(left)
        };
        match wait(self.per_hour, HOUR).max(wait(self.per_day, DAY)) {
            Some(left) => Err(left),
            None => Ok(()),
        }
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

fn lock_key(phone: &str) -> i64 {
    let hash = digest(&SHA256, format!("otp {phone}").as_bytes());
    hash.as_ref().first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Pocket, Scratch};
    use crate::config::Config;
    use futures_util::future::join_all;

    const NUMBER: &str = "+49 151 12345678";
    const MINUTE: Duration = Duration::from_secs(60);

    struct Setting {
        scratch: Scratch,
        clock: Arc<FakeClock>,
        pocket: Arc<Pocket>,
        otp: Otp,
    }

    async fn each() -> Vec<Setting> {
        let make = |scratch: Scratch| {
            let (clock, pocket) = (FakeClock::new(), Arc::new(Pocket::default()));
            let config = Config::shipped().unwrap().auth;
            let otp = Otp::new(scratch.db.clone(), clock.clone(), [7; 32], pocket.clone(), &config);
            Setting { scratch, clock, pocket, otp }
        };
        Scratch::each().await.into_iter().map(make).collect()
    }

    impl Setting {
        async fn send(&self) -> Outcome<view::OtpSent> {
            self.send_to(NUMBER).await
        }

        async fn send_to(&self, number: &str) -> Outcome<view::OtpSent> {
            let contact = Contact::phone(number)?;
            self.otp.send(Asking::to_sign_in(&contact)).await
        }

        async fn attempt(&self, id: &str, code: &str) -> Result<Passed, ErrorCode> {
            self.otp.attempt(id, code, OtpPurpose::SignIn).await.map_err(|error| error.code())
        }
    }

    fn wrong(code: &str) -> &'static str {
        if code == "000000" { "000001" } else { "000000" }
    }

    fn refusal<T>(outcome: Outcome<T>) -> Refusal {
        match outcome {
            Err(actors::protocol::Error::Refused(refusal)) => refusal,
            _ => panic!("it was not refused"),
        }
    }

    #[test]
    fn budgets_are_windows_that_slide() {
        let budget = Budget { per_hour: 2, per_day: 3 };
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let now = at(10_000);
        for (sent, expected) in [
            (&[][..], Ok(())),
            (&[9_999][..], Ok(())),
            (&[9_999, 9_950][..], Err(10 * MINUTE)),
            (&[9_999, 9_940][..], Ok(())),
            (&[9_000, 8_999, 8_600][..], Err(40 * MINUTE)),
            (&[9_000, 8_999, 8_560][..], Ok(())),
            (&[9_999, 9_990, 8_600][..], Err(50 * MINUTE)),
        ] {
            let sent: Vec<_> = sent.iter().copied().map(at).collect();
            assert_eq!(budget.allows(&sent, now), expected, "{sent:?}");
        }
    }

    #[actix_web::test]
    async fn no_more_codes_than_the_budget_even_at_once() {
        for setting in each().await {
            let outcomes = join_all((0..12).map(|_| setting.send())).await;
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 5);
            assert_eq!(setting.pocket.count(), 5);
            let refused = refusal(setting.send().await);
            assert_eq!((refused.code, refused.retry_after), (ErrorCode::AuthOtpBudget, Some(60 * MINUTE)));

            // Another number is not concerned, nor another spelling spared.
            assert!(setting.send_to("+49 151 12345679").await.is_ok());
            assert!(setting.send_to("+4915112345678").await.is_err());

            setting.clock.advance(60 * MINUTE);
            for left in (0..5).rev() {
                let sent = setting.send().await.unwrap();
                assert_eq!(sent.retry_after_secs > 0, left == 0);
            }
            setting.clock.advance(60 * MINUTE);
            assert_eq!(refusal(setting.send().await).retry_after, Some(22 * 60 * MINUTE));
            setting.clock.advance(22 * 60 * MINUTE);
            assert!(setting.send().await.is_ok());
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn a_code_is_good_once() {
        for setting in each().await {
            let id = setting.send().await.unwrap().verification_id;
            assert_eq!(URL_SAFE_NO_PAD.decode(&id).unwrap().len(), 16);
            let code = setting.pocket.code(&id);
            assert_eq!(setting.attempt(&id, wrong(&code)).await.unwrap_err(), ErrorCode::AuthOtpInvalid);
            let passed = setting.attempt(&id, &code).await.unwrap();
            assert_eq!(passed.contact, Contact::Phone("+4915112345678".to_owned()));
            setting.otp.consume(setting.scratch.db.write(), &passed).await.unwrap();
            let again = setting.otp.consume(setting.scratch.db.write(), &passed).await;
            assert_eq!(refusal(again).code, ErrorCode::AuthOtpExpired);
            assert_eq!(setting.attempt(&id, &code).await.unwrap_err(), ErrorCode::AuthOtpExpired);
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn three_tries_and_no_more_even_at_once() {
        for setting in each().await {
            let id = setting.send().await.unwrap().verification_id;
            let code = setting.pocket.code(&id);
            let outcomes = join_all((0..9).map(|_| setting.attempt(&id, wrong(&code)))).await;
            let count = |code| outcomes.iter().filter(|outcome| outcome.as_ref().err() == Some(&code)).count();
            assert_eq!((count(ErrorCode::AuthOtpInvalid), count(ErrorCode::AuthOtpExhausted)), (3, 6));
            assert_eq!(setting.attempt(&id, &code).await.unwrap_err(), ErrorCode::AuthOtpExhausted);
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn a_stranger_cannot_use_up_the_owners_tries() {
        for setting in each().await {
            let strangers = setting.send().await.unwrap().verification_id;
            let owners = setting.send().await.unwrap().verification_id;
            let code = setting.pocket.code(&owners);
            for _ in 0..4 {
                assert!(setting.attempt(&strangers, wrong(&setting.pocket.code(&strangers))).await.is_err());
            }
            assert!(setting.attempt(&owners, &code).await.is_ok());
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn what_is_over_or_unknown_answers_alike() {
        for setting in each().await {
            let id = setting.send().await.unwrap().verification_id;
            let code = setting.pocket.code(&id);
            setting.clock.advance(5 * MINUTE);
            for id in [id.as_str(), "AAAAAAAAAAAAAAAAAAAAAA", "x", ""] {
                assert_eq!(setting.attempt(id, &code).await.unwrap_err(), ErrorCode::AuthOtpExpired, "{id}");
            }
            for number in ["hello", "0151 12345678", "+49"] {
                let refused = refusal(setting.send_to(number).await);
                assert_eq!((refused.code, refused.field.as_deref()), (ErrorCode::RequestInvalid, Some("phoneNumber")));
            }
            setting.scratch.drop().await;
        }
    }

    #[actix_web::test]
    async fn the_hash_is_bound_to_its_verification_and_old_rows_go() {
        for setting in each().await {
            let id = setting.send().await.unwrap().verification_id;
            let row = otp_verification::Entity::find().one(setting.scratch.db.read()).await.unwrap().unwrap();
            let code = setting.pocket.code(&id);
            assert_ne!(row.code_hash, hmac::sign(&setting.otp.key, code.as_bytes()).as_ref());
            assert_ne!(bound(OtpPurpose::SignIn, &[1; 16], &code), bound(OtpPurpose::SignIn, &[2; 16], &code));
            assert_eq!(setting.otp.sweep().await.unwrap(), 0);
            setting.clock.advance(KEPT + MINUTE);
            assert_eq!(setting.otp.sweep().await.unwrap(), 1);
            setting.scratch.drop().await;
        }
    }
}
