//! `[auth]`, `[exports]` and `[contacts]`: how people sign in, and what they may take along, look up and leave.
//! Never who carries their codes: see `carriers`.

use super::layers::ConfigError;
use super::rules::{DAY, HOUR, MANY, SECOND, lasts, within};
use super::values::duration;
use crate::auth::texts::LOCALES;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `[auth]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Access tokens' `iss`.
    pub issuer: String,
    /// Access tokens' `aud`.
    pub audience: String,
    /// An access token's life.
    #[serde(with = "duration")]
    pub access_ttl: Duration,
    /// How long after somebody showed who they are they may change how they sign in.
    #[serde(with = "duration")]
    pub fresh: Duration,
    /// A refresh token's life.
    #[serde(with = "duration")]
    pub refresh_ttl: Duration,
    /// How long a spent refresh token may come again.
    #[serde(with = "duration")]
    pub refresh_grace: Duration,
    /// Access tokens whose check is remembered.
    pub token_cache: u64,
    /// A code's life.
    #[serde(with = "duration")]
    pub otp_ttl: Duration,
    /// How often one code may be tried.
    pub otp_tries: i32,
    /// Codes to one number or e-mail address in an hour.
    pub otp_per_hour: usize,
    /// Codes to one number or e-mail address in a day.
    pub otp_per_day: usize,
    /// Codes asked for from one network address in an hour.
    pub otp_per_address_per_hour: usize,
    /// Codes asked for from one network address in a day.
    pub otp_per_address_per_day: usize,
    /// Codes to one country in a day; 0 is as many as there are.
    pub otp_per_country_per_day: i64,
    /// Codes to phones in a day; 0 is as many as there are.
    pub otp_in_all_per_day: i64,
    /// Codes by e-mail in a day; 0 is as many as there are.
    pub otp_by_email_per_day: i64,
    /// Countries to which codes are sent, ISO 3166; none is all.
    pub otp_countries: Vec<String>,
    /// The Android app that reads codes by itself.
    pub otp_app_hash: String,
    /// The web page's host into which codes are filled.
    pub otp_domain: String,
    /// The language of texts for whoever has said none.
    pub locale: String,
    /// What authenticator apps list an account under.
    pub totp_issuer: String,
    /// How long the audit trail is kept.
    #[serde(with = "duration")]
    pub events_keep: Duration,
    /// The fewest characters of a password.
    pub password_characters: usize,
    /// How hard a password must be to guess, as zxcvbn estimates it.
    pub password_score: u8,
    /// What argon2id spends on one hash, in KiB.
    pub password_memory_kib: u32,
    /// How often argon2id passes over that memory.
    pub password_passes: u32,
    /// Hashes at once.
    pub hashes_at_once: usize,
    /// Hashes that may wait beside those.
    pub hashes_waiting: usize,
    /// Wrong passwords for one account before there are delays.
    pub free_tries: i32,
    /// The longest of them.
    #[serde(with = "duration")]
    pub longest_delay: Duration,
    /// Wrong tries from one address before there are delays.
    pub free_tries_per_address: i32,
    /// The longest of them.
    #[serde(with = "duration")]
    pub longest_delay_per_address: Duration,
    /// How long an account stays that is to be deleted.
    #[serde(with = "duration")]
    pub deletion_grace: Duration,
}

impl Auth {
    pub(super) fn check(&self, wrong: &mut ConfigError) {
        self.check_tokens(wrong);
        self.check_codes(wrong);
        self.check_passwords(wrong);
        lasts(wrong, "auth.events_keep", self.events_keep, DAY..=4000 * DAY);
        lasts(wrong, "auth.deletion_grace", self.deletion_grace, Duration::ZERO..=400 * DAY);
        if !LOCALES.contains(&self.locale.as_str()) {
            wrong.add("auth.locale", format!("must be one of {LOCALES:?}"));
        }
        let issuer = &self.totp_issuer;
        if issuer.trim().is_empty() || issuer.contains(':') || issuer.len() > 100 {
            wrong.add("auth.totp_issuer", "must be a name of 1 to 100 bytes without a colon");
        }
    }

    fn check_tokens(&self, wrong: &mut ConfigError) {
        for (key, text) in [("auth.issuer", &self.issuer), ("auth.audience", &self.audience)] {
            if text.trim().is_empty() {
                wrong.add(key, "must not be empty");
            }
        }
        lasts(wrong, "auth.access_ttl", self.access_ttl, 10 * SECOND..=DAY);
        // With less, what asks for somebody fresh would be out of everybody's reach.
        lasts(wrong, "auth.fresh", self.fresh, 10 * SECOND..=DAY);
        lasts(wrong, "auth.refresh_ttl", self.refresh_ttl, HOUR..=400 * DAY);
        lasts(wrong, "auth.refresh_grace", self.refresh_grace, Duration::ZERO..=HOUR);
        within(wrong, "auth.token_cache", self.token_cache, 1..=100_000_000);
    }

    fn check_codes(&self, wrong: &mut ConfigError) {
        lasts(wrong, "auth.otp_ttl", self.otp_ttl, 10 * SECOND..=HOUR);
        within(wrong, "auth.otp_tries", self.otp_tries, 1..=10);
        within(wrong, "auth.otp_per_hour", self.otp_per_hour, 1..=1000);
        within(wrong, "auth.otp_per_day", self.otp_per_day, self.otp_per_hour..=10_000);
        let per_hour = self.otp_per_address_per_hour;
        within(wrong, "auth.otp_per_address_per_hour", per_hour, 1..=MANY);
        within(wrong, "auth.otp_per_address_per_day", self.otp_per_address_per_day, per_hour..=MANY);
        within(wrong, "auth.otp_per_country_per_day", self.otp_per_country_per_day, 0..=MANY as i64);
        within(wrong, "auth.otp_in_all_per_day", self.otp_in_all_per_day, 0..=MANY as i64);
        within(wrong, "auth.otp_by_email_per_day", self.otp_by_email_per_day, 0..=MANY as i64);
        let is_country = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
        for country in self.otp_countries.iter().filter(|country| !is_country(country)) {
            wrong.add("auth.otp_countries", format!("{country:?} is no country; write two letters, such as \"DE\""));
        }
        let is_hash =
            |text: &str| text.len() == 11 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b));
        if !self.otp_app_hash.is_empty() && !is_hash(&self.otp_app_hash) {
            wrong.add("auth.otp_app_hash", "must be the 11 characters that Android tells of the app");
        }
        let is_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        if !self.otp_domain.bytes().all(is_host) {
            wrong.add("auth.otp_domain", "must be a host, such as chat.example.org");
        }
        if !self.otp_domain.is_empty() && !self.otp_app_hash.is_empty() {
            wrong.add(
                "auth.otp_domain",
                "a text ends with one of auth.otp_domain and auth.otp_app_hash: leave one empty",
            );
        }
    }

    fn check_passwords(&self, wrong: &mut ConfigError) {
        within(wrong, "auth.password_characters", self.password_characters, 8..=64);
        within(wrong, "auth.password_score", self.password_score, 0..=4);
        // Below OWASP's lowest (7 MiB and 5 passes) nothing is gained, and above 1 GiB nobody signs in.
        within(wrong, "auth.password_memory_kib", self.password_memory_kib, 7168..=1 << 20);
        within(wrong, "auth.password_passes", self.password_passes, 1..=100);
        within(wrong, "auth.hashes_at_once", self.hashes_at_once, 1..=64);
        within(wrong, "auth.hashes_waiting", self.hashes_waiting, 0..=10_000);
        within(wrong, "auth.free_tries", self.free_tries, 1..=100);
        lasts(wrong, "auth.longest_delay", self.longest_delay, SECOND..=DAY);
        within(wrong, "auth.free_tries_per_address", self.free_tries_per_address, 1..=1_000_000);
        lasts(wrong, "auth.longest_delay_per_address", self.longest_delay_per_address, SECOND..=DAY);
    }
}

/// `[exports]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Exports {
    /// Copies of somebody's data in a day.
    pub per_day: u64,
    /// How long one is kept, and its link good.
    #[serde(with = "duration")]
    pub keep: Duration,
}

impl Exports {
    pub(super) fn check(&self, wrong: &mut ConfigError) {
        within(wrong, "exports.per_day", self.per_day, 1..=100);
        lasts(wrong, "exports.keep", self.keep, HOUR..=90 * DAY);
    }
}

/// `[contacts]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Contacts {
    /// Entries of one address book.
    pub most: usize,
    /// New numbers that one may ask for in the first 24 hours of an account.
    pub numbers_first_day: u32,
    /// New numbers that one may ask for in any 24 hours after them.
    pub numbers_per_day: u32,
}

impl Contacts {
    pub(super) fn check(&self, wrong: &mut ConfigError) {
        within(wrong, "contacts.most", self.most, 1..=1_000_000);
        within(wrong, "contacts.numbers_first_day", self.numbers_first_day, 1..=1_000_000);
        within(wrong, "contacts.numbers_per_day", self.numbers_per_day, 1..=1_000_000);
    }
}
