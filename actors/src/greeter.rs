//! What a socket must know before it is ready; sockets that come at the same time share the queries.
//! Never who may connect: the token said that; only whether its session still stands, and that it is in use.

use crate::clock::Clock;
use crate::conversation::read;
use crate::protocol::view::{Gone, Head, User};
use crate::protocol::{ErrorCode, Outcome};
use crate::sql::{Table, select_in};
use entities::{ConversationId, Db, SessionId, Timestamp, UserId, session, user};
use futures_util::FutureExt;
use sea_orm::{ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, Set};
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Hellos that share one round of queries.
const TOGETHER: usize = 512;

/// A session's `last_seen_at` is true to this.
const SEEN_WITHIN: Duration = Duration::from_secs(300);

/// Conversations of which a client is told at once that they are no longer the user's.
const GONE: usize = 2000;

/// Where a user is a member, and has not declined to be.
#[derive(Debug, Clone, Copy)]
pub struct Membership {
    /// The conversation.
    pub conversation: ConversationId,
    /// The first message that they may see.
    pub visible_from_seq: i64,
}

/// Who came, as the rows say.
pub struct Arrival {
    /// The user.
    pub user: User,
    /// Their counter.
    pub user_rev: i64,
    /// Where they are a member, without what they have declined.
    pub memberships: Vec<Membership>,
}

/// What a client says it holds.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The last `rev` of conversations; `None` asks for all.
    pub revs: Option<HashMap<ConversationId, i64>>,
    /// The last `userRev`.
    pub user_rev: i64,
}

/// Where the conversations stand, read after the socket listens to them.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Every conversation's `rev`, and the first message that the member may see.
    pub revs: Vec<(ConversationId, i64, i64)>,
    /// Those that the client has to catch up with.
    pub heads: Vec<Head>,
    /// Those that the client knows and that are no longer the user's.
    pub gone: Vec<Gone>,
}

enum Ask {
    Arrive(UserId, SessionId, oneshot::Sender<Outcome<Arrival>>),
    Look(UserId, Vec<ConversationId>, Known, oneshot::Sender<Outcome<Snapshot>>),
}

/// The way to the rows for sockets that say hello.
#[derive(Clone)]
pub struct Greeter(mpsc::Sender<Ask>);

impl Greeter {
    /// The greeter and what runs it.
    pub fn new(db: Db, clock: Arc<dyn Clock>) -> (Greeter, impl Future<Output = ()> + Send) {
        let (sender, mut inbox) = mpsc::channel(4 * TOGETHER);
        let run = async move {
            let mut asked = Vec::new();
            while inbox.recv_many(&mut asked, TOGETHER).await > 0 {
                let served = asked.len();
                if AssertUnwindSafe(serve(&db, &*clock, asked.drain(..))).catch_unwind().await.is_err() {
                    tracing::error!(served, "the greeter panicked");
                }
            }
        };
        (Greeter(sender), run)
    }

    /// Who a user is, where they are a member, and that their session stands.
    pub async fn arrive(&self, user: UserId, session: SessionId) -> Outcome<Arrival> {
        let (sender, answer) = oneshot::channel();
        self.ask(Ask::Arrive(user, session, sender), answer).await
    }

    /// Where these conversations stand for a user.
    pub async fn look(&self, user: UserId, conversations: Vec<ConversationId>, known: Known) -> Outcome<Snapshot> {
        let (sender, answer) = oneshot::channel();
        self.ask(Ask::Look(user, conversations, known, sender), answer).await
    }

    async fn ask<T>(&self, ask: Ask, answer: oneshot::Receiver<Outcome<T>>) -> Outcome<T> {
        let away = |_| crate::protocol::Error::from(ErrorCode::ServerUnavailable);
        self.0.send(ask).await.map_err(|_| crate::protocol::Error::from(ErrorCode::ServerUnavailable))?;
        answer.await.map_err(away)?
    }
}

