//! How a socket's session begins: its hello, where it may read on, and each conversation that it joins later.
//! Never a command.

use super::{SessionActor, SessionDeps, Stage};
use crate::caller::Identity;
use crate::cluster::Topic;
use crate::greeter::{Arrival, Known, Snapshot};
use crate::hub::Socket;
use crate::outbox::CloseCode;
use crate::protocol::command::{GetConversation, Hello};
use crate::protocol::event::{self, Event, SocketLimits};
use crate::protocol::view::Head;
use crate::protocol::{ErrorCode, Outcome};
use actix::prelude::*;
use entities::ConversationId;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::rc::Rc;

/// Heads in one frame.
const HEADS: usize = 200;

impl SessionActor {
    pub(super) fn hello(&mut self, data: Option<&RawValue>, context: &mut Context<Self>) {
        let hello = match data.map(|data| serde_json::from_str::<Hello>(data.get())).transpose() {
            Ok(hello) => hello,
            Err(_) => return self.close(CloseCode::MalformedHello, context),
        };
        self.permit = None;
        let token = hello.as_ref().and_then(|hello| hello.token.as_deref());
        if self.identity.is_none() {
            self.identity = token.and_then(|token| self.deps.dispatch.authenticate(token).ok());
        }
        let Some(identity) = self.identity else { return self.close(CloseCode::NotAuthenticated, context) };
        let Some(place) = self.deps.sockets.take(identity.user, self.deps.limits.sockets_per_user) else {
            return self.close(CloseCode::TooManySockets, context);
        };
        self.place = Some(place);
        self.stage = Stage::Joining;
        self.socket.user.set(Some(identity.user));
        self.socket.session.set(Some(identity.session));
        self.pings = hello.as_ref().is_some_and(|hello| hello.heartbeat.is_some());
        let known = hello.map_or_else(Known::default, |hello| Known {
            revs: hello.known.map(|known| known.into_iter().collect()),
            user_rev: hello.user_rev.unwrap_or(-1),
        });
        if self.deps.sockets.is_slow(identity.session, self.deps.clock.now()) {
            self.socket.pull();
        }
        self.watch_expiry(identity.expires_at, context);
        let (deps, socket) = (self.deps.clone(), self.socket.clone());
        let joined = async move { join(&deps, &socket, identity, known).await };
        context.spawn(joined.into_actor(self).map(move |outcome, session, context| match outcome {
            Ok((arrival, snapshot)) => session.ready(identity, &arrival, snapshot, context),
            Err(error) if error.code() == ErrorCode::AuthSessionRevoked => {
                session.close(CloseCode::SessionRevoked, context)
            }
            // Something of ours is away: come back and try again.
            Err(_) => session.close(CloseCode::Draining, context),
        }));
    }

    pub(super) fn ready(
        &mut self,
        identity: Identity,
        arrival: &Arrival,
        snapshot: Snapshot,
        context: &mut Context<Self>,
    ) {
        let limits = &self.deps.limits;
        let (first, rest) = snapshot.heads.split_at(snapshot.heads.len().min(HEADS));
        let later: HashMap<ConversationId, &Head> = rest.iter().map(|head| (head.conversation_id, head)).collect();
        let later = snapshot.revs.iter().filter_map(|(id, _, from)| Some(((*later.get(id)?).clone(), *from)));
        self.heads = later.collect();
        let ready = event::Ready {
            session_id: identity.session,
            user: &arrival.user,
            user_rev: arrival.user_rev,
            heads: first,
            more: !rest.is_empty(),
            gone: &snapshot.gone,
            heartbeat_secs: limits.heartbeat.as_secs(),
            limits: SocketLimits {
                frame_bytes: limits.frame_bytes,
                commands_per_sec: limits.commands_per_sec,
                in_flight: limits.in_flight,
                queue_bytes: limits.queue_bytes,
            },
            node: self.deps.entries.cluster().node(),
            pull: self.socket.pulls(),
        };
        self.push(&Event::new("ready", &ready));
        self.socket.outbox.restart_count();
        self.stage = Stage::Ready;
        self.release(arrival, &snapshot);
        self.push_heads(context);
        self.deps.entries.metrics().sockets.inc();
        self.deps.entries.metrics().readies.inc();
        self.counted = true;
        let presences = self.deps.presences.clone();
        actix_rt::spawn(async move { presences.opened(identity.user, identity.session).await });
        self.schedule_heartbeat(context);
    }

