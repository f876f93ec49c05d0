//! Who is there.
//! Never who may know it.

use entities::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How somebody is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Connected.
    Online,
    /// Connected, not there.
    Away,
    /// Connected, not to be disturbed.
    Busy,
    /// No socket on any node, for 5 seconds at least.
    Offline,
}

/// Somebody's presence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// Whose.
    pub user_id: UserId,
    /// How they are shown.
    pub status: Status,
    /// When they were connected last; absent while they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Timestamp>,
}

/// Several presences.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Presences {
    /// Of those whom the caller may watch.
    pub items: Vec<Presence>,
}
