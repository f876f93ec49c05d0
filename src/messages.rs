//! Messages by REST, and the commands that their rooms serve.
//! Never a rule: who may say, see or change what is decided in `actors`.

use crate::app::App;
use crate::conversations::by_conversations;
use crate::gateway::dispatch::Run;
use crate::gateway::error::Failure;
use crate::gateway::extract::{Body, Call, Id, IdempotencyKey, Reply, created, reply};
use crate::gateway::query::Params;
use actix_web::web;
use actors::caller::Caller;
use actors::protocol::command::*;
use actors::protocol::{Command, Outcome, Refusal, view};
use entities::{ConversationId, MessageId};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// What this slice serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/conversations/{conversationId}/messages").get(history).post(send))
        .service(web::resource("/conversations/{conversationId}/changes").get(changes))
        .service(web::resource("/conversations/{conversationId}/read").post(mark_read))
        .service(web::resource("/conversations/{conversationId}/delivered").post(mark_delivered))
        .service(web::resource("/messages/{messageId}").get(get).patch(edit).delete(delete))
        .service(web::resource("/messages/{messageId}/reactions/{emoji}").put(add_reaction).delete(remove_reaction));
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(send, history, changes, mark_read, mark_delivered, get, edit, delete, add_reaction, remove_reaction,))]
pub struct Paths;

by_conversations! {
    SendMessage => send,
    MessagesByConversation => get_by_conversation,
    Changes => changes,
    GetMessage => get_message,
    EditMessage => edit,
    DeleteMessage => delete,
    AddReaction => add_reaction,
    RemoveReaction => remove_reaction,
    MarkRead => mark_read,
    MarkDelivered => mark_delivered,
    Typing => typing,
}

/// A message to be sent.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Draft {
    /// 1 byte to 8 KiB of UTF-8.
    text: String,
    /// Makes the request safe to repeat; at most 64 bytes, best a UUIDv7. May stand in `Idempotency-Key` instead.
    client_id: Option<String>,
    /// A message of the same conversation.
    reply_to: Option<MessageId>,
}

/// Says something.
///
/// The same `clientId` again gives the message of the first time; with another content it is refused.
#[utoipa::path(
    post, path = "/conversations/{conversationId}/messages", operation_id = SendMessage::NAME, tag = "messages",
    params(("conversationId" = ConversationId, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Draft,
    responses(
        (status = 201, description = "Sent: committed", body = view::Sent),
        (status = 200, description = "An earlier request had sent it", body = view::Sent),
    ),
)]
async fn send(
    app: web::Data<App>,
    call: Call<SendMessage>,
    id: Id<ConversationId>,
    key: IdempotencyKey,
    Body(draft): Body<Draft>,
) -> Result<Reply<view::Sent>, Failure> {
    let unnamed = || Refusal::invalid("clientId", "missing; give it in the body or as the header Idempotency-Key");
    let command = SendMessage {
        conversation_id: id.0,
        text: draft.text,
        client_id: key.or(draft.client_id)?.ok_or_else(unnamed)?,
        reply_to: draft.reply_to,
    };
    Ok(created(app.dispatch(&call, command).await))
}

/// Which page of the history.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Range {
    /// Messages below this `seq`, the nearest ones.
    before_seq: Option<i64>,
    /// Messages above this `seq`, the nearest ones.
    after_seq: Option<i64>,
    /// Messages on both sides of this `seq`, itself among them.
    around_seq: Option<i64>,
    /// 1 to 100, 50 unless said.
    limit: Option<u32>,
}

/// A page of history.
///
/// The newest messages, or those before, after or around a `seq`.
#[utoipa::path(
    get, path = "/conversations/{conversationId}/messages", operation_id = MessagesByConversation::NAME,
    tag = "messages", params(("conversationId" = ConversationId, Path), Range),
    responses((status = 200, description = "Ascending by `seq`", body = view::History)),
)]
async fn history(
    app: web::Data<App>,
    call: Call<MessagesByConversation>,
    id: Id<ConversationId>,
    Params(range): Params<Range>,
) -> Reply<view::History> {
    let command = MessagesByConversation {
        conversation_id: id.0,
        before_seq: range.before_seq,
        after_seq: range.after_seq,
        around_seq: range.around_seq,
        limit: range.limit,
    };
    reply(app.dispatch(&call, command).await)
}

/// From where on.
#[derive(Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct Since {
    /// The last `rev` that the client holds.
    after_rev: i64,
    /// 1 to 100, 50 unless said.
    limit: Option<u32>,
}

/// What changed in a conversation.
///
/// Everything that changed after a `rev`, in its present state and in the order of `rev`.
#[utoipa::path(
    get, path = "/conversations/{conversationId}/changes", operation_id = Changes::NAME, tag = "messages",
    params(("conversationId" = ConversationId, Path), Since),
    responses((status = 200, description = "Ascending by `rev`", body = view::Changes)),
)]
async fn changes(
    app: web::Data<App>,
    call: Call<Changes>,
    id: Id<ConversationId>,
    Params(since): Params<Since>,
) -> Reply<view::Changes> {
    let command = Changes { conversation_id: id.0, after_rev: since.after_rev, limit: since.limit };
    reply(app.dispatch(&call, command).await)
}

