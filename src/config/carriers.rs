//! `[sms]` and `[mail]`: who carries codes and letters, and by which credentials.
//! Never whether a carrier can be reached.

use super::layers::ConfigError;
use super::rules::{MINUTE, SECOND, lasts, within};
use super::values::duration;
use super::{Auth, Secret};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The longest that Twilio keeps a verification open.
const TWILIO_VERIFICATION: Duration = Duration::from_secs(600);

/// `[sms]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sms {
    /// Who carries codes.
    pub provider: SmsProvider,
    /// Twilio's account.
    pub account_sid: String,
    /// The key's name, if the secret is a key's; empty if it is the account's token.
    pub api_key_sid: String,
    /// The key's secret, or the account's token.
    pub secret: Secret,
    /// Verify: the service.
    pub verify_service_sid: String,
    /// Messaging: the service that chooses a sender.
    pub messaging_service_sid: String,
    /// Messaging: the sender.
    pub from: String,
    /// Where Verify is.
    pub verify_url: String,
    /// Where Messaging is.
    pub messaging_url: String,
    /// How long one request may take.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How often a request is repeated that did nothing.
    pub retries: usize,
    /// The proxy on the way there; empty is none.
    pub proxy: Secret,
}

impl Sms {
    /// Whether texts of ours have a sender: Verify alone needs none.
    pub fn has_sender(&self) -> bool {
        !self.from.is_empty() || !self.messaging_service_sid.is_empty()
    }

    /// What Twilio Verify carries, it knows no longer than it says.
    pub(super) fn check(&self, auth: &Auth, wrong: &mut ConfigError) {
        lasts(wrong, "sms.timeout", self.timeout, SECOND / 10..=MINUTE);
        within(wrong, "sms.retries", self.retries, 0..=5);
        if self.provider != SmsProvider::Log {
            self.check_twilio(wrong);
        }
        if self.provider == SmsProvider::TwilioVerify && auth.otp_ttl > TWILIO_VERIFICATION {
            wrong.add("auth.otp_ttl", "must be 10m at most: so long Twilio Verify knows a code");
        }
    }

    fn check_twilio(&self, wrong: &mut ConfigError) {
        sid(wrong, "sms.account_sid", &self.account_sid, "AC");
        if !self.api_key_sid.is_empty() {
            sid(wrong, "sms.api_key_sid", &self.api_key_sid, "SK");
        }
        if self.secret.is_empty() {
            wrong.add("sms.secret", "must be the API key's secret, or the account's auth token");
        }
        for (key, url) in [("sms.verify_url", &self.verify_url), ("sms.messaging_url", &self.messaging_url)] {
            if !is_safe(url) {
                wrong.add(key, "must begin with https://: the credentials travel there");
            }
        }
        if self.provider == SmsProvider::TwilioVerify {
            sid(wrong, "sms.verify_service_sid", &self.verify_service_sid, "VA");
        }
        match (self.messaging_service_sid.is_empty(), self.from.is_empty()) {
            (false, true) => sid(wrong, "sms.messaging_service_sid", &self.messaging_service_sid, "MG"),
            (true, false) => {}
            // Codes go all the same, and notices to no number.
            (true, true) if self.provider == SmsProvider::TwilioVerify => {}
            _ => wrong.add("sms.from", "must be the sender, or sms.messaging_service_sid must name one's service"),
        }
    }
}

/// Who carries codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SmsProvider {
    /// Nobody: they are printed in the log.
    Log,
    /// Twilio Verify, which makes and checks the codes.
    TwilioVerify,
    /// Twilio Programmable Messaging, with codes of our own.
    TwilioMessaging,
}

/// `[mail]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Who carries letters.
    pub provider: MailProvider,
    /// The server.
    pub host: String,
    /// Its port; 0 is the usual one. See `port`.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: MailTls,
    /// Who vouches for the server's certificate, as PEM; empty is whom the system trusts.
    pub ca: PathBuf,
    /// By whose name letters are handed over; empty is nobody's.
    pub user: String,
    /// The password with it.
    pub password: Secret,
    /// From whom letters come.
    pub from: String,
    /// How long connecting may take, and handing a letter over as long again.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// Connections at most.
    pub connections: u32,
}

