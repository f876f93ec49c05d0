//! Presence by REST, and the commands that `actors` serves.
//! Never who may see whom: that is decided in `actors`. To watch takes a socket.

use crate::app::App;
use crate::gateway::dispatch::Run;
use crate::gateway::extract::{Body, Call, Reply, reply};
use crate::gateway::query::Params;
use actix_web::web;
use actors::caller::Caller;
use actors::protocol::command::{GetPresence, SetPresence, UnwatchPresence, WatchPresence};
use actors::protocol::{Command, Outcome, view};
use utoipa::OpenApi;

/// What this slice serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/presence").get(get).put(set));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(get, set))]
pub struct Paths;

macro_rules! by_presences {
    ($($command:ident => $method:ident),+ $(,)?) => {
        $(impl Run for $command {
            async fn run(self, app: &App, caller: &Caller) -> Outcome<Self::Reply> {
                app.presences.$method(caller, self).await
            }
        })+
    };
}

by_presences! {
    SetPresence => set,
    GetPresence => get,
    WatchPresence => watch,
    UnwatchPresence => unwatch,
}

/// Who is there.
///
/// Whom the caller shares no conversation with is left out.
#[utoipa::path(
    get, path = "/presence", operation_id = GetPresence::NAME, tag = "presence",
    params(("userIds" = String, Query, description = "1 to 500 users, with commas between")),
    responses((status = 200, description = "Those whom the caller may see", body = view::Presences)),
)]
async fn get(
    app: web::Data<App>,
    call: Call<GetPresence>,
    Params(command): Params<GetPresence>,
) -> Reply<view::Presences> {
    reply(app.dispatch(&call, command).await)
}

/// How the caller is shown while connected.
#[utoipa::path(
    put, path = "/presence", operation_id = SetPresence::NAME, tag = "presence", request_body = SetPresence,
    responses((status = 200, description = "As shown now", body = view::Presence)),
)]
async fn set(app: web::Data<App>, call: Call<SetPresence>, Body(command): Body<SetPresence>) -> Reply<view::Presence> {
    reply(app.dispatch(&call, command).await)
}
