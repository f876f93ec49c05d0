//! Whether one of a pair blocks the other, as their private conversation knows it.
//! Never the blocks themselves: whoever writes those sets this in the same transaction.
//!
//! # Why it stands in the conversation's row
//! The journal locks that row before it decides. So what it commits after a block has been committed is refused, at
//! whichever node, and also if it was under way before.

use entities::{ConversationId, UserId, conversation};
use sea_orm::sea_query::LockType;
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, Set};

/// The private conversation of two, as it was found and locked.
#[derive(Debug, Clone, Copy)]
pub struct Pair {
    /// Which.
    pub id: ConversationId,
    /// Whether it is blocked by now.
    pub blocked: bool,
}

/// Locks the private conversation of two, if they have one. To be done before their accounts are locked.
///
/// # Errors
/// Those of the database.
pub async fn lock(transaction: &impl ConnectionTrait, one: UserId, other: UserId) -> Result<Option<Pair>, DbErr> {
    let row = conversation::between(one, other).lock(LockType::NoKeyUpdate).one(transaction).await?;
    Ok(row.map(|row| Pair { id: row.id, blocked: row.blocked }))
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
