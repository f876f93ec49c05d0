//! Phone numbers in their one normal form: E.164, with the `+`.
//! Never whether somebody has one.

use phonenumber::{Mode, country};

/// No number is written longer, whatever stands between its digits.
const LONGEST: usize = 64;

/// Digits, and what people put between them.
fn is_written(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, ' ' | '-' | '.' | '(' | ')' | '/')
}

/// The number that this text writes in international form; `None` if no such number can exist.
pub fn normal_form(text: &str) -> Option<String> {
    let text = text.trim();
    // Digits and what people put between them; the parser would read extensions and letters into the rest.
    if text.len() > LONGEST || !text.strip_prefix('+')?.chars().all(is_written) {
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

/// The country of this name, ISO 3166-1 alpha-2.
pub fn region(name: &str) -> Option<country::Id> {
    name.to_ascii_uppercase().parse().ok()
}

/// The number as an address book writes it: in international form, or as it is dialled in a region.
pub fn from_address_book(text: &str, region: Option<country::Id>) -> Option<String> {
    // Devices put what nobody sees around and into numbers: marks of direction, spaces that do not break.
    let is_dash = |c: char| matches!(c, '\u{2010}'..='\u{2015}' | '\u{2212}');
    let is_unseen =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let seen = text.chars().filter(|c| !is_unseen(*c)).take(LONGEST + 1);
    let plain = |c: char| match c {
        c if is_dash(c) => '-',
        c if c.is_whitespace() => ' ',
        c => c,
    };
    let plain: String = seen.map(plain).collect();
    let text = plain.trim();
    if text.starts_with('+') || plain.len() > LONGEST {
        return normal_form(text);
    }
    let region = region?;
    if !text.chars().all(is_written) {
        return None;
    }
    // What most of the world dials before a country; the parser would read what follows as a number of the region.
    if let Some(abroad) = text.strip_prefix("00") {
        return normal_form(&format!("+{abroad}"));
    }
    let number = phonenumber::parse(Some(region), text).ok().filter(phonenumber::is_valid)?;
    Some(number.format().mode(Mode::E164).to_string())
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

    #[test]
    fn an_address_book_writes_numbers_as_they_are_dialled() {
        for (text, region_name, normal) in [
            ("0151 12345678", "DE", Some("+4915112345678")),
            ("\u{202a}+49\u{a0}151\u{2011}12345678\u{202c}", "US", Some("+4915112345678")),
            ("(202) 555-0143", "us", Some("+12025550143")),
            ("1 202 555 0143", "US", Some("+12025550143")),
            ("0039 06 698 1234", "DE", Some("+39066981234")),
            ("06 698 1234", "IT", Some("+39066981234")),
            ("+39 06 698 1234", "DE", Some("+39066981234")),
            ("110", "DE", None),
            ("0151 12345678 ext 5", "DE", None),
            ("", "DE", None),
        ] {
            assert_eq!(from_address_book(text, region(region_name)).as_deref(), normal, "{text} in {region_name}");
        }
        assert_eq!(from_address_book("0151 12345678", None), None);
        assert_eq!(from_address_book(&"1".repeat(100_000), region("US")), None);
        assert_eq!((region("XX"), region("D")), (None, None));
    }
}
