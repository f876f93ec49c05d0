//! How REST says that something went wrong: every refusal and fault, of whatever layer, as problem+json (RFC 9457).
//! Never decides what is refused: the code and its status come with the refusal.

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use actors::protocol::{Error, ErrorCode, Refusal};
use entities::UserId;
use serde::Serialize;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;
use utoipa::ToSchema;

/// The media type of every error.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error as REST answers it (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem<'a> {
    /// `urn:quckchat:error:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means, always the same.
    pub title: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// What it means here, for a developer; not for people.
    pub detail: &'a str,
    /// `domain.reason`: what a client acts on.
    pub code: &'a str,
    /// The input field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
    /// The users because of whom it is refused, where the request names several.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub user_ids: &'a [UserId],
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Milliseconds after which to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Names this request in the node's log.
    pub request_id: &'a str,
}

/// What a handler, an extractor or a middleware fails with.
///
/// # Why its response is empty at first
/// The body names the request, which an error does not know. The edge (see `router`) knows it, and fills the body in
/// for whatever comes out. Only where there is no response to fill, after a panic, the edge gives the name along.
#[derive(Debug, Clone)]
pub struct Failure {
    refusal: Refusal,
    request_id: Option<Rc<str>>,
}

impl Failure {
    /// The failure with the request's name, so that its response is complete.
    pub fn named(mut self, request_id: &Rc<str>) -> Failure {
        self.request_id = Some(request_id.clone());
        self
    }

    /// The code that goes out.
    pub fn code(&self) -> ErrorCode {
        self.refusal.code
    }

    /// What a response that is an error, but not yet in our words, means in them; `None` for all others.
    pub fn of_response<B: MessageBody>(response: &HttpResponse<B>) -> Option<Failure> {
        let status = response.status();
        if let Some(error) = response.error() {
            if let Some(failure) = error.as_error::<Failure>() {
                return Some(failure.clone());
            }
            if error.as_error::<actix_cors::CorsError>().is_some() {
                return Some(ErrorCode::RequestForbiddenOrigin.into());
            }
            return Some(Failure::of_status(status));
        }
        let empty = matches!(response.body().size(), BodySize::None | BodySize::Sized(0));
        (empty && (status.is_client_error() || status.is_server_error())).then(|| Failure::of_status(status))
    }

    /// The failure that a bare status of the framework stands for.
    fn of_status(status: StatusCode) -> Failure {
        let code = match status {
            StatusCode::UNAUTHORIZED => ErrorCode::AuthUnauthenticated,
            StatusCode::FORBIDDEN => ErrorCode::AuthForbidden,
            StatusCode::NOT_FOUND => ErrorCode::RequestNotFound,
            StatusCode::METHOD_NOT_ALLOWED => ErrorCode::RequestMethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::URI_TOO_LONG => ErrorCode::RequestTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorCode::RequestUnsupportedMediaType,
            StatusCode::TOO_MANY_REQUESTS => ErrorCode::RequestRateLimited,
            status if status.is_client_error() => ErrorCode::RequestMalformed,
            _ => ErrorCode::ServerUnavailable,
        };
        code.into()
    }

    /// Makes a response say this failure; headers that it has already stay.
    pub fn fill<B>(&self, response: ServiceResponse<B>, request_id: &str) -> ServiceResponse<BoxBody> {
        let mut response = response.map_body(|_, _| BoxBody::new(self.body(request_id)));
        *response.response_mut().status_mut() = self.status_code();
        self.set_headers(response.headers_mut());
        response
    }

    fn set_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.status_code() == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3.1: who sent no token is told of none that is wrong.
            let challenge = match self.code() {
                ErrorCode::AuthTokenExpired | ErrorCode::AuthSessionRevoked => r#"Bearer error="invalid_token""#,
                _ => "Bearer",
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(wait) = self.refusal.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_secs(wait)));
        }
    }

    fn body(&self, request_id: &str) -> Vec<u8> {
        let Refusal { code, message, field, retry_after, user_ids } = &self.refusal;
        let problem = Problem {
            kind: format!("urn:quckchat:error:{}", code.as_str()),
            title: code.sentence(),
            status: code.status(),
            detail: message,
            code: code.as_str(),
            field: field.as_deref(),
            user_ids,
            retryable: code.retryable(),
            retry_after_ms: retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            request_id,
        };
        // Plain texts and numbers: there is nothing in it that JSON cannot say.
        serde_json::to_vec(&problem).unwrap_or_default()
    }
}

