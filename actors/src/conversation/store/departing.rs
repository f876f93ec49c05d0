//! Whom a group may have as its owner when the only one's account ends: their rows, read under the group's lock.
//! Never which of them: `apply/departing.rs` chooses.

use super::Work;
use crate::conversation::change::Change;
use crate::journal::Item;
use entities::db::parameter;
use entities::{Backend, ConversationId, UserId, participant};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, FromQueryResult};
use std::collections::BTreeSet;

/// Reads the first candidates for each group whose owner departs: one more than there are items, of which each may rule
/// out one.
pub(super) async fn load_heirs(
    connection: &DatabaseTransaction,
    work: &mut Work,
    items: &[&Item],
) -> Result<(), DbErr> {
    let departs = items.iter().filter(|item| matches!(item.change, Change::Depart));
    let is_owner = |item: &&&Item| work.owners.get(&item.conversation).is_some_and(|all| all.contains(&item.actor));
    let orphaned: BTreeSet<ConversationId> = departs.filter(is_owner).map(|item| item.conversation).collect();
    let backend = Backend::of(connection);
    let sql = format!(
        "SELECT * FROM participants WHERE conversation_id = {} AND until_rev IS NULL AND role <> 'owner' \
         ORDER BY role, joined_at, user_id LIMIT {}",
        parameter(backend, 1, "uuid"),
        parameter(backend, 2, "bigint"),
    );
    for conversation in orphaned {
        let most = 1 + items.iter().filter(|item| item.conversation == conversation).count() as i64;
        let select = backend.statement(&sql, [conversation.into(), most.into()]);
        for row in connection.query_all_raw(select).await? {
            let row = participant::Model::from_query_result(&row, "")?;
            work.participants.insert((row.conversation_id, row.user_id), Some(row));
        }
    }
    Ok(())
}

/// Those members of a conversation whose rows were read.
pub(super) fn members(work: &Work, conversation: ConversationId) -> impl Iterator<Item = UserId> {
    work.participants.keys().filter(move |(of, _)| *of == conversation).map(|(_, user)| *user)
}
