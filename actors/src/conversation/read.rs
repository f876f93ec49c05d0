//! Reading conversations: each page a fixed number of statements, each bound to a member's span.
//! Never a write, and never a room: reads go to the rows.

use crate::cluster::Move;
use crate::protocol::view::{self, Item, Mine, UserItem};
use crate::protocol::{ErrorCode, Outcome};
use crate::sql::{Table, select_in};
use entities::db::parameter;
use entities::{
    Backend, ConversationId, ConversationKind, Db, MessageId, Role, Timestamp, UserId, conversation, message,
    participant, user,
};
use sea_orm::{
    ActiveEnum, ConnectionTrait, DbErr, FromQueryResult, QueryFilter, QueryOrder, QueryResult, QuerySelect, Value,
};
use std::collections::HashMap;

/// Counting stops here: '1000+'.
pub const UNREAD_CAP: i64 = 1000;
/// Above this many members, changes of members are not listed.
pub const LISTED_MEMBERS: i32 = 1000;
/// A client further behind takes the history afresh.
pub const TOO_FAR: i64 = 10_000;
/// Users named beside a reaction's count.
const NAMED: usize = 20;

/// A current member's place in a conversation, with the conversation's counters.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it is.
    pub kind: ConversationKind,
    /// The newest message.
    pub last_seq: i64,
    /// The newest change.
    pub last_rev: i64,
    /// How many members.
    pub participant_count: i32,
    /// The member's role.
    pub role: Role,
    /// The first message that the member may see.
    pub visible_from_seq: i64,
    /// Whether one of a pair blocks the other.
    pub blocked: bool,
    /// It is a request to them, which they have not taken up.
    pub request: bool,
}

/// The member's place, if they are one now.
pub async fn membership(
    connection: &impl ConnectionTrait,
    conversation: ConversationId,
    user: UserId,
) -> Result<Option<Member>, DbErr> {
    let backend = Backend::of(connection);
    let sql = format!(
        "SELECT c.kind, c.last_seq, c.last_rev, c.participant_count, p.role, p.visible_from_seq, c.blocked, p.request \
         FROM participants AS p JOIN conversations AS c ON c.id = p.conversation_id \
         WHERE p.conversation_id = {} AND p.user_id = {} AND p.until_rev IS NULL",
        parameter(backend, 1, "uuid"),
        parameter(backend, 2, "uuid"),
    );
    let row = connection.query_one_raw(backend.statement(sql, [conversation.into(), user.into()])).await?;
    row.map(|row| {
        Ok(Member {
            kind: ConversationKind::try_from_value(&row.try_get_by_index::<String>(0)?)?,
            last_seq: row.try_get_by_index(1)?,
            last_rev: row.try_get_by_index(2)?,
            participant_count: row.try_get_by_index(3)?,
            role: Role::try_from_value(&row.try_get_by_index::<String>(4)?)?,
            visible_from_seq: row.try_get_by_index(5)?,
            blocked: row.try_get_by_index(6)?,
            request: row.try_get_by_index(7)?,
        })
    })
    .transpose()
}

/// The member's place, or `conversation.not_found`.
pub async fn member(db: &Db, conversation: ConversationId, user: UserId) -> Outcome<Member> {
    membership(db.read(), conversation, user).await?.ok_or_else(|| ErrorCode::ConversationNotFound.into())
}

// --- messages

/// Who reacted how to these messages and when, first given first.
pub async fn reactions(
    connection: &impl ConnectionTrait,
    messages: &[MessageId],
) -> Result<Vec<(MessageId, UserId, String, Timestamp)>, DbErr> {
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let rows = select_in(connection, messages, "uuid", |list| {
        format!("SELECT message_id, user_id, emoji, created_at FROM reactions WHERE message_id IN ({list}) ORDER BY created_at, user_id, emoji")
    })
    .await?;
    let given = |row: &QueryResult| {
        Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?, row.try_get_by_index(3)?))
    };
    rows.iter().map(given).collect()
}

