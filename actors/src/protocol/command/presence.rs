//! Who is there.
//! Never who may know.

use super::{Command, Doors};
use crate::protocol::check;
use crate::protocol::error::{Outcome, Refusal};
use crate::protocol::view;
use entities::UserId;
use serde::Deserialize;
use utoipa::ToSchema;

/// How the caller is shown while connected.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetPresence {
    /// `online`, `away` or `busy`.
    pub status: view::Status,
}
command!(SetPresence = "presence.set" -> view::Presence; |c| match c.status {
    view::Status::Offline => Err(Refusal::invalid("status", "must be online, away or busy").into()),
    _ => Ok(()),
});

/// Who of these is there; whom the caller shares no conversation with is left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetPresence {
    /// 1 to 500 users.
    pub user_ids: Vec<UserId>,
}
command!(GetPresence = "presence.get" -> view::Presences; |c| check::count("userIds", c.user_ids.len(), 1, 500));

/// As `get`, and from now on each change is told to this socket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchPresence {
    /// 1 to 500 users; at most 500 watched by one socket.
    pub user_ids: Vec<UserId>,
}
command!(WatchPresence = "presence.watch" -> view::Presences, DOORS: Doors::Sockets;
    |c| check::count("userIds", c.user_ids.len(), 1, 500));

/// No longer tell this socket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnwatchPresence {
    /// Whom; all when absent.
    pub user_ids: Option<Vec<UserId>>,
}
command!(UnwatchPresence = "presence.unwatch" -> (), DOORS: Doors::Sockets);
