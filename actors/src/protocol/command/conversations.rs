//! Conversations and who is in them.
//! Never who may do what there.

use super::Command;
use crate::protocol::check;
use crate::protocol::error::Outcome;
use crate::protocol::view;
use entities::{ConversationId, Role, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Opens a conversation. The same pair always gets the same private one.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateConversation {
    /// `private` or `group`.
    pub kind: entities::ConversationKind,
    /// The others: exactly one for `private`; the caller may be named and counts once.
    #[serde(default)]
    pub participant_ids: Vec<UserId>,
    /// 1 to 200 bytes, groups only.
    pub name: Option<String>,
    /// At most 2000 bytes, groups only.
    pub description: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(skip_serializing)]
    pub client_id: Option<String>,
}
command!(CreateConversation = "conversations.create" -> view::Created; |c| {
    if let Some(id) = &c.client_id {
        check::client_id(id)?;
    }
    check_names(c.name.as_deref(), c.description.as_deref())
});

fn check_names(name: Option<&str>, description: Option<&str>) -> Outcome<()> {
    if let Some(name) = name {
        check::text("name", name, 1, 200)?;
    }
    description.map_or(Ok(()), |text| check::text("description", text, 0, 2000))
}

/// One of the caller's conversations.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetConversation {
    /// Which.
    pub conversation_id: ConversationId,
}
command!(GetConversation = "conversations.get" -> view::Conversation);

/// The caller's conversations, latest message first: those that they have, or those that wait to be taken up.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ConversationsByUser {
    /// Whether to list requests instead: private conversations that others have opened, whose privacy made them wait.
    pub requests: Option<bool>,
    /// From the page before.
    pub cursor: Option<String>,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(ConversationsByUser = "conversations.getByUser" -> view::Page<view::Conversation>;
    |c| check::limit(c.limit).map(drop));

/// The members of a conversation, by user id.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListParticipants {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// From the page before.
    pub cursor: Option<String>,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(ListParticipants = "conversations.listParticipants" -> view::Page<view::Participant>;
    |c| check::limit(c.limit).map(drop));

/// Adds up to 100 users to a group; who is a member already stays one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddParticipant {
    /// Which group.
    pub conversation_id: ConversationId,
    /// Whom to add.
    pub user_ids: Vec<UserId>,
}
command!(AddParticipant = "conversations.addParticipant" -> view::Conversation;
    |c| check::count("userIds", c.user_ids.len(), 1, 100));

/// Removes a member from a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoveParticipant {
    /// Which group.
    pub conversation_id: ConversationId,
    /// Whom to remove.
    pub user_id: UserId,
}
command!(RemoveParticipant = "conversations.removeParticipant" -> ());

/// Leaves a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaveConversation {
    /// Which group.
    pub conversation_id: ConversationId,
}
command!(LeaveConversation = "conversations.leave" -> ());

/// Gives a member another role; owners only. The ownership itself is given by `transferOwnership`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetRole {
    /// Which group.
    pub conversation_id: ConversationId,
    /// Whose role.
    pub user_id: UserId,
    /// The new role.
    pub role: Role,
}
command!(SetRole = "conversations.setRole" -> view::Participant);

/// Makes another member the owner; the caller becomes an admin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransferOwnership {
    /// Which group.
    pub conversation_id: ConversationId,
    /// The new owner.
    pub user_id: UserId,
}
command!(TransferOwnership = "conversations.transferOwnership" -> view::Conversation);

/// Changes a group's name or description. Absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateConversation {
    /// Which group.
    pub conversation_id: ConversationId,
    /// 1 to 200 bytes.
    pub name: Option<String>,
    /// At most 2000 bytes; empty removes it.
    pub description: Option<String>,
}
command!(UpdateConversation = "conversations.update" -> view::Conversation;
    |c| check_names(c.name.as_deref(), c.description.as_deref()));

/// Changes what of a conversation is the caller's own. Absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateMine {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// Shown as unread although it was read; a later `markRead` takes it away.
    pub marked_unread: Option<bool>,
}
command!(UpdateMine = "conversations.updateMine" -> view::Mine);

/// Takes up a request: it is a conversation like others from then on, also if it was declined before. Saying something
/// there, or reacting, does so too.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AcceptRequest {
    /// Which conversation.
    pub conversation_id: ConversationId,
}
command!(AcceptRequest = "conversations.accept" -> view::Conversation);

/// Declines a request: it goes from the caller's lists, on all their devices, and further messages do not bring it back.
/// Whoever asked is not told, and sees what they saw.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeclineRequest {
    /// Which conversation.
    pub conversation_id: ConversationId,
}
command!(DeclineRequest = "conversations.decline" -> ());
