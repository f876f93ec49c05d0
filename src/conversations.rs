//! Conversations and their members by REST, and the commands that their rooms serve.
//! Never a rule: who may see or change what is decided in `actors`.

use crate::app::App;
use crate::gateway::dispatch::Run;
use crate::gateway::error::Failure;
use crate::gateway::extract::{Body, Call, Id, IdempotencyKey, Reply, created, reply};
use crate::gateway::query::Params;
use actix_web::web;
use actors::caller::Caller;
use actors::protocol::command::*;
use actors::protocol::{Command, Outcome, view};
use entities::{ConversationId, Role, UserId};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// What this slice serves under `/api/v1`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/conversations").get(list).post(create))
        .service(web::resource("/conversations/{conversationId}").get(get).patch(update))
        .service(web::resource("/conversations/{conversationId}/mine").patch(update_mine))
        .service(web::resource("/conversations/{conversationId}/accept").post(accept))
        .service(web::resource("/conversations/{conversationId}/decline").post(decline))
        .service(web::resource("/conversations/{conversationId}/leave").post(leave))
        .service(web::resource("/conversations/{conversationId}/owner").post(transfer_ownership))
        .service(web::resource("/conversations/{conversationId}/participants").get(participants).post(add_participants))
        .service(
            web::resource("/conversations/{conversationId}/participants/{userId}")
                .patch(set_role)
                .delete(remove_participant),
        );
}

/// The routes, for the document.
#[derive(OpenApi)]
#[openapi(paths(
    create,
    list,
    get,
    update,
    update_mine,
    accept,
    decline,
    leave,
    transfer_ownership,
    participants,
    add_participants,
    set_role,
    remove_participant,
))]
pub struct Paths;

/// Serves commands by the method of `Conversations` that does it: once for all doors.
macro_rules! by_conversations {
    ($($command:ident => $method:ident),+ $(,)?) => {
        $(impl Run for $command {
            async fn run(self, app: &App, caller: &Caller) -> Outcome<Self::Reply> {
                app.conversations.$method(caller.user()?, self).await
            }
        })+
    };
}
pub(crate) use by_conversations;

by_conversations! {
    CreateConversation => create,
    GetConversation => get,
    ConversationsByUser => get_by_user,
    ListParticipants => list_participants,
    AddParticipant => add_participant,
    RemoveParticipant => remove_participant,
    LeaveConversation => leave,
    SetRole => set_role,
    TransferOwnership => transfer_ownership,
    UpdateConversation => update,
    UpdateMine => update_mine,
    AcceptRequest => accept,
    DeclineRequest => decline,
}

/// Opens a conversation.
///
/// The same pair always gets the same private one. The same `clientId` again gives the conversation of the first time.
#[utoipa::path(
    post, path = "/conversations", operation_id = CreateConversation::NAME, tag = "conversations",
    params(("Idempotency-Key" = Option<String>, Header)), request_body = CreateConversation,
    responses(
        (status = 201, description = "Opened", body = view::Created),
        (status = 200, description = "It was there already", body = view::Created),
    ),
)]
async fn create(
    app: web::Data<App>,
    call: Call<CreateConversation>,
    key: IdempotencyKey,
    Body(mut command): Body<CreateConversation>,
) -> Result<Reply<view::Created>, Failure> {
    command.client_id = key.or(command.client_id)?;
    Ok(created(app.dispatch(&call, command).await))
}

/// The caller's conversations.
///
/// The one with the latest message first.
#[utoipa::path(
    get, path = "/conversations", operation_id = ConversationsByUser::NAME, tag = "conversations",
    params(ConversationsByUser),
    responses((status = 200, description = "A page", body = view::Page<view::Conversation>)),
)]
async fn list(
    app: web::Data<App>,
    call: Call<ConversationsByUser>,
    Params(command): Params<ConversationsByUser>,
) -> Reply<view::Page<view::Conversation>> {
    reply(app.dispatch(&call, command).await)
}

