//! Requests to providers: over TLS, bounded in time and size, and never sent on to where an answer points.
//! Never what is asked or what an answer means.

use oauth2::url::Url;
use oauth2::{HttpRequest, HttpResponse};
use reqwest::redirect::Policy;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// How long a connection may take, and how long all of an exchange.
const CONNECT: Duration = Duration::from_secs(5);
const WHOLE: Duration = Duration::from_secs(10);
/// The longest answer: what the largest issuers publish has some ten thousand bytes.
const MOST_BYTES: usize = 256 * 1024;

/// A client of providers.
#[derive(Debug, Clone)]
pub struct Web(reqwest::Client);

/// Why there is no answer that can be used. Says no more than the log may hold: no URL, for a query may be secret.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// None came, or not all of it.
    #[error("no answer: {}", causes(.0))]
    NoAnswer(#[source] reqwest::Error),
    /// It is longer than anything that is expected.
    #[error("the answer is longer than {MOST_BYTES} bytes")]
    TooLong,
    /// It says that it failed.
    #[error("the answer has status {0}")]
    Status(u16),
    /// It is not what was asked for.
    #[error("the answer is not what was expected: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The answer cannot be put together.
    #[error("the answer is no HTTP: {0}")]
    Malformed(#[from] oauth2::http::Error),
}

impl From<reqwest::Error> for WebError {
    fn from(error: reqwest::Error) -> WebError {
        WebError::NoAnswer(error.without_url())
    }
}

/// An error with what is behind it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", causes(source)),
        None => error.to_string(),
    }
}

impl Web {
    /// A client that trusts whom the system trusts.
    ///
    /// # Errors
    /// The system names nobody.
    pub fn open() -> Result<Web, reqwest::Error> {
        let agent = concat!("quckchat/", env!("CARGO_PKG_VERSION"));
        // A redirect would let whoever answers choose what is asked next, with our secrets in it.
        let client = reqwest::Client::builder().redirect(Policy::none()).user_agent(agent);
        Ok(Web(client.connect_timeout(CONNECT).timeout(WHOLE).build()?))
    }

    /// Sends a request; gives the answer, whatever its status.
    ///
    /// # Errors
    /// There is none, or it is too long.
    pub async fn send(&self, request: HttpRequest) -> Result<HttpResponse, WebError> {
        let mut response = self.0.execute(request.try_into()?).await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MOST_BYTES {
                return Err(WebError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let mut answer = oauth2::http::Response::builder().status(response.status());
        if let Some(media_type) = response.headers().get(reqwest::header::CONTENT_TYPE) {
            answer = answer.header(reqwest::header::CONTENT_TYPE, media_type);
        }
        Ok(answer.body(body)?)
    }

    /// What a GET answers, as JSON; with a bearer token, if there is one.
    ///
    /// # Errors
    /// There is no answer, or it is another one.
    pub async fn json<T: DeserializeOwned>(&self, url: &Url, bearer: Option<&str>) -> Result<T, WebError> {
        let mut request = oauth2::http::Request::get(url.as_str()).header("accept", "application/json");
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = self.send(request.body(Vec::new())?).await?;
        if answer.status() != 200 {
            return Err(WebError::Status(answer.status().as_u16()));
        }
        Ok(serde_json::from_slice(answer.body())?)
    }
}
