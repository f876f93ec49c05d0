//! Carriers that take nothing over, and what that costs whoever asked.

use super::*;
use crate::auth::carriers::{Mail, Mailer, Sms, SmsSender};
use actors::protocol::Fault;
use entities::otp_count;
use parking_lot::Mutex;

/// Takes codes over, or fails as it is told to.
#[derive(Default)]
struct Moody(Mutex<Option<fn() -> Unsent>>);

impl Moody {
    fn takes(&self) -> Result<(), Unsent> {
        self.0.lock().map_or(Ok(()), |fails| Err(fails()))
    }
}

#[async_trait::async_trait]
impl SmsSender for Moody {
    fn channels(&self) -> &[OtpChannel] {
        &[OtpChannel::Sms]
    }

    async fn send(&self, _: Sms<'_>) -> Result<Option<String>, Unsent> {
        self.takes().map(|()| None)
    }

    async fn tell(&self, _: &str, _: &str) -> Outcome<()> {
        Ok(self.takes()?)
    }
}

#[async_trait::async_trait]
impl Mailer for Moody {
    async fn send(&self, _: Mail<'_>) -> Result<(), Unsent> {
        self.takes()
    }
}

fn away() -> Unsent {
    Unsent::Surely(Fault::new("away").into())
}

fn silent() -> Unsent {
    Unsent::Perhaps(Fault::new("silent").into())
}

fn picky() -> Unsent {
    Unsent::Surely(Refusal::invalid("phoneNumber", "takes no texts").into())
}

async fn each_moody(set: impl Fn(&mut config::Auth)) -> Vec<(Setting, Arc<Moody>)> {
    let swap = |setting: Setting| {
        let moody = Arc::new(Moody::default());
        let carriers = Carriers { sms: moody.clone(), mail: moody.clone() };
        (Setting { otp: Otp { carriers, ..setting.otp }, ..setting }, moody)
    };
    each_with(set).await.into_iter().map(swap).collect()
}

impl Setting {
    async fn ask_for(&self, recipient: Recipient, contact: &Contact) -> Outcome<view::OtpSent> {
        let address = Some([203, 0, 113, 9].into());
        self.otp.send(Asking { recipient, address, ..Asking::to_sign_in(contact) }).await
    }

    /// Codes that count for a contact or a network, and those that count for a country and the day.
    async fn counted(&self) -> (usize, i64) {
        let db = self.scratch.db.read();
        let rows = otp_verification::Entity::find().all(db).await.unwrap();
        (rows.len(), otp_count::Entity::find().all(db).await.unwrap().iter().map(|row| row.sent).sum())
    }
}

#[actix_web::test]
async fn a_code_that_its_carrier_never_took_is_as_if_nobody_had_asked() {
    let tight = |config: &mut config::Auth| {
        (config.otp_per_address_per_hour, config.otp_per_country_per_day, config.otp_in_all_per_day) = (4, 3, 4);
    };
    for (setting, moody) in each_moody(tight).await {
        let contacts = [Contact::phone(NUMBER).unwrap(), Contact::email("ann@example.org").unwrap()];
        *moody.0.lock() = Some(away);
        for _ in 0..7 {
            for contact in &contacts {
                assert!(matches!(setting.ask_for(Recipient::Anybody, contact).await, Err(Error::Fault(_))));
            }
        }
        assert_eq!(setting.counted().await, (0, 0));
        // At once when it is back, and as often as ever.
        *moody.0.lock() = None;
        for _ in 0..3 {
            setting.ask_for(Recipient::Anybody, &contacts[0]).await.unwrap();
        }
        assert_eq!(refusal(setting.ask_for(Recipient::Anybody, &contacts[0]).await).code, ErrorCode::AuthOtpBudget);
        setting.ask_for(Recipient::Anybody, &contacts[1]).await.unwrap();
        assert_eq!(setting.counted().await, (4, 7));
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn while_a_carrier_is_asked_its_codes_count() {
    for (setting, moody) in each_moody(|config| config.otp_per_country_per_day = 1000).await {
        *moody.0.lock() = Some(away);
        let contact = Contact::phone(NUMBER).unwrap();
        let asked = join_all((0..40).map(|_| setting.ask_for(Recipient::Anybody, &contact))).await;
        assert!(asked.iter().all(Result::is_err));
        assert_eq!(setting.counted().await, (0, 0));
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_code_that_may_have_gone_out_counts_and_so_does_one_that_was_refused() {
    for trouble in [silent, picky] {
        for (setting, moody) in each_moody(|_| ()).await {
            *moody.0.lock() = Some(trouble);
            let contact = Contact::phone(NUMBER).unwrap();
            for _ in 0..5 {
                let error = setting.ask_for(Recipient::Anybody, &contact).await.unwrap_err();
                assert_ne!(error.code(), ErrorCode::AuthOtpBudget);
            }
            let refused = refusal(setting.ask_for(Recipient::Anybody, &contact).await);
            assert_eq!(refused.code, ErrorCode::AuthOtpBudget);
            assert_eq!(setting.counted().await, (5, 10));
            setting.scratch.drop().await;
        }
    }
}

#[actix_web::test]
async fn an_outage_does_not_tell_who_has_an_account() {
    for (setting, moody) in each_moody(|_| ()).await {
        *moody.0.lock() = Some(away);
        for (recipient, email) in [(Recipient::Owner, "ann@example.org"), (Recipient::Nobody, "bob@example.org")] {
            let contact = Contact::email(email).unwrap();
            for _ in 0..5 {
                setting.ask_for(recipient, &contact).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert_eq!(refusal(setting.ask_for(recipient, &contact).await).code, ErrorCode::AuthOtpBudget);
        }
        // To contacts and networks a decoy counts as any; nothing went out for it.
        assert_eq!(setting.counted().await, (10, 5));
        setting.scratch.drop().await;
    }
}
