//! What people see of their second factor: the secret once, and the backup codes once.
//! Never either of them again.

use serde::Serialize;
use utoipa::ToSchema;

/// What an authenticator app takes. It is shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecondFactorSetup {
    /// To be typed in: base32 (RFC 4648) without padding.
    pub secret: String,
    /// The same as a link: `otpauth://totp/...`.
    pub otpauth_uri: String,
    /// The link as a QR code: a PNG as a `data:` URI.
    pub qr_png: String,
    /// How long `auth.enable2fa` takes a code of it.
    pub expires_in_secs: u64,
}

/// Codes for whoever has lost their authenticator; each signs in once. They are shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupCodes {
    /// Ten of them.
    pub backup_codes: Vec<String>,
}
