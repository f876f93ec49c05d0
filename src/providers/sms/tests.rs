//! What we ask of Twilio, field by field as its API reference has it, and what its answers come to; Twilio is a server of
//! the test. The pages are named where the requests are made.

use super::*;
use crate::auth::Otp;
use crate::auth::carriers::{Carriers, Sms, Unsent};
use crate::auth::contact::Contact;
use crate::auth::otp::{Asking, Recipient};
use crate::auth::testing::{FakeClock, Pocket, Scratch};
use crate::auth::texts::Texts;
use actors::protocol::command::OtpPurpose;
use actors::protocol::{Error, ErrorCode};
use entities::{Timestamp, otp_verification};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sea_orm::{EntityTrait, PaginatorTrait, QueryFilter};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;
use wiremock::matchers::{body_string_contains, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const ACCOUNT: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const KEY: &str = "SKbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const SERVICE: &str = "VAcccccccccccccccccccccccccccccccc";
const SENDERS: &str = "MGdddddddddddddddddddddddddddddddd";
const VERIFICATION: &str = "VEeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";
const NUMBER: &str = "+4915112345678";

/// Waits for nothing, and notes how long it would have been.
#[derive(Default)]
struct Impatient(Mutex<Vec<Duration>>);

impl Clock for Impatient {
    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        self.0.lock().push(at.since(Timestamp::EPOCH));
        Box::pin(std::future::ready(()))
    }

    fn uuid(&self) -> Uuid {
        Uuid::nil()
    }

    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

struct Setting {
    server: MockServer,
    clock: Arc<Impatient>,
    config: Config,
}

impl Setting {
    async fn new() -> Setting {
        let server = MockServer::start().await;
        let mut config = Config::shipped().unwrap();
        let sms = &mut config.sms;
        (sms.verify_url, sms.messaging_url) = (server.uri(), server.uri());
        sms.account_sid = ACCOUNT.to_owned();
        sms.api_key_sid = KEY.to_owned();
        sms.secret = serde_json::from_value(json!("s3cret:of&ours")).unwrap();
        sms.verify_service_sid = SERVICE.to_owned();
        sms.from = "QuckChat".to_owned();
        sms.timeout = Duration::from_secs(5);
        Setting { server, clock: Arc::default(), config }
    }

    fn carrier(&mut self, provider: SmsProvider) -> Arc<dyn SmsSender> {
        self.config.sms.provider = provider;
        self.config.validate().unwrap();
        from_config(&self.config, &(self.clock.clone() as Arc<dyn Clock>)).unwrap()
    }

    /// Codes by Verify.
    fn otp(&mut self, scratch: &Scratch) -> Otp {
        let carriers = Carriers { sms: self.carrier(SmsProvider::TwilioVerify), mail: Arc::new(Pocket::default()) };
        let config = &self.config.auth;
        let texts = Arc::new(Texts::new(config).unwrap());
        Otp::new(scratch.db.clone(), FakeClock::new(), [7; 32], carriers, texts, config)
    }

    async fn answers(&self, answer: ResponseTemplate, times: u64) {
        Mock::given(method("POST")).respond_with(answer).up_to_n_times(times).mount(&self.server).await;
    }

    async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap()
    }
}

fn sms(channel: OtpChannel) -> Sms<'static> {
    Sms {
        to: NUMBER,
        channel,
        text: "123456 is your code & more",
        code: "123456",
        locale: "de",
        ttl: Duration::from_secs(300),
        verification_id: "id",
    }
}

fn taken() -> ResponseTemplate {
    ResponseTemplate::new(201).set_body_json(json!({ "sid": VERIFICATION, "status": "pending", "to": NUMBER }))
}

/// An exception as <https://www.twilio.com/docs/usage/twilios-response> has it.
fn exception(status: u16, code: u32) -> ResponseTemplate {
    let body = json!({
        "code": code, "message": format!("Something about {NUMBER}"), "status": status,
        "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
    });
    ResponseTemplate::new(status).set_body_json(body)
}

fn checked(status: &str) -> ResponseTemplate {
    let body = json!({ "sid": VERIFICATION, "status": status, "valid": status == "approved", "to": NUMBER });
    ResponseTemplate::new(200).set_body_json(body)
}

