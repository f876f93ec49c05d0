//! Users by REST.
//! Never a rule: who may see or change what is decided in `profile`.

use super::settings_http;
use crate::app::App;
use crate::gateway::extract::{Body, Call, Id, Reply, reply};
use crate::gateway::query::Params;
use actix_web::web;
use actors::protocol::command::{GetProfile, SearchUsers, UpdateProfile, UserChanges, UserRef, given};
use actors::protocol::{Command, view};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};
use uuid::Uuid;

/// What this slice serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/users").get(search))
        .service(web::resource("/users/me/changes").get(changes))
        .service(web::resource("/users/{userId}").get(get).patch(update))
        .configure(super::contacts::http::routes)
        .configure(settings_http::routes)
        .configure(super::devices_http::routes)
        .configure(super::reports::routes)
        .configure(super::leaving::http::routes);
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(search, changes, get, update))]
pub struct Paths;

/// Finds users by how their username or display name begins.
#[utoipa::path(
    get, path = "/users", operation_id = SearchUsers::NAME, tag = "users", params(SearchUsers),
    responses((status = 200, description = "A page", body = view::Page<view::User>)),
)]
async fn search(
    app: web::Data<App>,
    call: Call<SearchUsers>,
    Params(command): Params<SearchUsers>,
) -> Reply<view::Page<view::User>> {
    reply(app.dispatch(&call, command).await)
}

/// What is private to the caller and changed after a `userRev`.
#[utoipa::path(
    get, path = "/users/me/changes", operation_id = UserChanges::NAME, tag = "users", params(UserChanges),
    responses((status = 200, description = "A page", body = view::UserChanges)),
)]
async fn changes(
    app: web::Data<App>,
    call: Call<UserChanges>,
    Params(command): Params<UserChanges>,
) -> Reply<view::UserChanges> {
    reply(app.dispatch(&call, command).await)
}

/// A user's profile.
#[utoipa::path(
    get, path = "/users/{userId}", operation_id = GetProfile::NAME, tag = "users",
    params(("userId" = UserRef, Path, description = "An id, or `me`")),
    responses((status = 200, description = "The user", body = view::User)),
)]
async fn get(app: web::Data<App>, call: Call<GetProfile>, id: Id<UserRef>) -> Reply<view::User> {
    reply(app.dispatch(&call, GetProfile { user_id: id.0 }).await)
}

/// What a profile is to say; absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Profile {
    /// 1 to 100 bytes.
    display_name: Option<String>,
    /// 3 to 32 of letters, digits, '_' and '.'; unique without regard to case.
    username: Option<String>,
    /// At most 500 bytes.
    bio: Option<String>,
    /// The picture, an id of media; `null` takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Uuid>)]
    avatar_id: Option<Option<Uuid>>,
}

/// Changes a profile: the caller's own, or as an operator anybody's.
#[utoipa::path(
    patch, path = "/users/{userId}", operation_id = UpdateProfile::NAME, tag = "users",
    params(("userId" = UserRef, Path, description = "An id, or `me`")), request_body = inline(Profile),
    responses((status = 200, description = "The user after it", body = view::User)),
)]
async fn update(
    app: web::Data<App>,
    call: Call<UpdateProfile>,
    id: Id<UserRef>,
    Body(profile): Body<Profile>,
) -> Reply<view::User> {
    let Profile { display_name, username, bio, avatar_id } = profile;
    reply(app.dispatch(&call, UpdateProfile { user_id: id.0, display_name, username, bio, avatar_id }).await)
}
