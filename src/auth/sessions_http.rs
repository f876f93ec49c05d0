//! Sessions and security events by REST.
//! Never a rule: a handler hands its command to the wrapper.

use crate::app::App;
use crate::gateway::extract::{Body, Call, Id, Reply, reply};
use crate::gateway::query::Params;
use actix_web::web;
use actors::protocol::command::{ListEvents, ListSessions, LogoutAll, RevokeSession, Validate};
use actors::protocol::{Command, view};
use entities::SessionId;
use utoipa::OpenApi;

/// What this theme serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/auth/sessions").get(list))
        .service(web::resource("/auth/sessions/{sessionId}").delete(revoke))
        .service(web::resource("/auth/logout-all").post(logout_all))
        .service(web::resource("/auth/events").get(events))
        .service(web::resource("/auth/validate").post(validate));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(list, revoke, logout_all, events, validate))]
pub struct Paths;

/// Where the caller is signed in, the newest sign-in first.
#[utoipa::path(
    get, path = "/auth/sessions", operation_id = ListSessions::NAME, tag = "auth", params(ListSessions),
    responses((status = 200, description = "A page", body = view::Page<view::Session>)),
)]
async fn list(
    app: web::Data<App>,
    call: Call<ListSessions>,
    Params(command): Params<ListSessions>,
) -> Reply<view::Page<view::Session>> {
    reply(app.dispatch(&call, command).await)
}

/// Ends one of the caller's sessions.
#[utoipa::path(
    delete, path = "/auth/sessions/{sessionId}", operation_id = RevokeSession::NAME, tag = "auth",
    params(("sessionId" = SessionId, Path, description = "One of the caller's own")),
    responses((status = 204, description = "It has ended")),
)]
async fn revoke(app: web::Data<App>, call: Call<RevokeSession>, id: Id<SessionId>) -> Reply<()> {
    reply(app.dispatch(&call, RevokeSession { session_id: id.0 }).await)
}

/// Ends all of the caller's sessions but this one.
#[utoipa::path(
    post, path = "/auth/logout-all", operation_id = LogoutAll::NAME, tag = "auth", request_body = LogoutAll,
    responses((status = 200, description = "How many ended", body = view::SessionsEnded)),
)]
async fn logout_all(app: web::Data<App>, call: Call<LogoutAll>, body: Body<LogoutAll>) -> Reply<view::SessionsEnded> {
    reply(app.dispatch(&call, body.0).await)
}

/// What happened to the caller's account, the newest first.
#[utoipa::path(
    get, path = "/auth/events", operation_id = ListEvents::NAME, tag = "auth", params(ListEvents),
    responses((status = 200, description = "A page", body = view::Page<view::SecurityEvent>)),
)]
async fn events(
    app: web::Data<App>,
    call: Call<ListEvents>,
    Params(command): Params<ListEvents>,
) -> Reply<view::Page<view::SecurityEvent>> {
    reply(app.dispatch(&call, command).await)
}

/// Says who an access token stands for, or why it is not good. For operators and their services.
#[utoipa::path(
    post, path = "/auth/validate", operation_id = Validate::NAME, tag = "auth", request_body = Validate,
    responses((status = 200, description = "What the token comes to", body = view::Validated)),
)]
async fn validate(app: web::Data<App>, call: Call<Validate>, body: Body<Validate>) -> Reply<view::Validated> {
    reply(app.dispatch(&call, body.0).await)
}
