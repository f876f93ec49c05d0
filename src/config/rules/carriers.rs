//! Which settings of codes, and of who carries codes and letters, go together.
//! Never whether a carrier can be reached.

use crate::auth::texts::LOCALES;
use crate::config::layers::ConfigError;
use crate::config::{Config, MailProvider, MailTls, SmsProvider};
use std::time::Duration;

/// The longest that Twilio keeps a verification open.
const TWILIO_VERIFICATION: Duration = Duration::from_secs(600);

impl Config {
    pub(super) fn check_carriers(&self, wrong: &mut ConfigError) {
        self.check_codes(wrong);
        if self.sms.provider != SmsProvider::Log {
            self.check_twilio(wrong);
        }
        if self.mail.provider == MailProvider::Smtp {
            self.check_smtp(wrong);
        }
    }

    fn check_codes(&self, wrong: &mut ConfigError) {
        let auth = &self.auth;
        let is_country = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
        for country in auth.otp_countries.iter().filter(|country| !is_country(country)) {
            wrong.add("auth.otp_countries", format!("{country:?} is no country; write two letters, such as \"DE\""));
        }
        if !LOCALES.contains(&auth.locale.as_str()) {
            wrong.add("auth.locale", format!("must be one of {LOCALES:?}"));
        }
        let is_hash =
            |text: &str| text.len() == 11 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b));
        if !auth.otp_app_hash.is_empty() && !is_hash(&auth.otp_app_hash) {
            wrong.add("auth.otp_app_hash", "must be the 11 characters that Android tells of the app");
        }
        let is_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        if !auth.otp_domain.bytes().all(is_host) {
            wrong.add("auth.otp_domain", "must be a host, such as chat.example.org");
        }
        if !auth.otp_domain.is_empty() && !auth.otp_app_hash.is_empty() {
            wrong.add(
                "auth.otp_domain",
                "a text ends with one of auth.otp_domain and auth.otp_app_hash: leave one empty",
            );
        }
    }

    fn check_twilio(&self, wrong: &mut ConfigError) {
        let sms = &self.sms;
        sid(wrong, "sms.account_sid", &sms.account_sid, "AC");
        if !sms.api_key_sid.is_empty() {
            sid(wrong, "sms.api_key_sid", &sms.api_key_sid, "SK");
        }
        if sms.secret.is_empty() {
            wrong.add("sms.secret", "must be the API key's secret, or the account's auth token");
        }
        for (key, url) in [("sms.verify_url", &sms.verify_url), ("sms.messaging_url", &sms.messaging_url)] {
            if !is_safe(url) {
                wrong.add(key, "must begin with https://: the credentials travel there");
            }
        }
        if sms.provider == SmsProvider::TwilioVerify {
            sid(wrong, "sms.verify_service_sid", &sms.verify_service_sid, "VA");
            if self.auth.otp_ttl > TWILIO_VERIFICATION {
                wrong.add("auth.otp_ttl", "must be 10m at most: so long Twilio Verify knows a code");
            }
            return;
        }
        match (sms.messaging_service_sid.is_empty(), sms.from.is_empty()) {
            (false, true) => sid(wrong, "sms.messaging_service_sid", &sms.messaging_service_sid, "MG"),
            (true, false) => {}
            _ => wrong.add("sms.from", "must be the sender, or sms.messaging_service_sid must name one's service"),
        }
    }

    fn check_smtp(&self, wrong: &mut ConfigError) {
        let mail = &self.mail;
        if mail.host.is_empty() {
            wrong.add("mail.host", "must name the mail server");
        }
        if mail.from.parse::<lettre::message::Mailbox>().is_err() {
            wrong.add("mail.from", "must be an address, such as \"QuckChat <no-reply@chat.example.org>\"");
        }
        if mail.user.is_empty() != mail.password.is_empty() {
            wrong.add("mail.password", "mail.user and mail.password go together");
        }
        if mail.tls == MailTls::None && !is_here(&mail.host) {
            wrong.add("mail.tls", "\"none\" is for a server on this machine: codes would be read on the way");
        }
    }
}

/// Twilio's names have two letters for their kind, and 32 hexadecimal digits.
fn sid(wrong: &mut ConfigError, key: &str, value: &str, kind: &str) {
    let rest = value.strip_prefix(kind);
    if !rest.is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit())) {
        wrong.add(key, format!("must be {kind} and 32 hexadecimal digits"));
    }
}

/// Whether what is sent to a URL is read by nobody on the way.
fn is_safe(url: &str) -> bool {
    match url.split_once("://") {
        Some(("https", host)) => !host.is_empty(),
        Some(("http", rest)) => {
            let authority = rest.split('/').next().unwrap_or_default();
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            is_here(host)
        }
        _ => false,
    }
}

fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
