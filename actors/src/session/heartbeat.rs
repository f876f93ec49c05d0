//! Whether a client still takes and counts what it is sent.
//! Never what is sent.

use super::SessionActor;
use crate::outbox::CloseCode;
use crate::presence::Sight;
use crate::protocol::event::{self, Event};
use actix::prelude::*;
use bytes::Bytes;
use entities::UserId;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct HeartbeatAnswer {
    nonce: String,
    received: u64,
}

/// A heartbeat under way.
pub(super) struct Beat {
    nonce: String,
    delivered: u64,
    /// Where the queue ended behind it.
    mark: u64,
    /// What was drained when this was looked at last.
    drained: u64,
}

impl SessionActor {
    pub(super) fn schedule_heartbeat(&self, context: &mut Context<Self>) {
        let wait = self.deps.clock.sleep(self.deps.limits.heartbeat);
        context.spawn(wait.into_actor(self).map(|(), session, context| session.beat(context)));
    }

    pub(super) fn beat(&mut self, context: &mut Context<Self>) {
        if self.socket.outbox.closed().is_some() {
            return;
        }
        if self.beat.is_some() && !self.pings {
            // The one before is still on its way.
            return self.schedule_heartbeat(context);
        }
        self.socket.stop_pulling_when_idle();
        let outbox = &self.socket.outbox;
        let nonce = self.deps.clock.uuid().simple().to_string();
        let delivered = outbox.delivered();
        if self.pings {
            self.alive = false;
            outbox.push(Bytes::from_static(&[0x89, 0]), 0);
        } else {
            outbox.push(Event::new("heartbeat", &event::Heartbeat { nonce: nonce.clone(), delivered }).frame(), 0);
        }
        self.beat = Some(Beat { nonce, delivered, mark: outbox.mark(), drained: outbox.drained() });
        self.socket.mark_beat();
        self.watch_progress(context);
        self.schedule_heartbeat(context);
    }

    /// Until the heartbeat has left the queue, what counts is that the client takes anything at all.
    pub(super) fn watch_progress(&self, context: &mut Context<Self>) {
        let Some(nonce) = self.beat.as_ref().map(|beat| beat.nonce.clone()) else { return };
        let wait = self.deps.clock.sleep(self.deps.limits.heartbeat_answer);
        context.spawn(wait.into_actor(self).map(move |(), session, context| {
            let drained = session.socket.outbox.drained();
            match &mut session.beat {
                // A later one has a watch of its own: a process that was suspended wakes to both at once.
                Some(beat) if beat.nonce != nonce => {}
                Some(beat) if drained >= beat.mark => {}
                Some(beat) if drained > beat.drained => {
                    beat.drained = drained;
                    session.watch_progress(context);
                }
                Some(_) => session.close(CloseCode::NoHeartbeat, context),
                None => {}
            }
        }));
    }

    /// The heartbeat has left the queue: from now on its time runs.
    pub(super) fn await_answer(&self, context: &mut Context<Self>) {
        let Some(nonce) = self.beat.as_ref().map(|beat| beat.nonce.clone()) else { return };
        let wait = self.deps.clock.sleep(self.deps.limits.heartbeat_answer);
        context.spawn(wait.into_actor(self).map(move |(), session, context| {
            if session.pings && session.alive {
                session.beat = None;
            }
            if session.beat.as_ref().is_some_and(|beat| beat.nonce == nonce) {
                session.close(CloseCode::NoHeartbeat, context);
            }
        }));
    }

    pub(super) fn heartbeat_answered(&mut self, data: Option<&RawValue>, context: &mut Context<Self>) {
        let answer = data.and_then(|data| serde_json::from_str::<HeartbeatAnswer>(data.get()).ok());
        let Some(answer) = answer else { return self.close(CloseCode::OutOfStep, context) };
        match &self.beat {
            Some(beat) if beat.nonce == answer.nonce && beat.delivered == answer.received => self.beat = None,
            Some(beat) if beat.nonce == answer.nonce => self.close(CloseCode::OutOfStep, context),
            // An answer to an older one says nothing.
            _ => {}
        }
    }

    /// For a socket that was too slow twice: where it may read on, instead of everything.
    pub(super) fn push_hints(&self) {
        let hints = self.socket.take_hints();
        let heads: Vec<event::Hint> =
            hints.into_iter().map(|(conversation_id, last_rev)| event::Hint { conversation_id, last_rev }).collect();
        if !heads.is_empty() {
            self.push(&Event::new("heads", &event::Hints { heads: &heads, more: false }));
        }
    }

    /// The user has come into a conversation: of whom they hear nothing they may hear more. Or they have left one: of
    /// anybody they may hear less.
    pub(super) fn review_watched(&self, left: bool, context: &mut Context<Self>) {
        let sights = self.socket.sights(self.socket.watched().into_iter());
        let concerned = sights.into_iter().filter(|(_, sight)| left || *sight == Sight::default());
        let watched: Vec<UserId> = concerned.map(|(user, _)| user).collect();
        let Some(user) = self.socket.user.get().filter(|_| !watched.is_empty()) else { return };
        let presences = self.deps.presences.clone();
        // Where it fails, the sweep looks.
        let reviewed = async move { drop(presences.review_of(user, watched).await) };
        context.spawn(reviewed.into_actor(self));
    }
}
