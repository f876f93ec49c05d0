//! Who has a code, by which way, and who only seems to; and carriers that make the codes themselves.

use super::*;
use crate::auth::carriers::{CodeChecker, Sms, SmsSender};
use actors::protocol::Fault;
use entities::UserId;
use parking_lot::Mutex;

impl Setting {
    async fn send_as(&self, recipient: Recipient, contact: &Contact) -> view::OtpSent {
        self.otp.send(Asking { recipient, ..Asking::to_sign_in(contact) }).await.unwrap()
    }

    /// A new password is asked for: at a number that somebody has, or nobody.
    async fn send_to_reset(&self, recipient: Recipient, contact: &Contact) -> String {
        let asking = Asking { recipient, purpose: OtpPurpose::ResetPassword, ..Asking::to_sign_in(contact) };
        self.otp.send(asking).await.unwrap().verification_id
    }

    async fn try_to_reset(&self, id: &str, code: &str) -> Result<Passed, ErrorCode> {
        self.otp.attempt(id, code, OtpPurpose::ResetPassword).await.map_err(|error| error.code())
    }

    /// What was begun and not waited for has its turn.
    async fn settles(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    async fn rows(&self) -> Vec<otp_verification::Model> {
        otp_verification::Entity::find().all(self.scratch.db.read()).await.unwrap()
    }
}

#[actix_web::test]
async fn a_code_by_e_mail_is_a_code() {
    for setting in each().await {
        let contact = Contact::email(" Ann@Example.ORG").unwrap();
        let id = setting.send_as(Recipient::Anybody, &contact).await.verification_id;
        let code = setting.pocket.code(&id);
        let passed = setting.attempt(&id, &code).await.unwrap();
        assert_eq!((passed.contact.spelt(), passed.contact.key()), ("Ann@example.org", "ann@example.org"));
        // Another spelling is the same budget.
        for spelling in ["ann@example.org", "ANN@EXAMPLE.ORG", "aNN@example.org", "anN@example.org"] {
            setting.send_as(Recipient::Anybody, &Contact::email(spelling).unwrap()).await;
        }
        let refused = setting.otp.send(Asking::to_sign_in(&contact)).await;
        assert_eq!(refusal(refused).code, ErrorCode::AuthOtpBudget);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_way_that_does_not_lead_there_is_refused() {
    for setting in each().await {
        let (phone, email) = (Contact::phone(NUMBER).unwrap(), Contact::email("ann@example.org").unwrap());
        for (contact, channel, goes) in [
            (&phone, OtpChannel::Sms, true),
            (&phone, OtpChannel::Call, true),
            // The pocket has no WhatsApp.
            (&phone, OtpChannel::Whatsapp, false),
            (&phone, OtpChannel::Email, false),
            (&email, OtpChannel::Email, true),
            (&email, OtpChannel::Sms, false),
        ] {
            let sent = setting.otp.send(Asking { channel: Some(channel), ..Asking::to_sign_in(contact) }).await;
            match goes {
                true => assert!(sent.is_ok(), "{channel:?}"),
                false => assert_eq!(refusal(sent).field.as_deref(), Some("channel"), "{channel:?}"),
            }
        }
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_decoy_looks_like_a_code_and_never_passes() {
    for setting in each().await {
        for contact in [Contact::email("ann@example.org").unwrap(), Contact::phone(NUMBER).unwrap()] {
            let real = setting.send_as(Recipient::Owner, &contact).await;
            let decoy = setting.send_as(Recipient::Nobody, &contact).await;
            setting.settles().await;
            assert_eq!(real.verification_id.len(), decoy.verification_id.len());
            assert_eq!((real.expires_in_secs, real.retry_after_secs), (decoy.expires_in_secs, decoy.retry_after_secs));
            assert!(setting.pocket.found(&real.verification_id).is_some());
            assert!(setting.pocket.found(&decoy.verification_id).is_none());
            let rows = setting.rows().await;
            let row = |id: &str| {
                let id = URL_SAFE_NO_PAD.decode(id).unwrap();
                rows.iter().find(|row| row.id == id).cloned().unwrap()
            };
            let (one, other) = (row(&real.verification_id), row(&decoy.verification_id));
            assert_eq!(one.code_hash.len(), other.code_hash.len());
            let same = otp_verification::Model { id: one.id.clone(), code_hash: one.code_hash.clone(), ..other };
            assert_eq!(same, one);

            let code = setting.pocket.code(&real.verification_id);
            for _ in 0..3 {
                assert_eq!(
                    setting.attempt(&decoy.verification_id, &code).await.unwrap_err(),
                    ErrorCode::AuthOtpInvalid
                );
            }
            assert_eq!(setting.attempt(&decoy.verification_id, &code).await.unwrap_err(), ErrorCode::AuthOtpExhausted);
            assert!(setting.attempt(&real.verification_id, &code).await.is_ok());
        }
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn no_code_of_all_passes_for_a_decoy() {
    // With as many tries as there are codes, of a few digits' worth: the hash is of nothing.
    for setting in each_with(|config| config.otp_tries = i32::MAX).await {
        let contact = Contact::email("ann@example.org").unwrap();
        let decoy = setting.send_as(Recipient::Nobody, &contact).await.verification_id;
        let row = setting.rows().await.pop().unwrap();
        let id: [u8; 16] = URL_SAFE_NO_PAD.decode(&decoy).unwrap().try_into().unwrap();
        let passing = (0..1_000_000u32).find(|code| {
            let code = format!("{code:06}");
            // As `attempt` looks at it; a hundred of them are enough for a test that is not optimised.
            code.ends_with("0000") && setting.otp.hash(OtpPurpose::SignIn, &id, &code) == row.code_hash
        });
        assert_eq!(passing, None);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_code_knows_what_it_is_for_and_whose() {
    for setting in each().await {
        let contact = Contact::phone(NUMBER).unwrap();
        let user = UserId::from_uuid(uuid::Uuid::from_u128(7));
        let asking = Asking { purpose: OtpPurpose::ChangePhone, user: Some(user), ..Asking::to_sign_in(&contact) };
        let id = setting.otp.send(asking).await.unwrap().verification_id;
        let code = setting.pocket.code(&id);
        for purpose in [OtpPurpose::SignIn, OtpPurpose::Register, OtpPurpose::ResetPassword, OtpPurpose::ChangeEmail] {
            let tried = setting.otp.attempt(&id, &code, purpose).await;
            assert_eq!(tried.err().map(|error| error.code()), Some(ErrorCode::AuthOtpExpired));
        }
        let passed = setting.otp.attempt(&id, &code, OtpPurpose::ChangePhone).await.unwrap();
        assert_eq!(passed.user, Some(user));
        setting.scratch.drop().await;
    }
}

/// Makes codes itself, and forgets one that was right.
#[derive(Default)]
struct Maker {
    open: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
    away: std::sync::atomic::AtomicBool,
}

#[async_trait::async_trait]
impl SmsSender for Maker {
    fn channels(&self) -> &[OtpChannel] {
        &[OtpChannel::Sms]
    }

    fn checker(&self) -> Option<&dyn CodeChecker> {
        Some(self)
    }

    async fn send(&self, sms: Sms<'_>) -> Result<Option<String>, Unsent> {
        if self.away.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Unsent::Surely(Fault::new("away").into()));
        }
        let name = format!("VE {}", sms.verification_id);
        self.open.lock().push(name.clone());
        Ok(Some(name))
    }

    async fn tell(&self, _: &str, _: &str) -> Outcome<()> {
        Ok(())
    }
}

#[async_trait::async_trait]
impl CodeChecker for Maker {
    async fn check(&self, name: &str, code: &str) -> Outcome<()> {
        self.asked.lock().push(name.to_owned());
        let mut open = self.open.lock();
        let place = open.iter().position(|known| known == name).ok_or(ErrorCode::AuthOtpExpired)?;
        if code != "424242" {
            return Err(ErrorCode::AuthOtpInvalid.into());
        }
        open.remove(place);
        Ok(())
    }

    fn name_of_nothing(&self, random: [u8; 16]) -> String {
        format!("VE {}", URL_SAFE_NO_PAD.encode(random))
    }
}

async fn each_with_maker() -> Vec<(Setting, Arc<Maker>)> {
    let swap = |setting: Setting| {
        let maker = Arc::new(Maker::default());
        let carriers = Carriers { sms: maker.clone(), mail: setting.pocket.clone() };
        (Setting { otp: Otp { carriers, ..setting.otp }, ..setting }, maker)
    };
    each().await.into_iter().map(swap).collect()
}

#[actix_web::test]
async fn a_carrier_may_make_the_codes_and_tell_the_right_one() {
    for (setting, maker) in each_with_maker().await {
        let id = setting.send().await.unwrap().verification_id;
        assert_eq!(setting.attempt(&id, "424241").await.unwrap_err(), ErrorCode::AuthOtpInvalid);
        // It says that a code is right once; what that was for may have failed, and the code comes again.
        assert!(setting.attempt(&id, "424242").await.is_ok());
        let passed = setting.attempt(&id, "424242").await.unwrap();
        assert_eq!(maker.asked.lock().len(), 2);
        setting.otp.consume(setting.scratch.db.write(), &passed).await.unwrap();
        assert_eq!(setting.attempt(&id, "424242").await.unwrap_err(), ErrorCode::AuthOtpExpired);

        // An e-mail has a code of ours all the same.
        let contact = Contact::email("ann@example.org").unwrap();
        let id = setting.send_as(Recipient::Anybody, &contact).await.verification_id;
        assert_eq!(setting.attempt(&id, "424242").await.err(), Some(ErrorCode::AuthOtpInvalid));
        assert!(setting.attempt(&id, &setting.pocket.code(&id)).await.is_ok());
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_carrier_is_asked_about_decoys_too() {
    for (setting, maker) in each_with_maker().await {
        let contact = Contact::phone(NUMBER).unwrap();
        let real = setting.send_to_reset(Recipient::Owner, &contact).await;
        let decoy = setting.send_to_reset(Recipient::Nobody, &contact).await;
        setting.settles().await;
        assert_eq!(maker.open.lock().len(), 1);
        for id in [&real, &decoy] {
            for _ in 0..3 {
                assert_eq!(setting.try_to_reset(id, "424241").await.unwrap_err(), ErrorCode::AuthOtpInvalid);
            }
            assert_eq!(setting.try_to_reset(id, "424242").await.unwrap_err(), ErrorCode::AuthOtpExhausted);
        }
        assert_eq!(maker.asked.lock().len(), 6);
        setting.scratch.drop().await;
    }
}

#[actix_web::test]
async fn whoever_waits_hears_that_the_carrier_is_away_and_nobody_else() {
    for (setting, maker) in each_with_maker().await {
        maker.away.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(matches!(setting.send().await, Err(Error::Fault(_))));
        let contact = Contact::phone(NUMBER).unwrap();
        let owners = setting.send_to_reset(Recipient::Owner, &contact).await;
        setting.settles().await;
        assert_eq!(setting.try_to_reset(&owners, "424242").await.unwrap_err(), ErrorCode::AuthOtpInvalid);
        // The carrier was asked, as about a decoy: what was not sent is not known by a faster answer.
        assert_eq!(maker.asked.lock().len(), 1);
        setting.scratch.drop().await;
    }
}
