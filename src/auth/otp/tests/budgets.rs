//! Budgets by network, country and day, with many who ask at once.

use super::*;
use entities::otp_count;
use std::net::IpAddr;

impl Setting {
    async fn ask(&self, number: &str, address: &str) -> Outcome<view::OtpSent> {
        let contact = Contact::phone(number)?;
        let address: Option<IpAddr> = address.parse().ok();
        self.otp.send(Asking { address, ..Asking::to_sign_in(&contact) }).await
    }
}

fn german(n: usize) -> String {
    format!("+49151{:08}", 10_000_000 + n)
}

fn passed(outcomes: &[Outcome<view::OtpSent>]) -> usize {
    outcomes.iter().filter(|outcome| outcome.is_ok()).count()
}

#[actix_web::test]
async fn a_network_asks_for_no_more_than_its_budget_even_at_once() {
    let limit = |config: &mut config::Auth| {
        (config.otp_per_address_per_hour, config.otp_per_address_per_day) = (4, 6);
    };
    for setting in each_with(limit).await {
        // One customer's network, whatever address in it, and whomever for.
        let asked = (0..9).map(async |n| setting.ask(&german(n), &format!("2001:db8:1:2::{n}")).await);
        assert_eq!(passed(&join_all(asked).await), 4);
        let refused = refusal(setting.ask(&german(50), "2001:db8:1:2:ffff::1").await);
        assert_eq!((refused.code, refused.retry_after), (ErrorCode::AuthOtpBudget, Some(60 * MINUTE)));
        assert!(setting.ask(&german(51), "2001:db8:1:3::1").await.is_ok());
        assert!(setting.ask(&german(52), "203.0.113.9").await.is_ok());

        setting.clock.advance(60 * MINUTE);
        let sent = setting.ask(&german(53), "2001:db8:1:2::1").await.unwrap();
        assert_eq!(sent.retry_after_secs, 0);
        let sent = setting.ask(&german(54), "2001:db8:1:2::1").await.unwrap();
        assert_eq!(sent.retry_after_secs, 23 * 3600);
        assert!(setting.ask(&german(55), "2001:db8:1:2::1").await.is_err());
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_country_has_a_budget_of_its_own_each_day() {
    for setting in each_with(|config| config.otp_per_country_per_day = 3).await {
        let asked = (0..8).map(async |n| setting.ask(&german(n), "").await);
        assert_eq!(passed(&join_all(asked).await), 3);
        assert_eq!(setting.pocket.count(), 3);
        let refused = refusal(setting.ask(&german(20), "").await);
        assert_eq!(refused.code, ErrorCode::AuthOtpBudget);
        let wait = refused.retry_after.unwrap();
        assert!(!wait.is_zero() && wait <= 24 * 60 * MINUTE);
        assert!(setting.ask("+43 664 1234567", "").await.is_ok());
        let contact = Contact::email("ann@example.org").unwrap();
        assert!(setting.otp.send(Asking::to_sign_in(&contact)).await.is_ok());

        setting.clock.advance(wait);
        assert!(setting.ask(&german(21), "").await.is_ok());
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_day_has_no_more_codes_than_its_budget_however_they_are_counted() {
    // Enough for the rows of PostgreSQL to share, and not the same for each.
    const LIMIT: i64 = 261;
    for setting in each_with(|config| config.otp_in_all_per_day = LIMIT).await {
        let mut sent = 0;
        for first in (0..280).step_by(40) {
            let asked = (first..first + 40).map(async |n| setting.ask(&german(n), "").await);
            sent += passed(&join_all(asked).await);
        }
        assert_eq!(sent, LIMIT as usize);
        let day = setting.clock.now().millis().div_euclid(86_400_000);
        let rows = otp_count::of_day("all", day).all(setting.scratch.db.read()).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.sent).sum::<i64>(), LIMIT);
        assert!(rows.len() == 1 || rows.len() == 16, "{}", rows.len());
        // Nothing is written of what was refused.
        let verifications = otp_verification::Entity::find().all(setting.scratch.db.read()).await.unwrap();
        assert_eq!(verifications.len(), LIMIT as usize);

        setting.clock.advance(4 * 24 * 60 * MINUTE);
        assert!(setting.otp.sweep().await.unwrap() > LIMIT as u64);
        assert!(otp_count::Entity::find().all(setting.scratch.db.read()).await.unwrap().is_empty());
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn codes_go_to_the_countries_of_the_list_alone() {
    for setting in each_with(|config| config.otp_countries = vec!["DE".to_owned(), "CA".to_owned()]).await {
        assert!(setting.ask(NUMBER, "").await.is_ok());
        assert!(setting.ask("+1 613 782 7274", "").await.is_ok());
        for number in ["+1 202-555-0143", "+43 664 1234567", "+800 1234 0000"] {
            assert_eq!(refusal(setting.ask(number, "").await).code, ErrorCode::AuthOtpCountry, "{number}");
        }
        let contact = Contact::email("ann@example.org").unwrap();
        assert!(setting.otp.send(Asking::to_sign_in(&contact)).await.is_ok());
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn decoys_take_nothing_from_what_all_have() {
    let limits = |config: &mut config::Auth| {
        (config.otp_per_country_per_day, config.otp_in_all_per_day, config.otp_by_email_per_day) = (2, 3, 2);
    };
    for setting in each_with(limits).await {
        let asks = async |recipient, contact: &str| {
            let contact = Contact::of_spelt(contact.to_owned());
            let asking = Asking { recipient, purpose: OtpPurpose::ResetPassword, ..Asking::to_sign_in(&contact) };
            setting.otp.send(asking).await
        };
        for n in 0..9 {
            asks(Recipient::Nobody, &german(n)).await.unwrap();
            asks(Recipient::Nobody, &format!("nobody{n}@example.org")).await.unwrap();
        }
        // Whoever exists has what they all have; and where that is used up, the answer is the same for whoever does not.
        for n in 20..22 {
            asks(Recipient::Owner, &german(n)).await.unwrap();
            asks(Recipient::Owner, &format!("ann{n}@example.org")).await.unwrap();
        }
        for recipient in [Recipient::Owner, Recipient::Nobody] {
            for contact in [german(30).as_str(), "bob@example.org"] {
                assert_eq!(refusal(asks(recipient, contact).await).code, ErrorCode::AuthOtpBudget, "{contact}");
            }
        }
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn letters_and_texts_have_days_of_their_own() {
    for setting in each_with(|config| (config.otp_in_all_per_day, config.otp_by_email_per_day) = (2, 3)).await {
        let writes = async |n: usize| {
            let contact = Contact::email(&format!("ann{n}@example.org")).unwrap();
            setting.otp.send(Asking::to_sign_in(&contact)).await
        };
        for n in 0..3 {
            writes(n).await.unwrap();
        }
        assert_eq!(refusal(writes(3).await).code, ErrorCode::AuthOtpBudget);
        for n in 0..2 {
            setting.ask(&german(n), "").await.unwrap();
        }
        assert_eq!(refusal(setting.ask(&german(2), "").await).code, ErrorCode::AuthOtpBudget);
        setting.scratch.drop().await;
    }
}
