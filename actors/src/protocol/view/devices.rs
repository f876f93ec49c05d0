//! What somebody sees of their own devices.
//! Never a push token.

use entities::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// One device of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredDevice {
    /// What its client calls it.
    pub device_id: String,
    /// `ios`, `android`, `web` or `desktop`.
    pub platform: String,
    /// The name that its owner sees.
    pub name: String,
    /// The version of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_version: Option<String>,
    /// Who carries pushes to it; absent where none reaches it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_provider: Option<String>,
    /// Present where calls reach it by PushKit beside that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub voip_push: bool,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// When it was last heard of, by one of its sessions or by what it said of itself.
    pub last_seen_at: Timestamp,
    /// How many sessions of it live.
    pub sessions: u32,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// The caller's devices.
#[derive(Debug, Serialize, ToSchema)]
pub struct Devices {
    /// The first registered first.
    pub items: Vec<RegisteredDevice>,
}
