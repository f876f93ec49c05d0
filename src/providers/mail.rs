//! Who carries letters to e-mail addresses.
//! Never what a letter says: see `auth::texts`.

pub mod smtp;

use crate::auth::carriers::{Mail, Mailer, Unsent};
use crate::config::{self, MailProvider};
use actors::clock::Clock;
use async_trait::async_trait;
use smtp::SmtpMailer;
use std::sync::Arc;

/// The carrier that the configuration chose.
///
/// # Errors
/// What is configured cannot be used.
pub fn from_config(config: &config::Mail, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Mailer>> {
    Ok(match config.provider {
        MailProvider::Log => Arc::new(LogMailer),
        MailProvider::Smtp => Arc::new(SmtpMailer::new(config, clock.clone())?),
    })
}

/// The stand-in: sends nothing, and prints the code of a letter, or its subject, in the log.
pub struct LogMailer;

#[async_trait]
impl Mailer for LogMailer {
    async fn send(&self, mail: Mail<'_>) -> Result<(), Unsent> {
        let Mail { to, letter, code } = mail;
        match code {
            Some((code, verification_id)) => {
                tracing::info!(target: "quckchat::otp", "otp: code {code} for {to} (verification {verification_id})");
            }
            None => tracing::info!(target: "quckchat::otp", "mail for {to}: {}", letter.subject),
        }
        Ok(())
    }
}
