//! Codes as they are sent and tried, on both databases.

mod budgets;
mod homes;
mod notices;
mod outages;
mod recipients;

use super::*;
use crate::auth::testing::{FakeClock, Pocket, Scratch};
use crate::config::Config;
use actors::protocol::Refusal;
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
    each_with(|_| ()).await
}

async fn each_with(set: impl Fn(&mut config::Auth)) -> Vec<Setting> {
    let make = |scratch: Scratch| {
        let (clock, pocket) = (FakeClock::new(), Arc::new(Pocket::default()));
        let mut config = Config::shipped().unwrap().auth;
        set(&mut config);
        let texts = Arc::new(Texts::new(&config).unwrap());
        let otp = Otp::new(scratch.db.clone(), clock.clone(), [7; 32], pocket.carriers(), texts, &config);
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