/// Up to where.
#[derive(Deserialize, ToSchema)]
struct Mark {
    /// The last message.
    seq: i64,
}

/// Everything up to a message has been read.
#[utoipa::path(
    post, path = "/conversations/{conversationId}/read", operation_id = MarkRead::NAME, tag = "messages",
    params(("conversationId" = ConversationId, Path)), request_body = Mark,
    responses((status = 200, description = "The caller's marks after it", body = view::Mine)),
)]
async fn mark_read(
    app: web::Data<App>,
    call: Call<MarkRead>,
    id: Id<ConversationId>,
    Body(mark): Body<Mark>,
) -> Reply<view::Mine> {
    reply(app.dispatch(&call, MarkRead { conversation_id: id.0, seq: mark.seq }).await)
}

/// Everything up to a message has arrived.
#[utoipa::path(
    post, path = "/conversations/{conversationId}/delivered", operation_id = MarkDelivered::NAME, tag = "messages",
    params(("conversationId" = ConversationId, Path)), request_body = Mark,
    responses((status = 200, description = "The caller's marks after it", body = view::Mine)),
)]
async fn mark_delivered(
    app: web::Data<App>,
    call: Call<MarkDelivered>,
    id: Id<ConversationId>,
    Body(mark): Body<Mark>,
) -> Reply<view::Mine> {
    reply(app.dispatch(&call, MarkDelivered { conversation_id: id.0, seq: mark.seq }).await)
}

/// One message.
#[utoipa::path(
    get, path = "/messages/{messageId}", operation_id = GetMessage::NAME, tag = "messages",
    params(("messageId" = MessageId, Path)),
    responses((status = 200, description = "The message, or its tombstone", body = view::Message)),
)]
async fn get(app: web::Data<App>, call: Call<GetMessage>, id: Id<MessageId>) -> Reply<view::Message> {
    reply(app.dispatch(&call, GetMessage { message_id: id.0 }).await)
}

/// Another text for a message.
#[derive(Deserialize, ToSchema)]
struct Edit {
    /// 1 byte to 8 KiB of UTF-8.
    text: String,
}

/// Changes the text of a message of one's own.
#[utoipa::path(
    patch, path = "/messages/{messageId}", operation_id = EditMessage::NAME, tag = "messages",
    params(("messageId" = MessageId, Path)), request_body = Edit,
    responses((status = 200, description = "The message after it", body = view::Message)),
)]
async fn edit(
    app: web::Data<App>,
    call: Call<EditMessage>,
    id: Id<MessageId>,
    Body(edit): Body<Edit>,
) -> Reply<view::Message> {
    reply(app.dispatch(&call, EditMessage { message_id: id.0, text: edit.text }).await)
}

/// Deletes a message for everyone.
///
/// One's own, or any as an admin. A tombstone remains.
#[utoipa::path(
    delete, path = "/messages/{messageId}", operation_id = DeleteMessage::NAME, tag = "messages",
    params(("messageId" = MessageId, Path)),
    responses((status = 200, description = "The tombstone", body = view::Message)),
)]
async fn delete(app: web::Data<App>, call: Call<DeleteMessage>, id: Id<MessageId>) -> Reply<view::Message> {
    reply(app.dispatch(&call, DeleteMessage { message_id: id.0 }).await)
}

/// The emoji in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct Emoji {
    /// One emoji, percent-encoded.
    emoji: String,
}

/// Reacts with an emoji.
///
/// The same one again changes nothing.
#[utoipa::path(
    put, path = "/messages/{messageId}/reactions/{emoji}", operation_id = AddReaction::NAME, tag = "messages",
    params(("messageId" = MessageId, Path), Emoji),
    responses((status = 200, description = "The message after it", body = view::Message)),
)]
async fn add_reaction(
    app: web::Data<App>,
    call: Call<AddReaction>,
    id: Id<MessageId>,
    path: web::Path<Emoji>,
) -> Reply<view::Message> {
    reply(app.dispatch(&call, AddReaction { message_id: id.0, emoji: path.into_inner().emoji }).await)
}

/// Takes a reaction back.
///
/// What is not there changes nothing.
#[utoipa::path(
    delete, path = "/messages/{messageId}/reactions/{emoji}", operation_id = RemoveReaction::NAME, tag = "messages",
    params(("messageId" = MessageId, Path), Emoji),
    responses((status = 200, description = "The message after it", body = view::Message)),
)]
async fn remove_reaction(
    app: web::Data<App>,
    call: Call<RemoveReaction>,
    id: Id<MessageId>,
    path: web::Path<Emoji>,
) -> Reply<view::Message> {
    reply(app.dispatch(&call, RemoveReaction { message_id: id.0, emoji: path.into_inner().emoji }).await)
}