/// A message as clients see it; `conversation` where it does not stand beside it.
pub fn message_view(
    row: &message::Model,
    reactions: &[(UserId, String)],
    conversation: Option<ConversationId>,
) -> view::Message {
    let mut grouped: Vec<view::Reaction> = Vec::new();
    for (user, emoji) in reactions {
        let at = grouped.iter().position(|reaction| reaction.emoji == *emoji).unwrap_or_else(|| {
            grouped.push(view::Reaction { emoji: emoji.clone(), count: 0, user_ids: Vec::new() });
            grouped.len() - 1
        });
        grouped[at].count += 1;
        if grouped[at].user_ids.len() < NAMED {
            grouped[at].user_ids.push(*user);
        }
    }
    view::Message {
        id: row.id,
        conversation_id: conversation,
        seq: row.seq,
        rev: row.rev,
        sender_id: row.sender_id,
        client_id: row.client_id.clone(),
        kind: row.kind,
        text: row.text.clone(),
        reply_to: row.reply_to,
        reactions: grouped,
        created_at: row.created_at,
        edited_at: row.edited_at,
        deleted_at: row.deleted_at,
    }
}

/// Rows with their reactions, in the rows' order.
pub async fn message_views(
    connection: &impl ConnectionTrait,
    rows: Vec<message::Model>,
    named: bool,
) -> Result<Vec<view::Message>, DbErr> {
    // Only a message that was changed can have reactions.
    let changed: Vec<MessageId> = rows.iter().filter(|row| row.changed).map(|row| row.id).collect();
    let mut by_message: HashMap<MessageId, Vec<(UserId, String)>> = HashMap::new();
    for (message, user, emoji, _) in reactions(connection, &changed).await? {
        by_message.entry(message).or_default().push((user, emoji));
    }
    let none = Vec::new();
    let view = |row: &message::Model| {
        message_view(row, by_message.get(&row.id).unwrap_or(&none), named.then_some(row.conversation_id))
    };
    Ok(rows.iter().map(view).collect())
}

/// Which messages of a conversation.
#[derive(Debug, Clone, Copy)]
pub enum Span {
    /// Those below, nearest first.
    Before(i64),
    /// Those above, nearest first.
    After(i64),
}

/// Up to `limit` messages of a span, ascending, and whether it holds more.
pub async fn span(
    connection: &impl ConnectionTrait,
    conversation: ConversationId,
    visible_from: i64,
    span: Span,
    limit: u64,
) -> Result<(Vec<message::Model>, bool), DbErr> {
    use message::COLUMN;
    let visible = message::in_conversation(conversation).filter(COLUMN.seq.gte(visible_from));
    let query = match span {
        Span::Before(seq) => visible.filter(COLUMN.seq.lt(seq)).order_by_desc(COLUMN.seq),
        Span::After(seq) => visible.filter(COLUMN.seq.gt(seq)).order_by_asc(COLUMN.seq),
    };
    let mut rows = query.limit(limit + 1).all(connection).await?;
    let more = rows.len() as u64 > limit;
    rows.truncate(limit as usize);
    if matches!(span, Span::Before(_)) {
        rows.reverse();
    }
    Ok((rows, more))
}

/// What a row takes in a reply, about.
pub fn weight(row: &message::Model) -> usize {
    400 + row.text.as_ref().map_or(0, |text| text.len() * 2)
}

// --- changes

/// One conversation's rows with `after < rev <= upto`, in `rev` order, at most `limit` of them; and
/// where the next page begins.
pub async fn changes(
    connection: &impl ConnectionTrait,
    conversation: ConversationId,
    counters: &Counters,
    after: i64,
    limit: u64,
) -> Result<(Vec<Item>, i64), DbErr> {
    let upto = counters.last_rev;
    let mut items: Vec<Item> = Vec::new();
    let settings = conversation::by_id(conversation)
        .filter(conversation::COLUMN.rev.gt(after))
        .filter(conversation::COLUMN.rev.lte(upto));
    if let Some(row) = settings.one(connection).await? {
        items.push(Item::Conversation(view::Settings { rev: row.rev, name: row.name, description: row.description }));
    }
    if counters.participant_count <= LISTED_MEMBERS {
        let rows = participant::changed_in(conversation, after, upto).limit(limit + 1).all(connection).await?;
        items.extend(rows.iter().map(|row| Item::Participant(view::Participant::from_row(row))));
    }
    let rows = changed_messages(connection, conversation, counters, after, limit + 1).await?;
    items.extend(message_views(connection, rows, false).await?.into_iter().map(Item::Message));
    items.sort_unstable_by_key(Item::rev);
    let more = items.len() as u64 > limit;
    items.truncate(limit as usize);
    let next = if more { items.last().map_or(upto, Item::rev) } else { upto };
    Ok((items, next))
}

