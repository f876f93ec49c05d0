//! What people see of where they are signed in, and of what happened to their account.
//! Never a token.

use entities::{AuditEventId, SessionId, Timestamp, UserId, audit_event, session};
use serde::Serialize;
use serde_json::value::RawValue;
use strum::IntoStaticStr;
use utoipa::ToSchema;

/// A sign-in that stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whether it is the one that asks.
    pub current: bool,
    /// From what.
    pub device: SessionDevice,
    /// The network address at the sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The client's `User-Agent` at the sign-in, cut to 200 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// When the sign-in was.
    pub created_at: Timestamp,
    /// When it was last used, to some minutes.
    pub last_seen_at: Timestamp,
    /// When whoever has it last showed who they are.
    pub authenticated_at: Timestamp,
}

/// A device, as its client said at the sign-in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionDevice {
    /// Stable on that device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// As the person knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `ios`, `android`, `web`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

impl Session {
    /// A session as its owner sees it from another one, or from itself.
    pub fn from_row(row: session::Model, current: SessionId) -> Session {
        Session {
            id: row.id,
            current: row.id == current,
            device: SessionDevice { id: row.device_id, name: row.device_name, platform: row.platform },
            address: row.address,
            user_agent: row.user_agent,
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
            authenticated_at: row.authenticated_at.unwrap_or(row.created_at),
        }
    }
}

/// How many sessions ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsEnded {
    /// How many.
    pub ended: usize,
}

/// What was done to an account; of each what the event's `detail` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SecurityEventKind {
    /// A session began. `by`: `otp`, `password`, `registration` or `oauth:NAME`, with a second factor ` totp` or ` backupCode` behind it; `isNewUser`.
    SignedIn,
    /// A password was wrong, or a code to show again who one is, and whoever tries has to wait from now on: `by`.
    SignInFailed,
    /// A session was ended by itself.
    SignedOut,
    /// A session was ended from another one: `sessionId`.
    SessionRevoked,
    /// All others were, or all: `count`, `current`.
    SessionsRevoked,
    /// A spent refresh token came again, and its session was ended.
    RefreshReused,
    /// Somebody signed in showed again who they are: `by`.
    Reauthenticated,
    /// The account has its first password; set by somebody signed in: `keepSessions`.
    PasswordSet,
    /// It was changed by somebody signed in: `keepSessions`.
    PasswordChanged,
    /// It was changed by a code that was sent to the account.
    PasswordReset,
    /// An authenticator app guards the account.
    SecondFactorEnabled,
    /// None does any more: `by` (`totp`, `backupCode`).
    SecondFactorDisabled,
    /// A code of it was wrong: at the second step of signing in (no session), or within a session.
    SecondFactorFailed,
    /// There are ten new backup codes: `by`.
    BackupCodesRenewed,
    /// The account can be entered by a provider: `provider`.
    IdentityLinked,
    /// It cannot any more: `provider`.
    IdentityUnlinked,
    /// The account has another phone number: `isFirst` if it had none.
    PhoneChanged,
    /// The account has another e-mail address: `isFirst` if it had none.
    EmailChanged,
    /// A device was registered: `deviceId`.
    DeviceRegistered,
    /// A device was removed, and its sessions ended: `deviceId`.
    DeviceRemoved,
    /// A copy of the account's data was asked for: `exportId`.
    ExportAsked,
    /// It was given up again: `exportId`.
    ExportCancelled,
    /// The account is to be deleted: `leavesAt`, `messages`.
    DeletionAsked,
    /// It is kept after all.
    DeletionCancelled,
    /// The account ended.
    AccountDeleted,
    /// The account's owner reported somebody, or a message: `reportId`, `reason`, `userId`, `messageId`.
    Reported,
    /// An operator changed the profile: `by`, `fields`.
    ProfileUpdatedByOperator,
    /// An operator gave the account a role: `role`, `by`.
    RoleGranted,
    /// An operator took it away: `role`, `by`.
    RoleRevoked,
    /// `quckchat admin rotate-keys` made a key for tokens: `key`. Concerns nobody.
    SigningKeyMade,
    /// It made a key for what is stored sealed: `key`. Concerns nobody.
    SealingKeyMade,
}

/// Something that was done to an account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecurityEvent {
    /// Its id.
    pub id: AuditEventId,
    /// What; a newer node may have written one that is not listed.
    #[schema(value_type = SecurityEventKind)]
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// Whom it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// By which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// From which network address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The rest, an object.
    #[schema(value_type = Object)]
    pub detail: Box<RawValue>,
}

impl SecurityEvent {
    /// As the row says; a detail that is no JSON is left out.
    pub fn from_row(row: audit_event::Model) -> SecurityEvent {
        SecurityEvent {
            id: row.id,
            kind: row.kind,
            at: row.at,
            user_id: row.user_id,
            session_id: row.session_id,
            address: row.address,
            detail: RawValue::from_string(row.detail).unwrap_or_else(|_| RawValue::NULL.to_owned()),
        }
    }
}

/// What an access token comes to.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Validated {
    /// Whether whoever has it may act now.
    pub valid: bool,
    /// Why not: the code with which it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// By which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// When the token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}