fn form(request: &Request) -> BTreeMap<String, String> {
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
    serde_json::from_value(
        actix_web::web::Query::<serde_json::Value>::from_query(std::str::from_utf8(&request.body).unwrap())
            .unwrap()
            .into_inner(),
    )
    .unwrap()
}

fn fields(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, impl Into<Error>>) -> (ErrorCode, Option<String>, Option<Duration>) {
    match outcome.map_err(Into::into) {
        Err(Error::Refused(refusal)) => (refusal.code, refusal.field.map(Into::into), refusal.retry_after),
        other => panic!("it was not refused: {other:?}"),
    }
}

#[actix_web::test]
async fn verify_is_asked_to_send_as_its_reference_says() {
    for (channel, name) in [(OtpChannel::Sms, "sms"), (OtpChannel::Call, "call"), (OtpChannel::Whatsapp, "whatsapp")] {
        let mut setting = Setting::new().await;
        setting.config.auth.otp_app_hash = "FA+9qCX9VSu".to_owned();
        let carrier = setting.carrier(SmsProvider::TwilioVerify);
        setting.answers(taken(), 1).await;
        assert_eq!(carrier.send(sms(channel)).await.unwrap().as_deref(), Some(VERIFICATION));
        let requests = setting.requests().await;
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].url.path(), format!("/v2/Services/{SERVICE}/Verifications"));
        // RFC 7617: the key's name and secret.
        assert_eq!(requests[0].headers["authorization"], format!("Basic {}", base64(&format!("{KEY}:s3cret:of&ours"))));
        let mut expected = fields(&[("To", NUMBER), ("Channel", name), ("Locale", "de")]);
        if channel == OtpChannel::Sms {
            expected.insert("AppHash".to_owned(), "FA+9qCX9VSu".to_owned());
        }
        assert_eq!(form(&requests[0]), expected);
    }
}

#[actix_web::test]
async fn verify_is_asked_whether_a_code_is_right_as_its_reference_says() {
    for (answer, expected) in [
        (checked("approved"), None),
        (checked("pending"), Some(ErrorCode::AuthOtpInvalid)),
        (checked("max_attempts_reached"), Some(ErrorCode::AuthOtpExhausted)),
        (checked("expired"), Some(ErrorCode::AuthOtpExpired)),
        (checked("canceled"), Some(ErrorCode::AuthOtpExpired)),
        (exception(404, 20404), Some(ErrorCode::AuthOtpExpired)),
        (exception(429, 60202), Some(ErrorCode::AuthOtpExhausted)),
        // Nobody typed a phone number.
        (exception(400, 60200), Some(ErrorCode::AuthOtpInvalid)),
        (exception(403, 60410), Some(ErrorCode::ServerUnavailable)),
    ] {
        let mut setting = Setting::new().await;
        let carrier = setting.carrier(SmsProvider::TwilioVerify);
        setting.answers(answer, 1).await;
        let outcome = carrier.checker().unwrap().check(VERIFICATION, "123456").await;
        assert_eq!(outcome.err().map(|error| error.code()), expected);
        let requests = setting.requests().await;
        assert_eq!(requests.len(), 1, "what stays as it is is not asked again");
        assert_eq!(requests[0].url.path(), format!("/v2/Services/{SERVICE}/VerificationCheck"));
        assert_eq!(form(&requests[0]), fields(&[("VerificationSid", VERIFICATION), ("Code", "123456")]));
    }
    let mut setting = Setting::new().await;
    let name = setting.carrier(SmsProvider::TwilioVerify).checker().unwrap().name_of_nothing([0xab; 16]);
    assert_eq!(name, format!("VE{}", "ab".repeat(16)));
}

