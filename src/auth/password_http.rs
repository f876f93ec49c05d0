//! Passwords by REST.
//! Never a rule: a handler hands its command to the wrapper.

use super::http::{LANGUAGES, signed_in};
use crate::app::App;
use crate::gateway::extract::{Body, Call, Reply, reply};
use actix_web::{HttpRequest, HttpResponse, web};
use actors::protocol::command::{ChangePassword, ForgotPassword, Login, Reauthenticate, Register, ResetPassword};
use actors::protocol::{Command, view};
use utoipa::OpenApi;

/// What this file serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/auth/register").post(register))
        .service(web::resource("/auth/login").post(login))
        .service(web::resource("/auth/password").put(change_password))
        .service(web::resource("/auth/forgot-password").post(forgot_password))
        .service(web::resource("/auth/reset-password").post(reset_password))
        .service(web::resource("/auth/reauthenticate").post(reauthenticate));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(register, login, change_password, forgot_password, reset_password, reauthenticate))]
pub struct Paths;

/// Makes an account with a password, for a number or an address to which a code was sent for that purpose.
#[utoipa::path(
    post, path = "/auth/register", operation_id = Register::NAME, tag = "auth", request_body = Register,
    params(("X-Quckchat-Session" = Option<String>, Header, description = "`cookie`: the refresh token goes into a cookie")),
    responses((status = 200, description = "Registered and signed in", body = view::SignedIn)),
)]
async fn register(req: HttpRequest, app: web::Data<App>, call: Call<Register>, body: Body<Register>) -> HttpResponse {
    let outcome = app.dispatch(&call, body.0).await;
    signed_in(&req, &app, outcome)
}

/// Signs in with a password, or with a code. The answer is the same for a wrong password and for an unknown account.
#[utoipa::path(
    post, path = "/auth/login", operation_id = Login::NAME, tag = "auth", request_body = Login,
    params(("X-Quckchat-Session" = Option<String>, Header, description = "`cookie`: the refresh token goes into a cookie")),
    responses((status = 200, description = "Signed in", body = view::SignedIn)),
)]
async fn login(req: HttpRequest, app: web::Data<App>, call: Call<Login>, body: Body<Login>) -> HttpResponse {
    let outcome = app.dispatch(&call, body.0).await;
    signed_in(&req, &app, outcome)
}

/// Sets the password, also the first one. Every other session ends, unless it is told otherwise.
#[utoipa::path(
    put, path = "/auth/password", operation_id = ChangePassword::NAME, tag = "auth", request_body = ChangePassword,
    responses((status = 204, description = "Set")),
)]
async fn change_password(app: web::Data<App>, call: Call<ChangePassword>, body: Body<ChangePassword>) -> Reply<()> {
    reply(app.dispatch(&call, body.0).await)
}

/// Asks for a code with which to set a new password. The answer is the same whether or not there is such an account.
#[utoipa::path(
    post, path = "/auth/forgot-password", operation_id = ForgotPassword::NAME, tag = "auth",
    request_body = ForgotPassword,
    params(("Accept-Language" = Option<String>, Header, description = LANGUAGES)),
    responses((status = 200, description = "A code is on its way, if there is such an account", body = view::OtpSent)),
)]
async fn forgot_password(
    req: HttpRequest,
    app: web::Data<App>,
    call: Call<ForgotPassword>,
    body: Body<ForgotPassword>,
) -> Reply<view::OtpSent> {
    reply(app.dispatch(&call.in_their_language(&req), body.0).await)
}

/// Sets a new password with a code. Every session ends.
#[utoipa::path(
    post, path = "/auth/reset-password", operation_id = ResetPassword::NAME, tag = "auth",
    request_body = ResetPassword,
    responses((status = 204, description = "Set")),
)]
async fn reset_password(app: web::Data<App>, call: Call<ResetPassword>, body: Body<ResetPassword>) -> Reply<()> {
    reply(app.dispatch(&call, body.0).await)
}

/// Shows again who one is, with the strongest that the account has: the second factor, else the password, else a code
/// or a linked identity.
///
/// An identity is shown by the `code` and `codeVerifier` of a flow that was begun at `/auth/oauth/{provider}/start` with
/// `reauthenticateSession`, or by an `idToken` with its `provider` and `nonce`. It must be linked to this very account.
#[utoipa::path(
    post, path = "/auth/reauthenticate", operation_id = Reauthenticate::NAME, tag = "auth",
    request_body = Reauthenticate,
    responses((status = 200, description = "The session is fresh", body = view::Reauthenticated)),
)]
async fn reauthenticate(
    app: web::Data<App>,
    call: Call<Reauthenticate>,
    body: Body<Reauthenticate>,
) -> Reply<view::Reauthenticated> {
    reply(app.dispatch(&call, body.0).await)
}
