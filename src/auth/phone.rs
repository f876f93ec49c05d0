//! Phone numbers in their one normal form: E.164, with the `+`.
//! Never whether somebody has one.

use phonenumber::Mode;

/// The number that this text writes in international form; `None` if no such number can exist.
pub fn normal_form(text: &str) -> Option<String> {
    let text = text.trim();
    let written = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '-' | '.' | '(' | ')' | '/');
    // Digits and what people put between them; the parser would read extensions and letters into the rest.
    if !text.strip_prefix('+')?.chars().all(written) {
        return None;
    }
    let number = phonenumber::parse(None, text).ok().filter(phonenumber::is_valid)?;
    Some(number.format().mode(Mode::E164).to_string())
}

/// The country of a number in its normal form, ISO 3166; `None` for numbers of none, such as +800.
pub fn country(normal: &str) -> Option<String> {
    let number = phonenumber::parse(None, normal).ok()?;
    Some(number.country().id()?.as_ref().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn countries_that_share_a_code_are_told_apart() {
        for (number, expected) in [
            ("+4915112345678", Some("DE")),
            ("+12025550143", Some("US")),
            ("+16137827274", Some("CA")),
            ("+13459492311", Some("KY")),
            ("+447400123456", Some("GB")),
            ("+77012345678", Some("KZ")),
            ("+80012340000", None),
        ] {
            assert_eq!(country(number).as_deref(), expected, "{number}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail_and_its_form_is_its_own(text in "\\+?[0-9 ()./-]{0,24}|\\PC{0,24}") {
            if let Some(found) = normal_form(&text) {
                prop_assert_eq!(normal_form(&found), Some(found.clone()));
                prop_assert!(found.starts_with('+') && found[1..].bytes().all(|b| b.is_ascii_digit()) && found.len() <= 16);
                let _ = country(&found);
            }
        }

        #[test]
        fn any_bytes_are_read_without_harm(text in any::<String>()) {
            let _ = normal_form(&text);
        }
    }

    #[test]
    fn every_spelling_has_one_normal_form() {
        for (text, normal) in [
            ("+4915112345678", Some("+4915112345678")),
            (" +49 (0)151 / 123 456-78 ", Some("+4915112345678")),
            ("+1 202-555-0143", Some("+12025550143")),
            ("+44 7400 123456", Some("+447400123456")),
            ("+91 98765 43210", Some("+919876543210")),
            ("004915112345678", None),
            ("015112345678", None),
            ("+49", None),
            ("+49151", None),
            ("+999123456789", None),
            ("+49151123456789012345", None),
            ("+1 202-555-0143 ext. 5", None),
            ("+1 800 FLOWERS", None),
            ("+", None),
            ("", None),
        ] {
            assert_eq!(normal_form(text).as_deref(), normal, "{text}");
        }
    }
}
