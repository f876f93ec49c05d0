//! What signing in comes to: codes on their way, tokens, and the question for the second factor.
//! Never a secret of the account's own.

use super::User;
use entities::{SessionId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// A code is on its way.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtpSent {
    /// To be given with the code.
    pub verification_id: String,
    /// How long the code is good.
    pub expires_in_secs: u64,
    /// When another one may be asked for.
    pub retry_after_secs: u64,
}

/// A pair of tokens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// A JWT (RFC 9068), for `Authorization: Bearer`.
    pub access_token: String,
    /// Opaque, to be spent once; absent where it went into a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The access token's life.
    pub expires_in_secs: u64,
    /// The session that both belong to.
    pub session_id: SessionId,
}

/// What signing in comes to: the tokens, or the question for the second factor.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum SignedIn {
    /// Somebody has signed in.
    Done(Box<Entered>),
    /// They have a second factor, and have still to show it.
    Challenged(Challenged),
}

/// Somebody has signed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entered {
    /// The tokens.
    #[serde(flatten)]
    pub tokens: Tokens,
    /// Who.
    pub user: User,
    /// Whether this made the account.
    pub is_new_user: bool,
}

/// The first factor was right; `auth.verify2fa` takes the second.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Challenged {
    /// `true`
    pub two_factor_required: bool,
    /// To be given with the code. Nothing else takes it.
    pub challenge_token: String,
    /// How long it is good.
    pub expires_in_secs: u64,
}

/// A socket lives on with its new token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renewed {
    /// When that one ends.
    pub expires_at: Timestamp,
}
