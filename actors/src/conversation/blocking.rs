//! Whether one of a pair blocks the other, as their private conversation knows it.
//! Never the blocks themselves: whoever writes those sets this in the same transaction.
//!
//! # What whoever is blocked learns
//! Whoever opens a private conversation with somebody who blocks them gets it, as if it were a request that nobody takes
//! up; search and groups answer as privacy has them answer anybody. Whoever blocks sees nothing of it until they lift
//! their block: then it is a request to them. Only that nothing can be said is told, to who tries.
//!
//! # Why it stands in the conversation's row
//! The journal locks that row before it decides. So what it commits after a block has been committed is refused, at
//! whichever node, and also if it was under way before.

use entities::{ConversationId, UserId, conversation, participant};
use sea_orm::sea_query::LockType;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Set};

/// The private conversation of two, as it was found and locked.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// Which.
    pub id: ConversationId,
    /// Whether it is blocked by now.
    pub blocked: bool,
    /// Its newest change.
    pub last_rev: i64,
}

/// Locks the private conversation of two, if they have one. To be done before their accounts are locked.
///
/// # Errors
/// Those of the database.
pub async fn lock(transaction: &impl ConnectionTrait, one: UserId, other: UserId) -> Result<Option<Pair>, DbErr> {
    let row = conversation::between(one, other).lock(LockType::NoKeyUpdate).one(transaction).await?;
    Ok(row.map(|row| Pair { id: row.id, blocked: row.blocked, last_rev: row.last_rev }))
}

/// Whether two have a private conversation by now.
///
/// # Errors
/// Those of the database.
pub async fn exists(transaction: &impl ConnectionTrait, one: UserId, other: UserId) -> Result<bool, DbErr> {
    Ok(conversation::between(one, other).one(transaction).await?.is_some())
}

/// Lets nothing be said any more in a conversation that is locked, or lets it be said again. No number rises: roles are
/// as they were, and what members see is not changed.
///
/// # Errors
/// Those of the database.
pub async fn set(transaction: &impl ConnectionTrait, pair: Pair, blocked: bool) -> Result<(), DbErr> {
    if pair.blocked != blocked {
        let row = conversation::ActiveModel { blocked: Set(blocked), ..conversation::ActiveModel::default() };
        let this = conversation::COLUMN.id.eq(pair.id);
        conversation::Entity::update_many().set(row).filter(this).exec(transaction).await?;
    }
    Ok(())
}

/// Takes what of a conversation that is locked is a request to somebody off their lists, as if they had declined it: they
/// block whoever asked. Or brings it back: they have lifted that. Tells whether there is one, which is stamped then.
///
/// # Errors
/// Those of the database.
pub async fn hide_request(
    transaction: &impl ConnectionTrait,
    pair: Pair,
    user: UserId,
    hidden: bool,
    user_rev: i64,
) -> Result<bool, DbErr> {
    let declined_rev = Set(hidden.then_some(pair.last_rev));
    let row = participant::ActiveModel { declined_rev, user_rev: Set(user_rev), ..Default::default() };
    let columns = &participant::COLUMN;
    let theirs = columns.conversation_id.eq(pair.id).and(columns.user_id.eq(user)).and(columns.request.eq(true));
    let is_otherwise = if hidden { columns.declined_rev.is_null() } else { columns.declined_rev.is_not_null() };
    let update = participant::Entity::update_many().set(row).filter(theirs.and(is_otherwise));
    Ok(update.exec(transaction).await?.rows_affected > 0)
}
