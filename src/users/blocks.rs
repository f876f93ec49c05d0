//! Whom somebody blocks.
//! Never what others see of it: no event tells anybody that they are blocked. Whoever tries can find out: the other looks
//! offline, shows no picture, and takes no message in the private conversation.
//!
//! # Why in this order
//! A block is true for the pair's private conversation in the transaction that writes it. The journal and whoever opens
//! a conversation hold the conversation before the accounts; so does a block, and no two wait for each other.

use super::contacts::after;
use super::counters;
use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::conversation::blocking;
use actors::privacy::people;
use actors::protocol::command::{Block, ListBlocked, Unblock};
use actors::protocol::view::{Blocked, ListedBlock, Page};
use actors::protocol::{ErrorCode, Outcome, Refusal, check, view};
use actors::retry::transact;
use entities::{UserId, block};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

impl Run for Block {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<Blocked> {
        let by = caller.user()?;
        if self.user_id == by {
            return Err(Refusal::invalid("userId", "is your own account").into());
        }
        Ok(set(app, by, self.user_id, true).await?.ok_or(ErrorCode::UserNotFound)?)
    }
}

impl Run for Unblock {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<()> {
        set(app, caller.user()?, self.user_id, false).await.map(drop)
    }
}

impl Run for ListBlocked {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<Page<ListedBlock>> {
        let (by, limit) = (caller.user()?, check::limit(self.limit)?);
        let mut query = block::by_owner(by);
        if let Some(after) = after(self.cursor.as_deref())? {
            query = query.filter(block::COLUMN.user_id.gt(after));
        }
        let mut rows = query.order_by_asc(block::Column::UserId).limit(limit + 1).all(app.db.read()).await?;
        let more = rows.len() as u64 > limit;
        rows.truncate(limit as usize);
        let next_cursor = rows.last().filter(|_| more).map(|row| row.user_id.to_string());
        let whom: Vec<UserId> = rows.iter().map(|row| row.user_id).collect();
        let mut people = people(app.db.read(), by, &whom).await?;
        let listed = |row: &block::Model| {
            let (user, relation) = people.remove(&row.user_id)?;
            let user = view::User::from_row(user, relation, app.clock.now());
            Some(ListedBlock { block: Blocked::from_row(row), user })
        };
        Ok(Page { items: rows.iter().filter_map(listed).collect(), next_cursor })
    }
}

/// What one attempt came to.
enum Attempt {
    /// How it stands, and whether that is new.
    Done(Option<Blocked>, bool),
    /// The two have opened a conversation meanwhile, which must be locked before them.
    Again,
}

/// Blocks somebody, or lifts that; gives how it stands now, if there is anything to stand.
async fn set(app: &App, by: UserId, other: UserId, blocked: bool) -> Outcome<Option<Blocked>> {
    loop {
        let attempt =
            transact(&app.db, &*app.clock, async |transaction| write(transaction, app, (by, other), blocked).await);
        if let Attempt::Done(row, changed) = attempt.await? {
            if changed {
                app.entries.user_changed(by);
                app.entries.standing_changed(by, other);
            }
            return Ok(row);
        }
    }
}

async fn write(
    transaction: &DatabaseTransaction,
    app: &App,
    (by, other): (UserId, UserId),
    blocked: bool,
) -> Outcome<Attempt> {
    let pair = blocking::lock(transaction, by, other).await?;
    let accounts = counters::lock(transaction, [by, other]).await?;
    if pair.is_none() && blocking::exists(transaction, by, other).await? {
        return Ok(Attempt::Again);
    }
    let owner = accounts.iter().find(|row| row.id == by).ok_or(ErrorCode::UserNotFound)?;
    let was = block::of(by, other).one(transaction).await?;
    let stands = was.as_ref().is_some_and(|row| !row.removed);
    let row = if stands == blocked {
        was
    } else {
        if blocked {
            accounts.iter().find(|row| row.id == other).ok_or(ErrorCode::UserNotFound)?;
            if block::by_owner(by).count(transaction).await? as usize >= app.config.contacts.most {
                return Err(ErrorCode::ContactsFull.into());
            }
        }
        let changed_at = app.clock.now();
        let created_at = was.filter(|_| !blocked).map_or(changed_at, |row| row.created_at);
        let user_rev = owner.user_rev + 1;
        let row = block::Model { owner_id: by, user_id: other, removed: !blocked, user_rev, created_at, changed_at };
        // What the other one asks is not to be heard meanwhile.
        let hidden = match pair {
            Some(pair) => blocking::hide_request(transaction, pair, by, blocked, user_rev + 1).await?,
            None => false,
        };
        counters::raise(transaction, owner, 1 + usize::from(hidden)).await?;
        save(transaction, row.clone()).await?;
        Some(row)
    };
    if let Some(pair) = pair {
        let by_other = block::of(other, by).one(transaction).await?.is_some_and(|row| !row.removed);
        blocking::set(transaction, pair, blocked || by_other).await?;
    }
    Ok(Attempt::Done(row.map(|row| Blocked::from_row(&row)), stands != blocked))
}

async fn save(transaction: &DatabaseTransaction, row: block::Model) -> Outcome<()> {
    use block::Column::{ChangedAt, CreatedAt, OwnerId, Removed, UserId, UserRev};
    let replaced = sea_orm::sea_query::OnConflict::columns([OwnerId, UserId])
        .update_columns([Removed, UserRev, CreatedAt, ChangedAt])
        .to_owned();
    let insert = block::Entity::insert(row.into_active_model()).on_conflict(replaced);
    insert.exec_without_returning(transaction).await?;
    Ok(())
}