#[actix_web::test]
async fn messaging_is_asked_to_send_as_its_reference_says() {
    for by_service in [false, true] {
        let mut setting = Setting::new().await;
        // Without a key, the account's own token.
        setting.config.sms.api_key_sid.clear();
        if by_service {
            (setting.config.sms.from, setting.config.sms.messaging_service_sid) = (String::new(), SENDERS.to_owned());
        }
        let carrier = setting.carrier(SmsProvider::TwilioMessaging);
        assert!(carrier.checker().is_none() && carrier.channels() == [OtpChannel::Sms]);
        setting.answers(ResponseTemplate::new(201).set_body_json(json!({ "sid": "SM1", "status": "queued" })), 2).await;
        assert_eq!(carrier.send(sms(OtpChannel::Sms)).await.unwrap(), None);
        carrier.tell(NUMBER, "news").await.unwrap();
        let requests = setting.requests().await;
        let sender = if by_service { ("MessagingServiceSid", SENDERS) } else { ("From", "QuckChat") };
        for (request, (body, validity)) in
            requests.iter().zip([("123456 is your code & more", "300"), ("news", "36000")])
        {
            assert_eq!(request.url.path(), format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json"));
            let credentials = base64(&format!("{ACCOUNT}:s3cret:of&ours"));
            assert_eq!(request.headers["authorization"], format!("Basic {credentials}"));
            assert_eq!(form(request), fields(&[("To", NUMBER), sender, ("Body", body), ("ValidityPeriod", validity)]));
        }
    }
}

#[actix_web::test]
async fn notices_go_by_messaging_beside_verify_if_a_sender_is_named() {
    for by_service in [false, true] {
        let mut setting = Setting::new().await;
        if by_service {
            (setting.config.sms.from, setting.config.sms.messaging_service_sid) = (String::new(), SENDERS.to_owned());
        }
        let carrier = setting.carrier(SmsProvider::TwilioVerify);
        assert!(carrier.tells() && carrier.checker().is_some());
        setting.answers(ResponseTemplate::new(201).set_body_json(json!({ "sid": "SM1", "status": "queued" })), 1).await;
        carrier.tell(NUMBER, "news").await.unwrap();
        let requests = setting.requests().await;
        let sender = if by_service { ("MessagingServiceSid", SENDERS) } else { ("From", "QuckChat") };
        assert_eq!(requests[0].url.path(), format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json"));
        let expected = fields(&[("To", NUMBER), sender, ("Body", "news"), ("ValidityPeriod", "36000")]);
        assert_eq!(form(&requests[0]), expected);
    }
    let mut setting = Setting::new().await;
    setting.config.sms.from.clear();
    let carrier = setting.carrier(SmsProvider::TwilioVerify);
    assert!(!carrier.tells());
    carrier.tell(NUMBER, "news").await.unwrap();
    assert!(setting.requests().await.is_empty());
}

#[actix_web::test]
async fn codes_of_twilio_are_told_in_ours() {
    let phone = Some("phoneNumber".to_owned());
    let ten_minutes = Some(Duration::from_secs(600));
    for (status, code, expected) in [
        (400, 60200, (ErrorCode::RequestInvalid, phone.clone(), None)),
        (400, 21211, (ErrorCode::RequestInvalid, phone.clone(), None)),
        (400, 21614, (ErrorCode::RequestInvalid, phone.clone(), None)),
        (400, 60205, (ErrorCode::RequestInvalid, phone.clone(), None)),
        (400, 21610, (ErrorCode::RequestInvalid, phone.clone(), None)),
        (429, 60203, (ErrorCode::AuthOtpBudget, None, ten_minutes)),
        (429, 20429, (ErrorCode::AuthOtpBudget, None, Some(Duration::from_secs(5)))),
        (403, 60410, (ErrorCode::AuthOtpCountry, None, None)),
        (403, 60605, (ErrorCode::AuthOtpCountry, None, None)),
        (400, 21408, (ErrorCode::AuthOtpCountry, None, None)),
    ] {
        let mut setting = Setting::new().await;
        setting.config.sms.retries = 0;
        let carrier = setting.carrier(SmsProvider::TwilioVerify);
        setting.answers(exception(status, code), 1).await;
        assert_eq!(refusal(carrier.send(sms(OtpChannel::Sms)).await), expected, "{code}");
    }
    // What the operator has to mend is told to nobody else.
    for (status, code) in [(401, 20003), (404, 20404), (400, 21606), (500, 0)] {
        let mut setting = Setting::new().await;
        setting.config.sms.retries = 0;
        let carrier = setting.carrier(SmsProvider::TwilioVerify);
        setting.answers(exception(status, code), 1).await;
        let error = carrier.send(sms(OtpChannel::Sms)).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, Unsent::Surely(Error::Fault(_))), "{code}");
        assert!(shown.contains(&code.to_string()) && !shown.contains(NUMBER) && !shown.contains("s3cret"), "{shown}");
    }
}

