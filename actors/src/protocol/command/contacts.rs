//! Whom somebody has in their address book, and whom they block.
//! Never what follows from it: privacy says what contacts see, and the policy what a block forbids.

use super::Command;
use crate::protocol::check;
use crate::protocol::error::{Outcome, Refusal};
use crate::protocol::view;
use entities::UserId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest name in an address book, in bytes of UTF-8.
pub const CONTACT_NAME_BYTES: usize = 100;

/// Puts somebody into the caller's address book. One of `userId`, `phoneNumber` and `username` says whom.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddContact {
    /// By their id.
    pub user_id: Option<UserId>,
    /// By their number, in international form, if they let themselves be found by it. Counts as a search by number.
    pub phone_number: Option<String>,
    /// By their username.
    pub username: Option<String>,
    /// What the caller calls them, at most 100 bytes; their own name unless said.
    pub name: Option<String>,
}
command!(AddContact = "users.addContact" -> view::Contact; |c| {
    let given = [c.user_id.is_some(), c.phone_number.is_some(), c.username.is_some()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        return Err(Refusal::invalid("userId", "give one of userId, phoneNumber and username").into());
    }
    if let Some(number) = &c.phone_number {
        check::text("phoneNumber", number, 1, 32)?;
    }
    if let Some(name) = &c.username {
        check::username(name)?;
    }
    c.name.as_ref().map_or(Ok(()), |name| check::text("name", name, 1, CONTACT_NAME_BYTES))
});

/// Takes somebody out of the caller's address book, or a proposal off the list. Whoever was in it stays out, though a
/// sync lists their number or they arrive by it, until `users.addContact`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoveContact {
    /// Whom.
    pub user_id: UserId,
}
command!(RemoveContact = "users.removeContact" -> ());

/// Changes what the caller calls somebody, and whether they stand on top. Absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenameContact {
    /// Whom.
    pub user_id: UserId,
    /// The name, at most 100 bytes; empty is their own name again.
    pub name: Option<String>,
    /// Whether they stand on top.
    pub favourite: Option<bool>,
}
command!(RenameContact = "users.renameContact" -> view::Contact; |c| {
    c.name.as_ref().map_or(Ok(()), |name| check::text("name", name, 0, CONTACT_NAME_BYTES))
});

/// A page of the caller's address book, in the order of the users' ids.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct GetContacts {
    /// Which; everybody in the address book unless said.
    #[serde(default)]
    #[param(inline)]
    pub filter: ContactFilter,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
    /// From the page before.
    pub cursor: Option<String>,
}
command!(GetContacts = "users.getContacts" -> view::Page<view::ListedContact>;
    |c| check::limit(c.limit).map(drop));

/// Which contacts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ContactFilter {
    /// Everybody in the address book.
    #[default]
    All,
    /// Those on top.
    Favourites,
    /// Those who are not in it, but have the caller's number in theirs.
    Suggested,
}

/// Blocks somebody: neither is told of the other any more, and nothing is said in their private conversation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// Whom.
    pub user_id: UserId,
}
command!(Block = "users.block" -> view::Blocked);

/// Lifts a block.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unblock {
    /// Whom.
    pub user_id: UserId,
}
command!(Unblock = "users.unblock" -> ());

/// A page of those whom the caller blocks, in the order of their ids.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ListBlocked {
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
    /// From the page before.
    pub cursor: Option<String>,
}
command!(ListBlocked = "users.listBlocked" -> view::Page<view::ListedBlock>;
    |c| check::limit(c.limit).map(drop));

/// The most numbers of one sync.
pub const SYNC_AT_ONCE: usize = 2_000;

/// Finds out who of the people whose numbers the caller knows is here, and puts them into the address book.
///
/// An empty list with `merge` tells what is left of the budget.
///
/// A list that is longer than one request takes goes in parts, one after another, all of them with `replace`: all but
/// the last say `more`, and all but the first carry the `syncId` that the first was answered with. Parts only add; with
/// the last one, those go out whom no part held. A part may be sent again; a list that is never finished has only added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SyncContacts {
    /// Up to 2,000 numbers.
    pub contacts: Vec<KnownNumber>,
    /// Whether these are all; they are added unless said.
    #[serde(default)]
    pub mode: SyncMode,
    /// With `replace`: these are a part, and another one follows.
    #[serde(default)]
    pub more: bool,
    /// With `replace`: what the first part of this list was answered with.
    pub sync_id: Option<i64>,
    /// Where numbers without a country are from: ISO 3166-1 alpha-2, such as `DE`. Without it such numbers are invalid.
    pub region: Option<String>,
}
command!(SyncContacts = "users.syncContacts" -> view::SyncedContacts; |c| {
    check::count("contacts", c.contacts.len(), 0, SYNC_AT_ONCE)?;
    if c.mode == SyncMode::Merge && (c.more || c.sync_id.is_some()) {
        let field = if c.more { "more" } else { "syncId" };
        return Err(Refusal::invalid(field, "goes with the mode replace alone").into());
    }
    match c.region.as_deref() {
        Some(region) if region.len() != 2 || !region.bytes().all(|b| b.is_ascii_alphabetic()) =>
            Err(Refusal::invalid("region", "must be two letters, as ISO 3166-1 has them").into()),
        _ => Ok(()),
    }
});

/// A number that somebody knows.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KnownNumber {
    /// As it stands in their address book: international, or national where a `region` is given.
    pub phone_number: String,
    /// What they call whoever has it; cut to 100 bytes.
    pub name: Option<String>,
}

/// What a list of numbers is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum SyncMode {
    /// All of them: whom an earlier sync brought in, and who is not among them, goes out again. Who was added by hand
    /// stays.
    Replace,
    /// Some more.
    #[default]
    Merge,
}