/// Who has come or gone after a `rev`, also in conversations whose members' changes are not listed.
pub async fn moves(
    connection: &impl ConnectionTrait,
    conversation: ConversationId,
    after: i64,
) -> Result<Vec<Move>, DbErr> {
    let columns = [participant::Column::UserId, participant::Column::FromRev, participant::Column::UntilRev];
    let rows = participant::moved_in(conversation, after).select_only().columns(columns);
    let rows = rows.into_tuple::<(UserId, i64, Option<i64>)>().all(connection).await?;
    Ok(rows.into_iter().map(|(user, from_rev, until_rev)| Move { user, from_rev, until_rev }).collect())
}

/// A conversation's counters, read before the rows.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    /// The newest message.
    pub last_seq: i64,
    /// The newest change.
    pub last_rev: i64,
    /// How many members.
    pub participant_count: i32,
}

/// Each message took a `rev` when it was sent, so one whose `rev` is still above `after` and that was
/// never changed has a `seq` above `last_seq - (last_rev - after)`: a range of the key, no index.
/// Those that were changed have an index of their own.
async fn changed_messages(
    connection: &impl ConnectionTrait,
    conversation: ConversationId,
    counters: &Counters,
    after: i64,
    limit: u64,
) -> Result<Vec<message::Model>, DbErr> {
    let lowest = (counters.last_seq - (counters.last_rev - after)).max(0);
    let backend = Backend::of(connection);
    let p = |number, cast| parameter(backend, number, cast);
    let sql = format!(
        "SELECT * FROM (\
         SELECT * FROM messages WHERE conversation_id = {} AND seq > {} AND rev > {} AND rev <= {} UNION ALL \
         SELECT * FROM messages WHERE conversation_id = {} AND rev > {} AND rev <= {} AND changed AND seq <= {}\
         ) AS m ORDER BY rev LIMIT {}",
        p(1, "uuid"),
        p(2, "bigint"),
        p(3, "bigint"),
        p(4, "bigint"),
        p(5, "uuid"),
        p(6, "bigint"),
        p(7, "bigint"),
        p(8, "bigint"),
        p(9, "bigint"),
    );
    let upto = counters.last_rev;
    let values: [Value; 9] = [
        conversation.into(),
        lowest.into(),
        after.into(),
        upto.into(),
        conversation.into(),
        after.into(),
        upto.into(),
        lowest.into(),
        (limit as i64).into(),
    ];
    let rows = connection.query_all_raw(backend.statement(sql, values)).await?;
    rows.iter().map(|row| message::Model::from_query_result(row, "")).collect()
}

/// The counters of these conversations.
pub async fn counters(
    connection: &impl ConnectionTrait,
    conversations: &[ConversationId],
) -> Result<HashMap<ConversationId, Counters>, DbErr> {
    if conversations.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = select_in(connection, conversations, "uuid", |list| {
        format!("SELECT id, last_seq, last_rev, participant_count FROM conversations WHERE id IN ({list})")
    })
    .await?;
    let entry = |row: &QueryResult| {
        let counters = Counters {
            last_seq: row.try_get_by_index(1)?,
            last_rev: row.try_get_by_index(2)?,
            participant_count: row.try_get_by_index(3)?,
        };
        Ok((row.try_get_by_index(0)?, counters))
    };
    rows.iter().map(entry).collect()
}

// --- what is the member's own

/// The columns of `Mine`, given a participant `p`; see `mine`.
///
/// A message counts as unread if it is somebody else's, visible, not deleted and not the node's own.
fn mine_columns() -> String {
    let from = "CASE WHEN p.read_seq >= p.visible_from_seq THEN p.read_seq ELSE p.visible_from_seq - 1 END";
    format!(
        "p.role, p.read_seq, p.delivered_seq, p.marked_unread, \
         (SELECT count(*) FROM (SELECT 1 FROM messages AS m WHERE m.conversation_id = p.conversation_id AND m.seq > {from} \
          AND m.sender_id <> p.user_id AND m.deleted_at IS NULL AND m.kind = 'text' LIMIT {UNREAD_CAP}) AS u), \
         (SELECT count(*) FROM (SELECT 1 FROM mentions AS n WHERE n.user_id = p.user_id AND n.conversation_id = p.conversation_id \
          AND n.seq > {from} LIMIT {UNREAD_CAP}) AS o), p.request"
    )
}

