//! Making an account, whichever way somebody came to it.
//! Never who may have one: that was shown before.

use crate::users::contacts::joined;
use actors::clock::Clock;
use entities::user;
use sea_orm::sea_query::OnConflict;
use sea_orm::{DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel};

/// Makes an account, unless another has its number, its address or its name; tells whether it did.
///
/// # Why the row decides who was first
/// Two may come at once, on two nodes, with one number, one address or one name. All of them are unique: one of both
/// makes the account, the other waits for it, and then finds what was taken.
///
/// # Errors
/// Those of the database.
pub async fn make(transaction: &DatabaseTransaction, clock: &dyn Clock, row: user::Model) -> Result<bool, DbErr> {
    let (id, has_number) = (row.id, row.phone.is_some());
    let unless_taken = OnConflict::new().do_nothing().to_owned();
    let insert = user::Entity::insert(row.into_active_model()).on_conflict(unless_taken);
    if insert.exec_without_returning(transaction).await? == 0 {
        return Ok(false);
    }
    if has_number {
        joined(transaction, clock, id).await?;
    }
    Ok(true)
}
