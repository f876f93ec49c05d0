//! Twilio Programmable Messaging: texts that we write, with codes that we make.
//! Never whether a text arrived: Twilio takes it, and that is all.

use super::twilio::{Failure, Twilio};
use crate::auth::carriers::{Sms, SmsSender, Unsent};
use crate::config;
use actors::protocol::Outcome;
use actors::protocol::command::OtpChannel;
use async_trait::async_trait;
use serde::Deserialize;
use std::time::Duration;

/// The longest that Twilio keeps a text that it cannot pass on.
const KEPT: Duration = Duration::from_secs(36_000);

/// Texts of an account.
pub struct TwilioMessaging {
    twilio: Twilio,
    /// The account's messages.
    url: String,
    /// From whom they come: a number or a name, or a service that chooses one.
    sender: (&'static str, String),
}

/// Nothing of a message matters once it was taken.
#[derive(Deserialize)]
struct Message {}

impl TwilioMessaging {
    /// From the sender that the configuration names: see `has_sender`.
    pub fn new(twilio: Twilio, config: &config::Sms) -> TwilioMessaging {
        let base = config.messaging_url.trim_end_matches('/');
        let sender = match config.messaging_service_sid.as_str() {
            "" => ("From", config.from.clone()),
            service => ("MessagingServiceSid", service.to_owned()),
        };
        let url = format!("{base}/2010-04-01/Accounts/{}/Messages.json", config.account_sid);
        TwilioMessaging { twilio, url, sender }
    }

    /// "Create a Message": <https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource>.
    async fn create(&self, to: &str, body: &str, good_for: Duration) -> Result<(), Failure> {
        let (kind, sender) = &self.sender;
        let seconds = good_for.min(KEPT).as_secs().to_string();
        let form = [("To", to), (*kind, sender), ("Body", body), ("ValidityPeriod", &seconds)];
        let _: Message = self.twilio.post(&self.url, &form).await?;
        Ok(())
    }
}

#[async_trait]
impl SmsSender for TwilioMessaging {
    fn channels(&self) -> &[OtpChannel] {
        &[OtpChannel::Sms]
    }

    async fn send(&self, sms: Sms<'_>) -> Result<Option<String>, Unsent> {
        self.create(sms.to, sms.text, sms.ttl).await?;
        Ok(None)
    }

    async fn tell(&self, to: &str, text: &str) -> Outcome<()> {
        Ok(self.create(to, text, KEPT).await?)
    }
}
