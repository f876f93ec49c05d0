//! `[sms]` and `[mail]`: who carries codes and letters, and by which credentials.
//! Never which settings go together: see `rules`.

use super::Secret;
use super::values::duration;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

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
    /// How long one step of handing over may take.
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