/// One of the caller's conversations.
#[utoipa::path(
    get, path = "/conversations/{conversationId}", operation_id = GetConversation::NAME, tag = "conversations",
    params(("conversationId" = ConversationId, Path)),
    responses((status = 200, description = "The conversation", body = view::Conversation)),
)]
async fn get(app: web::Data<App>, call: Call<GetConversation>, id: Id<ConversationId>) -> Reply<view::Conversation> {
    reply(app.dispatch(&call, GetConversation { conversation_id: id.0 }).await)
}

/// What of a group changes. Absent fields stay.
#[derive(Deserialize, ToSchema)]
struct GroupPatch {
    /// 1 to 200 bytes.
    name: Option<String>,
    /// At most 2000 bytes; empty removes it.
    description: Option<String>,
}

/// Changes a group's name or description.
#[utoipa::path(
    patch, path = "/conversations/{conversationId}", operation_id = UpdateConversation::NAME, tag = "conversations",
    params(("conversationId" = ConversationId, Path)), request_body = GroupPatch,
    responses((status = 200, description = "The conversation after it", body = view::Conversation)),
)]
async fn update(
    app: web::Data<App>,
    call: Call<UpdateConversation>,
    id: Id<ConversationId>,
    Body(patch): Body<GroupPatch>,
) -> Reply<view::Conversation> {
    let GroupPatch { name, description } = patch;
    reply(app.dispatch(&call, UpdateConversation { conversation_id: id.0, name, description }).await)
}

/// What of the caller's own changes. Absent fields stay.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MinePatch {
    /// Shown as unread although it was read; a later `markRead` takes it away.
    marked_unread: Option<bool>,
}

/// Changes what of a conversation is the caller's own.
#[utoipa::path(
    patch, path = "/conversations/{conversationId}/mine", operation_id = UpdateMine::NAME, tag = "conversations",
    params(("conversationId" = ConversationId, Path)), request_body = MinePatch,
    responses((status = 200, description = "The caller's own after it", body = view::Mine)),
)]
async fn update_mine(
    app: web::Data<App>,
    call: Call<UpdateMine>,
    id: Id<ConversationId>,
    Body(patch): Body<MinePatch>,
) -> Reply<view::Mine> {
    let MinePatch { marked_unread } = patch;
    reply(app.dispatch(&call, UpdateMine { conversation_id: id.0, marked_unread }).await)
}

/// Takes up a request.
///
/// It is a conversation like others from then on. Saying something there, or reacting, does so too; and all of it also
/// after it was declined.
#[utoipa::path(
    post, path = "/conversations/{conversationId}/accept", operation_id = AcceptRequest::NAME, tag = "conversations",
    params(("conversationId" = ConversationId, Path)),
    responses((status = 200, description = "The conversation after it", body = view::Conversation)),
)]
async fn accept(app: web::Data<App>, call: Call<AcceptRequest>, id: Id<ConversationId>) -> Reply<view::Conversation> {
    reply(app.dispatch(&call, AcceptRequest { conversation_id: id.0 }).await)
}

/// Declines a request.
///
/// It goes from the caller's lists, on all their devices, and further messages do not bring it back. Whoever asked is not
/// told, and sees what they saw: what they write is kept. The caller may still take it up.
#[utoipa::path(
    post, path = "/conversations/{conversationId}/decline", operation_id = DeclineRequest::NAME,
    tag = "conversations", params(("conversationId" = ConversationId, Path)),
    responses((status = 204, description = "Declined")),
)]
async fn decline(app: web::Data<App>, call: Call<DeclineRequest>, id: Id<ConversationId>) -> Reply<()> {
    reply(app.dispatch(&call, DeclineRequest { conversation_id: id.0 }).await)
}

/// Leaves a group.
#[utoipa::path(
    post, path = "/conversations/{conversationId}/leave", operation_id = LeaveConversation::NAME,
    tag = "conversations", params(("conversationId" = ConversationId, Path)),
    responses((status = 204, description = "Left")),
)]
async fn leave(app: web::Data<App>, call: Call<LeaveConversation>, id: Id<ConversationId>) -> Reply<()> {
    reply(app.dispatch(&call, LeaveConversation { conversation_id: id.0 }).await)
}

