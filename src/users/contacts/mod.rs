//! Address books: who is in them, by hand and by number, and who asked for which numbers.
//! Never what contacts may see: that is each one's privacy.

mod book;
pub mod http;
mod joining;
mod numbers;
mod sync;
#[cfg(test)]
mod tests;

pub use book::after;
pub use joining::joined;

use super::counters;
use crate::app::App;
use crate::auth::{Auth, secrets};
use crate::config;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::clock::Clock;
use actors::entry::Entries;
use actors::privacy::audience_changed;
use actors::protocol::command::{AddContact, GetContacts, RemoveContact, RenameContact, SyncContacts};
use actors::protocol::{ErrorCode, Outcome, view};
use actors::sql::Table;
use aws_lc_rs::hmac;
use entities::{Db, UserId, contact, user};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr};
use std::sync::Arc;
use tokio::sync::Notify;

/// Every command about contacts.
pub struct Contacts {
    db: Db,
    clock: Arc<dyn Clock>,
    auth: Arc<Auth>,
    limits: config::Contacts,
    key: hmac::Key,
    arrived: Notify,
}

impl Contacts {
    /// Those of this database.
    pub fn new(db: Db, clock: Arc<dyn Clock>, auth: Arc<Auth>, limits: &config::Contacts) -> Contacts {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &auth.secrets.derive(secrets::CONTACT_NUMBERS));
        Contacts { db, clock, auth, limits: limits.clone(), key, arrived: Notify::new() }
    }
}

/// The owner of an address book, locked: whoever changes one does so alone.
async fn owner(transaction: &DatabaseTransaction, owner: UserId) -> Outcome<user::Model> {
    let locked = counters::lock(transaction, [owner]).await?;
    locked.into_iter().next().ok_or_else(|| ErrorCode::UserNotFound.into())
}

/// What has become of an address book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing: nobody hears of it. Whoever syncs what is there already is at their device, which is nobody's business.
    Nothing,
    /// What stands in it.
    Entries,
    /// Who stands in it: these may see more of the owner than before, or less.
    Members,
}

impl Change {
    /// How so many entries have changed, some of them by coming or going.
    fn of(entries: usize, members: usize) -> Change {
        match (entries, members) {
            (0, _) => Change::Nothing,
            (_, 0) => Change::Entries,
            _ => Change::Members,
        }
    }
}

/// Raises the counter of a locked owner by as many entries as change, and notes it where others may see more or less of
/// the owner than before.
async fn raise(
    transaction: &DatabaseTransaction,
    clock: &dyn Clock,
    owner: &user::Model,
    by: usize,
    change: Change,
) -> Result<(), DbErr> {
    counters::raise(transaction, owner, by).await?;
    if change == Change::Members {
        audience_changed(transaction, clock.now(), &[owner.id]).await?;
    }
    Ok(())
}

/// Writes entries as they are now to be.
async fn save(transaction: &impl ConnectionTrait, rows: impl IntoIterator<Item = contact::Model>) -> Result<(), DbErr> {
    let mut table = Table::new(9);
    for row in rows {
        table.push([
            row.owner_id.into(),
            row.user_id.into(),
            row.name.into(),
            row.favourite.into(),
            row.suggested.into(),
            row.removed.into(),
            row.by_number.into(),
            row.user_rev.into(),
            row.created_at.into(),
        ]);
    }
    table
        .insert(transaction, &[""; 9], |values| {
            format!(
                "INSERT INTO contacts (owner_id, user_id, name, favourite, suggested, removed, by_number, user_rev, created_at) \
                 VALUES {values} ON CONFLICT (owner_id, user_id) DO UPDATE SET name = excluded.name, \
                 favourite = excluded.favourite, suggested = excluded.suggested, removed = excluded.removed, \
                 by_number = excluded.by_number, user_rev = excluded.user_rev, created_at = excluded.created_at"
            )
        })
        .await
}

/// An address book has changed: its owner's devices hear of it, and where others came or went, it is looked again what
/// those who watch the owner may hear.
fn tell(entries: &Entries, owner: UserId, change: Change) {
    if change != Change::Nothing {
        entries.user_changed(owner);
    }
    if change == Change::Members {
        entries.audience_changed(owner);
    }
}

macro_rules! by_contacts {
    ($($command:ident => $method:ident),+ $(,)?) => {
        $(impl Run for $command {
            async fn run(self, app: &App, caller: &Caller) -> Outcome<Self::Reply> {
                let owner = caller.user()?;
                let (done, change) = app.contacts.$method(owner, self).await?;
                tell(&app.entries, owner, change);
                Ok(done)
            }
        })+
    };
}

by_contacts! {
    AddContact => add,
    RemoveContact => remove,
    RenameContact => rename,
}

impl Run for SyncContacts {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::SyncedContacts> {
        let owner = caller.user()?;
        app.limiter.count_sync(owner).await?;
        let (synced, change) = app.contacts.sync(owner, self).await?;
        tell(&app.entries, owner, change);
        Ok(synced)
    }
}

impl Run for GetContacts {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Page<view::ListedContact>> {
        app.contacts.list(caller.user()?, self).await
    }
}
