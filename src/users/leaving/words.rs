//! What somebody has said, and how they have reacted, wherever they were, also where they may not read any more.
//! Never what others have said or how they have reacted.
//!
//! # Why by spans
//! No index knows what of a conversation is whose. So it is looked through a span of its messages at a time, as the
//! purge does it: no statement takes longer where somebody said nothing among millions.

use super::content::named;
use super::making::Making;
use actors::conversation::read;
use actors::protocol::Outcome;
use entities::db::parameter;
use entities::{Db, MessageId, Timestamp, message, participant, user};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, QueryFilter, QueryResult};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Messages that one statement looks through.
const SPAN: i64 = 1000;

/// A user's own messages of a conversation up to one `seq`, as items of the list that is being written. Without
/// reactions: those of others are for its members, their own stand elsewhere.
///
/// # Errors
/// Those of `Exports::add`.
pub async fn said(db: &Db, out: &mut Making<'_>, member: &participant::Model, upto: i64) -> Outcome<()> {
    let name = user::by_id(member.user_id).one(db.read()).await?.map(|row| (row.id, row.display_name));
    let name = HashMap::from_iter(name);
    for (after, upto) in spans(upto) {
        let own = message::after(member.conversation_id, after).filter(message::COLUMN.seq.lte(upto));
        let own = own.filter(message::COLUMN.sender_id.eq(member.user_id)).all(db.read()).await?;
        let views = own.iter().map(|row| read::message_view(row, &[], None));
        out.items(views.map(|view| named(view, &name))).await?;
    }
    Ok(())
}

/// How a user has reacted in a conversation, as items of the list that is being written.
///
/// # Errors
/// Those of `Exports::add`.
pub async fn reactions(db: &Db, out: &mut Making<'_>, member: &participant::Model) -> Outcome<()> {
    let last_seq = last_seq(db, member).await?;
    let backend = db.backend();
    let p = |number, cast| parameter(backend, number, cast);
    // Only a message that was changed can have reactions.
    let sql = format!(
        "SELECT m.id, m.seq, r.emoji, r.created_at FROM messages AS m \
         JOIN reactions AS r ON r.message_id = m.id AND r.user_id = {} \
         WHERE m.conversation_id = {} AND m.seq > {} AND m.seq <= {} AND m.changed ORDER BY m.seq, r.created_at",
        p(1, "uuid"),
        p(2, "uuid"),
        p(3, "bigint"),
        p(4, "bigint"),
    );
    for (after, upto) in spans(last_seq) {
        let values = [member.user_id.into(), member.conversation_id.into(), after.into(), upto.into()];
        let rows = db.read().query_all_raw(backend.statement(&sql, values)).await?;
        let given = rows.iter().map(|row| reaction(member, row)).collect::<Result<Vec<_>, _>>()?;
        out.items(given).await?;
    }
    Ok(())
}

/// The newest message of a conversation.
///
/// # Errors
/// Those of the database.
pub async fn last_seq(db: &Db, member: &participant::Model) -> Result<i64, DbErr> {
    let counters = read::counters(db.read(), &[member.conversation_id]).await?;
    Ok(counters.get(&member.conversation_id).map_or(0, |counters| counters.last_seq))
}

fn reaction(member: &participant::Model, row: &QueryResult) -> Result<Value, DbErr> {
    let (message, seq): (MessageId, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    let (emoji, at): (String, Timestamp) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
    let conversation = member.conversation_id;
    Ok(json!({ "conversationId": conversation, "messageId": message, "seq": seq, "emoji": emoji, "createdAt": at }))
}

/// The messages up to one: above which, and up to which.
fn spans(upto: i64) -> impl Iterator<Item = (i64, i64)> {
    (0..upto).step_by(SPAN as usize).map(move |after| (after, upto.min(after + SPAN)))
}
