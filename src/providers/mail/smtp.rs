//! Letters by SMTP (RFC 5321), through a server that takes them on: over TLS, with authentication, connections kept.
//! Never a second try: a letter that nobody confirmed may have gone out.

use crate::auth::carriers::{Mail, Mailer};
use crate::config::{self, MailTls};
use actors::clock::Clock;
use actors::protocol::{Error, Fault, Outcome, Refusal};
use anyhow::Context;
use async_trait::async_trait;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use std::sync::Arc;

/// Hands letters to one server.
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    clock: Arc<dyn Clock>,
}

impl SmtpMailer {
    /// By the server that the configuration names. Connections are made when there is something to send.
    ///
    /// # Errors
    /// The sender is no address, or the certificates cannot be read.
    pub fn new(config: &config::Mail, clock: Arc<dyn Clock>) -> anyhow::Result<SmtpMailer> {
        let from: Mailbox = config.from.parse().with_context(|| format!("mail.from: {:?}", config.from))?;
        let tls = match config.tls {
            MailTls::StartTls => Tls::Required(tls(config)?),
            MailTls::Implicit => Tls::Wrapper(tls(config)?),
            MailTls::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.clone())
            .port(config.port())
            .tls(tls)
            .hello_name(ClientId::Domain(from.email.domain().to_owned()))
            .timeout(Some(config.timeout))
            .pool_config(PoolConfig::new().max_size(config.connections));
        if !config.user.is_empty() {
            let password = config.password.expose().to_owned();
            builder = builder.credentials(Credentials::new(config.user.clone(), password));
        }
        Ok(SmtpMailer { transport: builder.build(), from, clock })
    }

    fn message(&self, to: Address, mail: &Mail<'_>) -> Outcome<Message> {
        let letter = mail.letter;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&letter.subject)
            .message_id(Some(format!("<{}@{}>", self.clock.uuid().simple(), self.from.email.domain())))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone()));
        Ok(message.map_err(Fault::new)?)
    }
}

/// Certificates are those of whom the system trusts, or of the file alone.
fn tls(config: &config::Mail) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if !config.ca.as_os_str().is_empty() {
        let shown = || format!("mail.ca: {}", config.ca.display());
        let pem = std::fs::read(&config.ca).with_context(shown)?;
        let certificate = Certificate::from_pem(&pem).with_context(shown)?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build_rustls().context("mail.tls")
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: Mail<'_>) -> Outcome<()> {
        let to: Address = mail.to.parse().map_err(|_| refused())?;
        let message = self.message(to, &mail)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(failure(error)),
        }
    }
}

/// What the server answered; never in its own words, which may name the address.
fn failure(error: lettre::transport::smtp::Error) -> Error {
    match error.status().map(u16::from) {
        // What servers say of a mailbox (RFC 5321, 4.2.2 and 3.4); all else is ours or theirs to mend.
        Some(550 | 551 | 553) => refused(),
        Some(code) => Fault::new(format!("the mail server answered {code}")).into(),
        None => Fault::new(error).into(),
    }
}

fn refused() -> Error {
    Refusal::invalid("email", "no mail can be sent to this address").into()
}

/// Says that no person wrote the letter, so that no program answers it (RFC 3834, 5).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(AutoSubmitted)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
