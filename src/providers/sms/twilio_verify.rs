//! Twilio Verify v2: Twilio makes the codes, sends them by text, call or WhatsApp, and tells the right ones.
//! Never a code: we only pass on what somebody types.
//!
//! For one number Twilio has one open verification at a time: until that was right or ten minutes are over, a second
//! code to it is the first again, and five wrong tries in all end it. Its service must make codes of six digits.

use super::twilio::{Failure, Twilio};
use super::twilio_messaging::TwilioMessaging;
use crate::auth::carriers::{CodeChecker, Sms, SmsSender, Unsent};
use crate::config;
use actors::protocol::command::OtpChannel;
use actors::protocol::{Error, ErrorCode, Fault, Outcome};
use async_trait::async_trait;
use serde::Deserialize;

/// Twilio's code for a resource that is not there: here a verification that was right, exhausted or too old.
const NOT_FOUND: u32 = 20404;
/// Twilio's code for a parameter that it does not take: here a code that cannot be one.
const INVALID_PARAMETER: u32 = 60200;
/// Twilio's code for a verification that was tried five times.
const TRIED_TOO_OFTEN: u32 = 60202;

/// A service of Twilio Verify.
pub struct TwilioVerify {
    twilio: Twilio,
    /// The service's resource.
    url: String,
    app_hash: Option<String>,
    /// What carries texts that have no code.
    notices: Option<TwilioMessaging>,
}

/// Of a verification, what matters here.
#[derive(Deserialize)]
struct Verification {
    sid: String,
}

/// Of a check, what matters here.
#[derive(Deserialize)]
struct Check {
    status: String,
}

impl TwilioVerify {
    /// The service that the configuration names; texts end with this hash of an Android app. Verify sends codes and
    /// nothing else: notices go by Messaging, or not at all.
    pub fn new(
        twilio: Twilio,
        config: &config::Sms,
        app_hash: Option<String>,
        notices: Option<TwilioMessaging>,
    ) -> TwilioVerify {
        let url = format!("{}/v2/Services/{}", config.verify_url.trim_end_matches('/'), config.verify_service_sid);
        TwilioVerify { twilio, url, app_hash, notices }
    }
}

#[async_trait]
impl SmsSender for TwilioVerify {
    fn channels(&self) -> &[OtpChannel] {
        &[OtpChannel::Sms, OtpChannel::Call, OtpChannel::Whatsapp]
    }

    fn checker(&self) -> Option<&dyn CodeChecker> {
        Some(self)
    }

    /// "Start New Verification": <https://www.twilio.com/docs/verify/api/verification#start-new-verification>.
    async fn send(&self, sms: Sms<'_>) -> Result<Option<String>, Unsent> {
        let channel = match sms.channel {
            OtpChannel::Call => "call",
            OtpChannel::Whatsapp => "whatsapp",
            OtpChannel::Sms | OtpChannel::Email => "sms",
        };
        let mut form = vec![("To", sms.to), ("Channel", channel), ("Locale", sms.locale)];
        if let Some(hash) = self.app_hash.as_deref().filter(|_| channel == "sms") {
            form.push(("AppHash", hash));
        }
        let verification: Verification = self.twilio.post(&format!("{}/Verifications", self.url), &form).await?;
        Ok(Some(verification.sid))
    }

    fn tells(&self) -> bool {
        self.notices.is_some()
    }

    async fn tell(&self, to: &str, text: &str) -> Outcome<()> {
        match &self.notices {
            Some(messaging) => messaging.tell(to, text).await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl CodeChecker for TwilioVerify {
    /// "Check a Verification": <https://www.twilio.com/docs/verify/api/verification-check#check-a-verification>. By the
    /// verification and not by the number, so that no code counts that was sent for something else.
    async fn check(&self, name: &str, code: &str) -> Outcome<()> {
        let form = [("VerificationSid", name), ("Code", code)];
        let url = format!("{}/VerificationCheck", self.url);
        let check: Check = self.twilio.post(&url, &form).await.map_err(unchecked)?;
        match check.status.as_str() {
            "approved" => Ok(()),
            "pending" => Err(ErrorCode::AuthOtpInvalid.into()),
            "max_attempts_reached" => Err(ErrorCode::AuthOtpExhausted.into()),
            _ => Err(ErrorCode::AuthOtpExpired.into()),
        }
    }

    fn name_of_nothing(&self, random: [u8; 16]) -> String {
        format!("VE{:032x}", u128::from_be_bytes(random))
    }
}

/// What it means to whoever tried a code that it was not checked: the codes of
/// <https://www.twilio.com/docs/api/errors>, of which others stand for other things where a code is asked for.
fn unchecked(failure: Failure) -> Error {
    match failure {
        Failure::Answered { code: INVALID_PARAMETER, .. } => ErrorCode::AuthOtpInvalid.into(),
        Failure::Answered { code: TRIED_TOO_OFTEN, .. } => ErrorCode::AuthOtpExhausted.into(),
        Failure::Answered { code: NOT_FOUND, .. } => ErrorCode::AuthOtpExpired.into(),
        failure => Fault::new(failure).into(),
    }
}
