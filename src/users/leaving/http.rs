//! Leaving by REST, and the one way to a copy: its link.
//! Never a rule.

use super::archive::PIECE;
use crate::app::App;
use crate::gateway::error::Failure;
use crate::gateway::extract::{Body, Call, Id, PathId, Reply, reply};
use crate::gateway::query::Params;
use actix_web::http::header;
use actix_web::web::Bytes;
use actix_web::{HttpResponse, web};
use actors::protocol::command::{CancelDeletion, CancelExport, DeleteAccount, ExportData, LeftMessages, ListExports};
use actors::protocol::{Command, Fault, view};
use entities::{ExportId, Timestamp, export, export_part};
use futures_util::stream;
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};
use uuid::Uuid;

/// What this slice serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/users/me/exports").get(list).post(ask))
        .service(web::resource("/users/me/exports/{exportId}").delete(cancel))
        .service(web::resource("/users/me/deletion").post(delete_account).delete(keep_account))
        .service(web::resource("/exports/{exportId}/download").get(download));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(list, ask, cancel, delete_account, keep_account, download))]
pub struct Paths;

impl PathId for ExportId {
    const NAME: &'static str = "exportId";
    const NOTHING: ExportId = ExportId::from_uuid(Uuid::nil());
}

/// The caller's copies of their data, the newest first.
///
/// One that is there has its link, if the caller has shown within the last minutes who they are.
#[utoipa::path(
    get, path = "/users/me/exports", operation_id = ListExports::NAME, tag = "users",
    responses((status = 200, description = "All of them", body = view::Page<view::Export>)),
)]
async fn list(app: web::Data<App>, call: Call<ListExports>) -> Reply<view::Page<view::Export>> {
    reply(app.dispatch(&call, ListExports {}).await)
}

/// Asks for a copy of everything that the node knows of the caller.
///
/// It takes a while; then the event `export.ready` tells the caller's sockets, and the list has a link. A new copy takes
/// the place of the one before it.
#[utoipa::path(
    post, path = "/users/me/exports", operation_id = ExportData::NAME, tag = "users",
    responses((status = 200, description = "The copy, which is not there yet", body = view::Export)),
)]
async fn ask(app: web::Data<App>, call: Call<ExportData>) -> Reply<view::Export> {
    reply(app.dispatch(&call, ExportData {}).await)
}

/// Takes a copy back.
#[utoipa::path(
    delete, path = "/users/me/exports/{exportId}", operation_id = CancelExport::NAME, tag = "users",
    params(("exportId" = ExportId, Path)), responses((status = 204, description = "Its link is good no more")),
)]
async fn cancel(app: web::Data<App>, call: Call<CancelExport>, id: Id<ExportId>) -> Reply<()> {
    reply(app.dispatch(&call, CancelExport { export_id: id.0 }).await)
}

/// What becomes of the caller's messages.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Deletion {
    /// `keep`: they stay, as from a deleted user; `remove`: tombstones remain.
    messages: LeftMessages,
}

/// Asks for the end of the caller's account, which comes after a time of grace.
#[utoipa::path(
    post, path = "/users/me/deletion", operation_id = DeleteAccount::NAME, tag = "users",
    request_body = inline(Deletion), responses((status = 200, description = "When it ends", body = view::Leaving)),
)]
async fn delete_account(
    app: web::Data<App>,
    call: Call<DeleteAccount>,
    Body(Deletion { messages }): Body<Deletion>,
) -> Reply<view::Leaving> {
    reply(app.dispatch(&call, DeleteAccount { messages }).await)
}

/// Keeps the caller's account after all.
#[utoipa::path(
    delete, path = "/users/me/deletion", operation_id = CancelDeletion::NAME, tag = "users",
    responses((status = 200, description = "The caller, who stays", body = view::User)),
)]
async fn keep_account(app: web::Data<App>, call: Call<CancelDeletion>) -> Reply<view::User> {
    reply(app.dispatch(&call, CancelDeletion {}).await)
}

/// What stands in a link.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Signed {
    /// Until when the link is good, in seconds since 1970.
    expires: i64,
    /// That this node gave it.
    signature: String,
}

/// A copy of somebody's data, by the link that its owner was given: a ZIP of JSON files.
#[utoipa::path(
    get, path = "/exports/{exportId}/download", tag = "users", params(("exportId" = ExportId, Path), Signed),
    responses(
        (status = 200, description = "The ZIP", content_type = "application/zip"),
        (status = 404, description = "`user.export_not_found`"),
        (status = 410, description = "`user.export_expired`"),
    ),
)]
async fn download(
    app: web::Data<App>,
    id: Id<ExportId>,
    Params(Signed { expires, signature }): Params<Signed>,
) -> Result<HttpResponse, Failure> {
    let export = app.leaving.exports.linked(id.0, expires, &signature).await?;
    let size = u64::try_from(export.size_bytes.unwrap_or_default()).unwrap_or_default();
    let name = file_name(&export);
    let pieces = i32::try_from(size.div_ceil(PIECE as u64)).unwrap_or(i32::MAX);
    let (app, id) = (app.into_inner(), export.id);
    // One piece is in memory for each that is on its way: the next is read when the connection asks for it.
    let body = stream::unfold(0, move |number| {
        let app = app.clone();
        async move {
            (number < pieces).then_some(())?;
            Some((piece(&app, id, number).await, number + 1))
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("application/zip")
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .no_chunking(size)
        .streaming(Box::pin(body)))
}

/// A piece; an error, which cuts the connection, if it was deleted while the ones before it were sent.
async fn piece(app: &App, export: ExportId, number: i32) -> Result<Bytes, Fault> {
    let row = export_part::of(export, number).one(app.db.read()).await.map_err(Fault::new)?;
    let row = row.ok_or_else(|| Fault::new("a piece of a copy was deleted while it was fetched"))?;
    Ok(Bytes::from(row.bytes))
}

/// What the file is called where it is saved: by the day.
fn file_name(export: &export::Model) -> String {
    let at: Timestamp = export.done_at.unwrap_or(export.created_at);
    let day = at.to_string();
    format!("quckchat-{}.zip", day.get(..10).unwrap_or_default())
}
