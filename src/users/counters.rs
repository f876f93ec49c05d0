//! Accounts under lock, and the counter of what is private to each.
//! Never what is stamped with it.
//!
//! # Why in order
//! Whoever locks several accounts does so in the order of their ids, and after any conversation: so no two wait for
//! each other.

use entities::{UserId, user};
use sea_orm::sea_query::{Expr, LockType};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// Locks these accounts, and gives them in the order of their ids; whoever is not here, or has left, is left out.
///
/// # Errors
/// Those of the database.
pub async fn lock(
    transaction: &impl ConnectionTrait,
    users: impl IntoIterator<Item = UserId>,
) -> Result<Vec<user::Model>, DbErr> {
    // SQLite has locked everything when the transaction began, and leaves these words out.
    let rows = user::among(users).filter(user::COLUMN.left_at.is_null()).order_by_asc(user::Column::Id);
    rows.lock(LockType::NoKeyUpdate).all(transaction).await
}

/// Raises the counter of an account that is locked: its next rows are stamped with the numbers after `owner.user_rev`.
///
/// # Errors
/// Those of the database.
pub async fn raise(transaction: &impl ConnectionTrait, owner: &user::Model, by: usize) -> Result<(), DbErr> {
    if by > 0 {
        user::Entity::update_many()
            .col_expr(user::Column::UserRev, Expr::value(owner.user_rev + by as i64))
            .filter(user::COLUMN.id.eq(owner.id))
            .exec(transaction)
            .await?;
    }
    Ok(())
}
