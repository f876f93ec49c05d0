//! What clients see of identities elsewhere, and where browsers are sent.
//! Never a token of a provider.

use entities::{Timestamp, identity};
use serde::Serialize;
use utoipa::ToSchema;

/// Where a browser is sent; by REST it is (302).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Redirection {
    /// The URI.
    pub location: String,
}

/// A sign-in elsewhere has begun.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OauthStarted {
    /// Where the browser is sent; by REST it is (302).
    pub location: String,
    /// Names the flow; none where it could not begin, and the browser goes back at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Who an account is elsewhere.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LinkedAccount {
    /// The provider, as this node calls it.
    pub provider: String,
    /// The e-mail address that it told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Since when.
    pub linked_at: Timestamp,
    /// When somebody last signed in by it.
    pub last_used_at: Timestamp,
}

impl From<identity::Model> for LinkedAccount {
    fn from(row: identity::Model) -> LinkedAccount {
        let identity::Model { provider, email, linked_at, last_used_at, .. } = row;
        LinkedAccount { provider, email, linked_at, last_used_at }
    }
}
