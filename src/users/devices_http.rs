//! Devices by REST.
//! Never a rule: a handler hands its command to the wrapper.

use crate::app::App;
use crate::gateway::extract::{Body, Call, Reply, reply};
use actix_web::web;
use actors::protocol::command::{ListDevices, Push, RegisterDevice, RemoveDevice, RenameDevice, UpdatePushToken};
use actors::protocol::{Command, view};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

/// What this part serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/users/me/devices").get(list).post(register))
        .service(web::resource("/users/me/devices/{deviceId}").patch(rename).delete(remove))
        .service(web::resource("/users/me/devices/{deviceId}/push").put(update_push));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(list, register, rename, remove, update_push))]
pub struct Paths;

/// The device in a path.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    /// As its client calls it, percent-encoded.
    device_id: String,
}

/// The caller's devices, the first registered first, with when each was last heard of.
#[utoipa::path(
    get, path = "/users/me/devices", operation_id = ListDevices::NAME, tag = "devices",
    responses((status = 200, description = "All of them", body = view::Devices)),
)]
async fn list(app: web::Data<App>, call: Call<ListDevices>) -> Reply<view::Devices> {
    reply(app.dispatch(&call, ListDevices {}).await)
}

/// Makes a device known, or says anew what is known of it.
///
/// The caller's session belongs to it from then on. A push token that another device has leaves that one.
#[utoipa::path(
    post, path = "/users/me/devices", operation_id = RegisterDevice::NAME, tag = "devices",
    request_body = RegisterDevice, responses((status = 200, description = "The device", body = view::RegisteredDevice)),
)]
async fn register(
    app: web::Data<App>,
    call: Call<RegisterDevice>,
    Body(command): Body<RegisterDevice>,
) -> Reply<view::RegisteredDevice> {
    reply(app.dispatch(&call, command).await)
}

/// What a device is to be called.
#[derive(Debug, Deserialize, ToSchema)]
struct DeviceName {
    /// At most 100 bytes.
    name: String,
}

/// Gives a device another name.
#[utoipa::path(
    patch, path = "/users/me/devices/{deviceId}", operation_id = RenameDevice::NAME, tag = "devices",
    params(("deviceId" = String, Path, description = "Which")), request_body = inline(DeviceName),
    responses((status = 200, description = "The device after it", body = view::RegisteredDevice)),
)]
async fn rename(
    app: web::Data<App>,
    call: Call<RenameDevice>,
    path: web::Path<Named>,
    Body(to): Body<DeviceName>,
) -> Reply<view::RegisteredDevice> {
    let device_id = path.into_inner().device_id;
    reply(app.dispatch(&call, RenameDevice { device_id, name: to.name }).await)
}

/// Forgets a device, and ends its sessions: their sockets close, and they are refused from then on.
#[utoipa::path(
    delete, path = "/users/me/devices/{deviceId}", operation_id = RemoveDevice::NAME, tag = "devices",
    params(("deviceId" = String, Path, description = "Which")),
    responses((status = 204, description = "It is forgotten")),
)]
async fn remove(app: web::Data<App>, call: Call<RemoveDevice>, path: web::Path<Named>) -> Reply<()> {
    reply(app.dispatch(&call, RemoveDevice { device_id: path.into_inner().device_id }).await)
}

/// How a push is to reach a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Reach {
    /// Absent where none does.
    push: Option<Push>,
    /// On iOS, for calls beside it: PushKit's token; absent where there is none.
    voip_token: Option<String>,
}

/// Says how a push reaches a device from now on, or that none does.
#[utoipa::path(
    put, path = "/users/me/devices/{deviceId}/push", operation_id = UpdatePushToken::NAME, tag = "devices",
    params(("deviceId" = String, Path, description = "Which")), request_body = inline(Reach),
    responses((status = 200, description = "The device after it", body = view::RegisteredDevice)),
)]
async fn update_push(
    app: web::Data<App>,
    call: Call<UpdatePushToken>,
    path: web::Path<Named>,
    Body(to): Body<Reach>,
) -> Reply<view::RegisteredDevice> {
    let device_id = path.into_inner().device_id;
    reply(app.dispatch(&call, UpdatePushToken { device_id, push: to.push, voip_token: to.voip_token }).await)
}
