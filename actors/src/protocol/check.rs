//! What a field may hold, said once for all commands.
//! Never looks anything up: a value is in or out by itself.

use super::error::{Outcome, Refusal};
use jiff::tz::TimeZone;
use language_tags::LanguageTag;

/// The longest text of a message, in bytes of UTF-8.
pub const TEXT_BYTES: usize = 8 * 1024;
/// The longest `clientId`, in bytes.
pub const CLIENT_ID_BYTES: usize = 64;
/// The longest name of a language, in bytes: RFC 5646, section 4.4.1, has 35 suffice.
pub const LOCALE_BYTES: usize = 35;
/// The most items of a page.
pub const PAGE_MAX: u32 = 100;
/// The items of a page that names no limit.
pub const PAGE_DEFAULT: u32 = 50;

/// A text of `min..=max` bytes without NUL, which PostgreSQL cannot store.
pub fn text(field: &'static str, value: &str, min: usize, max: usize) -> Outcome<()> {
    if value.len() < min || (min > 0 && value.trim().is_empty()) {
        return Err(Refusal::invalid(field, "must not be empty").into());
    }
    if value.len() > max {
        return Err(Refusal::invalid(field, format!("must be at most {max} bytes of UTF-8")).into());
    }
    if value.contains('\0') {
        return Err(Refusal::invalid(field, "must not contain U+0000").into());
    }
    Ok(())
}

/// A key chosen by the client.
pub fn client_id(value: &str) -> Outcome<()> {
    text("clientId", value, 1, CLIENT_ID_BYTES)
}

/// A list of `min..=max` items.
pub fn count(field: &'static str, len: usize, min: usize, max: usize) -> Outcome<()> {
    if len < min || len > max {
        return Err(Refusal::invalid(field, format!("must have {min} to {max} items")).into());
    }
    Ok(())
}

/// A page's size: 50 unless asked, 1 to 100.
pub fn limit(value: Option<u32>) -> Outcome<u64> {
    match value.unwrap_or(PAGE_DEFAULT) {
        n @ 1..=PAGE_MAX => Ok(u64::from(n)),
        _ => Err(Refusal::invalid("limit", format!("must be 1 to {PAGE_MAX}")).into()),
    }
}

/// A counter: a whole number from 0 to 2^53 - 1.
pub fn number(field: &'static str, value: Option<i64>) -> Outcome<Option<i64>> {
    match value {
        Some(n) if !(0..1 << 53).contains(&n) => Err(Refusal::invalid(field, "must be 0 to 2^53 - 1").into()),
        other => Ok(other),
    }
}

/// A username: 3 to 32 of a-z, A-Z, 0-9, '_' and '.', beginning with a letter. Returns its key,
/// by which names are compared.
pub fn username(value: &str) -> Outcome<String> {
    let fits = (3..=32).contains(&value.len())
        && value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    if !fits {
        return Err(Refusal::invalid(
            "username",
            "must be 3 to 32 letters, digits, '_' or '.', beginning with a letter",
        )
        .into());
    }
    Ok(value.to_ascii_lowercase())
}

/// A verification, and the six digits that are tried against it.
pub fn verification(id: &str, code: &str) -> Outcome<()> {
    text("verificationId", id, 1, 64)?;
    if code.len() != 6 || !code.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refusal::invalid("code", "must be six digits").into());
    }
    Ok(())
}

/// One emoji, as Unicode lists them (fully or minimally qualified).
pub fn emoji(value: &str) -> Outcome<()> {
    match emojis::get(value) {
        Some(_) => Ok(()),
        None => Err(Refusal::invalid("emoji", "must be one emoji").into()),
    }
}

/// A language by BCP 47 (RFC 5646), registered as IANA has it. Returns its canonical form.
pub fn locale(value: &str) -> Outcome<String> {
    let tag = (value.len() <= LOCALE_BYTES)
        .then(|| LanguageTag::parse(value).ok().filter(LanguageTag::is_valid)?.canonicalize().ok())
        .flatten();
    let tag = tag.ok_or_else(|| Refusal::invalid("locale", "must be a language by BCP 47, such as 'de' or 'pt-BR'"))?;
    Ok(tag.into_string())
}

/// A time zone, as the tz database of IANA names it. Returns it as that spells it.
pub fn time_zone(value: &str) -> Outcome<String> {
    let refused = || Refusal::invalid("timeZone", "must be a time zone of IANA's, such as 'Europe/Berlin'");
    let zone = TimeZone::get(value).map_err(|_| refused())?;
    Ok(zone.iana_name().ok_or_else(refused)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted_in_bytes_and_hold_no_nul() {
        assert!(text("text", "é", 1, 2).is_ok());
        assert!(text("text", "é!", 1, 2).is_err());
        assert!(text("text", "   ", 1, 20).is_err());
        assert!(text("text", "a\0b", 1, 20).is_err());
        assert!(text("bio", "", 0, 20).is_ok());
    }

    #[test]
    fn usernames_compare_without_regard_to_case() {
        assert_eq!(username("Ann_B").ok(), Some("ann_b".to_owned()));
        for bad in ["an", "1ann", "ann b", "änn", &"a".repeat(33)] {
            assert!(username(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_code_is_six_digits() {
        assert!(verification("x", "012345").is_ok());
        for bad in ["", "12345", "1234567", "12345a", "١٢٣", " 12345"] {
            assert!(verification("x", bad).is_err(), "{bad}");
        }
        assert!(verification("", "012345").is_err());
    }

    #[test]
    fn a_reaction_is_one_emoji() {
        assert!(emoji("👍🏽").is_ok());
        assert!(emoji("👨‍👩‍👧").is_ok());
        for bad in ["", "a", ":+1:", "👍👍", "👍 "] {
            assert!(emoji(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn languages_and_time_zones_are_registered_ones() {
        for (said, meant) in [("de", "de"), ("PT-br", "pt-BR"), ("zh-hant-tw", "zh-Hant-TW"), ("iw", "he")] {
            assert_eq!(locale(said).ok().as_deref(), Some(meant));
        }
        for bad in ["", "xx-", "german", "de_DE", "de-AA-ZZ", "C", &"de-x-".repeat(20)] {
            assert!(locale(bad).is_err(), "{bad}");
        }
        for (said, meant) in [("europe/berlin", "Europe/Berlin"), ("UTC", "UTC"), ("Asia/Kolkata", "Asia/Kolkata")] {
            assert_eq!(time_zone(said).ok().as_deref(), Some(meant));
        }
        for bad in ["", "Europe", "Europe/Bonn", "+02:00", "../etc/passwd", "CET+1"] {
            assert!(time_zone(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_and_numbers_have_bounds() {
        assert_eq!(limit(None).ok(), Some(50));
        assert!(limit(Some(0)).is_err());
        assert!(limit(Some(101)).is_err());
        assert!(number("afterRev", Some(-1)).is_err());
        assert!(number("afterRev", Some(1 << 53)).is_err());
    }
}
