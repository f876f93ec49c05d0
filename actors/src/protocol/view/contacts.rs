//! What somebody sees of their own address book and of whom they block.
//! Never anybody else's.

use super::User;
use entities::{Timestamp, UserId};
use serde::Serialize;
use utoipa::ToSchema;

/// Somebody in an address book, or proposed for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contact {
    /// Who.
    pub user_id: UserId,
    /// What the owner calls them; absent is their own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether they stand on top.
    pub favourite: bool,
    /// Present where they are not in the address book, but have the owner's number in theirs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suggested: bool,
    /// Present on a tombstone: they are in it no more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Since when.
    pub added_at: Timestamp,
}

impl Contact {
    /// The view of a row.
    pub fn from_row(row: &entities::contact::Model) -> Contact {
        Contact {
            user_id: row.user_id,
            name: row.name.clone(),
            favourite: row.favourite && !row.removed,
            suggested: row.suggested,
            removed: row.removed,
            added_at: row.created_at,
        }
    }
}

/// The same with what they say of themselves, as their privacy lets the owner see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedContact {
    /// The entry.
    #[serde(flatten)]
    pub contact: Contact,
    /// Their profile.
    pub user: User,
}

/// Somebody whom the owner blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocked {
    /// Whom.
    pub user_id: UserId,
    /// Present on a tombstone: the block was lifted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Since when.
    pub blocked_at: Timestamp,
}

impl Blocked {
    /// The view of a row.
    pub fn from_row(row: &entities::block::Model) -> Blocked {
        Blocked { user_id: row.user_id, removed: row.removed, blocked_at: row.created_at }
    }
}

/// The same with what they are called.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedBlock {
    /// The block.
    #[serde(flatten)]
    pub block: Blocked,
    /// Their profile, as one who is blocked is seen.
    pub user: User,
}

/// What a sync came to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncedContacts {
    /// Who of the numbers' holders is here and lets the caller find them.
    pub matched: Vec<MatchedContact>,
    /// How many other numbers there are; those of people whom the caller has removed by hand are among them. When
    /// somebody with one of them joins, the caller is told.
    pub unmatched: u32,
    /// Where in the list there was no number.
    pub invalid: Vec<u32>,
    /// How many new numbers may still be asked for by now.
    pub budget_left: u32,
    /// What the next part of the list must carry; absent where none is to follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync_id: Option<i64>,
}

/// Somebody who was found by their number.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatchedContact {
    /// Where in the list the number stood.
    pub index: u32,
    /// Their entry.
    #[serde(flatten)]
    pub contact: Contact,
}
