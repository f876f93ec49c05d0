//! Who is in a conversation, as one of them may see the others: by the privacy of each.
//! Never who may be in it.

use super::actor::INTIMATE;
use crate::privacy::{Relation, Subject, allows, people, standings};
use crate::protocol::view::{self, Participant};
use entities::{ConversationId, ConversationKind, Db, Privacy, Timestamp, UserId, participant};
use sea_orm::{ColumnTrait, DbErr, QueryFilter, QueryOrder, QuerySelect};

/// Whose members, and who looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circle {
    pub conversation: ConversationId,
    pub kind: ConversationKind,
    /// How many members.
    pub participants: i32,
    pub viewer: UserId,
}

/// Current members by user id, after one, at most `limit`; two statements, and one more in a private conversation. Of a
/// pair both, also one whose account has ended: that is whom the other one talked with.
pub(super) async fn page(
    db: &Db,
    now: Timestamp,
    circle: Circle,
    after: Option<UserId>,
    limit: u64,
) -> Result<Vec<Participant>, DbErr> {
    let rows = match circle.kind {
        ConversationKind::Private => participant::in_conversation(circle.conversation),
        ConversationKind::Group => participant::current_in(circle.conversation),
    };
    let rows = rows.order_by_asc(participant::COLUMN.user_id).limit(limit);
    let rows = match after {
        Some(user) => rows.filter(participant::Column::UserId.gt(user)),
        None => rows,
    };
    let rows = rows.all(db.read()).await?;
    let ids: Vec<UserId> = rows.iter().map(|row| row.user_id).collect();
    let mut people = people(db.read(), circle.viewer, &ids).await?;
    let back = standings_back(db, circle, &ids).await?;
    let seen = rows.iter().map(|row| {
        let mut seen = Participant::from_row(row);
        let Some((user, relation)) = people.remove(&row.user_id) else { return seen };
        if circle.participants <= INTIMATE {
            let (read, delivered) = marks_shown(circle.kind, row, &user.privacy, relation, back.as_ref());
            seen.read_seq = read.then_some(row.read_seq);
            seen.delivered_seq = delivered.then_some(row.delivered_seq);
        }
        seen.user = Some(Box::new(view::User::from_row(user, relation, now)));
        seen
    });
    Ok(seen.collect())
}

/// How the other one of a private conversation stands to whoever looks, and whom the latter lets see what.
async fn standings_back(db: &Db, circle: Circle, members: &[UserId]) -> Result<Option<(Relation, Privacy)>, DbErr> {
    if circle.kind != ConversationKind::Private {
        return Ok(None);
    }
    let others: Vec<_> =
        members.iter().filter(|user| **user != circle.viewer).map(|other| (*other, circle.viewer)).collect();
    if others.is_empty() {
        return Ok(None);
    }
    Ok(standings(db.read(), &others).await?.into_values().next())
}

/// Whether somebody may know what a member has read, and what has arrived there: the rule by which receipts are told.
fn marks_shown(
    kind: ConversationKind,
    row: &participant::Model,
    privacy: &Privacy,
    relation: Relation,
    back: Option<&(Relation, Privacy)>,
) -> (bool, bool) {
    match (relation, kind) {
        (Relation::Own, _) => (true, true),
        _ if row.request => (false, false),
        (Relation::Blocked, ConversationKind::Private) => (false, false),
        (_, ConversationKind::Private) => {
            let tells = allows(privacy, Subject::ReadReceipts, relation);
            let is_told = back.is_some_and(|(back, own)| allows(own, Subject::ReadReceipts, *back));
            (tells && is_told, true)
        }
        (_, ConversationKind::Group) => (allows(privacy, Subject::ReadReceipts, Relation::Stranger), true),
    }
}
