//! Who is there: by sockets over all nodes, told to those who watch.
//! Never to anybody who shares no conversation with the user, or whom their privacy leaves out.

pub(crate) mod acquaintance;
mod actor;
mod ending;
mod shown;
mod sight;

use crate::caller::{Caller, Identity};
use crate::clock::Clock;
use crate::cluster::{Claim, Topic, most_present};
use crate::entry::{Entries, shard_of};
use crate::limits::Limits;
use crate::protocol::command::{GetPresence, SetPresence, UnwatchPresence, WatchPresence};
use crate::protocol::view::{self, Presence, Status};
use crate::protocol::{Outcome, Refusal};
use crate::room::Rooms;
use acquaintance::{Acquaintance, acquainted};
use actor::{Command, Deps, PresenceActor};
use entities::{Db, SessionId, Timestamp, UserId, user};
use parking_lot::RwLock;
use prometheus_client::metrics::gauge::Gauge;
use sea_orm::{DbErr, QuerySelect};
pub(crate) use shown::{hidden, profile_changed, shown, told};
pub use sight::Sight;
use sight::sights;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Users one socket may watch.
const WATCHED: usize = 500;
/// Rooms over which the users are spread.
const SHARDS: usize = 16;

/// Nodes that have ended and were not cleared away yet: what they claim does not count.
type Gone = Arc<RwLock<HashSet<Arc<str>>>>;

/// Every command about presence, and what sockets tell of their coming and going.
#[derive(Clone)]
pub struct Presences {
    db: Db,
    clock: Arc<dyn Clock>,
    entries: Entries,
    gone: Gone,
    rooms: Rooms<PresenceActor>,
    /// Held while it is looked again who may hear what.
    reviewing: Arc<tokio::sync::Mutex<()>>,
}

impl Presences {
    /// Nobody is there yet.
    pub fn new(db: Db, clock: Arc<dyn Clock>, limits: Arc<Limits>, entries: Entries) -> Presences {
        let gone = Gone::default();
        let deps = Deps {
            db: db.clone(),
            clock: clock.clone(),
            entries: entries.clone(),
            gone: gone.clone(),
            grace: limits.presence_grace,
        };
        // These rooms are shards, which nobody counts.
        let (items, open) = (limits.journal_items.max(limits.room_items), Gauge::default());
        let rooms = Rooms::new(entries.clone(), deps, items, limits.journal_bytes, open);
        Presences { db, clock, entries, gone, rooms, reviewing: Arc::default() }
    }

    /// A socket of a user's device is ready.
    pub async fn opened(&self, user: UserId, session: SessionId) {
        self.tell(user, Command::Opened(user, session)).await;
    }

    /// A socket of a user's device has gone.
    pub async fn closed(&self, user: UserId, session: SessionId) {
        self.tell(user, Command::Closed(user, session)).await;
    }

    async fn tell(&self, user: UserId, command: Command) {
        let told = self.rooms.ask(shard_of(user, SHARDS), 32, |reply| command.answering(reply)).await;
        if let Err(error) = told {
            tracing::warn!(%error, "presence was not told of a socket");
        }
    }

    /// `presence.set`.
    pub async fn set(&self, caller: &Caller, command: SetPresence) -> Outcome<Presence> {
        let Identity { user, session, .. } = caller.identity()?;
        let set = Command::Set(user, session, command.status);
        self.rooms.ask(shard_of(user, SHARDS), 32, |reply| set.answering(reply)).await?;
        let mut found = self.look(&[user]).await?;
        Ok(found.pop().unwrap_or(Presence { user_id: user, status: Status::Offline, last_seen_at: None }))
    }

    /// `presence.get`.
    pub async fn get(&self, caller: &Caller, command: GetPresence) -> Outcome<view::Presences> {
        let viewer = caller.user()?;
        let known = acquainted(self.db.read(), viewer, &command.user_ids).await?;
        let sights = self.sights(viewer, known).await?;
        Ok(view::Presences { items: self.look_as(&sights).await? })
    }

    /// `presence.watch`.
    pub async fn watch(&self, caller: &Caller, command: WatchPresence) -> Outcome<view::Presences> {
        let (user, socket) = (caller.user()?, caller.socket()?);
        let known = acquainted(self.db.read(), user, &command.user_ids).await?;
        let before = socket.watched();
        let mut watched = before.clone();
        watched.extend(known.keys());
        if watched.len() > WATCHED {
            return Err(Refusal::invalid("userIds", format!("a socket watches at most {WATCHED} users")).into());
        }
        // Listen before looking: a change in between is told twice rather than never.
        for other in known.keys() {
            socket.attach(Topic::Presence(*other), user).await;
        }
        let reviews: HashMap<UserId, u64> = known.keys().map(|other| (*other, socket.reviews(*other))).collect();
        let new: Vec<UserId> = known.keys().copied().filter(|other| !before.contains(other)).collect();
        // Again: nobody reviewed what changed before this socket listened.
        let asked: Vec<UserId> = known.into_keys().collect();
        let found = async { self.sights(user, acquainted(self.db.read(), user, &asked).await?).await };
        let found = found.await.inspect_err(|_| {
            new.iter().for_each(|other| socket.detach(Topic::Presence(*other)));
        })?;
        for (other, reviews) in reviews {
            // Who has gone since is neither shown nor watched.
            let Some(found) = found.get(&other) else {
                socket.detach(Topic::Presence(other));
                continue;
            };
            socket.sees(other, *found, reviews);
            socket.release(Topic::Presence(other), 0, 0);
        }
        // What was reviewed while this looked was told already: the answer comes after it, and must say the same.
        let (sights, items) = loop {
            let sights = socket.sights(found.keys().copied());
            let items = self.look_as(&sights).await?;
            if socket.sights(found.keys().copied()) == sights {
                break (sights, items);
            }
        };
        let shown = items.iter().filter(|item| sights[&item.user_id].presence);
        shown.for_each(|item| self.entries.show(item.user_id, item.status));
        Ok(view::Presences { items })
    }