/// Reads `mine_columns` from column `at` on.
fn mine(row: &QueryResult, at: usize) -> Result<Mine, DbErr> {
    Ok(Mine {
        role: Role::try_from_value(&row.try_get_by_index::<String>(at)?)?,
        read_seq: row.try_get_by_index(at + 1)?,
        delivered_seq: row.try_get_by_index(at + 2)?,
        marked_unread: row.try_get_by_index(at + 3)?,
        unread: row.try_get_by_index::<i64>(at + 4)? as u32,
        mentions: row.try_get_by_index::<i64>(at + 5)? as u32,
        request: row.try_get_by_index(at + 6)?,
    })
}

/// What of a conversation is the member's own.
pub async fn mine_of(db: &Db, conversation: ConversationId, user: UserId) -> Outcome<Mine> {
    let backend = db.backend();
    let sql = format!(
        "SELECT {} FROM participants AS p WHERE p.conversation_id = {} AND p.user_id = {} AND p.until_rev IS NULL",
        mine_columns(),
        parameter(backend, 1, "uuid"),
        parameter(backend, 2, "uuid"),
    );
    let row = db.read().query_one_raw(backend.statement(sql, [conversation.into(), user.into()])).await?;
    let row = row.ok_or(ErrorCode::ConversationNotFound)?;
    Ok(mine(&row, 0)?)
}

/// Where a page of conversations begins: the last one's newest message, and its id.
pub type After = (Timestamp, ConversationId);

/// Which of a user's conversations.
pub enum Which {
    /// A page, latest message first.
    Page {
        /// Those after this one.
        after: Option<After>,
        /// At most so many.
        limit: u64,
        /// Requests, instead of what they have.
        requests: bool,
    },
    /// This one.
    One(ConversationId),
}

/// A user's conversations, latest message first, without their members; two statements a page.
pub async fn conversations(db: &Db, user: UserId, which: Which) -> Result<Vec<(view::Conversation, After)>, DbErr> {
    let backend = db.backend();
    let mut values: Vec<Value> = vec![user.into()];
    let p = |number, cast| parameter(backend, number, cast);
    let me = p(1, "uuid");
    let bounds = match which {
        Which::One(id) => {
            values.push(id.into());
            format!("AND c.id = {}", p(2, "uuid"))
        }
        Which::Page { after, limit, requests } => {
            let which = if requests { "AND p.request AND p.declined_rev IS NULL " } else { "AND NOT p.request " };
            let mut bounds = which.to_owned();
            if let Some((at, id)) = after {
                values.push(at.into());
                values.push(id.into());
                bounds += &format!("AND (c.last_message_at, c.id) < ({}, {}) ", p(2, "bigint"), p(3, "uuid"));
            }
            values.push((limit as i64).into());
            bounds + &format!("ORDER BY c.last_message_at DESC, c.id DESC LIMIT {}", p(values.len(), "bigint"))
        }
    };
    // The counts stand outside, so that they are made for the page alone; and first, since they are read by their
    // places, and a later release may give conversations another column.
    let sql = format!(
        "SELECT {}, p.visible_from_seq AS visible_from, c.* FROM (\
         SELECT c.* FROM participants AS p JOIN conversations AS c ON c.id = p.conversation_id \
         WHERE p.user_id = {me} AND p.until_rev IS NULL {bounds}) AS c \
         JOIN participants AS p ON p.conversation_id = c.id AND p.user_id = {} ORDER BY c.last_message_at DESC, c.id DESC",
        mine_columns(),
        p(values.len() + 1, "uuid"),
    );
    values.push(user.into());
    let rows = db.read().query_all_raw(backend.statement(sql, values)).await?;
    let mut found = Vec::with_capacity(rows.len());
    let mut newest = Table::new(2);
    for row in &rows {
        let conversation = conversation::Model::from_query_result(row, "")?;
        let visible_from: i64 = row.try_get("", "visible_from")?;
        if conversation.last_seq >= visible_from && conversation.last_seq > 0 {
            newest.push([conversation.id.into(), conversation.last_seq.into()]);
        }
        let after = (conversation.last_message_at, conversation.id);
        found.push((conversation_view(conversation, mine(row, 0)?), after));
    }
    let mut last = last_messages(db, newest).await?;
    for (conversation, _) in &mut found {
        conversation.last_message = last.remove(&conversation.id);
    }
    Ok(found)
}

