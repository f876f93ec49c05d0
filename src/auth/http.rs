//! Signing in by REST, and how browsers keep a refresh token: in a cookie that no script can read.
//! Never a rule of codes or tokens: a handler hands its command to the wrapper.

use super::asking::asks_who;
use super::keys::Jwks;
use super::{contact_points_http, password_http, second_factor, sessions_http};
use crate::app::App;
use crate::gateway::error::Failure;
use crate::gateway::extract::{self, Body, Call, Reply, reply};
use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Responder, ResponseError, web};
use actors::protocol::command::{Logout, RefreshToken, SendOtp, VerifyOtp};
use actors::protocol::{Command, ErrorCode, Outcome, view};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use utoipa::OpenApi;

/// The header by which a browser asks for the cookie: its value is `cookie`. A page of another origin cannot send it.
const SESSION_HEADER: &str = "x-quckchat-session";
/// The cookie.
const COOKIE: &str = "quckchat_refresh";
/// Where browsers send it, and nowhere else.
const COOKIE_PATH: &str = "/api/v1/auth";
/// How long others may keep our keys: not as long as it takes until a new one signs.
const JWKS_CACHE: &str = "public, max-age=60";

/// What `Accept-Language` is for, where codes are asked for.
pub(super) const LANGUAGES: &str = "The languages of the text, if neither `locale` nor the account's settings name one \
     that there is (RFC 9110, 12.5.4)";

/// What this slice serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/auth/send-otp").post(send_otp))
        .service(web::resource("/auth/verify-otp").post(verify_otp))
        .service(web::resource("/auth/refresh").post(refresh))
        .service(web::resource("/auth/logout").post(logout))
        .configure(contact_points_http::routes)
        .configure(second_factor::http::routes)
        .configure(sessions_http::routes)
        .configure(super::oauth::http::routes)
        .configure(password_http::routes);
}

/// What this slice serves under `/.well-known`.
pub fn well_known_routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/jwks.json").get(jwks));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(send_otp, verify_otp, refresh, logout, jwks))]
pub struct Paths;

/// Asks for a one-time code. The answer is the same whether or not somebody has the number or the address. Codes to
/// show again who one is, and for another number or address, need a token.
#[utoipa::path(
    post, path = "/auth/send-otp", operation_id = SendOtp::NAME, tag = "auth", request_body = SendOtp,
    params(("Accept-Language" = Option<String>, Header, description = LANGUAGES)),
    responses((status = 200, description = "A code is on its way", body = view::OtpSent)),
)]
async fn send_otp(
    req: HttpRequest,
    app: web::Data<App>,
    call: Call<SendOtp>,
    body: Body<SendOtp>,
) -> Reply<view::OtpSent> {
    let call = call.in_their_language(&req);
    let call = match asks_who(body.0.purpose) {
        true => call.signed_in(&req),
        false => Ok(call),
    };
    match call {
        Ok(call) => reply(app.dispatch(&call, body.0).await),
        Err(error) => reply(Err(error)),
    }
}

/// Signs in with a code; registers whom nobody knows yet.
#[utoipa::path(
    post, path = "/auth/verify-otp", operation_id = VerifyOtp::NAME, tag = "auth", request_body = VerifyOtp,
    params(("X-Quckchat-Session" = Option<String>, Header, description = "`cookie`: the refresh token goes into a cookie")),
    responses((status = 200, description = "Signed in", body = view::SignedIn)),
)]
async fn verify_otp(
    req: HttpRequest,
    app: web::Data<App>,
    call: Call<VerifyOtp>,
    body: Body<VerifyOtp>,
) -> HttpResponse {
    let outcome = app.dispatch(&call, body.0).await;
    signed_in(&req, &app, outcome)
}

/// The answer of every command that signs in: the refresh token goes into a cookie where a browser asks for that.
pub(super) fn signed_in(req: &HttpRequest, app: &App, mut outcome: Outcome<view::SignedIn>) -> HttpResponse {
    let tokens = match &mut outcome {
        Ok(view::SignedIn::Done(entered)) => Some(&mut entered.tokens),
        Ok(view::SignedIn::Challenged(_)) | Err(_) => None,
    };
    let cookie = tokens.filter(|_| keeps_cookie(req.headers())).and_then(|tokens| bake(app, tokens));
    answer(req, outcome, cookie)
}

