//! Who may know of whom that they are there: those who share a conversation.
//! Never what they may then see.

use crate::sql::Table;
use entities::{Db, Timestamp, UserId, participant};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use std::collections::HashSet;

/// Which of these users share a conversation with `user` now, or are that user.
pub async fn acquainted(db: &Db, user: UserId, others: &[UserId]) -> Result<Vec<UserId>, DbErr> {
    let pairs: Vec<(UserId, UserId)> = others.iter().map(|other| (user, *other)).collect();
    Ok(acquainted_pairs(db, &pairs).await?.into_iter().map(|(_, other)| other).collect())
}

/// Those of the pairs (user, other) who share a conversation, or are one.
pub async fn acquainted_pairs(db: &Db, pairs: &[(UserId, UserId)]) -> Result<HashSet<(UserId, UserId)>, DbErr> {
    let mut table = Table::new(2);
    pairs.iter().for_each(|(user, other)| table.push([(*other).into(), (*user).into()]));
    if table.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = table
        .select(db.read(), &["uuid", "uuid"], |values| {
            format!(
                "SELECT DISTINCT k.column2, k.column1 FROM (VALUES {values}) AS k WHERE k.column1 = k.column2 OR EXISTS (\
                 SELECT 1 FROM participants AS m JOIN participants AS o ON o.conversation_id = m.conversation_id \
                 AND o.user_id = k.column1 AND o.until_rev IS NULL WHERE m.user_id = k.column2 AND m.until_rev IS NULL)"
            )
        })
        .await?;
    rows.iter().map(|row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).collect()
}

/// Who has left a conversation since then, or was removed from one.
pub async fn left_since(connection: &impl ConnectionTrait, since: Timestamp) -> Result<HashSet<UserId>, DbErr> {
    let left = participant::Entity::find()
        .select_only()
        .column(participant::Column::UserId)
        .distinct()
        .filter(participant::COLUMN.left_at.gte(since));
    Ok(left.into_tuple().all(connection).await?.into_iter().collect())
}