fn conversation_view(row: conversation::Model, me: Mine) -> view::Conversation {
    view::Conversation {
        id: row.id,
        kind: row.kind,
        name: row.name,
        description: row.description,
        created_by: row.created_by,
        created_at: row.created_at,
        last_seq: row.last_seq,
        last_rev: row.last_rev,
        participant_count: row.participant_count,
        participants: None,
        me,
        last_message: None,
    }
}

async fn last_messages(db: &Db, places: Table) -> Result<HashMap<ConversationId, view::Message>, DbErr> {
    if places.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = places
        .select(db.read(), &["uuid", "bigint"], |values| {
            format!(
                "SELECT m.* FROM (VALUES {values}) AS k JOIN messages AS m ON m.conversation_id = k.column1 AND m.seq = k.column2"
            )
        })
        .await?;
    let rows = rows.iter().map(|row| message::Model::from_query_result(row, "")).collect::<Result<Vec<_>, _>>()?;
    let conversations: Vec<ConversationId> = rows.iter().map(|row| row.conversation_id).collect();
    Ok(conversations.into_iter().zip(message_views(db.read(), rows, false).await?).collect())
}

/// What is private to each of these users and changed after their `userRev`, in `userRev` order, and
/// the counters that it is true up to. Three statements, however many users.
pub async fn user_items(
    connection: &impl ConnectionTrait,
    behind: &[(UserId, i64)],
    limit: Option<u64>,
) -> Result<HashMap<UserId, (i64, Vec<UserItem>)>, DbErr> {
    let users: Vec<UserId> = behind.iter().map(|(user, _)| *user).collect();
    let rows = user::among(users).all(connection).await?;
    let mut found: HashMap<UserId, (i64, Vec<UserItem>)> = HashMap::new();
    let mut keys = Table::new(3);
    for row in rows {
        let Some((_, after)) = behind.iter().find(|(user, _)| *user == row.id) else { continue };
        let (id, upto, changed) = (row.id, row.user_rev, row.profile_user_rev);
        keys.push([id.into(), (*after).into(), upto.into()]);
        let mut items = Vec::new();
        if row.settings_user_rev > *after {
            let (settings, privacy) = (row.settings.clone(), row.privacy);
            let set = Box::new(view::Chosen { settings, privacy });
            items.push(UserItem::Settings { user_rev: row.settings_user_rev, set });
        }
        if changed > *after && changed <= upto {
            items.push(UserItem::Profile { user_rev: changed, user: view::User::own(row) });
        }
        found.insert(id, (upto, items));
    }
    if keys.is_empty() {
        return Ok(found);
    }
    for (user, item) in crate::contacts::changed(connection, keys.clone(), limit).await? {
        if let Some((_, items)) = found.get_mut(&user) {
            items.push(item);
        }
    }
    let limit = limit.map(|limit| format!(" ORDER BY p.user_rev LIMIT {limit}")).unwrap_or_default();
    let rows = keys
        .select(connection, &["uuid", "bigint", "bigint"], |values| {
            format!(
                "SELECT DISTINCT p.user_id, p.conversation_id, p.user_rev, COALESCE(p.until_rev, p.declined_rev), {} FROM (VALUES {values}) AS k \
                 JOIN participants AS p ON p.user_id = k.column1 AND p.user_rev > k.column2 AND p.user_rev <= k.column3{limit}",
                mine_columns()
            )
        })
        .await?;
    for row in &rows {
        let user: UserId = row.try_get_by_index(0)?;
        let (conversation_id, user_rev) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let item = match row.try_get_by_index::<Option<i64>>(3)? {
            Some(until_rev) => UserItem::Gone { user_rev, conversation_id, until_rev },
            None => UserItem::Mine { user_rev, conversation_id, mine: mine(row, 4)? },
        };
        if let Some((_, items)) = found.get_mut(&user) {
            items.push(item);
        }
    }
    for (_, items) in found.values_mut() {
        items.sort_by_key(UserItem::user_rev);
    }
    Ok(found)
}

