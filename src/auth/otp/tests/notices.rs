//! Notices and the budgets: beside the codes of a contact, and among those of a country and a day.

use super::*;

impl Setting {
    async fn admit(&self, contact: &str) -> Outcome<()> {
        self.otp.admit_notice(&Contact::of_spelt(contact.to_owned())).await
    }
}

#[actix_web::test]
async fn a_contact_has_as_many_notices_as_codes_and_neither_takes_the_others() {
    for setting in each().await {
        for contact in ["+4915112345678", "ann@example.org"] {
            let admitted = join_all((0..12).map(|_| setting.admit(contact))).await;
            assert_eq!(admitted.iter().filter(|outcome| outcome.is_ok()).count(), 5);
            let refused = refusal(setting.admit(contact).await);
            assert_eq!((refused.code, refused.retry_after), (ErrorCode::AuthOtpBudget, Some(60 * MINUTE)));
        }
        // Whoever asks for all codes of a number does not silence its notices.
        for _ in 0..5 {
            setting.send().await.unwrap();
        }
        assert!(setting.send().await.is_err());
        setting.clock.advance(60 * MINUTE);
        for _ in 0..5 {
            setting.send().await.unwrap();
        }
        for _ in 0..5 {
            setting.admit("+4915112345678").await.unwrap();
        }
        setting.clock.advance(60 * MINUTE);
        assert_eq!(refusal(setting.admit("+4915112345678").await).retry_after, Some(22 * 60 * MINUTE));
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn texts_of_both_kinds_share_what_a_country_and_a_day_have() {
    for setting in each_with(|config| config.otp_per_country_per_day = 3).await {
        setting.admit("+4915112345678").await.unwrap();
        setting.send().await.unwrap();
        setting.admit("+4915112345679").await.unwrap();
        assert_eq!(refusal(setting.admit("+4915112345670").await).code, ErrorCode::AuthOtpBudget);
        assert!(setting.send().await.is_err());
        assert!(setting.admit("+436641234567").await.is_ok());
        setting.scratch.drop().await;
    }
    for setting in each_with(|config| config.otp_in_all_per_day = 2).await {
        setting.send().await.unwrap();
        setting.admit("+436641234567").await.unwrap();
        assert!(setting.admit("+4915112345678").await.is_err() && setting.send().await.is_err());
        // Letters go on: what strangers had sent does not keep them back.
        for _ in 0..3 {
            setting.admit("ann@example.org").await.unwrap();
        }
        setting.scratch.drop().await;
    }
    for setting in each_with(|config| config.otp_countries = vec!["AT".to_owned()]).await {
        assert_eq!(refusal(setting.admit("+4915112345678").await).code, ErrorCode::AuthOtpCountry);
        assert!(setting.admit("+436641234567").await.is_ok());
        setting.scratch.drop().await;
    }
}
