//! Address books and blocks by REST.
//! Never a rule: a handler hands its command to the wrapper.

use crate::app::App;
use crate::gateway::extract::{Body, Call, Id, Reply, reply};
use crate::gateway::query::Params;
use actix_web::web;
use actors::protocol::command::{
    AddContact, Block, GetContacts, ListBlocked, RemoveContact, RenameContact, SyncContacts, Unblock,
};
use actors::protocol::{Command, view};
use entities::UserId;
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

/// What this part serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/users/me/contacts").get(list).post(add))
        .service(web::resource("/users/me/contacts/sync").post(sync))
        .service(web::resource("/users/me/contacts/{userId}").patch(rename).delete(remove))
        .service(web::resource("/users/me/blocked").get(list_blocked))
        .service(web::resource("/users/me/blocked/{userId}").put(block).delete(unblock));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(list, add, sync, rename, remove, list_blocked, block, unblock))]
pub struct Paths;

/// The caller's address book, in the order of the users' ids.
#[utoipa::path(
    get, path = "/users/me/contacts", operation_id = GetContacts::NAME, tag = "contacts", params(GetContacts),
    responses((status = 200, description = "A page", body = view::Page<view::ListedContact>)),
)]
async fn list(
    app: web::Data<App>,
    call: Call<GetContacts>,
    Params(command): Params<GetContacts>,
) -> Reply<view::Page<view::ListedContact>> {
    reply(app.dispatch(&call, command).await)
}

/// Puts somebody into the caller's address book.
///
/// Whom nobody finds by their number answers as a number that nobody has.
#[utoipa::path(
    post, path = "/users/me/contacts", operation_id = AddContact::NAME, tag = "contacts", request_body = AddContact,
    responses((status = 200, description = "The entry", body = view::Contact)),
)]
async fn add(app: web::Data<App>, call: Call<AddContact>, Body(command): Body<AddContact>) -> Reply<view::Contact> {
    reply(app.dispatch(&call, command).await)
}

/// Finds out who of the people whose numbers the caller knows is here, and puts them into the address book.
///
/// Numbers that nobody has here are kept as keyed hashes, so that both can be told when their holder joins. Whom nobody
/// finds by their number looks the same. More new numbers than the budget has left are refused as a whole.
///
/// A list of more than 2,000 goes in parts with `replace`: send the first with `more: true`, the others with the `syncId`
/// of its answer, and leave `more` out of the last. Whom no part held goes out with the last one. Whom the caller has
/// removed by hand no sync brings back.
#[utoipa::path(
    post, path = "/users/me/contacts/sync", operation_id = SyncContacts::NAME, tag = "contacts",
    request_body = SyncContacts, responses((status = 200, description = "Who is here", body = view::SyncedContacts)),
)]
async fn sync(
    app: web::Data<App>,
    call: Call<SyncContacts>,
    Body(command): Body<SyncContacts>,
) -> Reply<view::SyncedContacts> {
    reply(app.dispatch(&call, command).await)
}

/// What an entry is to say; absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// The name, at most 100 bytes; empty is their own name again.
    name: Option<String>,
    /// Whether they stand on top.
    favourite: Option<bool>,
}

/// Changes what the caller calls somebody, and whether they stand on top.
#[utoipa::path(
    patch, path = "/users/me/contacts/{userId}", operation_id = RenameContact::NAME, tag = "contacts",
    params(("userId" = UserId, Path, description = "Whom")), request_body = inline(Entry),
    responses((status = 200, description = "The entry after it", body = view::Contact)),
)]
async fn rename(
    app: web::Data<App>,
    call: Call<RenameContact>,
    id: Id<UserId>,
    Body(entry): Body<Entry>,
) -> Reply<view::Contact> {
    let Entry { name, favourite } = entry;
    reply(app.dispatch(&call, RenameContact { user_id: id.0, name, favourite }).await)
}

/// Takes somebody out of the caller's address book, or a proposal off the list.
///
/// Whoever was in it stays out, whatever the phone's next sync lists: only adding them brings them back.
#[utoipa::path(
    delete, path = "/users/me/contacts/{userId}", operation_id = RemoveContact::NAME, tag = "contacts",
    params(("userId" = UserId, Path, description = "Whom")),
    responses((status = 204, description = "They are not in it")),
)]
async fn remove(app: web::Data<App>, call: Call<RemoveContact>, id: Id<UserId>) -> Reply<()> {
    reply(app.dispatch(&call, RemoveContact { user_id: id.0 }).await)
}

/// Whom the caller blocks, in the order of their ids.
#[utoipa::path(
    get, path = "/users/me/blocked", operation_id = ListBlocked::NAME, tag = "contacts", params(ListBlocked),
    responses((status = 200, description = "A page", body = view::Page<view::ListedBlock>)),
)]
async fn list_blocked(
    app: web::Data<App>,
    call: Call<ListBlocked>,
    Params(command): Params<ListBlocked>,
) -> Reply<view::Page<view::ListedBlock>> {
    reply(app.dispatch(&call, command).await)
}

/// Blocks somebody.
///
/// Neither sees any more whether the other is there, nor what becomes of their profile; nothing is said in their private
/// conversation; in groups both stay. No event tells anybody that they are blocked, but whoever writes is refused
/// (`conversation.blocked`), and sees the other offline and without a picture.
#[utoipa::path(
    put, path = "/users/me/blocked/{userId}", operation_id = Block::NAME, tag = "contacts",
    params(("userId" = UserId, Path, description = "Whom")),
    responses((status = 200, description = "The block", body = view::Blocked)),
)]
async fn block(app: web::Data<App>, call: Call<Block>, id: Id<UserId>) -> Reply<view::Blocked> {
    reply(app.dispatch(&call, Block { user_id: id.0 }).await)
}

/// Lifts a block.
#[utoipa::path(
    delete, path = "/users/me/blocked/{userId}", operation_id = Unblock::NAME, tag = "contacts",
    params(("userId" = UserId, Path, description = "Whom")),
    responses((status = 204, description = "They are not blocked by the caller")),
)]
async fn unblock(app: web::Data<App>, call: Call<Unblock>, id: Id<UserId>) -> Reply<()> {
    reply(app.dispatch(&call, Unblock { user_id: id.0 }).await)
}
