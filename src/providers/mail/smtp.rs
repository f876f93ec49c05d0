//! Letters by SMTP (RFC 5321), through a server that takes them on: over TLS, with authentication, connections kept.
//! Never a second try: a letter that nobody confirmed may have gone out.

use crate::auth::carriers::{Mail, Mailer, Unsent};
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
use std::time::Duration;

/// Hands letters to one server.
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    timeout: Duration,
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
        Ok(SmtpMailer { transport: builder.build(), from, timeout: config.timeout, clock })
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
    async fn send(&self, mail: Mail<'_>) -> Result<(), Unsent> {
        let to: Address = mail.to.parse().map_err(|_| Unsent::Surely(refused()))?;
        let message = self.message(to, &mail).map_err(Unsent::Surely)?;
        // The library's own time-out is for connecting alone: what is connected may fall silent.
        match tokio::time::timeout(2 * self.timeout, self.transport.send(message)).await {
            Ok(sent) => sent.map(drop).map_err(failure),
            Err(elapsed) => Err(Unsent::Perhaps(Fault::new(elapsed).into())),
        }
    }
}

/// What the server answered; never in its own words, which may name the address.
fn failure(error: lettre::transport::smtp::Error) -> Unsent {
    match error.status().map(u16::from) {
        // What servers say of a mailbox (RFC 5321, 4.2.2 and 3.4); all else is ours or theirs to mend.
        Some(550 | 551 | 553) => Unsent::Surely(refused()),
        Some(code) => Unsent::Surely(Fault::new(format!("the mail server answered {code}")).into()),
        None if is_unsent(&error) => Unsent::Surely(Fault::new(error).into()),
        None => Unsent::Perhaps(Fault::new(error).into()),
    }
}

/// Whether a letter that nobody answered cannot have gone out. That nobody was reached the library tells by its text
/// alone.
fn is_unsent(error: &lettre::transport::smtp::Error) -> bool {
    error.is_client() || error.is_tls() || error.to_string().starts_with("Connection error")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::carriers::Letter;
    use crate::auth::testing::FakeClock;
    use crate::config::Config;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn sends_to(port: u16) -> Result<(), Unsent> {
        let mut config = Config::shipped().unwrap().mail;
        (config.host, config.port) = ("127.0.0.1".to_owned(), port);
        (config.from, config.tls) = ("QuckChat <codes@example.org>".to_owned(), MailTls::None);
        config.timeout = Duration::from_millis(300);
        let mailer = SmtpMailer::new(&config, FakeClock::new()).unwrap();
        let letter = Letter { subject: String::new(), text: String::new(), html: String::new() };
        mailer.send(Mail { to: "ann@example.org", letter: &letter, code: None }).await
    }

    #[actix_web::test]
    async fn what_is_known_of_a_letter_that_no_server_took() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // It is heard and never answered.
        assert!(matches!(sends_to(port).await, Err(Unsent::Perhaps(Error::Fault(_)))));
        let busy = tokio::spawn(async move {
            // Whoever came before has gone.
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.write_all(b"421 too busy\r\n").await;
            }
        });
        assert!(matches!(sends_to(port).await, Err(Unsent::Surely(Error::Fault(_)))));
        busy.await.unwrap();
        // Nobody listens any more.
        assert!(matches!(sends_to(port).await, Err(Unsent::Surely(Error::Fault(_)))));
    }
}