/// Who is to own a group.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Heir {
    /// A member.
    user_id: UserId,
}

/// Makes another member the owner.
///
/// The caller becomes an admin.
#[utoipa::path(
    post, path = "/conversations/{conversationId}/owner", operation_id = TransferOwnership::NAME,
    tag = "conversations", params(("conversationId" = ConversationId, Path)), request_body = Heir,
    responses((status = 200, description = "The conversation after it", body = view::Conversation)),
)]
async fn transfer_ownership(
    app: web::Data<App>,
    call: Call<TransferOwnership>,
    id: Id<ConversationId>,
    Body(heir): Body<Heir>,
) -> Reply<view::Conversation> {
    reply(app.dispatch(&call, TransferOwnership { conversation_id: id.0, user_id: heir.user_id }).await)
}

/// Which page.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Page {
    /// From the page before.
    cursor: Option<String>,
    /// 1 to 100, 50 unless said.
    limit: Option<u32>,
}

/// The members of a conversation.
#[utoipa::path(
    get, path = "/conversations/{conversationId}/participants", operation_id = ListParticipants::NAME,
    tag = "conversations", params(("conversationId" = ConversationId, Path), Page),
    responses((status = 200, description = "A page, by user id", body = view::Page<view::Participant>)),
)]
async fn participants(
    app: web::Data<App>,
    call: Call<ListParticipants>,
    id: Id<ConversationId>,
    Params(page): Params<Page>,
) -> Reply<view::Page<view::Participant>> {
    let command = ListParticipants { conversation_id: id.0, cursor: page.cursor, limit: page.limit };
    reply(app.dispatch(&call, command).await)
}

/// Whom to add.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Guests {
    /// 1 to 100 users.
    user_ids: Vec<UserId>,
}

/// Adds users to a group.
///
/// Who is a member already stays one.
#[utoipa::path(
    post, path = "/conversations/{conversationId}/participants", operation_id = AddParticipant::NAME,
    tag = "conversations", params(("conversationId" = ConversationId, Path)), request_body = Guests,
    responses((status = 200, description = "The conversation after it", body = view::Conversation)),
)]
async fn add_participants(
    app: web::Data<App>,
    call: Call<AddParticipant>,
    id: Id<ConversationId>,
    Body(guests): Body<Guests>,
) -> Reply<view::Conversation> {
    reply(app.dispatch(&call, AddParticipant { conversation_id: id.0, user_ids: guests.user_ids }).await)
}

/// A member's new role.
#[derive(Deserialize, ToSchema)]
struct NewRole {
    /// `admin` or `member`.
    role: Role,
}

/// Gives a member another role.
#[utoipa::path(
    patch, path = "/conversations/{conversationId}/participants/{userId}", operation_id = SetRole::NAME,
    tag = "conversations", params(("conversationId" = ConversationId, Path), ("userId" = UserId, Path)),
    request_body = NewRole,
    responses((status = 200, description = "The member after it", body = view::Participant)),
)]
async fn set_role(
    app: web::Data<App>,
    call: Call<SetRole>,
    id: Id<ConversationId>,
    user: Id<UserId>,
    Body(new): Body<NewRole>,
) -> Reply<view::Participant> {
    reply(app.dispatch(&call, SetRole { conversation_id: id.0, user_id: user.0, role: new.role }).await)
}

/// Removes a member from a group.
#[utoipa::path(
    delete, path = "/conversations/{conversationId}/participants/{userId}", operation_id = RemoveParticipant::NAME,
    tag = "conversations", params(("conversationId" = ConversationId, Path), ("userId" = UserId, Path)),
    responses((status = 204, description = "Removed")),
)]
async fn remove_participant(
    app: web::Data<App>,
    call: Call<RemoveParticipant>,
    id: Id<ConversationId>,
    user: Id<UserId>,
) -> Reply<()> {
    reply(app.dispatch(&call, RemoveParticipant { conversation_id: id.0, user_id: user.0 }).await)
}
