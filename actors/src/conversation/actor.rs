//! The room of one conversation: what it remembers of rights, who is typing, and the order in which
//! its changes are told. Never a query and never a write: the journal does both.
//!
//! # Why
//! The room learns roles from the journal's transactions, each true at a `policy_rev`; with an equal
//! one the journal need not read them again. So a room opens without loading anything, and one of a
//! hundred members costs no more than one of a hundred thousand.

use super::change::{Change, Done, Receipt, Written};
use crate::clock::Clock;
use crate::cluster::{Content, Delivery, EphemeralKey, Part, Topic};
use crate::entry::Entries;
use crate::journal::{Item, Journal, Verdict};
use crate::limits::Limits;
use crate::protocol::ErrorCode;
use crate::protocol::event::{self, Event, append_text_frame};
use crate::room::{Lease, Reply, Room};
use actix::prelude::*;
use entities::{ConversationId, Db, Role, Timestamp, UserId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Who types longer than this without saying so again has stopped.
const TYPING: Duration = Duration::from_secs(6);
/// Above this many members nobody is told who types or has read.
pub const INTIMATE: i32 = 100;
/// Roles kept; more are learnt anew.
const ROLES: usize = 4096;

/// What the rooms of conversations share.
#[derive(Clone)]
pub struct Deps {
    /// The rows.
    pub db: Db,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: Arc<Limits>,
    /// The way to the listeners.
    pub entries: Entries,
    /// The way to the rows.
    pub journal: Journal,
}

/// What a room is asked to do.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Command {
    /// A durable change.
    Change {
        /// Who wants it.
        actor: UserId,
        /// What.
        change: Change,
        /// Where the outcome goes.
        reply: Reply<Done>,
    },
    /// Somebody types, or no longer.
    Typing {
        /// Who.
        actor: UserId,
        /// Or no longer.
        typing: bool,
        /// Where the outcome goes.
        reply: Reply<()>,
    },
}

/// What the room knows of rights, true at one `policy_rev`.
struct Rights {
    /// When the journal last found them so.
    at: Timestamp,
    policy_rev: i64,
    participants: i32,
    is_private: bool,
    roles: HashMap<UserId, Option<Role>>,
}

/// The actor of one conversation.
pub struct ConversationActor {
    id: ConversationId,
    deps: Deps,
    lease: Lease<ConversationActor>,
    rights: Option<Rights>,
    typing: HashMap<UserId, Timestamp>,
    verdicts: mpsc::UnboundedSender<Verdict>,
    inbox: Option<mpsc::UnboundedReceiver<Verdict>>,
    used_at: Timestamp,
}

impl Room for ConversationActor {
    type Id = ConversationId;
    type Deps = Deps;
    type Command = Command;

    fn open(id: ConversationId, deps: Deps, lease: Lease<Self>) -> Self {
        let (verdicts, inbox) = mpsc::unbounded_channel();
        let used_at = deps.clock.now();
        ConversationActor {
            id,
            deps,
            lease,
            rights: None,
            typing: HashMap::new(),
            verdicts,
            inbox: Some(inbox),
            used_at,
        }
    }
}

impl Actor for ConversationActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if let Some(inbox) = self.inbox.take() {
            context.add_stream(UnboundedReceiverStream::new(inbox));
        }
        self.close_when_idle(context);
    }
}

impl Handler<Command> for ConversationActor {
    type Result = ();

    fn handle(&mut self, command: Command, context: &mut Self::Context) {
        self.used_at = self.deps.clock.now();
        match command {
            Command::Change { actor, change, reply } => self.change(actor, change, reply),
            Command::Typing { actor, typing, reply } => self.typing(actor, typing, reply, context),
        }
    }
}

impl StreamHandler<Verdict> for ConversationActor {
    fn handle(&mut self, verdict: Verdict, context: &mut Self::Context) {
        match verdict {
            Verdict::Decided { written, answers } => {
                self.tell(&written);
                self.learn(written);
                // After the event: whoever has the reply finds that everybody was told.
                for (reply, outcome) in answers {
                    reply.send(outcome);
                }
            }
            // Never repair a cache: the next command opens a new room.
            Verdict::Unknown => context.stop(),
        }
    }
}

impl ConversationActor {
    fn change(&mut self, actor: UserId, change: Change, reply: Reply<Done>) {
        // What the room does not know the journal reads from the rows, and judges there.
        let known =
            self.rights.as_ref().and_then(|rights| Some((rights.policy_rev, rights.roles.get(&actor).copied()??)));
        let (policy_rev, role) = known.map_or((-1, None), |(policy_rev, role)| (policy_rev, Some(role)));
        if matches!(change, Change::Send(_)) {
            self.stops_typing(actor);
        }
        let room = self.verdicts.clone();
        self.deps.journal.enqueue(Item { conversation: self.id, actor, role, policy_rev, change, reply, room });
    }

    fn learn(&mut self, written: Written) {
        let same = self
            .rights
            .as_ref()
            .is_some_and(|rights| rights.policy_rev == written.policy_rev && rights.roles.len() < ROLES);
        if !same {
            let (at, policy_rev) = (self.deps.clock.now(), written.policy_rev);
            self.rights = Some(Rights { at, policy_rev, participants: 0, is_private: false, roles: HashMap::new() });
        }
        if let Some(rights) = &mut self.rights {
            rights.at = self.deps.clock.now();
            rights.participants = written.participants;
            rights.is_private = written.is_private;
            rights.roles.extend(written.roles);
        }
    }

