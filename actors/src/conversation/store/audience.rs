//! How those stand to each other whom items bring together: who may add whom, and whom one tells what they have read.
//! Never a verdict: `apply.rs` gives it.

use super::Work;
use crate::conversation::apply::Telling;
use crate::conversation::change::Change;
use crate::journal::Item;
use crate::privacy::{Relation, Subject, allows, relation, relation_sql, standings};
use crate::sql::Table;
use entities::{ConversationId, ConversationKind, UserId};
use sea_orm::{DatabaseTransaction, DbErr};
use std::collections::BTreeSet;

/// How those who add stand to those whom they add, who are locked: whom they let do so changes no more.
pub(super) async fn load_standings(
    connection: &DatabaseTransaction,
    work: &mut Work,
    items: &[&Item],
) -> Result<(), DbErr> {
    let mut pairs = BTreeSet::new();
    for item in items {
        if let Change::Add { users } = &item.change {
            pairs.extend(users.iter().map(|user| (item.actor, *user)));
        }
    }
    if !pairs.is_empty() {
        let pairs: Vec<(UserId, UserId)> = pairs.into_iter().collect();
        work.standings = standings(connection, &pairs).await?;
    }
    Ok(())
}

/// What the others are told of those who mark what is new: in a group by the reader's own choice alone, since all are
/// told alike; in a private conversation by how the two stand to each other, and only if both tell each other.
pub(super) async fn load_tellings(
    connection: &DatabaseTransaction,
    work: &mut Work,
    items: &[&Item],
) -> Result<(), DbErr> {
    let mut pairs = Table::new(2);
    for item in items {
        let Change::Mark { read, delivered, .. } = &item.change else { continue };
        let key = (item.conversation, item.actor);
        let (Some(head), Some(Some(row))) = (work.heads.get(&item.conversation), work.participants.get(&key)) else {
            continue;
        };
        if *read <= Some(row.read_seq) && *delivered <= Some(row.delivered_seq) {
            continue;
        }
        if head.kind == ConversationKind::Private {
            pairs.push([item.conversation.into(), item.actor.into()]);
        } else if let Some(privacy) = work.privacies.get(&item.actor) {
            let all = allows(privacy, Subject::ReadReceipts, Relation::Stranger);
            work.tellings.insert(key, if all { Telling::Read } else { Telling::Delivered });
        }
    }
    if pairs.is_empty() {
        return Ok(());
    }
    let (to_reader, to_other) = (relation_sql("o.user_id", "k.column2"), relation_sql("k.column2", "o.user_id"));
    let sql = |values: &str| {
        format!(
            "SELECT k.column1, k.column2, {to_reader}, {to_other}, users.privacy FROM (VALUES {values}) AS k \
             JOIN participants AS o ON o.conversation_id = k.column1 AND o.user_id <> k.column2 AND o.until_rev IS NULL \
             JOIN users ON users.id = o.user_id"
        )
    };
    for row in pairs.select(connection, &["uuid", "uuid"], sql).await? {
        let key: (ConversationId, UserId) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let (to_reader, to_other): (String, String) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
        let (to_reader, to_other) = (relation(&to_reader), relation(&to_other));
        let Some(reader) = work.privacies.get(&key.1) else { continue };
        let both = allows(reader, Subject::ReadReceipts, to_reader)
            && allows(&row.try_get_by_index(4)?, Subject::ReadReceipts, to_other);
        let telling = match (to_reader, both) {
            (Relation::Blocked, _) => Telling::Nothing,
            (_, true) => Telling::Read,
            (_, false) => Telling::Delivered,
        };
        work.tellings.insert(key, telling);
    }
    Ok(())
}