/// A wait in whole seconds, rounded up, as headers count.
pub fn whole_secs(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.refusal.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let body = self.request_id.as_ref().map(|id| self.body(id)).unwrap_or_default();
        let mut response = HttpResponse::with_body(self.status_code(), BoxBody::new(body));
        self.set_headers(response.headers_mut());
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure { refusal, request_id: None }
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Failure {
        Refusal::new(code).into()
    }
}

/// A fault is logged where it is caught; outside it is `server.unavailable` and nothing more.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Fault(_) => ErrorCode::ServerUnavailable.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use actors::protocol::Fault;

    fn filled(response: HttpResponse) -> (StatusCode, HeaderMap, serde_json::Value) {
        let failure = Failure::of_response(&response).expect("an error");
        let response = failure.fill(TestRequest::default().to_srv_response(response), "r1");
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().try_into_bytes().expect("bytes");
        (status, headers, serde_json::from_slice(&body).expect("JSON"))
    }

    #[test]
    fn a_refusal_becomes_a_problem_with_all_its_parts() {
        let refusal = Refusal::new(ErrorCode::RequestRateLimited).after(Duration::from_millis(1200));
        let (status, headers, body) = filled(HttpResponse::from_error(Failure::from(refusal)));
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(headers.get(header::CONTENT_TYPE).unwrap(), PROBLEM_JSON);
        assert_eq!(headers.get(header::RETRY_AFTER).unwrap(), "2");
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:quckchat:error:request.rate_limited",
                "title": "Too many requests; slow down.",
                "status": 429,
                "detail": "Too many requests; slow down.",
                "code": "request.rate_limited",
                "retryable": true,
                "retryAfterMs": 1200,
                "requestId": "r1",
            })
        );
    }

    #[test]
    fn a_refusal_names_its_field() {
        let refusal = Refusal::invalid("text", "must not be empty");
        let (status, _, body) = filled(HttpResponse::from_error(Failure::from(refusal)));
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(body["field"], "text");
        assert_eq!(body["detail"], "must not be empty");
        assert_eq!(body["title"], ErrorCode::RequestInvalid.sentence());
    }

    #[test]
    fn a_fault_says_nothing_outside() {
        let fault = Error::Fault(Fault::new("the password is wrong"));
        let (status, _, body) = filled(HttpResponse::from_error(Failure::from(fault)));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["code"], "server.unavailable");
        assert!(!body.to_string().contains("password"));
    }

    #[test]
    fn who_is_not_signed_in_is_told_how() {
        for (code, challenge) in [
            (ErrorCode::AuthUnauthenticated, "Bearer"),
            (ErrorCode::AuthTokenExpired, r#"Bearer error="invalid_token""#),
        ] {
            let (status, headers, _) = filled(HttpResponse::from_error(Failure::from(code)));
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert_eq!(headers.get(header::WWW_AUTHENTICATE).unwrap(), challenge);
        }
    }

    #[test]
    fn what_the_framework_refuses_is_said_in_our_words() {
        for (status, code) in [
            (StatusCode::NOT_FOUND, "request.not_found"),
            (StatusCode::METHOD_NOT_ALLOWED, "request.method_not_allowed"),
            (StatusCode::PAYLOAD_TOO_LARGE, "request.too_large"),
            (StatusCode::BAD_REQUEST, "request.malformed"),
            (StatusCode::INTERNAL_SERVER_ERROR, "server.unavailable"),
        ] {
            let (_, _, body) = filled(HttpResponse::new(status));
            assert_eq!(body["code"], code);
        }
    }

    #[test]
    fn answers_that_are_no_errors_and_errors_with_a_body_of_their_own_stay() {
        assert!(Failure::of_response(&HttpResponse::Ok().finish()).is_none());
        assert!(Failure::of_response(&HttpResponse::SwitchingProtocols().finish()).is_none());
        assert!(Failure::of_response(&HttpResponse::ServiceUnavailable().json("down")).is_none());
    }

    #[test]
    fn every_code_has_a_status_that_exists() {
        for code in ErrorCode::ALL {
            assert_eq!(Failure::from(*code).status_code().as_u16(), code.status());
        }
    }
}
