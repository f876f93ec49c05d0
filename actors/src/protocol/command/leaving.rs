//! Leaving: a copy of all that is known of somebody, and the end of their account.
//! Never what is purged, and when.

use super::{Access, Command};
use crate::protocol::view;
use entities::ExportId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a copy of everything that the node knows of the caller: one at a time, and a few a day. A new
/// one takes the place of the one before it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportData {}
command!(ExportData = "users.exportData" -> view::Export, ACCESS: Access::Fresh);

/// The caller's copies, the newest first; one that is there has a link, if the caller has shown within the last minutes
/// who they are: by signing in, or by `auth.reauthenticate`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListExports {}
command!(ListExports = "users.listExports" -> view::Page<view::Export>);

/// Takes a copy back, whether it is there or still being made; its link is good no more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelExport {
    /// Which.
    pub export_id: ExportId,
}
command!(CancelExport = "users.cancelExport" -> ());

/// Asks for the end of the caller's account. It comes after a time of grace (`leavesAt`), until which it can be undone
/// by `users.cancelDeletion`. All other sessions end at once. Asked for again, it only changes what becomes of messages.
///
/// Who one is must have been shown within the last minutes, by password, one-time code or second factor: by signing in,
/// or by `auth.reauthenticate`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteAccount {
    /// What then becomes of the caller's messages.
    pub messages: LeftMessages,
}
command!(DeleteAccount = "users.deleteAccount" -> view::Leaving, ACCESS: Access::Fresh);

/// What becomes of the messages of somebody whose account ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum LeftMessages {
    /// They stay, and are shown as from a deleted user.
    Keep,
    /// Tombstones remain of them.
    Remove,
}

impl LeftMessages {
    /// As the account's row says it.
    pub fn as_str(self) -> &'static str {
        match self {
            LeftMessages::Keep => "keep",
            LeftMessages::Remove => "remove",
        }
    }
}

/// Keeps the account after all. Where nothing was to end, nothing changes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelDeletion {}
command!(CancelDeletion = "users.cancelDeletion" -> view::User);
