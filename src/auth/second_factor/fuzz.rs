//! Anything at all in place of a code of the second factor: it is one by its form, or refused.
//! Never part of the node.

use super::*;
use crate::auth::testing::FakeClock;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::Config;
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};
use totp_rs::Builder;

const ALPHABET: &str = "0123456789abcdefghjkmnpqrstvwxyz";

/// Codes, nearly codes, and anything else that may stand in place of one.
fn like_a_code() -> impl Strategy<Value = String> {
    prop_oneof![".*", "[0-9 -]{0,12}", "[0-9A-Za-z -]{5,16}", "\\PC{0,12}", "[0-9０-９oOiIlLuU-]{6,11}"]
}

/// A code as somebody may type it: in any case, with anything between that is for people.
fn as_typed(code: &str, habits: &[(bool, u8)]) -> String {
    let letters = code.chars().zip(habits.iter().cycle());
    let typed = letters.map(|(letter, (upper, between))| {
        let letter = if *upper { letter.to_ascii_uppercase() } else { letter };
        let between = ["", "", "-", " ", " - "][usize::from(between % 5)];
        format!("{letter}{between}")
    });
    typed.collect()
}

/// The code with another letter of its alphabet at one place.
fn changed(code: &str, alphabet: &str, at: usize, by: usize) -> String {
    let at = at % code.len();
    let other = |letter: char| {
        let place = alphabet.find(letter).unwrap();
        char::from(alphabet.as_bytes()[(place + 1 + by % (alphabet.len() - 1)) % alphabet.len()])
    };
    code.chars().enumerate().map(|(place, letter)| if place == at { other(letter) } else { letter }).collect()
}

proptest! {
    #![proptest_config(Config::with_cases(2000))]

    #[test]
    fn what_is_typed_is_a_code_by_its_form_or_refused(text in like_a_code()) {
        match read(&text) {
            Ok(Code::App(digits)) => {
                prop_assert!(digits.len() == totp::DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()));
                prop_assert_eq!(read(&digits).unwrap(), Code::App(digits));
            }
            Ok(Code::Backup(code)) => {
                prop_assert!(code.len() == backup::LENGTH && code.chars().all(|letter| ALPHABET.contains(letter)));
                prop_assert_eq!(read(&backup::shown(&code)).unwrap(), Code::Backup(code));
            }
            Err(error) => prop_assert_eq!(error.code(), ErrorCode::RequestInvalid),
        }
    }

    #[test]
    fn a_backup_code_is_read_again_and_with_another_letter_is_another(
        habits in proptest::collection::vec(any::<(bool, u8)>(), 1..12), at: usize, by: u8,
    ) {
        let code = backup::make(&*FakeClock::new());
        for written in [as_typed(&code, &habits), as_typed(&backup::shown(&code), &habits)] {
            prop_assert_eq!(read(&written).unwrap(), Code::Backup(code.clone()));
        }
        let other = changed(&code, ALPHABET, at, by.into());
        prop_assert_eq!(read(&as_typed(&other, &habits)).unwrap(), Code::Backup(other.clone()));
        let (hasher, user) = (backup::Hasher::new(&[7; 32]), UserId::from_uuid(uuid::Uuid::nil()));
        prop_assert!(other != code && hasher.hash(user, &other) != hasher.hash(user, &code));
    }

    #[test]
    fn an_app_code_is_read_again_and_with_another_digit_is_not_that_steps(
        secret: [u8; totp::SECRET_BYTES], seconds in 0..4_000_000_000_u64,
        habits in proptest::collection::vec(any::<(bool, u8)>(), 1..8), at: usize, by: u8,
    ) {
        let code = Builder::new().with_secret(secret.to_vec()).build().unwrap().generate(seconds).to_string();
        prop_assert_eq!(read(&as_typed(&code, &habits)).unwrap(), Code::App(code.clone()));
        let (authenticator, step) = (Authenticator::new(&secret).unwrap(), i64::try_from(seconds / 30).unwrap());
        let step_of = |code: &str| authenticator.step_of(code, Timestamp::from_millis(seconds as i64 * 1000));
        prop_assert!(step_of(&code).is_some());
        // By chance it may be a neighbour's: of those three steps each has its own.
        let other = changed(&code, "0123456789", at, by.into());
        prop_assert!(step_of(&other) != Some(step), "{} for {}", other, code);
    }
}
