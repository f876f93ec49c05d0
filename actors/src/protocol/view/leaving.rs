//! What those see who are leaving: their copies, and when their account ends.
//! Never what a copy holds.

use crate::protocol::command::LeftMessages;
use entities::{ExportId, ExportState, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// A copy of everything that the node knows of its owner: a ZIP of JSON files.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// The copy.
    pub id: ExportId,
    /// How far it is.
    pub state: ExportState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// How large it has become.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Why it could not be made, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When it was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
    /// When it is deleted, and its link good no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Where it is, on this host. Whoever has this link can have the copy: it takes no token. So it is told to those
    /// alone who ask for the list and have shown within the last minutes who they are; no event tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The account is going to end.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Leaving {
    /// When. Until then it can be undone.
    pub leaves_at: Timestamp,
    /// What then becomes of the messages.
    pub messages: LeftMessages,
}
