//! The room that knows which devices of its users are connected to this node, and how they are shown.
//! Never who may see it: that is decided when somebody begins to watch, and when it changes (see `sight`).

use super::{Gone, ending, shown_as, told};
use crate::clock::Clock;
use crate::cluster::{Claim, Claimed};
use crate::entry::Entries;
use crate::protocol::view::{Presence, Status};
use crate::room::{Lease, Reply, Room};
use actix::prelude::*;
use entities::{Db, SessionId, Timestamp, UserId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What these rooms share.
#[derive(Clone)]
pub struct Deps {
    pub db: Db,
    pub clock: Arc<dyn Clock>,
    pub entries: Entries,
    pub gone: Gone,
    /// How long somebody without sockets still counts as there.
    pub grace: Duration,
}

/// What such a room is told.
pub enum Command {
    /// A socket of this user's device is ready.
    Opened(UserId, SessionId),
    /// A socket of this user's device has gone.
    Closed(UserId, SessionId),
    /// This user wants to be shown so, by this device.
    Set(UserId, SessionId, Status),
    /// What is connected here may be claimed no more: do it again.
    Reclaim,
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

/// A device that is connected here, or was a moment ago.
struct Local {
    sockets: usize,
    status: Status,
    /// When the last socket went.
    left_at: Option<Timestamp>,
}

/// The actor of one shard of the users.
pub struct PresenceActor {
    deps: Deps,
    devices: HashMap<(UserId, SessionId), Local>,
    /// Kept while the room is open; these rooms are few and do not close.
    _lease: Lease<PresenceActor>,
}

impl Room for PresenceActor {
    type Id = usize;
    type Deps = Deps;
    type Command = Told;

    fn open(_: usize, deps: Deps, lease: Lease<Self>) -> Self {
        PresenceActor { deps, devices: HashMap::new(), _lease: lease }
    }
}

impl Actor for PresenceActor {
    type Context = Context<Self>;
}

impl Handler<Told> for PresenceActor {
    type Result = ();

    fn handle(&mut self, Told(command, reply): Told, context: &mut Self::Context) {
        match command {
            Command::Opened(user, session) => {
                let new = Local { sockets: 0, status: Status::Online, left_at: None };
                let local = self.devices.entry((user, session)).or_insert(new);
                local.sockets += 1;
                local.left_at = None;
                if local.sockets == 1 {
                    let status = local.status;
                    return self.claim(user, session, status, Some(reply), context);
                }
            }
            Command::Closed(user, session) => self.left(user, session, context),
            Command::Set(user, session, status) => {
                if let Some(local) = self.devices.get_mut(&(user, session)).filter(|local| local.sockets > 0) {
                    local.status = status;
                    return self.claim(user, session, status, Some(reply), context);
                }
            }
            Command::Reclaim => {
                for (&(user, session), local) in &self.devices {
                    self.claim(user, session, local.status, None, context);
                }
            }
        }
        reply.send(Ok(()));
    }
}

impl PresenceActor {
    /// Claims the device for this node; tells the watchers what is new to them.
    fn claim(
        &self,
        user: UserId,
        session: SessionId,
        status: Status,
        reply: Option<Reply<()>>,
        context: &mut Context<Self>,
    ) {
        // Begun here, not when the future is polled: claims of one device keep their order.
        let claimed = self.deps.entries.cluster().claim(user, session, Some(status));
        context.spawn(claimed.into_actor(self).map(move |Claimed { before, after }, room, _| {
            let shown = room.shown(after);
            if room.shown(before) != shown {
                room.tell(user, shown.unwrap_or(status), None);
            }
            if let Some(reply) = reply {
                reply.send(Ok(()));
            }
        }));
    }

    /// How somebody with these claims is shown.
    fn shown(&self, claims: Vec<Claim>) -> Option<Status> {
        shown_as(claims, &self.deps.gone)
    }

    fn left(&mut self, user: UserId, session: SessionId, context: &mut Context<Self>) {
        let now = self.deps.clock.now();
        let Some(local) = self.devices.get_mut(&(user, session)) else { return };
        local.sockets = local.sockets.saturating_sub(1);
        if local.sockets > 0 {
            return;
        }
        local.left_at = Some(now);
        let grace = self.deps.clock.sleep_until(now.plus(self.deps.grace));
        context.spawn(grace.into_actor(self).map(move |(), room, context| {
            // Whoever came back meanwhile has no such moment any more, or a later one.
            if room.devices.get(&(user, session)).is_some_and(|local| local.left_at == Some(now)) {
                room.devices.remove(&(user, session));
                room.give_up(user, session, now, context);
            }
        }));
    }

    /// The device is not connected here any more; if none is anywhere, the user is gone.
    fn give_up(&self, user: UserId, session: SessionId, left_at: Timestamp, context: &mut Context<Self>) {
        let (cluster, deps) = (self.deps.entries.cluster().clone(), self.deps.clone());
        let claimed = cluster.claim(user, session, None);
        let given_up = async move {
            let Claimed { before, after } = claimed.await;
            let shown = |claims| shown_as(claims, &deps.gone);
            let (before, after) = (shown(before), shown(after));
            if after.is_some() {
                return (before, after);
            }
            if let Err(error) = ending::seen(&deps.db, &*deps.clock, &[user], left_at).await {
                tracing::warn!(%error, "when somebody was seen last could not be written");
            }
            // Again: they may have come back while that was written.
            let now = cluster.claims(vec![user]).await.claims.pop().unwrap_or_default();
            (before, shown(now))
        };
        context.spawn(given_up.into_actor(self).map(move |(before, after), room, _| match after {
            Some(status) if before == Some(status) => {}
            Some(status) => room.tell(user, status, None),
            None => room.tell(user, Status::Offline, Some(left_at)),
        }));
    }

    fn tell(&self, user: UserId, status: Status, last_seen_at: Option<Timestamp>) {
        self.deps.entries.deliver(told(&Presence { user_id: user, status, last_seen_at }));
    }
}
