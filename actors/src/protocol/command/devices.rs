//! What somebody calls from, and how a push reaches it.
//! Never when a push is sent.

use super::Command;
use crate::protocol::check;
use crate::protocol::error::{Outcome, Refusal};
use crate::protocol::view;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest token of a provider, or URL of a push service, in bytes.
const TOKEN_BYTES: usize = 2_048;

/// What a device runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Platform {
    /// iOS and iPadOS.
    Ios,
    /// Android.
    Android,
    /// A browser.
    Web,
    /// A program on a computer.
    Desktop,
}

impl Platform {
    /// As rows and clients name it.
    pub fn name(self) -> &'static str {
        match self {
            Platform::Ios => "ios",
            Platform::Android => "android",
            Platform::Web => "web",
            Platform::Desktop => "desktop",
        }
    }
}

/// Who carries pushes to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PushProvider {
    /// Firebase Cloud Messaging.
    Fcm,
    /// Apple's Push Notification service.
    Apns,
    /// The push service of a browser (RFC 8030).
    WebPush,
}

impl PushProvider {
    /// As rows and clients name it.
    pub fn name(self) -> &'static str {
        match self {
            PushProvider::Fcm => "fcm",
            PushProvider::Apns => "apns",
            PushProvider::WebPush => "web_push",
        }
    }
}

/// How a push reaches a device.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// By whom.
    pub provider: PushProvider,
    /// The provider's token; for `web_push` the subscription's `endpoint`, an https URL.
    pub token: String,
    /// For `web_push`: the subscription's keys.
    pub keys: Option<PushKeys>,
}

/// The keys of a browser's subscription (Push API, `PushSubscription.toJSON()`), base64url without padding.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct PushKeys {
    /// The public key: a point of P-256, uncompressed, 65 bytes (RFC 8291, section 2.1).
    pub p256dh: String,
    /// The authentication secret: 16 bytes (RFC 8291, section 2.2).
    pub auth: String,
}

impl Push {
    fn check(&self) -> Outcome<()> {
        check::text("push.token", &self.token, 1, TOKEN_BYTES)?;
        match (self.provider, &self.keys) {
            (PushProvider::WebPush, None) => Err(Refusal::invalid("push.keys", "web_push needs its keys").into()),
            (PushProvider::WebPush, Some(_)) | (_, None) => Ok(()),
            (_, Some(_)) => Err(Refusal::invalid("push.keys", "only web_push has keys").into()),
        }
    }
}

/// How a push reaches a device, for what is shown and for calls.
fn check_push(push: Option<&Push>, voip_token: Option<&str>) -> Outcome<()> {
    push.map_or(Ok(()), Push::check)?;
    match (voip_token, push) {
        (Some(_), Some(push)) if push.provider == PushProvider::WebPush => {
            Err(Refusal::invalid("voipToken", "no browser has one").into())
        }
        (Some(token), _) => check::text("voipToken", token, 1, TOKEN_BYTES),
        (None, _) => Ok(()),
    }
}

fn device_id(id: &str) -> Outcome<()> {
    check::text("deviceId", id, 1, 100)
}

/// Makes a device known, or says anew what is known of it. The caller's session belongs to it from then on.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisterDevice {
    /// Stable on that device, chosen by the client: best the `device.id` that it signed in with.
    pub device_id: String,
    /// What it runs.
    pub platform: Platform,
    /// The name that its owner sees, at most 100 bytes.
    pub name: String,
    /// The version of the client.
    pub app_version: Option<String>,
    /// How a push reaches it; absent where none does.
    pub push: Option<Push>,
    /// On iOS, for calls beside it: PushKit's token (`PKPushCredentials.token`).
    pub voip_token: Option<String>,
}
command!(RegisterDevice = "users.registerDevice" -> view::RegisteredDevice; |c| {
    device_id(&c.device_id)?;
    check::text("name", &c.name, 1, 100)?;
    if let Some(version) = &c.app_version {
        check::text("appVersion", version, 1, 50)?;
    }
    check_push(c.push.as_ref(), c.voip_token.as_deref())
});

/// The caller's devices, the first registered first.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
pub struct ListDevices {}
command!(ListDevices = "users.listDevices" -> view::Devices);

/// Gives a device another name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenameDevice {
    /// Which.
    pub device_id: String,
    /// The name, at most 100 bytes.
    pub name: String,
}
command!(RenameDevice = "users.renameDevice" -> view::RegisteredDevice; |c| {
    device_id(&c.device_id)?;
    check::text("name", &c.name, 1, 100)
});

/// Forgets a device, and ends its sessions.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoveDevice {
    /// Which.
    pub device_id: String,
}
command!(RemoveDevice = "users.removeDevice" -> (); |c| device_id(&c.device_id));

/// Says how a push reaches a device from now on, or that none does.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdatePushToken {
    /// Which.
    pub device_id: String,
    /// How; absent where none does.
    pub push: Option<Push>,
    /// On iOS, for calls beside it: PushKit's token; absent where there is none.
    pub voip_token: Option<String>,
}
command!(UpdatePushToken = "users.updatePushToken" -> view::RegisteredDevice; |c| {
    device_id(&c.device_id)?;
    check_push(c.push.as_ref(), c.voip_token.as_deref())
});