/// Spends a refresh token for a new pair. A browser that keeps it in a cookie sends no body.
#[utoipa::path(
    post, path = "/auth/refresh", operation_id = RefreshToken::NAME, tag = "auth",
    params(("X-Quckchat-Session" = Option<String>, Header, description = "`cookie`: the refresh token is in the cookie")),
    request_body = Option<RefreshToken>,
    responses((status = 200, description = "A new pair", body = view::Tokens)),
)]
async fn refresh(req: HttpRequest, app: web::Data<App>, call: Call<RefreshToken>, held: Held) -> HttpResponse {
    let mut outcome = app.dispatch(&call, RefreshToken { refresh_token: held.token }).await;
    let tokens = outcome.as_mut().ok().filter(|_| held.in_cookie);
    let cookie = tokens.and_then(|tokens| bake(&app, tokens));
    answer(&req, outcome, cookie)
}

/// Ends the session of a refresh token.
#[utoipa::path(
    post, path = "/auth/logout", operation_id = Logout::NAME, tag = "auth",
    params(("X-Quckchat-Session" = Option<String>, Header, description = "`cookie`: the refresh token is in the cookie")),
    request_body = Option<Logout>,
    responses((status = 204, description = "Signed out")),
)]
async fn logout(req: HttpRequest, app: web::Data<App>, call: Call<Logout>, held: Held) -> HttpResponse {
    let outcome = app.dispatch(&call, Logout { refresh_token: held.token }).await;
    let cookie = held.in_cookie.then(|| cookie(String::new(), CookieDuration::ZERO));
    answer(&req, outcome, cookie)
}

/// The public keys with which others check access tokens (RFC 7517).
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "jwks", tag = "auth",
    responses((status = 200, description = "The keys", body = Jwks)),
)]
async fn jwks(app: web::Data<App>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, JWKS_CACHE)).json(app.auth.tokens.jwks())
}

/// The refresh token that a client holds: in its cookie, or in the body.
struct Held {
    token: String,
    in_cookie: bool,
}

impl FromRequest for Held {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Held, Failure>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        if keeps_cookie(req.headers()) {
            let held = from_cookie(req);
            return Box::pin(async { Ok(held?) });
        }
        let body = Body::<RefreshToken>::from_request(req, payload);
        Box::pin(async { Ok(Held { token: body.await?.0.refresh_token, in_cookie: false }) })
    }
}

fn keeps_cookie(headers: &HeaderMap) -> bool {
    headers.get(SESSION_HEADER).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"cookie"))
}

/// A browser brings a cookie along wherever its page tells it to go: so the page must be one that may.
fn from_cookie(req: &HttpRequest) -> Outcome<Held> {
    let app = extract::app(req)?;
    let text = |name| req.headers().get(name).and_then(|value| value.to_str().ok());
    let allowed =
        text(header::ORIGIN).is_some_and(|origin| app.config.gateway.allows_origin(origin, text(header::HOST)));
    if !allowed {
        return Err(ErrorCode::RequestForbiddenOrigin.into());
    }
    let cookie = req.cookie(COOKIE).ok_or(ErrorCode::AuthRefreshInvalid)?;
    Ok(Held { token: cookie.value().to_owned(), in_cookie: true })
}

/// Takes the refresh token out of the answer, for the cookie.
fn bake(app: &App, tokens: &mut view::Tokens) -> Option<Cookie<'static>> {
    let life = i64::try_from(app.config.auth.refresh_ttl.as_secs()).unwrap_or(i64::MAX);
    tokens.refresh_token.take().map(|token| cookie(token, CookieDuration::seconds(life)))
}

fn cookie(token: String, life: CookieDuration) -> Cookie<'static> {
    Cookie::build(COOKIE, token)
        .path(COOKIE_PATH)
        .http_only(true)
        .secure(true)
        .same_site(SameSite::Strict)
        .max_age(life)
        .finish()
}

fn answer<T: Serialize>(req: &HttpRequest, outcome: Outcome<T>, cookie: Option<Cookie<'static>>) -> HttpResponse {
    let mut response = reply(outcome).respond_to(req);
    match cookie.map(|cookie| response.add_cookie(&cookie)) {
        None | Some(Ok(())) => response,
        Some(Err(_)) => Failure::from(ErrorCode::ServerUnavailable).error_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_for_browsers_eyes_alone() {
        let baked = cookie("t0ken".to_owned(), CookieDuration::days(60)).to_string();
        for part in
            ["quckchat_refresh=t0ken", "HttpOnly", "Secure", "SameSite=Strict", "Path=/api/v1/auth", "Max-Age=5184000"]
        {
            assert!(baked.split("; ").any(|found| found == part), "{part} in {baked}");
        }
    }
}
