//! The journal's transaction: what waits, over all conversations, written in one go.
//! Never a verdict of its own: `policy.rs` gives it, on rows that are locked here.
//!
//! # Why
//! Three steps, each a fixed number of statements whatever waits. *Load* locks the heads, in the
//! order of their ids, and reads what the items touch. *Apply* (`apply.rs`) decides and numbers in
//! memory. *Save* writes sets. Membership is read after the lock, in a statement of its own: checked
//! inside the locking statement, a send is accepted after the sender's removal has committed.

mod audience;
mod departing;

use super::apply::{Head, Stored, Work};
use super::change::{Change, Done, Written};
use crate::clock::Clock;
use crate::journal::Item;
use crate::privacy::audience_changed;
use crate::protocol::Refusal;
use crate::retry::{self, Failed};
use crate::sql::{Table, select_in};
use entities::db::Backend;
use entities::{ConversationId, ConversationKind, Db, MessageId, Timestamp, UserId, message, participant};
use sea_orm::{ActiveEnum, DatabaseTransaction, DbErr, FromQueryResult, QueryResult, Value};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What a transaction came to: an outcome for each item, and what it wrote to each conversation.
#[derive(Debug, Default)]
pub struct Committed {
    /// In the order of the items.
    pub outcomes: Vec<Result<Done, Refusal>>,
    /// What was written where.
    pub written: HashMap<ConversationId, Written>,
    /// Items whose conversation another node holds; to be tried in a transaction of their own.
    pub skipped: Vec<usize>,
}

/// Commits items; with `skip`, leaves out conversations that another node holds at the moment.
pub async fn commit(
    db: &Db,
    clock: &dyn Clock,
    limits: &crate::limits::Limits,
    items: &[&Item],
    skip: bool,
) -> Result<Committed, Failed> {
    let transaction = db.begin_write().await.map_err(Failed::RolledBack)?;
    match db.heard(write(&transaction, clock, limits, items, skip)).await {
        Ok(committed) => retry::commit(db, transaction).await.map(|()| committed),
        Err(error) => Err(retry::roll_back(db, transaction, error).await),
    }
}

async fn write(
    connection: &DatabaseTransaction,
    clock: &dyn Clock,
    limits: &crate::limits::Limits,
    items: &[&Item],
    skip: bool,
) -> Result<Committed, DbErr> {
    let mut work = Work::new(clock.now(), limits.participants as i32, limits.reactions);
    load_heads(connection, &mut work, items, skip).await?;
    let present: Vec<&Item> =
        items.iter().copied().filter(|item| !skip || work.heads.contains_key(&item.conversation)).collect();
    load_repeats(connection, &mut work, &present).await?;
    load_messages(connection, &mut work, &present).await?;
    load_participants(connection, &mut work, &present).await?;
    departing::load_heirs(connection, &mut work, &present).await?;
    load_mentionable(connection, &mut work, &present).await?;
    lock_users(connection, &mut work, &present).await?;
    audience::load_standings(connection, &mut work, &present).await?;
    audience::load_tellings(connection, &mut work, &present).await?;

    let mut committed = Committed::default();
    for (at, item) in items.iter().enumerate() {
        if skip && !work.heads.contains_key(&item.conversation) {
            committed.skipped.push(at);
            committed.outcomes.push(Ok(Done::Changed));
            continue;
        }
        committed.outcomes.push(work.apply(item));
    }
    save(connection, &mut work).await?;
    committed.written = work.into_written();
    Ok(committed)
}

fn ids<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Vec<T> {
    // Sorted, so that any two nodes lock in the same order.
    values.collect::<BTreeSet<_>>().into_iter().collect()
}

