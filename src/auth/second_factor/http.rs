//! The second factor by REST.
//! Never a rule: a handler hands its command to the wrapper.

use crate::app::App;
use crate::auth::http::signed_in;
use crate::gateway::extract::{Body, Call, Reply, reply};
use actix_web::{HttpRequest, HttpResponse, web};
use actors::protocol::command::{Disable2fa, Enable2fa, RegenerateBackupCodes, Setup2fa, Verify2fa};
use actors::protocol::{Command, view};
use utoipa::OpenApi;

/// What this theme serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/auth/2fa/setup").post(set_up))
        .service(web::resource("/auth/2fa/enable").post(enable))
        .service(web::resource("/auth/2fa/disable").post(disable))
        .service(web::resource("/auth/2fa/backup-codes").post(regenerate))
        .service(web::resource("/auth/2fa/verify").post(verify));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(set_up, enable, disable, regenerate, verify))]
pub struct Paths;

/// Makes a secret for an authenticator app; it guards nothing until it is enabled.
#[utoipa::path(
    post, path = "/auth/2fa/setup", operation_id = Setup2fa::NAME, tag = "auth",
    responses((status = 200, description = "The secret, this once", body = view::SecondFactorSetup)),
)]
async fn set_up(app: web::Data<App>, call: Call<Setup2fa>) -> Reply<view::SecondFactorSetup> {
    reply(app.dispatch(&call, Setup2fa {}).await)
}

/// Switches the second factor on with the app's first code.
#[utoipa::path(
    post, path = "/auth/2fa/enable", operation_id = Enable2fa::NAME, tag = "auth", request_body = Enable2fa,
    responses((status = 200, description = "Ten backup codes, this once", body = view::BackupCodes)),
)]
async fn enable(app: web::Data<App>, call: Call<Enable2fa>, body: Body<Enable2fa>) -> Reply<view::BackupCodes> {
    reply(app.dispatch(&call, body.0).await)
}

/// Switches the second factor off.
#[utoipa::path(
    post, path = "/auth/2fa/disable", operation_id = Disable2fa::NAME, tag = "auth", request_body = Disable2fa,
    responses((status = 204, description = "It is off")),
)]
async fn disable(app: web::Data<App>, call: Call<Disable2fa>, body: Body<Disable2fa>) -> Reply<()> {
    reply(app.dispatch(&call, body.0).await)
}

/// Gives new backup codes in place of all those before.
#[utoipa::path(
    post, path = "/auth/2fa/backup-codes", operation_id = RegenerateBackupCodes::NAME, tag = "auth",
    request_body = RegenerateBackupCodes,
    responses((status = 200, description = "Ten backup codes, this once", body = view::BackupCodes)),
)]
async fn regenerate(
    app: web::Data<App>,
    call: Call<RegenerateBackupCodes>,
    body: Body<RegenerateBackupCodes>,
) -> Reply<view::BackupCodes> {
    reply(app.dispatch(&call, body.0).await)
}

/// The second step of signing in, with a code of the app or a backup code.
#[utoipa::path(
    post, path = "/auth/2fa/verify", operation_id = Verify2fa::NAME, tag = "auth", request_body = Verify2fa,
    params(("X-Quckchat-Session" = Option<String>, Header, description = "`cookie`: the refresh token goes into a cookie")),
    responses((status = 200, description = "Signed in", body = view::SignedIn)),
)]
async fn verify(req: HttpRequest, app: web::Data<App>, call: Call<Verify2fa>, body: Body<Verify2fa>) -> HttpResponse {
    let outcome = app.dispatch(&call, body.0).await;
    signed_in(&req, &app, outcome)
}
