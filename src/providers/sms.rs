//! Who carries one-time codes to phones.
//! Never what a code is or whom it may go to: see `auth::otp`.

pub mod twilio;
pub mod twilio_messaging;
pub mod twilio_verify;

use crate::auth::carriers::{Sms, SmsSender, Unsent};
use crate::config::{Config, SmsProvider};
use actors::clock::Clock;
use actors::protocol::Outcome;
use actors::protocol::command::OtpChannel;
use async_trait::async_trait;
use std::sync::Arc;
use twilio::Twilio;
use twilio_messaging::TwilioMessaging;
use twilio_verify::TwilioVerify;

/// The carrier that the configuration chose.
///
/// # Errors
/// What is configured cannot be used.
pub fn from_config(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<dyn SmsSender>> {
    Ok(match config.sms.provider {
        SmsProvider::Log => Arc::new(LogSender),
        SmsProvider::TwilioVerify => {
            let app_hash = Some(config.auth.otp_app_hash.clone()).filter(|hash| !hash.is_empty());
            let twilio = Twilio::new(&config.sms, clock.clone())?;
            let notices = config.sms.has_sender().then(|| TwilioMessaging::new(twilio.clone(), &config.sms));
            if notices.is_none() {
                tracing::warn!(
                    "whoever has no e-mail address is not told of changes to their account: Twilio Verify carries codes \
                     alone, and neither sms.from nor sms.messaging_service_sid names a sender of notices"
                );
            }
            Arc::new(TwilioVerify::new(twilio, &config.sms, app_hash, notices))
        }
        SmsProvider::TwilioMessaging => {
            Arc::new(TwilioMessaging::new(Twilio::new(&config.sms, clock.clone())?, &config.sms))
        }
    })
}

/// The stand-in: sends nothing, and prints the code in the log, where nothing else ever prints one.
pub struct LogSender;

#[async_trait]
impl SmsSender for LogSender {
    fn channels(&self) -> &[OtpChannel] {
        &[OtpChannel::Sms, OtpChannel::Call, OtpChannel::Whatsapp]
    }

    async fn send(&self, sms: Sms<'_>) -> Result<Option<String>, Unsent> {
        let Sms { to, code, verification_id, .. } = sms;
        tracing::info!(target: "quckchat::otp", "otp: code {code} for {to} (verification {verification_id})");
        Ok(None)
    }

    async fn tell(&self, to: &str, text: &str) -> Outcome<()> {
        tracing::info!(target: "quckchat::otp", "text for {to}: {text}");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