    /// The pages of heads that did not fit into `ready`, as fast as the client takes them, and behind each what was held.
    pub(super) fn push_heads(&mut self, context: &mut Context<Self>) {
        while !self.heads.is_empty() {
            if self.socket.outbox.is_half_full() {
                return self.socket.when_emptied();
            }
            let rest = self.heads.split_off(self.heads.len().min(HEADS));
            let page = std::mem::replace(&mut self.heads, rest);
            let topic = |head: &Head| Topic::Conversation(head.conversation_id);
            let (overtaken, page): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|(head, _)| self.socket.is_overtaken(topic(head)));
            let heads: Vec<Head> = page.iter().map(|(head, _)| head.clone()).collect();
            self.push(&Event::new("heads", &event::Heads { heads: &heads, more: !self.heads.is_empty() }));
            for (head, visible_from_seq) in page {
                self.socket.release(topic(&head), head.last_rev, visible_from_seq);
            }
            for (head, _) in overtaken {
                // Something of the user's own has changed there meanwhile.
                self.socket.detach(topic(&head));
                self.join_one(head.conversation_id, None, context);
            }
        }
    }

    /// What was held since the socket began to listen goes out now, behind `ready`.
    pub(super) fn release(&self, arrival: &Arrival, snapshot: &Snapshot) {
        let later: std::collections::HashSet<ConversationId> =
            self.heads.iter().map(|(head, _)| head.conversation_id).collect();
        for (conversation, rev, visible_from_seq) in snapshot.revs.iter().filter(|(id, _, _)| !later.contains(id)) {
            self.socket.release(Topic::Conversation(*conversation), *rev, *visible_from_seq);
        }
        // Who was removed between the list and the heads listens no more.
        let kept: std::collections::HashSet<ConversationId> = snapshot.revs.iter().map(|(id, _, _)| *id).collect();
        for membership in arrival.memberships.iter().filter(|membership| !kept.contains(&membership.conversation)) {
            self.socket.detach(Topic::Conversation(membership.conversation));
        }
        self.socket.release(Topic::User(arrival.user.id), arrival.user_rev, 0);
    }

    /// The user has become a member: listen, look, then say so with what was found.
    pub(super) fn join_one(
        &mut self,
        conversation: ConversationId,
        user_rev: Option<i64>,
        context: &mut Context<Self>,
    ) {
        let Some(user) = self.socket.user.get() else { return };
        if let Some(again) = self.joining.get_mut(&conversation) {
            *again = true;
            return;
        }
        if self.socket.listens(Topic::Conversation(conversation)) {
            return;
        }
        self.joining.insert(conversation, false);
        let (deps, socket) = (self.deps.clone(), self.socket.clone());
        let joined = async move {
            socket.attach(Topic::Conversation(conversation), user).await;
            let snapshot = deps.greeter.look(user, vec![conversation], Known::default()).await?;
            let view = deps.conversations.get(user, GetConversation { conversation_id: conversation }).await?;
            Outcome::Ok((snapshot, view))
        };
        context.spawn(joined.into_actor(self).map(move |outcome, session, context| {
            let topic = Topic::Conversation(conversation);
            let again = session.joining.remove(&conversation).unwrap_or(false);
            if again || session.socket.is_overtaken(topic) {
                // What it found is not true any more, perhaps.
                session.socket.detach(topic);
                return session.join_one(conversation, user_rev, context);
            }
            match outcome {
                Ok((snapshot, view)) => {
                    let Some((_, rev, visible_from_seq)) = snapshot.revs.first().copied() else {
                        return session.socket.detach(topic);
                    };
                    let mut added = Event::new("conversation.added", &view).within(conversation);
                    added.user_rev = user_rev;
                    added.at = Some(session.deps.clock.now());
                    session.push(&added);
                    session.socket.release(topic, rev, visible_from_seq);
                }
                Err(error) => {
                    session.socket.detach(topic);
                    if error.code() == ErrorCode::ServerUnavailable {
                        // Without it the socket would be deaf there: it resumes, and finds what is true.
                        session.socket.outbox.close(CloseCode::OutOfStep);
                    }
                }
            }
        }));
    }
}

/// Subscribe, then look: nothing can fall between.
async fn join(
    deps: &SessionDeps,
    socket: &Rc<Socket>,
    identity: Identity,
    known: Known,
) -> Outcome<(Arrival, Snapshot)> {
    socket.attach(Topic::User(identity.user), identity.user).await;
    let arrival = deps.greeter.arrive(identity.user, identity.session).await?;
    let attached = arrival
        .memberships
        .iter()
        .map(|membership| socket.attach(Topic::Conversation(membership.conversation), identity.user));
    futures_util::future::join_all(attached).await;
    let conversations = arrival.memberships.iter().map(|membership| membership.conversation).collect();
    let snapshot = deps.greeter.look(identity.user, conversations, known).await?;
    Ok((arrival, snapshot))
}
