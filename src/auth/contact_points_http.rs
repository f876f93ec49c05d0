//! Another e-mail address or phone number, by REST.
//! Never a rule: a handler hands its command to the wrapper.

use super::http::LANGUAGES;
use crate::app::App;
use crate::gateway::extract::{Body, Call, Reply, reply};
use actix_web::{HttpRequest, web};
use actors::protocol::command::{ChangeEmail, ChangePhone, VerifyEmail};
use actors::protocol::{Command, view};
use utoipa::OpenApi;

/// What this theme serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/auth/change-email").post(change_email))
        .service(web::resource("/auth/verify-email").post(verify_email))
        .service(web::resource("/users/me/phone").put(change_phone));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(change_email, verify_email, change_phone))]
pub struct Paths;

/// Asks for a code to an e-mail address that the caller wants to have on their account.
#[utoipa::path(
    post, path = "/auth/change-email", operation_id = ChangeEmail::NAME, tag = "auth", request_body = ChangeEmail,
    params(("Accept-Language" = Option<String>, Header, description = LANGUAGES)),
    responses((status = 200, description = "A code is on its way", body = view::OtpSent)),
)]
async fn change_email(
    req: HttpRequest,
    app: web::Data<App>,
    call: Call<ChangeEmail>,
    body: Body<ChangeEmail>,
) -> Reply<view::OtpSent> {
    reply(app.dispatch(&call.in_their_language(&req), body.0).await)
}

/// Gives the caller's account the e-mail address to which a code was sent.
#[utoipa::path(
    post, path = "/auth/verify-email", operation_id = VerifyEmail::NAME, tag = "auth", request_body = VerifyEmail,
    responses((status = 200, description = "The user after it", body = view::User)),
)]
async fn verify_email(app: web::Data<App>, call: Call<VerifyEmail>, body: Body<VerifyEmail>) -> Reply<view::User> {
    reply(app.dispatch(&call, body.0).await)
}

/// Gives the caller's account the phone number to which a code was sent (`changePhone`).
#[utoipa::path(
    put, path = "/users/me/phone", operation_id = ChangePhone::NAME, tag = "users", request_body = ChangePhone,
    responses((status = 200, description = "The user after it", body = view::User)),
)]
async fn change_phone(app: web::Data<App>, call: Call<ChangePhone>, body: Body<ChangePhone>) -> Reply<view::User> {
    reply(app.dispatch(&call, body.0).await)
}
