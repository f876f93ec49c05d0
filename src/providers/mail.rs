//! Who carries letters to e-mail addresses.
//! Never what a letter says: see `auth::texts`.

use crate::auth::carriers::{Mail, Mailer};
use crate::config::{self, MailProvider};
use actors::protocol::Outcome;
use async_trait::async_trait;
use std::sync::Arc;

/// The carrier that the configuration chose.
///
/// # Errors
/// What is configured cannot be used.
pub fn from_config(config: &config::Mail) -> anyhow::Result<Arc<dyn Mailer>> {
    Ok(match config.provider {
        MailProvider::Log => Arc::new(LogMailer),
    })
}

/// The stand-in: sends nothing, and prints the letter in the log, with its code.
pub struct LogMailer;

#[async_trait]
impl Mailer for LogMailer {
    async fn send(&self, mail: Mail<'_>) -> Outcome<()> {
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