/// Where a message stands, whoever asks.
pub async fn place_of(db: &Db, message: MessageId) -> Result<Option<ConversationId>, DbErr> {
    let found =
        message::by_id(message).select_only().column(message::Column::ConversationId).into_tuple::<ConversationId>();
    found.one(db.read()).await
}

// --- for sockets that say hello

/// Where a member stands in a conversation, without counts.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    /// The member.
    pub user: UserId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The newest change.
    pub last_rev: i64,
    /// The first message that the member may see.
    pub visible_from_seq: i64,
    /// The member's own counter when something of it changed last.
    pub user_rev: i64,
}

/// The positions of (user, conversation) pairs; those who are no members, or have declined, are left out.
pub async fn positions(connection: &impl ConnectionTrait, pairs: Table) -> Result<Vec<Position>, DbErr> {
    let rows = pairs
        .select(connection, &["uuid", "uuid"], |values| {
            format!(
                "SELECT p.user_id, p.conversation_id, c.last_rev, p.visible_from_seq, p.user_rev FROM (VALUES {values}) AS k \
                 JOIN participants AS p ON p.user_id = k.column1 AND p.conversation_id = k.column2 AND p.until_rev IS NULL \
                 AND p.declined_rev IS NULL \
                 JOIN conversations AS c ON c.id = p.conversation_id"
            )
        })
        .await?;
    let position = |row: &QueryResult| {
        Ok(Position {
            user: row.try_get_by_index(0)?,
            conversation: row.try_get_by_index(1)?,
            last_rev: row.try_get_by_index(2)?,
            visible_from_seq: row.try_get_by_index(3)?,
            user_rev: row.try_get_by_index(4)?,
        })
    };
    rows.iter().map(position).collect()
}

/// The heads of (user, conversation) pairs and the first message that each may see; numbers and counts are of one
/// moment. Those who are no members, or have declined, are left out.
pub async fn heads(
    connection: &impl ConnectionTrait,
    pairs: Table,
) -> Result<HashMap<(UserId, ConversationId), (view::Head, i64)>, DbErr> {
    let rows = pairs
        .select(connection, &["uuid", "uuid"], |values| {
            format!(
                "SELECT p.user_id, p.conversation_id, c.last_seq, c.last_rev, p.visible_from_seq, {} FROM (VALUES {values}) AS k \
                 JOIN participants AS p ON p.user_id = k.column1 AND p.conversation_id = k.column2 AND p.until_rev IS NULL \
                 AND p.declined_rev IS NULL JOIN conversations AS c ON c.id = p.conversation_id",
                mine_columns()
            )
        })
        .await?;
    let head = |row: &QueryResult| {
        let (user, conversation_id) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let mine = mine(row, 5)?;
        let (unread, mentions) = (mine.unread, mine.mentions);
        let head = view::Head {
            conversation_id,
            last_seq: row.try_get_by_index(2)?,
            last_rev: row.try_get_by_index(3)?,
            read_seq: mine.read_seq,
            delivered_seq: mine.delivered_seq,
            unread,
            mentions,
            request: mine.request,
        };
        Ok(((user, conversation_id), (head, row.try_get_by_index(4)?)))
    };
    rows.iter().map(head).collect()
}

/// Until which `rev` these (user, conversation) pairs were members, or had not declined.
pub async fn ended(
    connection: &impl ConnectionTrait,
    pairs: Table,
) -> Result<HashMap<(UserId, ConversationId), i64>, DbErr> {
    let rows = pairs
        .select(connection, &["uuid", "uuid"], |values| {
            format!(
                "SELECT p.user_id, p.conversation_id, COALESCE(p.until_rev, p.declined_rev) FROM (VALUES {values}) AS k \
                 JOIN participants AS p ON p.user_id = k.column1 AND p.conversation_id = k.column2 \
                 AND (p.until_rev IS NOT NULL OR p.declined_rev IS NOT NULL)"
            )
        })
        .await?;
    rows.iter()
        .map(|row| Ok(((row.try_get_by_index(0)?, row.try_get_by_index(1)?), row.try_get_by_index(2)?)))
        .collect()
}
