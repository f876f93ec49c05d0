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
    let Ok(url) = reqwest::Url::parse(url) else { return false };
    match url.scheme() {
        "https" => url.has_host(),
        "http" => url.host_str().is_some_and(is_here),
        _ => false,
    }
}

fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::Layer;

    /// The file that operators copy.
    const PRODUCTION: &str = include_str!("../../../docker/prod.toml");
    const SECRETS: &str =
        "[secrets]\nmaster = 'k9Jm2xQ7vT4wZ8bN6cR3yL5pF1hD0sGa'\n[sms]\nsecret = 's'\n[mail]\npassword = 'p'";

    fn layered(texts: &[&str]) -> Result<Config, ConfigError> {
        Config::layered(texts.iter().map(|text| Layer::toml("node.toml", text).unwrap()).collect())
    }

    #[test]
    fn production_starts_with_carriers_that_carry() {
        let config = layered(&[PRODUCTION, SECRETS]).unwrap();
        assert!(config.stand_ins().is_empty());
        let by_texts = "[sms]\nprovider = 'twilio_messaging'\nfrom = 'QuckChat'";
        assert!(layered(&[PRODUCTION, SECRETS, by_texts]).is_ok());
        assert!(!config.to_toml().contains("secret = \"s\""), "secrets are hidden");
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_name() {
        for (text, key) in [
            ("[sms]\nprovider = 'log'", "sms.provider"),
            ("[mail]\nprovider = 'log'", "mail.provider"),
            ("[sms]\nsecret = ''", "sms.secret"),
            ("[sms]\nsecret = 'change-me'", "sms.secret"),
            ("[sms]\naccount_sid = 'AC1'", "sms.account_sid"),
            ("[sms]\napi_key_sid = 'AC00000000000000000000000000000000'", "sms.api_key_sid"),
            ("[sms]\nverify_service_sid = ''", "sms.verify_service_sid"),
            ("[sms]\nverify_url = 'http://verify.twilio.com'", "sms.verify_url"),
            ("[sms]\nverify_url = 'http://127.0.0.1.example.org'", "sms.verify_url"),
            ("[sms]\nverify_url = 'http://localhost:1@example.org'", "sms.verify_url"),
            ("[sms]\nmessaging_url = ''", "sms.messaging_url"),
            ("[sms]\nprovider = 'twilio_messaging'", "sms.from"),
            ("[sms]\nprovider = 'twilio_messaging'\nfrom = 'a'\nmessaging_service_sid = 'MG1'", "sms.from"),
            ("[sms]\nprovider = 'twilio_messaging'\nmessaging_service_sid = 'MG1'", "sms.messaging_service_sid"),
            ("[sms]\nretries = 9", "sms.retries"),
            ("[auth]\notp_ttl = '11m'", "auth.otp_ttl"),
            ("[auth]\notp_countries = ['de']", "auth.otp_countries"),
            ("[auth]\notp_countries = ['Germany']", "auth.otp_countries"),
            ("[auth]\nlocale = 'tlh'", "auth.locale"),
            ("[auth]\notp_domain = 'https://chat.example.org'", "auth.otp_domain"),
            ("[auth]\notp_app_hash = 'FA+9qCX9VSu'", "auth.otp_domain"),
            ("[auth]\notp_domain = ''\notp_app_hash = 'short'", "auth.otp_app_hash"),
            ("[auth]\notp_per_address_per_hour = 0", "auth.otp_per_address_per_hour"),
            ("[auth]\notp_in_all_per_day = -1", "auth.otp_in_all_per_day"),
            ("[mail]\nhost = ''", "mail.host"),
            ("[mail]\nfrom = 'nobody'", "mail.from"),
            ("[mail]\ntls = 'none'", "mail.tls"),
            ("[mail]\nuser = ''", "mail.password"),
            ("[mail]\ntimeout = '1h'", "mail.timeout"),
            ("[mail]\nconnections = 0", "mail.connections"),
        ] {
            let error = layered(&[PRODUCTION, SECRETS, text]).expect_err(text);
            assert!(error.names(key), "{text}: {error}");
        }
        let here = "[sms]\nverify_url = 'http://[::1]:8080/twilio'\n[mail]\nhost = 'localhost'\ntls = 'none'";
        assert!(layered(&[PRODUCTION, SECRETS, here]).is_ok());
    }
}
