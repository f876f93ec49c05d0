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

#[cfg(test)]
mod tests {
    use super::*;

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