#[actix_web::test]
async fn what_surely_did_nothing_is_asked_again_after_a_while() {
    for (answer, waits) in [
        (exception(503, 0), [250..=500, 500..=1000]),
        (exception(500, 20500), [250..=500, 500..=1000]),
        (exception(502, 0), [250..=500, 500..=1000]),
        (exception(429, 20429).insert_header("retry-after", "2"), [2000..=2000, 2000..=2000]),
    ] {
        let mut setting = Setting::new().await;
        let carrier = setting.carrier(SmsProvider::TwilioVerify);
        setting.answers(answer, 2).await;
        setting.answers(taken(), 1).await;
        assert!(carrier.send(sms(OtpChannel::Sms)).await.is_ok());
        let requests = setting.requests().await;
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|request| request.body == requests[0].body));
        let waited = setting.clock.0.lock().clone();
        assert_eq!(waited.len(), 2);
        for (waited, expected) in waited.iter().zip(waits) {
            assert!(expected.contains(&waited.as_millis()), "{waited:?}");
        }
    }
}

#[actix_web::test]
async fn it_is_not_asked_for_ever() {
    let mut setting = Setting::new().await;
    let carrier = setting.carrier(SmsProvider::TwilioMessaging);
    setting.answers(exception(500, 0), 9).await;
    assert!(matches!(carrier.send(sms(OtpChannel::Sms)).await, Err(Unsent::Surely(Error::Fault(_)))));
    assert_eq!(setting.requests().await.len(), 3);

    // Nobody waits as long as this asks for.
    let mut setting = Setting::new().await;
    let carrier = setting.carrier(SmsProvider::TwilioMessaging);
    setting.answers(exception(429, 20429).insert_header("retry-after", "60"), 9).await;
    let refused = refusal(carrier.send(sms(OtpChannel::Sms)).await);
    assert_eq!(refused, (ErrorCode::AuthOtpBudget, None, Some(Duration::from_secs(60))));
    assert_eq!(setting.requests().await.len(), 1);

    // Where nobody listens, nobody has done anything.
    let mut setting = Setting::new().await;
    setting.config.sms.messaging_url = "http://127.0.0.1:1".to_owned();
    let carrier = setting.carrier(SmsProvider::TwilioMessaging);
    assert!(matches!(carrier.send(sms(OtpChannel::Sms)).await, Err(Unsent::Surely(Error::Fault(_)))));
    assert_eq!(setting.clock.0.lock().len(), 2);
}

#[actix_web::test]
async fn a_text_that_may_be_on_its_way_is_not_sent_twice() {
    for answer in [exception(504, 0), taken().set_delay(Duration::from_secs(20)), ResponseTemplate::new(201)] {
        let mut setting = Setting::new().await;
        setting.config.sms.timeout = Duration::from_millis(300);
        let carrier = setting.carrier(SmsProvider::TwilioVerify);
        setting.answers(answer, 9).await;
        assert!(matches!(carrier.send(sms(OtpChannel::Sms)).await, Err(Unsent::Perhaps(Error::Fault(_)))));
        assert_eq!((setting.requests().await.len(), setting.clock.0.lock().len()), (1, 0));
    }
}

#[actix_web::test]
async fn only_the_proxy_of_the_configuration_is_used() {
    let mut setting = Setting::new().await;
    let proxy = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path(format!("/v2/Services/{SERVICE}/Verifications")))
        .and(body_string_contains("Channel=sms"))
        .respond_with(taken())
        .mount(&proxy)
        .await;
    setting.config.sms.proxy = serde_json::from_value(json!(proxy.uri())).unwrap();
    setting.config.sms.verify_url = "http://localhost:1".to_owned();
    let carrier = setting.carrier(SmsProvider::TwilioVerify);
    assert!(carrier.send(sms(OtpChannel::Sms)).await.is_ok());
    assert_eq!(proxy.received_requests().await.unwrap().len(), 1);
}