    /// `presence.unwatch`.
    pub async fn unwatch(&self, caller: &Caller, command: UnwatchPresence) -> Outcome<()> {
        let socket = caller.socket()?;
        let users = command.user_ids.unwrap_or_else(|| socket.watched().into_iter().collect());
        users.into_iter().for_each(|user| socket.detach(Topic::Presence(user)));
        Ok(())
    }

    /// Looks again what a user may hear of those whom they watch here, since they have come into a conversation or left
    /// one: with whom they share none any more, they watch no more.
    ///
    /// # Errors
    /// Those of the database; the sweep then looks.
    pub async fn review_of(&self, user: UserId, watched: Vec<UserId>) -> Outcome<()> {
        Ok(self.review(watched.into_iter().map(|other| (user, other))).await?)
    }

    /// How these users are shown, in their order, and who is nowhere; `None` while nobody can tell.
    pub(crate) async fn statuses(&self, users: &[UserId]) -> Option<Vec<Option<Status>>> {
        let found = self.entries.cluster().claims(users.to_vec()).await;
        found.everywhere.then(|| self.shown(found.claims))
    }

    /// What `viewer` may be told of those whom they know.
    async fn sights(
        &self,
        viewer: UserId,
        known: HashMap<UserId, Acquaintance>,
    ) -> Result<HashMap<UserId, Sight>, DbErr> {
        let known = known.into_iter().map(|(other, known)| ((viewer, other), known)).collect();
        let found = sights(self.db.read(), &known).await?;
        Ok(found.into_iter().map(|((_, other), sight)| (other, sight)).collect())
    }

    /// How these users are shown to whoever may be told this of each.
    async fn look_as(&self, sights: &HashMap<UserId, Sight>) -> Result<Vec<Presence>, DbErr> {
        let (seen, hidden): (Vec<UserId>, Vec<UserId>) =
            sights.keys().partition(|user| sights.get(*user).is_some_and(|sight| sight.presence));
        let mut shown = self.look(&seen).await?;
        let offline = |user_id| Presence { user_id, status: Status::Offline, last_seen_at: None };
        shown.extend(hidden.into_iter().map(offline));
        Ok(shown)
    }

    /// How these users are shown, in their order; by what is known at this node while nobody can tell.
    async fn look(&self, users: &[UserId]) -> Result<Vec<Presence>, DbErr> {
        let found = self.entries.cluster().claims(users.to_vec()).await;
        self.describe(users, self.shown(found.claims)).await
    }

    fn shown(&self, claims: Vec<Vec<Claim>>) -> Vec<Option<Status>> {
        claims.into_iter().map(|claims| shown_as(claims, &self.gone)).collect()
    }

    /// With when those who are absent were seen last.
    pub(crate) async fn describe(
        &self,
        users: &[UserId],
        statuses: Vec<Option<Status>>,
    ) -> Result<Vec<Presence>, DbErr> {
        let absent: Vec<UserId> =
            users.iter().zip(&statuses).filter(|(_, status)| status.is_none()).map(|(user, _)| *user).collect();
        let mut seen: HashMap<UserId, Option<Timestamp>> = HashMap::new();
        if !absent.is_empty() {
            let rows = user::among(absent).select_only();
            let rows = rows
                .column(user::Column::Id)
                .column(user::Column::LastSeenAt)
                .into_tuple::<(UserId, Option<Timestamp>)>();
            seen.extend(rows.all(self.db.read()).await?);
        }
        let presence = |(user, status): (&UserId, &Option<Status>)| Presence {
            user_id: *user,
            status: status.unwrap_or(Status::Offline),
            last_seen_at: if status.is_none() { seen.get(user).copied().flatten() } else { None },
        };
        Ok(users.iter().zip(&statuses).map(presence).collect())
    }
}

/// How somebody with these claims is shown, without what nodes claim that have ended; none if they are nowhere.
fn shown_as(mut claims: Vec<Claim>, gone: &Gone) -> Option<Status> {
    let gone = gone.read();
    claims.retain(|claim| !gone.contains(&claim.node));
    most_present(&claims)
}
