//! What people set for themselves, by REST.
//! Never a rule: a handler hands its command to the wrapper.

use crate::app::App;
use crate::gateway::extract::{Body, Call, Reply, reply};
use actix_web::web;
use actors::protocol::command::{GetPrivacy, GetSettings, SetStatus, UpdatePrivacy, UpdateSettings};
use actors::protocol::{Command, view};
use utoipa::OpenApi;

/// What this theme serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/users/me/settings").get(settings).patch(update_settings))
        .service(web::resource("/users/me/privacy").get(privacy).patch(update_privacy))
        .service(web::resource("/users/me/status").put(set_status));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(settings, update_settings, privacy, update_privacy, set_status))]
pub struct Paths;

/// The caller's settings.
#[utoipa::path(
    get, path = "/users/me/settings", operation_id = GetSettings::NAME, tag = "users",
    responses((status = 200, description = "The settings", body = view::OwnSettings)),
)]
async fn settings(app: web::Data<App>, call: Call<GetSettings>) -> Reply<view::OwnSettings> {
    reply(app.dispatch(&call, GetSettings {}).await)
}

/// Changes the caller's settings, on all their devices. Absent fields stay.
#[utoipa::path(
    patch, path = "/users/me/settings", operation_id = UpdateSettings::NAME, tag = "users",
    request_body = UpdateSettings,
    responses((status = 200, description = "The settings after it", body = view::OwnSettings)),
)]
async fn update_settings(
    app: web::Data<App>,
    call: Call<UpdateSettings>,
    body: Body<UpdateSettings>,
) -> Reply<view::OwnSettings> {
    reply(app.dispatch(&call, body.0).await)
}

/// Whom the caller lets see and do what.
#[utoipa::path(
    get, path = "/users/me/privacy", operation_id = GetPrivacy::NAME, tag = "users",
    responses((status = 200, description = "An audience for each thing", body = view::OwnPrivacy)),
)]
async fn privacy(app: web::Data<App>, call: Call<GetPrivacy>) -> Reply<view::OwnPrivacy> {
    reply(app.dispatch(&call, GetPrivacy {}).await)
}

/// Changes whom the caller lets see and do what. Absent fields stay.
#[utoipa::path(
    patch, path = "/users/me/privacy", operation_id = UpdatePrivacy::NAME, tag = "users",
    request_body = UpdatePrivacy,
    responses((status = 200, description = "The audiences after it", body = view::OwnPrivacy)),
)]
async fn update_privacy(
    app: web::Data<App>,
    call: Call<UpdatePrivacy>,
    body: Body<UpdatePrivacy>,
) -> Reply<view::OwnPrivacy> {
    reply(app.dispatch(&call, body.0).await)
}

/// Says what the caller is at, in place of what they said before.
///
/// Nothing takes it away.
#[utoipa::path(
    put, path = "/users/me/status", operation_id = SetStatus::NAME, tag = "users", request_body = SetStatus,
    responses((status = 200, description = "The user after it", body = view::User)),
)]
async fn set_status(app: web::Data<App>, call: Call<SetStatus>, body: Body<SetStatus>) -> Reply<view::User> {
    reply(app.dispatch(&call, body.0).await)
}
