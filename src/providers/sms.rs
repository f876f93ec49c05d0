//! Who carries one-time codes to phones.
//! Never what a code is or whom it may go to: see `auth::otp`.

use crate::auth::carriers::{Sms, SmsSender};
use crate::config::{self, SmsProvider};
use actors::clock::Clock;
use actors::protocol::Outcome;
use actors::protocol::command::OtpChannel;
use async_trait::async_trait;
use std::sync::Arc;

/// The carrier that the configuration chose.
///
/// # Errors
/// What is configured cannot be used.
pub fn from_config(config: &config::Sms, _clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<dyn SmsSender>> {
    Ok(match config.provider {
        SmsProvider::Log => Arc::new(LogSender),
    })
}

/// The stand-in: sends nothing, and prints the code in the log, where nothing else ever prints one.
pub struct LogSender;

#[async_trait]
impl SmsSender for LogSender {
    fn channels(&self) -> &[OtpChannel] {
        &[OtpChannel::Sms, OtpChannel::Call, OtpChannel::Whatsapp]
    }

    async fn send(&self, sms: Sms<'_>) -> Outcome<Option<String>> {
        let Sms { to, code, verification_id, .. } = sms;
        tracing::info!(target: "quckchat::otp", "otp: code {code} for {to} (verification {verification_id})");
        Ok(None)
    }

    async fn tell(&self, to: &str, text: &str) -> Outcome<()> {
        tracing::info!(target: "quckchat::otp", "text for {to}: {text}");
        Ok(())
    }
}
