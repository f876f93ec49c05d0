//! Who takes codes and letters to people: what the node asks of a carrier of texts and of a mailer.
//! Never a provider: those stand in `providers`, each beside its stand-in.

use actors::protocol::command::OtpChannel;
use actors::protocol::{Error, Outcome};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// Whatever leaves the node for a person.
#[derive(Clone)]
pub struct Carriers {
    /// Codes to phones.
    pub sms: Arc<dyn SmsSender>,
    /// Letters to e-mail addresses.
    pub mail: Arc<dyn Mailer>,
}

/// Something that no carrier took over, and what is known of it.
#[derive(Debug, thiserror::Error)]
pub enum Unsent {
    /// It did not go out: it was refused, or nobody was reached.
    #[error(transparent)]
    Surely(Error),
    /// It may have gone out: there was no answer, or none that tells.
    #[error(transparent)]
    Perhaps(Error),
}

impl From<Unsent> for Error {
    fn from(unsent: Unsent) -> Error {
        match unsent {
            Unsent::Surely(error) | Unsent::Perhaps(error) => error,
        }
    }
}

/// Carries codes to phones.
#[async_trait]
pub trait SmsSender: Send + Sync {
    /// The ways that it goes.
    fn channels(&self) -> &[OtpChannel];

    /// Whoever makes the codes and tells the right ones, if not we.
    fn checker(&self) -> Option<&dyn CodeChecker> {
        None
    }

    /// Hands one over; what happens to it then is not known. Gives what `CodeChecker::check` names it by, if there is one.
    ///
    /// # Errors
    /// `request.invalid` for a number that it reaches nobody by, `auth.otp_country`, `auth.otp_budget`; a fault of the
    /// carrier.
    async fn send(&self, sms: Sms<'_>) -> Result<Option<String>, Unsent>;

    /// Whether it carries texts that have no code.
    fn tells(&self) -> bool {
        true
    }

    /// Hands over a text that has no code. Nothing happens where only codes are carried: see `tells`.
    ///
    /// # Errors
    /// Those of `send`.
    async fn tell(&self, to: &str, text: &str) -> Outcome<()>;
}

/// A carrier that makes codes itself, and alone knows whether one is right.
#[async_trait]
pub trait CodeChecker: Send + Sync {
    /// Tries a code that was sent under this name. One that was right is used up with that.
    ///
    /// # Errors
    /// `auth.otp_invalid`, `auth.otp_expired`, `auth.otp_exhausted`; a fault of the carrier.
    async fn check(&self, name: &str, code: &str) -> Outcome<()>;

    /// A name as `SmsSender::send` gives them, that nothing was ever sent under.
    fn name_of_nothing(&self, random: [u8; 16]) -> String;
}

/// One code on its way to a phone.
#[derive(Clone, Copy)]
pub struct Sms<'a> {
    /// The number, E.164.
    pub to: &'a str,
    /// How it travels: one of the carrier's `channels`.
    pub channel: OtpChannel,
    /// What the person reads.
    pub text: &'a str,
    /// The code in it, for senders with words of their own.
    pub code: &'a str,
    /// The language of the text, BCP 47.
    pub locale: &'a str,
    /// How long the code is good.
    pub ttl: Duration,
    /// What the code belongs to.
    pub verification_id: &'a str,
}

/// Carries letters to e-mail addresses.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands one over; what happens to it then is not known.
    ///
    /// # Errors
    /// `request.invalid` for an address that the server refuses for good; a fault of the server.
    async fn send(&self, mail: Mail<'_>) -> Result<(), Unsent>;
}

/// One letter.
#[derive(Clone, Copy)]
pub struct Mail<'a> {
    /// The address.
    pub to: &'a str,
    /// What it says.
    pub letter: &'a Letter,
    /// The code in it, and the verification that it belongs to, for stand-ins.
    pub code: Option<(&'a str, &'a str)>,
}

/// What a letter says, twice: for programs that show HTML, and for all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The subject.
    pub subject: String,
    /// As plain text.
    pub text: String,
    /// As HTML.
    pub html: String,
}