#[actix_web::test]
async fn a_code_of_twilio_signs_in_once() {
    for scratch in Scratch::each().await {
        let mut setting = Setting::new().await;
        let otp = setting.otp(&scratch);
        let at = |what: &str| Mock::given(path(format!("/v2/Services/{SERVICE}/{what}")));
        let check = |code: &'static str| {
            at("VerificationCheck")
                .and(body_string_contains(format!("VerificationSid={VERIFICATION}&")))
                .and(body_string_contains(format!("Code={code}")))
        };
        at("Verifications").respond_with(taken()).mount(&setting.server).await;
        // Twilio forgets a verification whose code was right, and knows no other.
        check("424242").respond_with(checked("approved")).up_to_n_times(1).mount(&setting.server).await;
        check("111111").respond_with(checked("pending")).mount(&setting.server).await;
        at("VerificationCheck").respond_with(exception(404, 20404)).mount(&setting.server).await;

        let contact = Contact::phone(NUMBER).unwrap();
        let asking = Asking::to_sign_in(&contact);
        let real = otp.send(asking).await.unwrap().verification_id;
        let attempt =
            async |id: &str, code: &str| otp.attempt(id, code, OtpPurpose::SignIn).await.map_err(|error| error.code());
        assert_eq!(attempt(&real, "111111").await.unwrap_err(), ErrorCode::AuthOtpInvalid);
        let passed = attempt(&real, "424242").await.unwrap();
        otp.consume(scratch.db.write(), &passed).await.unwrap();
        assert_eq!(attempt(&real, "424242").await.unwrap_err(), ErrorCode::AuthOtpExpired);
        scratch.drop().await;
    }
}

/// Waits until the names of so many codes are written that Twilio gave: for an owner that comes after the answer.
async fn until_named(scratch: &Scratch, codes: u64) {
    let named = otp_verification::Entity::find().filter(otp_verification::COLUMN.carrier.eq(VERIFICATION));
    while named.clone().count(scratch.db.read()).await.unwrap() < codes {
        tokio::task::yield_now().await;
    }
}

/// Twilio has one verification for all codes to a number, and five tries of it: what it refuses after them would tell
/// which numbers have accounts.
#[actix_web::test]
async fn what_twilio_refuses_does_not_tell_a_number_of_an_account_from_a_decoy() {
    for scratch in Scratch::each().await {
        let mut setting = Setting::new().await;
        let otp = setting.otp(&scratch);
        let at = |what: &str| Mock::given(path(format!("/v2/Services/{SERVICE}/{what}")));
        let check = || at("VerificationCheck").and(body_string_contains(format!("VerificationSid={VERIFICATION}&")));
        at("Verifications").respond_with(taken()).mount(&setting.server).await;
        check().respond_with(checked("pending")).up_to_n_times(4).mount(&setting.server).await;
        check().respond_with(exception(429, 60202)).up_to_n_times(1).mount(&setting.server).await;
        at("VerificationCheck").respond_with(exception(404, 20404)).mount(&setting.server).await;

        let contact = Contact::phone(NUMBER).unwrap();
        let mut owners = 0;
        for recipient in [Recipient::Owner, Recipient::Nobody] {
            let asking = Asking { recipient, purpose: OtpPurpose::ResetPassword, ..Asking::to_sign_in(&contact) };
            for _ in 0..2 {
                let id = otp.send(asking).await.unwrap().verification_id;
                owners += u64::from(recipient == Recipient::Owner);
                until_named(&scratch, owners).await;
                for _ in 0..3 {
                    let tried = otp.attempt(&id, "111111", OtpPurpose::ResetPassword).await;
                    assert_eq!(tried.err().map(|error| error.code()), Some(ErrorCode::AuthOtpInvalid), "{recipient:?}");
                }
                let tried = otp.attempt(&id, "111111", OtpPurpose::ResetPassword).await;
                assert_eq!(tried.err().map(|error| error.code()), Some(ErrorCode::AuthOtpExhausted), "{recipient:?}");
            }
        }
        let requests = setting.requests().await;
        let names = requests.iter().filter(|request| request.url.path().ends_with("Check")).map(|request| {
            let name = form(request)["VerificationSid"].clone();
            assert!(name.len() == 34 && name.starts_with("VE"), "{name}");
            name
        });
        let (known, others): (Vec<_>, Vec<_>) = names.partition(|name| name == VERIFICATION);
        assert_eq!((known.len(), others.len()), (6, 6), "both are asked about alike");
        scratch.drop().await;
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