async fn load_heads(
    connection: &DatabaseTransaction,
    work: &mut Work,
    items: &[&Item],
    skip: bool,
) -> Result<(), DbErr> {
    let wanted = ids(items.iter().map(|item| item.conversation));
    let lock = match (Backend::of(connection), skip) {
        (Backend::Sqlite, _) => "",
        (Backend::Postgres, true) => " ORDER BY id FOR NO KEY UPDATE SKIP LOCKED",
        (Backend::Postgres, false) => " ORDER BY id FOR NO KEY UPDATE",
    };
    let rows = select_in(connection, &wanted, "uuid", |list| {
        format!(
            "SELECT id, kind, last_seq, last_rev, policy_rev, participant_count, name, description, rev, last_message_at, \
             blocked FROM conversations WHERE id IN ({list}){lock}"
        )
    })
    .await?;
    for row in rows {
        let head = Head {
            kind: ConversationKind::try_from_value(&row.try_get_by_index::<String>(1)?)?,
            last_seq: row.try_get_by_index(2)?,
            before: row.try_get_by_index(3)?,
            last_rev: row.try_get_by_index(3)?,
            policy_rev: row.try_get_by_index(4)?,
            participants: row.try_get_by_index(5)?,
            name: row.try_get_by_index(6)?,
            description: row.try_get_by_index(7)?,
            rev: row.try_get_by_index(8)?,
            last_message_at: row.try_get_by_index(9)?,
            blocked: row.try_get_by_index(10)?,
            resettled: false,
        };
        work.heads.insert(row.try_get_by_index(0)?, head);
    }
    Ok(())
}

