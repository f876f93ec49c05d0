//! What of people's address books and blocks has changed, for their own devices.
//! Never a write: whoever changes a row stamps it with its owner's `userRev`.

use crate::protocol::view::{self, UserItem};
use crate::sql::Table;
use entities::{Timestamp, UserId};
use sea_orm::{ConnectionTrait, DbErr, QueryResult};

/// The columns of a changed row, the same for both tables: a block has no name and stands nowhere.
const CHANGED: &str = "SELECT r.owner_id, r.user_id, r.user_rev, r.removed, r.created_at";

/// What changed within `after < user_rev <= upto` of (user, after, upto), at most `limit` rows of all in `userRev`
/// order. One statement, however many users.
///
/// # Errors
/// Those of the database.
pub async fn changed(
    connection: &impl ConnectionTrait,
    behind: Table,
    limit: Option<u64>,
) -> Result<Vec<(UserId, UserItem)>, DbErr> {
    let limit = limit.map(|limit| format!(" ORDER BY user_rev LIMIT {limit}")).unwrap_or_default();
    let within = "r.owner_id = k.column1 AND r.user_rev > k.column2 AND r.user_rev <= k.column3";
    // The list is padded with its last row, so equal rows are one: UNION, not UNION ALL.
    let rows = behind
        .select(connection, &["uuid", "bigint", "bigint"], |values| {
            format!(
                "WITH k AS (VALUES {values}) \
                 {CHANGED}, TRUE AS listed, r.name, r.favourite, r.suggested FROM k JOIN contacts AS r ON {within} UNION \
                 {CHANGED}, FALSE, NULL, FALSE, FALSE FROM k JOIN blocks AS r ON {within}{limit}"
            )
        })
        .await?;
    rows.iter().map(item).collect()
}

fn item(row: &QueryResult) -> Result<(UserId, UserItem), DbErr> {
    let (owner, user_id): (UserId, UserId) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    let (user_rev, removed): (i64, bool) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
    let since: Timestamp = row.try_get_by_index(4)?;
    let item = match row.try_get_by_index(5)? {
        true => {
            // A tombstone remembers whether it was one, in case it comes back.
            let favourite = row.try_get_by_index::<bool>(7)? && !removed;
            let suggested = row.try_get_by_index(8)?;
            let contact = view::Contact {
                user_id,
                name: row.try_get_by_index(6)?,
                favourite,
                suggested,
                removed,
                added_at: since,
            };
            UserItem::Contact { user_rev, contact }
        }
        false => UserItem::Block { user_rev, block: view::Blocked { user_id, removed, blocked_at: since } },
    };
    Ok((owner, item))
}
