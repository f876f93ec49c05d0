//! Anything at all in place of a token or a code: it is refused, and nothing more happens.
//! Never part of the node.

use super::contact::Contact;
use super::keys::{Key, Keys};
use super::otp::Asking;
use super::testing::{FakeClock, Pocket, Scratch};
use super::texts::Texts;
use super::{Otp, Refresh, Secrets, Tokens, sessions};
use crate::config::{self, Config};
use actors::clock::Clock;
use actors::protocol::command::{OtpPurpose, VerifyOtp};
use actors::protocol::{Command, Error, ErrorCode, Outcome};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::session;
use jsonwebtoken::Algorithm;
use proptest::prelude::{Just, ProptestConfig, Strategy, any};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use proptest::{prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest};
use serde_json::{Value, json};
use std::sync::Arc;

fn code<T>(outcome: Outcome<T>) -> Option<ErrorCode> {
    outcome.err().map(|error| error.code())
}

/// A good token of which something was changed, or anything at all.
fn like(good: &str) -> impl Strategy<Value = String> + use<> {
    let bytes = good.as_bytes().to_vec();
    let length = bytes.len();
    let changed = proptest::collection::vec((0..length, any::<char>()), 1..4).prop_map(move |changes| {
        let mut letters: Vec<char> = bytes.iter().map(|byte| char::from(*byte)).collect();
        changes.into_iter().for_each(|(at, letter)| letters[at] = letter);
        letters.into_iter().collect::<String>()
    });
    let (good, cut) = (good.to_owned(), good.to_owned());
    prop_oneof![
        changed,
        (0..length).prop_map(move |at| cut[..at].to_owned()),
        ".{1,40}".prop_map(move |more| format!("{good}{more}")),
        ".*",
        "[A-Za-z0-9_-]{0,200}\\.[A-Za-z0-9_-]{0,400}\\.[A-Za-z0-9_-]{0,120}",
        any::<(Vec<u8>, Vec<u8>, Vec<u8>)>().prop_map(|(header, claims, signature)| {
            [header, claims, signature].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
        }),
    ]
}

