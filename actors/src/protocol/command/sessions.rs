//! Where somebody is signed in, what happened to their account, and what a token says.
//! Never how a session begins.

use super::{Access, Command};
use crate::protocol::check;
use crate::protocol::error::Outcome;
use crate::protocol::view;
use entities::{SessionId, UserId};
use serde::Deserialize;
use utoipa::ToSchema;

/// Where the caller is signed in, the newest sign-in first.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListSessions {
    /// From the page before.
    pub cursor: Option<String>,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(ListSessions = "auth.listSessions" -> view::Page<view::Session>; |c| check::limit(c.limit).map(drop));

/// Ends one of the caller's sessions: its sockets close, and its tokens are good for nothing any more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokeSession {
    /// Which.
    pub session_id: SessionId,
}
command!(RevokeSession = "auth.revokeSession" -> ());

/// Ends all of the caller's sessions but the one that asks.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogoutAll {
    /// Whether the one that asks ends too; it does not unless said.
    #[serde(default)]
    pub include_current: bool,
}
command!(LogoutAll = "auth.logoutAll" -> view::SessionsEnded);

/// What happened to an account: sign-ins, wrong codes, changed passwords and the like, the newest first.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListEvents {
    /// Whose; the caller's own unless an operator names somebody.
    pub user_id: Option<UserId>,
    /// For an operator: everybody's, and what concerns nobody.
    #[serde(default)]
    pub all: bool,
    /// From the page before.
    pub cursor: Option<String>,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(ListEvents = "auth.listEvents" -> view::Page<view::SecurityEvent>; |c| check::limit(c.limit).map(drop));

/// Says who an access token stands for, or why it is not good: for back-end services.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Validate {
    /// The token.
    pub access_token: String,
}
command!(Validate = "auth.validate" -> view::Validated, ACCESS: Access::Operator;
    |c| check::text("accessToken", &c.access_token, 1, 8192));
