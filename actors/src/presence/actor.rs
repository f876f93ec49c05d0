//! The room that knows which of its users are connected to this node, and how they are shown.
//! Never who may see it: that is decided when somebody begins to watch.

use crate::clock::Clock;
use crate::cluster::{Content, Delivery, EphemeralKey, Topic};
use crate::entry::Entries;
use crate::protocol::event::Event;
use crate::protocol::view::{Presence, Status};
use crate::room::{Lease, Reply, Room};
use actix::prelude::*;
use entities::db::parameter;
use entities::{Db, Timestamp, UserId};
use sea_orm::{ConnectionTrait, DbErr};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What these rooms share.
#[derive(Clone)]
pub struct Deps {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub entries: Entries,
    /// How long somebody without sockets still counts as there.
    pub grace: Duration,
}

/// What such a room is told.
pub enum Command {
    /// A socket of this user is ready.
    Opened(UserId),
    /// A socket of this user has gone.
    Closed(UserId),
    /// This user wants to be shown so.
    Set(UserId, Status),
}

impl Command {
    pub fn answering(self, reply: Reply<()>) -> Told {
        Told(self, reply)
    }
}

/// A command, and where to say that it was heard.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Told(Command, Reply<()>);

/// A user who is connected here, or was a moment ago.
struct Local {
    sockets: usize,
    status: Status,
    /// When the last socket went.
    left_at: Option<Timestamp>,
}

/// The actor of one shard of the users.
pub struct PresenceActor {
    deps: Deps,
    users: HashMap<UserId, Local>,
    /// Kept while the room is open; these rooms are few and do not close.
    _lease: Lease<PresenceActor>,
}

impl Room for PresenceActor {
    type Id = usize;
    type Deps = Deps;
    type Command = Told;

    fn open(_: usize, deps: Deps, lease: Lease<Self>) -> Self {
        PresenceActor { deps, users: HashMap::new(), _lease: lease }
    }
}

impl Actor for PresenceActor {
    type Context = Context<Self>;
}

impl Handler<Told> for PresenceActor {
    type Result = ();

    fn handle(&mut self, Told(command, reply): Told, context: &mut Self::Context) {
        match command {
            Command::Opened(user) => {
                let local =
                    self.users.entry(user).or_insert(Local { sockets: 0, status: Status::Online, left_at: None });
                local.sockets += 1;
                local.left_at = None;
                if local.sockets == 1 {
                    self.claim(user, context, Some(reply));
                    return;
                }
            }
            Command::Closed(user) => self.left(user, context),
            Command::Set(user, status) => {
                if let Some(local) = self.users.get_mut(&user).filter(|local| local.sockets > 0) {
                    local.status = status;
                    self.claim(user, context, Some(reply));
                    return;
                }
            }
        }
        reply.send(Ok(()));
    }
}

impl PresenceActor {
    /// Claims the user for this node; tells the watchers what is new to them.
    fn claim(&self, user: UserId, context: &mut Context<Self>, reply: Option<Reply<()>>) {
        let Some(status) = self.users.get(&user).map(|local| local.status) else { return };
        let cluster = self.deps.entries.cluster().clone();
        let claimed = async move {
            let before = cluster.presence(vec![user]).await.pop().flatten();
            cluster.claim(user, Some(status)).await;
            let after = cluster.presence(vec![user]).await.pop().flatten();
            (before, after)
        };
        context.spawn(claimed.into_actor(self).map(move |(before, after), room, _| {
            if before != after {
                room.tell(user, after.unwrap_or(status), None);
            }
            if let Some(reply) = reply {
                reply.send(Ok(()));
            }
        }));
    }

    fn left(&mut self, user: UserId, context: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let Some(local) = self.users.get_mut(&user) else { return };
        local.sockets = local.sockets.saturating_sub(1);
        if local.sockets > 0 {
            return;
        }
        local.left_at = Some(now);
        let grace = self.deps.clock.sleep_until(now.plus(self.deps.grace));
        context.spawn(grace.into_actor(self).map(move |(), room, context| {
            // Whoever came back meanwhile has no such moment any more, or a later one.
            if room.users.get(&user).is_some_and(|local| local.left_at == Some(now)) {
                room.users.remove(&user);
                room.give_up(user, now, context);
            }
        }));
    }

    /// The user is not connected here any more; if nowhere else either, they are gone.
    fn give_up(&self, user: UserId, left_at: Timestamp, context: &mut Context<Self>) {
        let (cluster, db) = (self.deps.entries.cluster().clone(), self.deps.db.clone());
        let given_up = async move {
            cluster.claim(user, None).await;
            if cluster.presence(vec![user]).await.pop().flatten().is_none()
                && let Err(error) = seen(&db, user, left_at).await
            {
                tracing::warn!(%error, "when somebody was seen last could not be written");
            }
            // Again: they may have come back while that was written.
            cluster.presence(vec![user]).await.pop().flatten()
        };
        context.spawn(given_up.into_actor(self).map(move |elsewhere, room, _| match elsewhere {
            Some(status) => room.tell(user, status, None),
            None => room.tell(user, Status::Offline, Some(left_at)),
        }));
    }

    fn tell(&self, user: UserId, status: Status, last_seen_at: Option<Timestamp>) {
        let presence = Presence { user_id: user, status, last_seen_at };
        let bytes = Event::new("presence.changed", &presence).frame();
        let content = Content::Ephemeral { bytes, key: Some(EphemeralKey::Presence(user)) };
        self.deps.entries.deliver(Arc::new(Delivery { topic: Topic::Presence(user), numbers: None, content }));
    }
}

async fn seen(db: &Db, user: UserId, at: Timestamp) -> Result<(), DbErr> {
    let backend = db.backend();
    let sql = format!(
        "UPDATE users SET last_seen_at = {} WHERE id = {}",
        parameter(backend, 1, "bigint"),
        parameter(backend, 2, "uuid")
    );
    db.write().execute_raw(backend.statement(sql, [at.into(), user.into()])).await.map(drop)
}