async fn load_repeats(connection: &DatabaseTransaction, work: &mut Work, items: &[&Item]) -> Result<(), DbErr> {
    let mut keys = Table::new(3);
    for item in items {
        if let Change::Send(message) = &item.change {
            keys.push([message.client_id.clone().into(), item.actor.into(), item.conversation.into()]);
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    let rows = keys
        .select(connection, &["text", "uuid", "uuid"], |values| {
            format!(
                "SELECT m.* FROM (VALUES {values}) AS k JOIN messages AS m \
                 ON m.client_id = k.column1 AND m.sender_id = k.column2 AND m.conversation_id = k.column3"
            )
        })
        .await?;
    take_messages(connection, work, &rows).await
}

/// The messages that items are about, and those that they answer.
async fn load_messages(connection: &DatabaseTransaction, work: &mut Work, items: &[&Item]) -> Result<(), DbErr> {
    let wanted = ids(items.iter().flat_map(|item| item.change.messages()).filter(|id| !work.messages.contains_key(id)));
    if wanted.is_empty() {
        return Ok(());
    }
    let rows =
        select_in(connection, &wanted, "uuid", |list| format!("SELECT * FROM messages WHERE id IN ({list})")).await?;
    take_messages(connection, work, &rows).await
}

async fn take_messages(connection: &DatabaseTransaction, work: &mut Work, rows: &[QueryResult]) -> Result<(), DbErr> {
    let mut changed = BTreeSet::new();
    for row in rows {
        let row = message::Model::from_query_result(row, "")?;
        if row.changed {
            changed.insert(row.id);
        }
        work.take(Stored { row, reactions: Vec::new(), reacted_at: Timestamp::EPOCH, new: false, dirty: false });
    }
    // Only a message that was changed can have reactions.
    let changed: Vec<MessageId> = changed.into_iter().collect();
    for (message, user, emoji, at) in super::read::reactions(connection, &changed).await? {
        if let Some(stored) = work.messages.get_mut(&message) {
            stored.reactions.push((user, emoji));
            stored.reacted_at = at;
        }
    }
    Ok(())
}

/// The rows of actors whose rights were not checked against this very state, and of those whom items are about.
async fn load_participants(connection: &DatabaseTransaction, work: &mut Work, items: &[&Item]) -> Result<(), DbErr> {
    let mut wanted = HashSet::new();
    let mut governed = BTreeSet::new();
    for item in items {
        let stale = work.heads.get(&item.conversation).is_some_and(|head| head.policy_rev != item.policy_rev);
        let needs_row = item.change.message().is_some()
            || item.change.is_about_members()
            || matches!(item.change, Change::Mark { .. } | Change::TakeUp | Change::Decline);
        if stale || needs_row {
            wanted.insert((item.conversation, item.actor));
        }
        match &item.change {
            Change::Add { users } => wanted.extend(users.iter().map(|user| (item.conversation, *user))),
            Change::Remove { user } | Change::SetRole { user, .. } | Change::Transfer { to: user } => {
                wanted.insert((item.conversation, *user));
            }
            _ => {}
        }
        if item.change.is_about_members() {
            governed.insert(item.conversation);
        }
    }
    let governed: Vec<ConversationId> = governed.into_iter().collect();
    if !governed.is_empty() {
        let rows = select_in(connection, &governed, "uuid", |list| {
            format!("SELECT conversation_id, user_id FROM participants WHERE conversation_id IN ({list}) AND role = 'owner' AND until_rev IS NULL")
        })
        .await?;
        for row in rows {
            work.owners.entry(row.try_get_by_index(0)?).or_default().insert(row.try_get_by_index(1)?);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut keys = Table::new(2);
    for (conversation, user) in &wanted {
        keys.push([(*conversation).into(), (*user).into()]);
    }
    let rows = keys
        .select(connection, &["uuid", "uuid"], |values| {
            format!(
                "SELECT p.* FROM (VALUES {values}) AS k JOIN participants AS p \
                 ON p.conversation_id = k.column1 AND p.user_id = k.column2"
            )
        })
        .await?;
    for key in wanted {
        work.participants.insert(key, None);
    }
    for row in rows {
        let row = participant::Model::from_query_result(&row, "")?;
        work.participants.insert((row.conversation_id, row.user_id), Some(row));
    }
    Ok(())
}

/// Whom the texts may mention: members by the usernames that stand in them.
async fn load_mentionable(connection: &DatabaseTransaction, work: &mut Work, items: &[&Item]) -> Result<(), DbErr> {
    let mut keys = Table::new(2);
    for item in items {
        let text = match &item.change {
            Change::Send(message) => &message.text,
            Change::Edit { text, .. } => text,
            _ => continue,
        };
        for name in super::mentions::names(text) {
            keys.push([item.conversation.into(), name.into()]);
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    let rows = keys
        .select(connection, &["uuid", "text"], |values| {
            format!(
                "SELECT k.column1, k.column2, u.id, p.user_id FROM (VALUES {values}) AS k JOIN users AS u ON u.username_key = k.column2 \
                 LEFT JOIN participants AS p ON p.conversation_id = k.column1 AND p.user_id = u.id AND p.until_rev IS NULL"
            )
        })
        .await?;
    for row in rows {
        let is_member = row.try_get_by_index::<Option<UserId>>(3)?.is_some();
        work.mentionable
            .insert((row.try_get_by_index(0)?, row.try_get_by_index(1)?), (row.try_get_by_index(2)?, is_member));
    }
    Ok(())
}

/// The users whose own counter will rise, locked in the order of their ids, after the conversations.
async fn lock_users(connection: &DatabaseTransaction, work: &mut Work, items: &[&Item]) -> Result<(), DbErr> {
    let mut wanted: BTreeSet<UserId> = BTreeSet::new();
    for item in items {
        match &item.change {
            Change::Mark { .. } | Change::Leave | Change::TakeUp | Change::Decline => {
                wanted.insert(item.actor);
            }
            Change::Send(_) | Change::React { .. } if work.is_request(item.conversation, item.actor) => {
                wanted.insert(item.actor);
            }
            Change::Add { users } => wanted.extend(users),
            Change::Remove { user } | Change::SetRole { user, .. } => {
                wanted.insert(*user);
            }
            Change::Transfer { to } => wanted.extend([item.actor, *to]),
            // Whoever of them becomes the owner.
            Change::Depart => wanted.extend(departing::members(work, item.conversation)),
            _ => {}
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let lock = if Backend::of(connection) == Backend::Postgres { " ORDER BY id FOR NO KEY UPDATE" } else { "" };
    let wanted: Vec<UserId> = wanted.into_iter().collect();
    let rows = select_in(connection, &wanted, "uuid", |list| {
        format!("SELECT id, user_rev, left_at, privacy FROM users WHERE id IN ({list}){lock}")
    })
    .await?;
    for row in rows {
        let user = row.try_get_by_index(0)?;
        work.users.insert(user, row.try_get_by_index(1)?);
        if row.try_get_by_index::<Option<Timestamp>>(2)?.is_some() {
            work.departed.insert(user);
        }
        work.privacies.insert(user, row.try_get_by_index(3)?);
    }
    Ok(())
}

async fn save(connection: &DatabaseTransaction, work: &mut Work) -> Result<(), DbErr> {
    save_messages(connection, work).await?;
    save_reactions(connection, work).await?;
    save_mentions(connection, work).await?;
    save_participants(connection, work).await?;
    save_users(connection, work).await?;
    save_heads(connection, work).await
}

async fn save_messages(connection: &DatabaseTransaction, work: &Work) -> Result<(), DbErr> {
    let mut inserted = Table::new(14);
    let mut updated = Table::new(6);
    // By place, so that rows of a conversation go to the same page together.
    let mut written: Vec<&Stored> = work.messages.values().filter(|stored| stored.new || stored.dirty).collect();
    written.sort_unstable_by_key(|stored| (stored.row.conversation_id, stored.row.seq));
    for Stored { row, new, .. } in written {
        if *new {
            inserted.push([
                row.conversation_id.into(),
                row.seq.into(),
                row.id.into(),
                row.sender_id.into(),
                row.client_id.clone().into(),
                row.request_hash.clone().into(),
                row.rev.into(),
                row.changed.into(),
                Value::from(row.kind.to_value()),
                row.text.clone().into(),
                row.reply_to.into(),
                row.created_at.into(),
                row.edited_at.into(),
                row.deleted_at.into(),
            ]);
        } else {
            updated.push([
                row.conversation_id.into(),
                row.seq.into(),
                row.rev.into(),
                row.text.clone().into(),
                row.edited_at.into(),
                row.deleted_at.into(),
            ]);
        }
    }
    inserted
        .insert(connection, &["", "", "", "", "", "", "", "", "", "", "", "", "", ""], |values| {
            format!(
                "INSERT INTO messages (conversation_id, seq, id, sender_id, client_id, request_hash, rev, changed, kind, text, \
                 reply_to, created_at, edited_at, deleted_at) VALUES {values}"
            )
        })
        .await?;
    updated
        .update(connection, &["uuid", "bigint", "bigint", "text", "bigint", "bigint"], |values| {
            format!(
                "UPDATE messages SET rev = v.column3, changed = true, text = v.column4, edited_at = v.column5, deleted_at = v.column6 \
                 FROM (VALUES {values}) AS v WHERE messages.conversation_id = v.column1 AND messages.seq = v.column2"
            )
        })
        .await
}

async fn save_reactions(connection: &DatabaseTransaction, work: &mut Work) -> Result<(), DbErr> {
    let mut added = Table::new(4);
    let mut removed = Table::new(3);
    for ((message, user, emoji), given) in std::mem::take(&mut work.reactions) {
        match given {
            Some(at) => added.push([message.into(), user.into(), emoji.into(), at.into()]),
            None => removed.push([message.into(), user.into(), emoji.into()]),
        }
    }
    removed
        .update(connection, &["uuid", "uuid", "text"], |values| {
            format!("DELETE FROM reactions WHERE (message_id, user_id, emoji) IN (VALUES {values})")
        })
        .await?;
    added
        .insert(connection, &["", "", "", ""], |values| {
            format!(
                "INSERT INTO reactions (message_id, user_id, emoji, created_at) VALUES {values} \
                 ON CONFLICT (message_id, user_id, emoji) DO UPDATE SET created_at = excluded.created_at"
            )
        })
        .await?;
    let unloved: Vec<MessageId> = std::mem::take(&mut work.unloved);
    if !unloved.is_empty() {
        let mut keys = Table::new(1);
        unloved.into_iter().for_each(|message| keys.push([message.into()]));
        keys.update(connection, &["uuid"], |values| {
            format!("DELETE FROM reactions WHERE message_id IN (VALUES {values})")
        })
        .await?;
    }
    Ok(())
}

async fn save_mentions(connection: &DatabaseTransaction, work: &mut Work) -> Result<(), DbErr> {
    let mut forgotten = Table::new(2);
    let mut added = Table::new(3);
    for (place, users) in std::mem::take(&mut work.mentions) {
        let new = work.is_new(place);
        if !new {
            forgotten.push([place.conversation.into(), place.seq.into()]);
        }
        for user in users {
            added.push([user.into(), place.conversation.into(), place.seq.into()]);
        }
    }
    forgotten
        .update(connection, &["uuid", "bigint"], |values| {
            format!("DELETE FROM mentions WHERE (conversation_id, seq) IN (VALUES {values})")
        })
        .await?;
    added
        .insert(connection, &["", "", ""], |values| {
            format!("INSERT INTO mentions (user_id, conversation_id, seq) VALUES {values}")
        })
        .await
}

async fn save_participants(connection: &DatabaseTransaction, work: &mut Work) -> Result<(), DbErr> {
    let mut rows = Table::new(15);
    for key in std::mem::take(&mut work.touched) {
        let Some(Some(row)) = work.participants.get(&key) else { continue };
        rows.push(participant_values(row));
    }
    insert_participants(connection, rows).await
}

/// A participant's columns, in the order of `insert_participants`.
pub(super) fn participant_values(row: &participant::Model) -> [Value; 15] {
    [
        row.conversation_id.into(),
        row.user_id.into(),
        Value::from(row.role.to_value()),
        row.from_rev.into(),
        row.until_rev.into(),
        row.visible_from_seq.into(),
        row.read_seq.into(),
        row.delivered_seq.into(),
        row.marked_unread.into(),
        row.rev.into(),
        row.user_rev.into(),
        row.joined_at.into(),
        row.left_at.into(),
        row.request.into(),
        row.declined_rev.into(),
    ]
}

pub(super) async fn insert_participants(connection: &DatabaseTransaction, rows: Table) -> Result<(), DbErr> {
    rows.insert(connection, &[""; 15], |values| {
        format!(
            "INSERT INTO participants (conversation_id, user_id, role, from_rev, until_rev, visible_from_seq, read_seq, delivered_seq, \
             marked_unread, rev, user_rev, joined_at, left_at, request, declined_rev) VALUES {values} ON CONFLICT (conversation_id, user_id) DO UPDATE SET \
             role = excluded.role, from_rev = excluded.from_rev, until_rev = excluded.until_rev, visible_from_seq = excluded.visible_from_seq, \
             read_seq = excluded.read_seq, delivered_seq = excluded.delivered_seq, marked_unread = excluded.marked_unread, \
             rev = excluded.rev, user_rev = excluded.user_rev, joined_at = excluded.joined_at, left_at = excluded.left_at, request = excluded.request, \
             declined_rev = excluded.declined_rev"
        )
    })
    .await
}

async fn save_users(connection: &DatabaseTransaction, work: &mut Work) -> Result<(), DbErr> {
    let mut raised = Table::new(2);
    for user in std::mem::take(&mut work.raised) {
        if let Some(user_rev) = work.users.get(&user) {
            raised.push([user.into(), (*user_rev).into()]);
        }
    }
    raised
        .update(connection, &["uuid", "bigint"], |values| {
            format!("UPDATE users SET user_rev = v.column2 FROM (VALUES {values}) AS v WHERE users.id = v.column1")
        })
        .await?;
    match work.takers() {
        takers if takers.is_empty() => Ok(()),
        takers => audience_changed(connection, work.now, &takers).await,
    }
}

async fn save_heads(connection: &DatabaseTransaction, work: &Work) -> Result<(), DbErr> {
    let mut counters = Table::new(4);
    let mut settings = Table::new(6);
    let mut outbox = Table::new(4);
    let mut raised: Vec<_> = work.heads.iter().filter(|(_, head)| head.last_rev > head.before).collect();
    raised.sort_unstable_by_key(|(id, _)| **id);
    for (id, head) in raised {
        counters.push([(*id).into(), head.last_seq.into(), head.last_rev.into(), head.last_message_at.into()]);
        outbox.push([(*id).into(), (head.before + 1).into(), head.last_rev.into(), work.now.into()]);
        if head.resettled {
            settings.push([
                (*id).into(),
                head.policy_rev.into(),
                head.participants.into(),
                head.name.clone().into(),
                head.description.clone().into(),
                head.rev.into(),
            ]);
        }
    }
    counters
        .update(connection, &["uuid", "bigint", "bigint", "bigint"], |values| {
            format!(
                "UPDATE conversations SET last_seq = v.column2, last_rev = v.column3, last_message_at = v.column4 \
                 FROM (VALUES {values}) AS v WHERE conversations.id = v.column1"
            )
        })
        .await?;
    settings
        .update(connection, &["uuid", "bigint", "integer", "text", "text", "bigint"], |values| {
            format!(
                "UPDATE conversations SET policy_rev = v.column2, participant_count = v.column3, name = v.column4, description = v.column5, \
                 rev = v.column6 FROM (VALUES {values}) AS v WHERE conversations.id = v.column1"
            )
        })
        .await?;
    outbox
        .insert(connection, &["", "", "", ""], |values| {
            format!("INSERT INTO outbox (conversation_id, from_rev, rev, created_at) VALUES {values}")
        })
        .await
}

/// Forgets what is older than `before` and was to be told outside, in steps that hold the writer shortly.
pub async fn prune_outbox(db: &Db, before: entities::Timestamp) -> Result<(), DbErr> {
    use sea_orm::ConnectionTrait;
    loop {
        let parameter = entities::db::parameter(db.backend(), 1, "bigint");
        let sql = format!(
            "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE created_at < {parameter} ORDER BY created_at LIMIT 500)"
        );
        let delete = db.backend().statement(sql, [before.into()]);
        let deleted = db.heard(db.write().execute_raw(delete)).await?.rows_affected();
        if deleted < 500 {
            return Ok(());
        }
    }
}
