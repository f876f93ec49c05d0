//! What is answered about passwords.
//! Never a password, or whether an account has one.

use entities::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Somebody has shown again who they are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reauthenticated {
    /// Until when the session may change how the account is signed in to.
    pub fresh_until: Timestamp,
}