async fn serve(db: &Db, clock: &dyn Clock, asked: impl Iterator<Item = Ask>) {
    let (mut arrivals, mut looks) = (Vec::new(), Vec::new());
    for ask in asked {
        match ask {
            Ask::Arrive(user, session, answer) => arrivals.push((user, session, answer)),
            Ask::Look(user, conversations, known, answer) => looks.push((user, conversations, known, answer)),
        }
    }
    if !arrivals.is_empty() {
        let keys: Vec<(UserId, SessionId)> = arrivals.iter().map(|(user, session, _)| (*user, *session)).collect();
        let (mut found, stale) = answered(arrive(db, &keys, clock.now()).await).unzip();
        for (user, session, answer) in arrivals {
            let outcome = match &mut found {
                Some(found) => {
                    found.get(&(user, session)).map_or(Err(ErrorCode::AuthSessionRevoked.into()), |arrival| {
                        Ok(Arrival {
                            user: arrival.user.clone(),
                            user_rev: arrival.user_rev,
                            memberships: arrival.memberships.clone(),
                        })
                    })
                }
                None => Err(ErrorCode::ServerUnavailable.into()),
            };
            let _ = answer.send(outcome);
        }
        if let Err(error) = notice(db, stale.unwrap_or_default(), clock.now()).await {
            tracing::warn!(%error, "when sessions were last seen could not be noted");
        }
    }
    if !looks.is_empty() {
        let keys: Vec<(UserId, &[ConversationId], &Known)> =
            looks.iter().map(|(user, conversations, known, _)| (*user, conversations.as_slice(), known)).collect();
        let mut found = answered(look(db, &keys).await).map(Vec::into_iter);
        for (_, _, _, answer) in looks {
            let snapshot = found.as_mut().and_then(Iterator::next);
            let _ = answer.send(snapshot.ok_or_else(|| ErrorCode::ServerUnavailable.into()));
        }
    }
}

fn answered<T>(result: Result<T, DbErr>) -> Option<T> {
    result.inspect_err(|error| tracing::error!(%error, "sockets that said hello could not be served")).ok()
}

/// Those of these sessions that stand, whose they are, and when they were last seen.
async fn standing(db: &Db, sessions: &[SessionId]) -> Result<HashMap<SessionId, (UserId, Timestamp)>, DbErr> {
    let rows = select_in(db.read(), sessions, "uuid", |list| {
        format!("SELECT id, user_id, last_seen_at FROM sessions WHERE id IN ({list}) AND revoked_at IS NULL")
    })
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get_by_index(0)?, (row.try_get_by_index(1)?, row.try_get_by_index(2)?))))
        .collect()
}

/// Notes that these sessions are in use, in one statement.
async fn notice(db: &Db, sessions: Vec<SessionId>, now: Timestamp) -> Result<(), DbErr> {
    if sessions.is_empty() {
        return Ok(());
    }
    let seen = session::ActiveModel { last_seen_at: Set(now), ..session::ActiveModel::default() };
    let older = session::Column::Id.is_in(sessions).and(session::COLUMN.last_seen_at.lt(now));
    db.heard(session::Entity::update_many().set(seen).filter(older).exec(db.write())).await?;
    Ok(())
}

