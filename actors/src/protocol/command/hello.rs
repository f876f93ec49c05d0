//! The first frame of a socket, which is no command.
//! Never what it is answered with.

use entities::ConversationId;
use serde::Deserialize;
use utoipa::ToSchema;

/// The first frame of a socket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// An access token, read only if the handshake carried none.
    pub token: Option<String>,
    /// Stable on that device.
    pub device_id: Option<String>,
    /// What speaks.
    pub client: Option<ClientInfo>,
    /// The last `userRev` that the client holds.
    pub user_rev: Option<i64>,
    /// What the client holds: pairs of a conversation's id and its last `rev`.
    pub known: Option<Vec<(ConversationId, i64)>>,
    /// `ping`: WebSocket pings instead of heartbeat frames, for generic tools.
    pub heartbeat: Option<HeartbeatKind>,
}

/// How a socket's liveness is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeartbeatKind {
    /// WebSocket pings.
    Ping,
}

/// A client's software.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientInfo {
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What it runs on.
    pub platform: Option<String>,
}
