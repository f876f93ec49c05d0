//! Who may know of whom that they are there: those who share a conversation.
//! Never what they may then see (see `sight`).

use crate::sql::Table;
use entities::{Timestamp, UserId, participant};
use sea_orm::{ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use std::collections::{HashMap, HashSet};

/// How somebody knows another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquaintance {
    /// They share a conversation, or are one.
    Shared,
    /// They share only one that the other has not taken up: it is a request to them.
    Asked,
}

/// How the first of each pair knows the second.
pub type Acquaintances = HashMap<(UserId, UserId), Acquaintance>;

/// How `user` knows each of these; those whom they do not know are left out.
pub async fn acquainted(
    on: &impl ConnectionTrait,
    user: UserId,
    others: &[UserId],
) -> Result<HashMap<UserId, Acquaintance>, DbErr> {
    let pairs: Vec<(UserId, UserId)> = others.iter().map(|other| (user, *other)).collect();
    Ok(acquainted_pairs(on, &pairs).await?.into_iter().map(|((_, other), known)| (other, known)).collect())
}

/// How the first of each pair knows the second; pairs who share nothing are left out.
pub async fn acquainted_pairs(on: &impl ConnectionTrait, pairs: &[(UserId, UserId)]) -> Result<Acquaintances, DbErr> {
    let mut table = Table::new(2);
    pairs.iter().for_each(|(user, other)| table.push([(*other).into(), (*user).into()]));
    if table.is_empty() {
        return Ok(HashMap::new());
    }
    let share = |which: &str| {
        format!(
            "EXISTS (SELECT 1 FROM participants AS m JOIN participants AS o ON o.conversation_id = m.conversation_id \
             AND o.user_id = k.column1 AND o.until_rev IS NULL AND {which} \
             WHERE m.user_id = k.column2 AND m.until_rev IS NULL)"
        )
    };
    let (shared, asked) = (share("NOT o.request"), share("o.request"));
    let sql = |values: &str| {
        format!(
            "SELECT k.column2, k.column1, CASE WHEN k.column1 = k.column2 OR {shared} THEN 'shared' \
             WHEN {asked} THEN 'asked' ELSE 'none' END FROM (VALUES {values}) AS k"
        )
    };
    let mut found = HashMap::new();
    for row in table.select(on, &["uuid", "uuid"], sql).await? {
        let known = match row.try_get_by_index::<String>(2)?.as_str() {
            "shared" => Acquaintance::Shared,
            "asked" => Acquaintance::Asked,
            _ => continue,
        };
        found.insert((row.try_get_by_index(0)?, row.try_get_by_index(1)?), known);
    }
    Ok(found)
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