impl Mail {
    /// The server's port: RFC 6409's for submission, RFC 8314's where TLS begins at once, or RFC 5321's.
    pub fn port(&self) -> u16 {
        match (self.port, self.tls) {
            (0, MailTls::StartTls) => 587,
            (0, MailTls::Implicit) => 465,
            (0, MailTls::None) => 25,
            (port, _) => port,
        }
    }

    pub(super) fn check(&self, wrong: &mut ConfigError) {
        lasts(wrong, "mail.timeout", self.timeout, SECOND / 10..=5 * MINUTE);
        within(wrong, "mail.connections", self.connections, 1..=256);
        if self.provider == MailProvider::Smtp {
            self.check_smtp(wrong);
        }
    }

    fn check_smtp(&self, wrong: &mut ConfigError) {
        if self.host.is_empty() {
            wrong.add("mail.host", "must name the mail server");
        }
        if self.from.parse::<lettre::message::Mailbox>().is_err() {
            wrong.add("mail.from", "must be an address, such as \"QuckChat <no-reply@chat.example.org>\"");
        }
        if self.user.is_empty() != self.password.is_empty() {
            wrong.add("mail.password", "mail.user and mail.password go together");
        }
        if self.tls == MailTls::None && !is_here(&self.host) {
            wrong.add("mail.tls", "\"none\" is for a server on this machine: codes would be read on the way");
        }
    }
}

/// Who carries letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MailProvider {
    /// Nobody: they are printed in the log.
    Log,
    /// A server, by SMTP.
    Smtp,
}

/// How a connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// It begins in the open and must become TLS.
    StartTls,
    /// It is TLS from the first byte.
    Implicit,
    /// Not at all.
    None,
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
    use crate::config::layers::Layer;
    use crate::config::{Config, ConfigError};

    /// The file that operators copy.
    const PRODUCTION: &str = include_str!("../../docker/prod.toml");
    const SECRETS: &str =
        "[secrets]\nmaster = 'k9Jm2xQ7vT4wZ8bN6cR3yL5pF1hD0sGa'\n[sms]\nsecret = 's'\n[mail]\npassword = 'p'";

    fn layered(texts: &[&str]) -> Result<Config, ConfigError> {
        Config::layered(texts.iter().map(|text| Layer::toml("node.toml", text).unwrap()).collect())
    }

    #[test]
    fn production_starts_with_carriers_that_carry() {
        let config = layered(&[PRODUCTION, SECRETS]).unwrap();
        assert!(config.stand_ins().is_empty());
        for texts in [
            "[sms]\nprovider = 'twilio_messaging'",
            "[sms]\nprovider = 'twilio_messaging'\nmessaging_service_sid = ''\nfrom = 'QuckChat'",
            "[sms]\nmessaging_service_sid = ''\nfrom = 'QuckChat'",
            "[sms]\nmessaging_service_sid = ''",
        ] {
            assert!(layered(&[PRODUCTION, SECRETS, texts]).is_ok(), "{texts}");
        }
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
            ("[sms]\nprovider = 'twilio_messaging'\nmessaging_service_sid = ''", "sms.from"),
            ("[sms]\nprovider = 'twilio_messaging'\nfrom = 'a'", "sms.from"),
            ("[sms]\nfrom = 'a'", "sms.from"),
            ("[sms]\nprovider = 'twilio_messaging'\nmessaging_service_sid = 'MG1'", "sms.messaging_service_sid"),
            ("[sms]\nmessaging_service_sid = 'MG1'", "sms.messaging_service_sid"),
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
            ("[auth]\notp_by_email_per_day = -1", "auth.otp_by_email_per_day"),
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