#[actix_web::test]
async fn whatever_is_no_access_token_of_ours_is_refused() {
    let scratch = Scratch::sqlite().await;
    let clock = FakeClock::new();
    let keys = Keys::open(scratch.db.clone(), clock.clone(), &Secrets::from_master(b"a master secret")).await.unwrap();
    let tokens = Tokens::new(keys, clock.clone(), &Config::shipped().unwrap().auth);
    let (user, session) = ((&*clock as &dyn Clock).user_id(), (&*clock as &dyn Clock).session_id());
    let good = tokens.issue(user, session).unwrap();
    proptest!(ProptestConfig::with_cases(2000), |(token in like(&good))| {
        prop_assume!(token != good);
        prop_assert_eq!(code(tokens.verify(&token, clock.now())), Some(ErrorCode::AuthUnauthenticated));
    });
    // Claims of any shape, signed as ours are: whoever they name, it is somebody, or refused.
    let names = prop_oneof![Just("iss"), Just("aud"), Just("sub"), Just("sid"), Just("exp"), Just("nbf")];
    let values = prop_oneof![
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        ".*".prop_map(|text| json!(text)),
        Just(json!(null)),
        Just(json!([{}])),
    ];
    proptest!(ProptestConfig::with_cases(500), |((name, value) in (names, values))| {
        let claims = good.split('.').nth(1).unwrap();
        let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        claims[name] = value;
        let message = format!("{}.{}", good.split('.').next().unwrap(), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let sign = |key: &Key| {
            Ok(jsonwebtoken::crypto::sign(message.as_bytes(), &key.private, Algorithm::EdDSA).unwrap())
        };
        let signature = tokens.keys.with_signer(clock.now(), sign).unwrap();
        if let Ok(identity) = tokens.verify(&format!("{message}.{signature}"), clock.now()) {
            prop_assert_eq!((identity.user, identity.session), (user, session));
        }
    });
    scratch.drop().await;
}

#[actix_web::test]
async fn whatever_is_no_refresh_token_of_ours_is_refused_and_ends_nothing() {
    for scratch in Scratch::each().await {
        let clock = FakeClock::new();
        let refresh = Refresh::new(scratch.db.clone(), clock.clone(), &Config::shipped().unwrap().auth);
        let dyn_clock: &dyn Clock = &*clock;
        let (user, session, at) = (dyn_clock.user_id(), dyn_clock.session_id(), clock.now());
        let beginning = sessions::Beginning { session, user, origin: sessions::Origin::default(), at };
        sessions::begin(scratch.db.write(), beginning).await.unwrap();
        let good = refresh.first(scratch.db.write(), session).await.unwrap();
        let (tokens, mut runner) = (like(&good), TestRunner::default());
        for _ in 0..300 {
            let token = tokens.new_tree(&mut runner).unwrap().current();
            if token != good {
                assert_eq!(code(refresh.spend(&token, None).await), Some(ErrorCode::AuthRefreshInvalid), "{token:?}");
            }
        }
        let row = session::by_id(session).one(scratch.db.read()).await.unwrap().unwrap();
        assert_eq!(row.revoked_at, None);
        assert!(refresh.spend(&good, None).await.is_ok());
        scratch.drop().await;
    }
}

/// Codes, nearly codes, and anything else that may stand in place of one.
fn like_a_code() -> impl Strategy<Value = String> {
    prop_oneof!["[0-9]{6}", "[0-9]{0,12}", ".*", "\\PC{0,8}", "[ +-]?[0-9]{5,6}[ \n]?", "[0-9０-９٠-٩]{6}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_code_is_six_digits_and_whatever_else_is_refused_by_its_field((id, code) in (".*", like_a_code())) {
        let check = |verification_id: &str, code: &str| {
            let command = VerifyOtp { verification_id: verification_id.to_owned(), code: code.to_owned(), device: None };
            match command.check() {
                Err(Error::Refused(refusal)) => Some((refusal.code, refusal.field.map(String::from))),
                outcome => outcome.err().map(|error| (error.code(), None)),
            }
        };
        let refused = |field: &str| Some((ErrorCode::RequestInvalid, Some(field.to_owned())));
        let is_code = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
        prop_assert_eq!(check("AAAAAAAAAAAAAAAAAAAAAA", &code), if is_code { None } else { refused("code") });
        let tried = check(&id, "123456");
        prop_assert!(tried.is_none() || tried == refused("verificationId"), "{:?}", tried);
    }
}

#[actix_web::test]
async fn no_code_with_another_digit_and_no_other_verification_is_taken() {
    for scratch in Scratch::each().await {
        let (clock, pocket) = (FakeClock::new(), Arc::new(Pocket::default()));
        let config = config::Auth { otp_tries: i32::MAX, ..Config::shipped().unwrap().auth };
        let texts = Arc::new(Texts::new(&config).unwrap());
        let otp = Otp::new(scratch.db.clone(), clock.clone(), [7; 32], pocket.carriers(), texts, &config);
        let contact = Contact::phone("+4915112345678").unwrap();
        let id = otp.send(Asking::to_sign_in(&contact)).await.unwrap().verification_id;
        let right = pocket.code(&id);
        let attempt = async |id: &str, typed: &str| code(otp.attempt(id, typed, OtpPurpose::SignIn).await);
        // Each digit by each other one.
        for (at, digit) in right.bytes().enumerate() {
            for other in (b'0'..=b'9').filter(|other| *other != digit) {
                let mut wrong = right.clone().into_bytes();
                wrong[at] = other;
                let wrong = String::from_utf8(wrong).unwrap();
                assert_eq!(attempt(&id, &wrong).await, Some(ErrorCode::AuthOtpInvalid), "{wrong}");
            }
        }
        let (ids, codes, mut runner) = (like(&id), like_a_code(), TestRunner::default());
        for _ in 0..200 {
            let other = ids.new_tree(&mut runner).unwrap().current();
            if other != id {
                assert_eq!(attempt(&other, &right).await, Some(ErrorCode::AuthOtpExpired), "{other:?}");
            }
            let typed = codes.new_tree(&mut runner).unwrap().current();
            if typed != right {
                assert_eq!(attempt(&id, &typed).await, Some(ErrorCode::AuthOtpInvalid), "{typed:?}");
            }
        }
        assert_eq!(attempt(&id, &right).await, None);
        scratch.drop().await;
    }
}
