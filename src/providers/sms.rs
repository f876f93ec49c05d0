//! Who carries one-time codes to phones.
//! Never what a code is or whom it may go to: see `auth::otp`.

use crate::auth::otp::{Sms, SmsError, SmsSender};
use crate::config::{self, SmsProvider};
use async_trait::async_trait;
use std::sync::Arc;

/// The carrier that the configuration chose.
pub fn from_config(config: &config::Sms) -> Arc<dyn SmsSender> {
    match config.provider {
        SmsProvider::Log => Arc::new(LogSender),
    }
}

/// The stand-in: sends nothing, and prints the code in the log, where nothing else ever prints one.
pub struct LogSender;

#[async_trait]
impl SmsSender for LogSender {
    async fn send(&self, sms: Sms<'_>) -> Result<(), SmsError> {
        let Sms { to, code, verification_id, .. } = sms;
        tracing::info!(target: "quckchat::otp", "otp: code {code} for {to} (verification {verification_id})");
        Ok(())
    }
}
