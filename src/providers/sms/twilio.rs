//! Twilio's REST API: requests with credentials, what is asked again, and what its error codes mean to us.
//! Never a resource of it: see `twilio_verify` and `twilio_messaging`.

use crate::auth::carriers::Unsent;
use crate::config::{self, Secret};
use actors::clock::Clock;
use actors::protocol::{Error, ErrorCode, Fault, Refusal};
use backon::{BackoffBuilder, ExponentialBuilder};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Proxy, StatusCode, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// The first wait before a request is repeated; each next is twice as long, with some chance in it.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait, while somebody waits for the answer: if Twilio asks for a longer one, the request has failed.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a verification stands at Twilio, whose limits count within it
/// (<https://www.twilio.com/docs/verify/api/rate-limits-and-timeouts>).
const VERIFICATION: Duration = Duration::from_secs(600);

/// A client of Twilio; a clone shares its connections.
#[derive(Clone)]
pub struct Twilio {
    http: Client,
    user: String,
    secret: Secret,
    retries: usize,
    clock: Arc<dyn Clock>,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Twilio refused it.
    #[error("Twilio answered {status}, code {code}")]
    Answered {
        /// The status of HTTP.
        status: StatusCode,
        /// Twilio's own code; 0 if it gave none.
        code: u32,
        /// When it may be asked again.
        retry_after: Option<Duration>,
    },
    /// Nobody was reached who could have done anything.
    #[error("Twilio was not reached: {0}")]
    Unreached(#[source] reqwest::Error),
    /// It may or may not have been done.
    #[error("Twilio did not answer: {0}")]
    Unknown(#[source] reqwest::Error),
}

impl Failure {
    /// Whether what was asked may have been done.
    ///
    /// It may where there was no answer; 504 is a gateway's that had none.
    fn may_be_done(&self) -> bool {
        match self {
            Failure::Answered { status, .. } => *status == StatusCode::GATEWAY_TIMEOUT,
            Failure::Unreached(_) => false,
            Failure::Unknown(_) => true,
        }
    }

    /// Whether asking again may help, and cannot do twice what was asked once.
    ///
    /// What may be done is not asked again: the text may be on its way, and there is no key by which Twilio would know the
    /// second request for the first. Whoever waits for a text may ask for another. And 60202 and 60203 stand until the
    /// verification is over: too many tries of it, too many codes sent.
    fn is_safe_to_repeat(&self) -> bool {
        let passes = match self {
            Failure::Answered { code: 60202 | 60203, .. } => false,
            Failure::Answered { status, .. } => *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
            Failure::Unreached(_) | Failure::Unknown(_) => true,
        };
        passes && !self.may_be_done()
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Answered { retry_after, .. } => *retry_after,
            Failure::Unreached(_) | Failure::Unknown(_) => None,
        }
    }
}

/// An error as Twilio tells it (<https://www.twilio.com/docs/usage/twilios-response#response-formats-exceptions>).
#[derive(Default, Deserialize)]
struct Told {
    #[serde(default)]
    code: u32,
}

impl Twilio {
    /// A client with these credentials. It obeys no proxy but the one that is configured, and follows no redirect.
    ///
    /// # Errors
    /// The proxy is none, or there is no TLS.
    pub fn new(config: &config::Sms, clock: Arc<dyn Clock>) -> anyhow::Result<Twilio> {
        let mut http = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            .user_agent(concat!("quckchat/", env!("CARGO_PKG_VERSION")));
        if !config.proxy.is_empty() {
            http = http.proxy(Proxy::all(config.proxy.expose())?);
        }
        let user = if config.api_key_sid.is_empty() { &config.account_sid } else { &config.api_key_sid };
        Ok(Twilio {
            http: http.build()?,
            user: user.clone(),
            secret: config.secret.clone(),
            retries: config.retries,
            clock,
        })
    }

    /// Sends a form and reads the answer; again after a while, where that does nothing twice.
    ///
    /// # Errors
    /// `Failure`
    pub async fn post<T: DeserializeOwned>(&self, url: &str, form: &[(&str, &str)]) -> Result<T, Failure> {
        let mut waits = ExponentialBuilder::default()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(LONGEST_WAIT / 2)
            .with_max_times(self.retries)
            .with_jitter()
            .build();
        loop {
            let failure = match self.ask(url, form).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let wait = waits.next().filter(|_| failure.is_safe_to_repeat());
            // As long as the answer asks for, if anybody wants to wait that long.
            let wait = wait.map(|wait| wait.max(failure.retry_after().unwrap_or_default()));
            let Some(wait) = wait.filter(|wait| *wait <= LONGEST_WAIT) else { return Err(failure) };
            tracing::debug!(%failure, ?wait, "Twilio is asked again");
            self.clock.sleep(wait).await;
        }
    }

    async fn ask<T: DeserializeOwned>(&self, url: &str, form: &[(&str, &str)]) -> Result<T, Failure> {
        let request = self.http.post(url).basic_auth(&self.user, Some(self.secret.expose())).form(form);
        let answer = request.send().await.map_err(|error| match error.is_connect() {
            true => Failure::Unreached(error),
            false => Failure::Unknown(error),
        })?;
        let status = answer.status();
        if status.is_success() {
            return answer.json().await.map_err(Failure::Unknown);
        }
        let retry_after = retry_after(answer.headers());
        // Its sentence may name the number, so that it is not read.
        let Told { code } = answer.json().await.unwrap_or_default();
        Err(Failure::Answered { status, code, retry_after })
    }
}

/// What `Retry-After` says in seconds; as a date it is not looked at.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What a failure means to whoever asked for a code.
///
/// The codes are those of <https://www.twilio.com/docs/api/errors>.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let Failure::Answered { status, code, retry_after } = &failure else { return Fault::new(failure).into() };
        let number = |message| Error::from(Refusal::invalid("phoneNumber", message));
        let refused = match code {
            // 60200: invalid parameter; 21211, 21217, 60033: no number; 21401, 21614, 60205: no mobile one.
            21211 | 21217 | 60033 | 60200 => number("there is no such phone number"),
            21401 | 21614 | 60205 => number("this phone number takes no texts"),
            // Its owner told Twilio to stop.
            21610 => number("the owner of this phone number takes no texts from here"),
            // 21408, 60605: the account does not send there; 60410: blocked for a while by the guard against fraud.
            21408 | 60410 | 60605 => ErrorCode::AuthOtpCountry.into(),
            60203 => Refusal::new(ErrorCode::AuthOtpBudget).after(VERIFICATION).into(),
            20429 | 60207 | 60212 => budget(*retry_after),
            _ if *status == StatusCode::TOO_MANY_REQUESTS => budget(*retry_after),
            _ => return Fault::new(failure).into(),
        };
        tracing::warn!(%failure, "a code was refused by its carrier");
        refused
    }
}

impl From<Failure> for Unsent {
    fn from(failure: Failure) -> Unsent {
        let unsent = if failure.may_be_done() { Unsent::Perhaps } else { Unsent::Surely };
        unsent(failure.into())
    }
}

fn budget(retry_after: Option<Duration>) -> Error {
    Refusal::new(ErrorCode::AuthOtpBudget).after(retry_after.unwrap_or(LONGEST_WAIT)).into()
}
