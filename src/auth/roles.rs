//! What an account may do on the whole node, beyond being a user.
//! Never roles in a conversation.

use actors::protocol::{ErrorCode, Outcome};
use entities::{UserId, user_role};
use sea_orm::{ConnectionTrait, DbErr, QueryFilter};

/// Who sees to the node: may change other people's profiles, read everybody's security events and reports.
pub const OPERATOR: &str = "operator";

/// Whether a user has a role on this node.
///
/// # Errors
/// Those of the database.
pub async fn has(db: &impl ConnectionTrait, user: UserId, role: &str) -> Result<bool, DbErr> {
    let held = user_role::of_user(user).filter(user_role::COLUMN.role.eq(role));
    Ok(held.one(db).await?.is_some())
}

/// Refuses whoever has not this role.
///
/// # Errors
/// `auth.forbidden`; a fault of the database.
pub async fn demand(db: &impl ConnectionTrait, user: UserId, role: &str) -> Outcome<()> {
    match has(db, user, role).await? {
        true => Ok(()),
        false => Err(ErrorCode::AuthForbidden.into()),
    }
}