/// Who came, and the sessions among them whose `last_seen_at` is to be set.
async fn arrive(
    db: &Db,
    keys: &[(UserId, SessionId)],
    now: Timestamp,
) -> Result<(HashMap<(UserId, SessionId), Arrival>, Vec<SessionId>), DbErr> {
    let sessions: Vec<SessionId> = keys.iter().map(|(_, session)| *session).collect();
    let standing = standing(db, &sessions).await?;
    let is_stale = |seen: Timestamp| now.since(seen) >= SEEN_WITHIN;
    let stale = standing.iter().filter(|(_, (_, seen))| is_stale(*seen)).map(|(session, _)| *session).collect();
    let users: Vec<UserId> = keys.iter().map(|(user, _)| *user).collect();
    // Users before memberships: a membership that is added in between raises `userRev` above the one read.
    let rows = user::among(users.iter().copied()).all(db.read()).await?;
    let mut memberships: HashMap<UserId, Vec<Membership>> = HashMap::new();
    let distinct: Vec<UserId> = rows.iter().map(|row| row.id).collect();
    if !distinct.is_empty() {
        let found = select_in(db.read(), &distinct, "uuid", |list| {
            format!(
                "SELECT user_id, conversation_id, visible_from_seq FROM participants WHERE user_id IN ({list}) \
                 AND until_rev IS NULL AND declined_rev IS NULL"
            )
        })
        .await?;
        for row in &found {
            let membership =
                Membership { conversation: row.try_get_by_index(1)?, visible_from_seq: row.try_get_by_index(2)? };
            memberships.entry(row.try_get_by_index(0)?).or_default().push(membership);
        }
    }
    let users: HashMap<UserId, user::Model> = rows.into_iter().map(|row| (row.id, row)).collect();
    let mut arrivals = HashMap::new();
    for (id, session) in keys {
        if standing.get(session).is_none_or(|(user, _)| user != id) {
            continue;
        }
        let Some(row) = users.get(id) else { continue };
        let arrival = Arrival {
            user_rev: row.user_rev,
            user: User::own(row.clone()),
            memberships: memberships.get(id).cloned().unwrap_or_default(),
        };
        arrivals.insert((*id, *session), arrival);
    }
    Ok((arrivals, stale))
}

async fn look(db: &Db, keys: &[(UserId, &[ConversationId], &Known)]) -> Result<Vec<Snapshot>, DbErr> {
    let mut pairs = Table::new(2);
    for (user, conversations, _) in keys {
        conversations.iter().for_each(|conversation| pairs.push([(*user).into(), (*conversation).into()]));
    }
    let mut found: HashMap<(UserId, ConversationId), read::Position> = HashMap::new();
    if !pairs.is_empty() {
        for position in read::positions(db.read(), pairs).await? {
            found.insert((position.user, position.conversation), position);
        }
    }
    // Counts are made only for what the client has to catch up with.
    let mut stale = Table::new(2);
    let mut gone = Table::new(2);
    for (user, conversations, known) in keys {
        for conversation in *conversations {
            if let Some(position) = found.get(&(*user, *conversation)).filter(|position| is_stale(position, known)) {
                stale.push([position.user.into(), position.conversation.into()]);
            }
        }
        for id in known.revs.iter().flat_map(|revs| revs.keys()).filter(|id| !found.contains_key(&(*user, **id))) {
            gone.push([(*user).into(), (*id).into()]);
        }
    }
    let heads = if stale.is_empty() { HashMap::new() } else { read::heads(db.read(), stale).await? };
    let ended = if gone.is_empty() { HashMap::new() } else { read::ended(db.read(), gone).await? };
    let snapshots = keys.iter().map(|(user, conversations, known)| {
        let mut snapshot = Snapshot::default();
        for conversation in *conversations {
            let Some(position) = found.get(&(*user, *conversation)) else { continue };
            if !is_stale(position, known) {
                snapshot.revs.push((*conversation, position.last_rev, position.visible_from_seq));
            } else if let Some((head, visible_from_seq)) = heads.get(&(*user, *conversation)) {
                // Later than the position: what counts is the moment at which it was counted.
                snapshot.revs.push((*conversation, head.last_rev, *visible_from_seq));
                snapshot.heads.push(head.clone());
            }
        }
        let lost = known.revs.iter().flat_map(|revs| revs.keys()).filter(|id| !found.contains_key(&(*user, **id)));
        let lost = lost.take(GONE);
        snapshot.gone = lost
            .map(|id| Gone { conversation_id: *id, until_rev: ended.get(&(*user, *id)).copied().unwrap_or(0) })
            .collect();
        snapshot
    });
    Ok(snapshots.collect())
}

fn is_stale(position: &read::Position, known: &Known) -> bool {
    match &known.revs {
        None => true,
        Some(revs) => {
            revs.get(&position.conversation) != Some(&position.last_rev) || position.user_rev > known.user_rev
        }
    }
}