    /// Everybody hears of what was written, in one delivery.
    fn tell(&self, written: &Written) {
        if !written.changes.is_empty() {
            let mut bytes = Vec::with_capacity(written.changes.len() * 512);
            let parts = written.changes.iter().map(|change| self.append(change, &mut bytes)).collect();
            let content = Content::Frames { bytes: bytes.into(), parts };
            self.deliver(Some((written.before + 1, written.rev)), content);
        }
        for user in &written.users {
            self.deps.entries.user_changed(*user);
        }
        for user in &written.takers {
            self.deps.entries.audience_changed(*user);
        }
        if written.participants <= INTIMATE {
            written.receipts.iter().for_each(|receipt| self.tell_receipt(receipt));
        }
    }

    fn append(&self, change: &super::change::Changed, bytes: &mut Vec<u8>) -> Part {
        let (rev, seq) = (change.item.rev(), change.item.seq());
        let mut event = Event::new(change.event, &change.item).within(self.id);
        event.rev = Some(rev);
        event.seq = seq;
        event.at = Some(self.deps.clock.now());
        append_text_frame(&event, bytes);
        Part { end: bytes.len(), rev, seq, removed: change.removed, conversation: None }
    }

    fn tell_receipt(&self, receipt: &Receipt) {
        let (name, key) = if receipt.read {
            ("receipt.read", EphemeralKey::Read(self.id, receipt.user))
        } else {
            ("receipt.delivered", EphemeralKey::Delivered(self.id, receipt.user))
        };
        let data = event::Receipt { user_id: receipt.user, seq: receipt.seq };
        let bytes = Event::new(name, &data).within(self.id).frame();
        self.deliver(None, Content::Ephemeral { bytes, key: Some(key) });
    }

    fn deliver(&self, numbers: Option<(i64, i64)>, content: Content) {
        self.deps.entries.deliver(Arc::new(Delivery { topic: Topic::Conversation(self.id), numbers, content }));
    }

    fn typing(&mut self, actor: UserId, typing: bool, reply: Reply<()>, context: &mut Context<Self>) {
        // Another node may have changed them since, of which this room hears nothing. Of a pair one may have blocked the
        // other, after which not a word is to come through: there the rows are asked each time.
        let now = self.deps.clock.now();
        let known = self
            .rights
            .as_ref()
            .filter(|rights| !rights.is_private && rights.at.plus(TYPING) > now)
            .and_then(|rights| rights.roles.get(&actor).copied().flatten().map(|_| rights.participants));
        if let Some(participants) = known {
            self.types(actor, typing, participants, context);
            reply.send(Ok(()));
            return;
        }
        // Not known: the rows tell, and nothing is remembered of it.
        let (db, id) = (self.deps.db.clone(), self.id);
        let looked = async move { super::read::member(&db, id, actor).await };
        context.spawn(looked.into_actor(self).map(move |found, room, context| {
            let heeded = found.and_then(|member| {
                if member.blocked {
                    return Err(ErrorCode::ConversationBlocked.into());
                }
                // Who has only asked is not told that somebody is there.
                if !member.request {
                    room.types(actor, typing, member.participant_count, context);
                }
                Ok(())
            });
            reply.send(heeded);
        }));
    }

    fn types(&mut self, actor: UserId, typing: bool, participants: i32, context: &mut Context<Self>) {
        if participants > INTIMATE {
            return;
        }
        if !typing {
            self.stops_typing(actor);
            return;
        }
        let until = self.deps.clock.now().plus(TYPING);
        if self.typing.insert(actor, until).is_none() {
            self.tell_typing("typing.started", actor);
            self.watch_typing(actor, until, context);
        }
    }

    /// Says that somebody has stopped, when they have not said that they go on.
    fn watch_typing(&self, actor: UserId, until: Timestamp, context: &mut Context<Self>) {
        let wait = self.deps.clock.sleep_until(until);
        context.spawn(wait.into_actor(self).map(move |(), room, context| match room.typing.get(&actor).copied() {
            Some(later) if later > room.deps.clock.now() => room.watch_typing(actor, later, context),
            Some(_) => room.stops_typing(actor),
            None => {}
        }));
    }

    fn stops_typing(&mut self, actor: UserId) {
        if self.typing.remove(&actor).is_some() {
            self.tell_typing("typing.stopped", actor);
        }
    }

    fn tell_typing(&self, name: &str, actor: UserId) {
        let bytes = Event::new(name, &event::Typist { user_id: actor }).within(self.id).frame();
        self.deliver(None, Content::Ephemeral { bytes, key: None });
    }

    fn close_when_idle(&self, context: &mut Context<Self>) {
        let idle = self.deps.limits.room_idle;
        let wait = self.deps.clock.sleep_until(self.used_at.plus(idle));
        context.spawn(wait.into_actor(self).map(move |(), room, context| {
            let is_old = room.deps.clock.now() >= room.used_at.plus(idle);
            if is_old && room.lease.release_if_idle() {
                context.stop();
            } else {
                if is_old {
                    room.used_at = room.deps.clock.now();
                }
                room.close_when_idle(context);
            }
        }));
    }
}
