//! What a good password is, and in which form one is compared.
//! Never a hash, and never whose it is.
//!
//! # Why an estimate, and no rules
//! NIST SP 800-63B-4 (3.1.1.2) forbids rules of composition: they make passwords that are hard to remember and easy to
//! guess. zxcvbn (Wheeler, USENIX Security 2016) estimates how many guesses it takes, and says what makes it few.

use crate::config;
use actors::protocol::{ErrorCode, Outcome, Refusal};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;
use zxcvbn::zxcvbn;

/// What is known of somebody is looked for in parts of at least so many characters.
const PART_CHARACTERS: usize = 3;
/// The most parts that are looked for.
const PARTS: usize = 32;

/// A password in the one form in which it is hashed: NFKC, so that it does not matter how a keyboard composes it
/// (NIST SP 800-63B, 5.1.1.2; UAX #15).
pub struct Normal(Zeroizing<String>);

impl Normal {
    /// The form of what somebody typed.
    pub fn of(typed: &str) -> Normal {
        // Reserved, so that no half of it is left where the text grew out of.
        let mut text = Zeroizing::new(String::with_capacity(typed.len() * 4));
        text.extend(typed.nfkc());
        Normal(text)
    }

    /// What is hashed.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// How good a password must be.
#[derive(Debug, Clone, Copy)]
pub struct Strength {
    characters: usize,
    score: u8,
}

impl Strength {
    /// As the settings say.
    pub fn new(config: &config::Auth) -> Strength {
        Strength { characters: config.password_characters, score: config.password_score }
    }

    /// Refuses what is too easy to guess for somebody of whom this is known. Takes milliseconds.
    ///
    /// # Errors
    /// `auth.password_weak` for this field, with the reason.
    pub fn judge(&self, password: &Normal, known: &[String], field: &'static str) -> Outcome<()> {
        let weak = |reason: String| {
            let refusal = Refusal::new(ErrorCode::AuthPasswordWeak).saying(reason);
            Err(Refusal { field: Some(field.into()), ..refusal }.into())
        };
        if password.0.chars().count() < self.characters {
            return weak(format!("The password must have at least {} characters.", self.characters));
        }
        let parts = parts(known);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        // It looks at the first 100 characters; what is longer than that is judged by them.
        let found = zxcvbn(&password.0, &parts);
        if u8::from(found.score()) >= self.score {
            return Ok(());
        }
        let mut reason = ErrorCode::AuthPasswordWeak.sentence().to_owned();
        if let Some(feedback) = found.feedback() {
            let said = feedback.warning().map(|warning| warning.to_string()).into_iter();
            let said = said.chain(feedback.suggestions().iter().map(ToString::to_string));
            said.for_each(|sentence| reason.extend([" ", &sentence]));
        }
        weak(reason)
    }
}

/// What is known, as a whole and in its words.
fn parts(known: &[String]) -> Vec<String> {
    let words = known.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    let all = known.iter().map(String::as_str).chain(words);
    let mut parts: Vec<String> =
        all.filter(|part| part.chars().count() >= PART_CHARACTERS).map(str::to_owned).collect();
    parts.sort_unstable();
    parts.dedup();
    parts.truncate(PARTS);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use actors::protocol::Error;

    fn strength() -> Strength {
        Strength::new(&Config::shipped().unwrap().auth)
    }

    fn reason(password: &str, known: &[&str]) -> Option<String> {
        let known: Vec<String> = known.iter().map(|text| (*text).to_owned()).collect();
        match strength().judge(&Normal::of(password), &known, "newPassword") {
            Ok(()) => None,
            Err(Error::Refused(refusal)) => {
                assert_eq!(refusal.code, ErrorCode::AuthPasswordWeak);
                assert_eq!(refusal.field.as_deref(), Some("newPassword"));
                Some(refusal.message.into_owned())
            }
            Err(Error::Fault(fault)) => panic!("{fault}"),
        }
    }

    #[test]
    fn what_is_easy_to_guess_is_refused_with_the_reason() {
        for (password, said) in [
            ("Tr0ub4", "at least 8 characters"),
            ("password", "top-10"),
            ("P@ssw0rd1", "similar to a commonly used"),
            ("qwertyuiop", "common password"),
            ("aaaaaaaaaaaa", "Repeats"),
            ("abcdefghijkl", "Sequences"),
        ] {
            let reason = reason(password, &[]).unwrap_or_else(|| panic!("{password} was accepted"));
            assert!(reason.contains(said), "{password}: {reason}");
        }
        for good in ["four lamps over Trondheim", "правильная лошадь батарея", "Xk9#mQ2$vL7p"] {
            assert_eq!(reason(good, &[]), None, "{good}");
        }
    }

    #[test]
    fn what_is_known_of_somebody_is_no_secret() {
        let name = "Wolodymyrenko";
        assert_eq!(reason("Wolodymyrenko7", &[]), None);
        for known in [name, "wolodymyrenko@example.com", "Anna Wolodymyrenko"] {
            assert!(reason("Wolodymyrenko7", &[known]).is_some(), "{known}");
        }
    }

    #[test]
    fn the_same_text_is_the_same_password_however_it_is_typed() {
        let composed = Normal::of("Caf\u{e9} \u{fb01}lter");
        assert_eq!(composed.as_bytes(), Normal::of("Cafe\u{301} filter").as_bytes());
        assert_ne!(composed.as_bytes(), Normal::of("Cafe filter").as_bytes());
    }

    /// One character may become eighteen.
    #[test]
    fn the_longest_password_is_judged_as_any_other() {
        assert_eq!(Normal::of(&"\u{fdfa}".repeat(128)).0.chars().count(), 128 * 18);
        for (text, is_weak) in [("\u{fdfa}", false), ("aB3$", true), ("p4ssw0rd", true), ("1", true)] {
            let longest = text.repeat(128 / text.chars().count());
            assert_eq!(reason(&longest, &["password", "1111"]).is_some(), is_weak, "{text}");
        }
    }
}
