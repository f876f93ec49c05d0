//! One socket's ear on one topic: what of a delivery is for it, and in which form.
//! Never twice, and never past a gap.

use super::watching::Watching;
use super::{HELD, Notice, Socket};
use crate::cluster::{Content, Delivery, Fill, Part, Topic};
use crate::outbox::CloseCode;
use crate::protocol::event::{ConversationChanges, Event};
use crate::protocol::view::Item;
use bytes::Bytes;
use entities::{ConversationId, UserId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

/// One socket's ear on one topic.
pub struct Listener {
    pub(super) socket: std::rc::Weak<Socket>,
    pub(super) user: UserId,
    /// What is at or below it, the socket knows already: by its snapshot, or since it has heard it.
    pub(super) since_rev: Cell<i64>,
    /// Messages below it are not for this member.
    pub(super) visible_from_seq: Cell<i64>,
    /// What arrived before the snapshot was read; `None` once released.
    pub(super) held: RefCell<Option<Vec<Arc<Delivery>>>>,
    pub(super) overtaken: Cell<bool>,
    pub(super) gone: Cell<bool>,
    /// What of somebody who is watched it may hear.
    pub(super) watching: Watching,
}

/// The frames of a filled gap, one for each way in which members may see it.
#[derive(Default)]
pub(super) struct FillFrames(HashMap<(i64, i64, i64), Bytes>);

impl FillFrames {
    fn frame(
        &mut self,
        conversation: ConversationId,
        from: i64,
        rev: i64,
        fill: &Fill,
        visible_from_seq: i64,
    ) -> Bytes {
        let make = || {
            let visible = |item: &&Item| {
                item.rev() >= from && item.rev() <= rev && item.seq().is_none_or(|seq| seq >= visible_from_seq)
            };
            let items = fill.items.iter().filter(visible).cloned().collect();
            changes_frame(conversation, ConversationChanges { from_rev: from, rev, items, reset: fill.reset })
        };
        self.0.entry((from, rev, visible_from_seq)).or_insert_with(make).clone()
    }
}

fn changes_frame(conversation: ConversationId, changes: ConversationChanges) -> Bytes {
    let mut event = Event::new("conversation.changes", &changes).within(conversation);
    event.from_rev = Some(changes.from_rev);
    event.rev = Some(changes.rev);
    event.frame()
}

impl Listener {
    pub(super) fn hear(&self, delivery: &Arc<Delivery>, fills: &mut FillFrames) {
        if self.gone.get() {
            return;
        }
        let Some(socket) = self.socket.upgrade() else { return };
        if let Some(held) = &mut *self.held.borrow_mut() {
            if held.len() < HELD {
                held.push(delivery.clone());
            } else {
                // So much came while it was joining that it had better begin again.
                socket.outbox.close(CloseCode::OutOfStep);
            }
            return;
        }
        if let Some((from_rev, rev)) = delivery.numbers {
            let heard = self.since_rev.get();
            if rev <= heard {
                return;
            }
            if from_rev > heard + 1 {
                // Never past a gap: the rows will tell all of it.
                return socket.hub.entries.rewind(delivery.topic, heard);
            }
        }
        match &delivery.content {
            Content::Frames { bytes, parts } => self.hear_frames(&socket, delivery, bytes, parts),
            Content::Fill(fill) => self.hear_fill(&socket, delivery, fill, fills),
            Content::Ephemeral { key, .. } if !self.watching.may_hear(*key) => {}
            Content::Ephemeral { bytes, key } => socket.outbox.push_ephemeral(bytes.clone(), *key),
            Content::SessionRevoked(session) if socket.session.get() == Some(*session) => {
                socket.notify(Notice::Revoked)
            }
            Content::SessionRevoked(_) | Content::Standing(_) | Content::Changed => {}
        }
        if let Some((_, rev)) = delivery.numbers {
            self.since_rev.set(rev);
        }
    }

    fn hear_frames(&self, socket: &Socket, delivery: &Delivery, bytes: &Bytes, parts: &[Part]) {
        let Some((from_rev, rev)) = delivery.numbers else { return };
        let Topic::Conversation(conversation) = delivery.topic else {
            return self.hear_own(socket, bytes, parts);
        };
        if !socket.hint(conversation, rev) {
            let visible_from = self.visible_from_seq.get();
            let all = from_rev > self.since_rev.get()
                && parts.iter().all(|part| part.removed.is_none() && part.seq.is_none_or(|seq| seq >= visible_from));
            if all {
                socket.outbox.push(bytes.clone(), parts.len() as u64);
                return;
            }
            self.hear_parts(socket, conversation, bytes, parts);
        }
        if self.removal(parts).is_some() {
            self.leave(socket, conversation);
        }
    }

    /// The parts one by one: those that are not for this member are replaced by their numbers alone.
    fn hear_parts(&self, socket: &Socket, conversation: ConversationId, bytes: &Bytes, parts: &[Part]) {
        let last = self.removal(parts).unwrap_or(i64::MAX);
        let mut start = 0;
        for part in parts {
            let frame = start..part.end;
            start = part.end;
            if part.rev <= self.since_rev.get() || part.rev > last {
                continue;
            }
            if part.seq.is_none_or(|seq| seq >= self.visible_from_seq.get()) {
                socket.outbox.push(bytes.slice(frame), 1);
            } else {
                let nothing =
                    ConversationChanges { from_rev: part.rev, rev: part.rev, items: Vec::new(), reset: false };
                socket.outbox.push(changes_frame(conversation, nothing), 1);
            }
        }
    }

    /// Frames of the user's own topic.
    fn hear_own(&self, socket: &Socket, bytes: &Bytes, parts: &[Part]) {
        let mut start = 0;
        for part in parts {
            let frame = start..part.end;
            start = part.end;
            if part.rev <= self.since_rev.get() {
                continue;
            }
            match (part.conversation, part.removed) {
                (Some(conversation), Some(_)) => {
                    socket.detach(Topic::Conversation(conversation));
                    socket.outbox.push(bytes.slice(frame), 0);
                    socket.notify(Notice::Left(conversation));
                }
                // The session tells it when it has joined, with what it then finds.
                (Some(conversation), None) if !socket.listens(Topic::Conversation(conversation)) => {
                    socket.notify(Notice::Join { conversation, user_rev: part.rev });
                }
                (Some(conversation), None) if socket.overtakes(Topic::Conversation(conversation)) => {}
                _ => socket.outbox.push(bytes.slice(frame), 0),
            }
        }
    }

    /// The rows of a gap, as far as they are this member's to see.
    ///
    /// # Why the items alone do not tell
    /// Who was removed and added again within the gap is a member in its rows, and was none for a part of them; where
    /// that part began, no row says any more. So this listener hears nothing of it: it leaves, and joins anew.
    fn hear_fill(&self, socket: &Socket, delivery: &Delivery, fill: &Fill, fills: &mut FillFrames) {
        let (Topic::Conversation(conversation), Some((from_rev, rev))) = (delivery.topic, delivery.numbers) else {
            return;
        };
        let heard = self.since_rev.get();
        let moved = fill.moves.iter().find(|moved| moved.user == self.user);
        if moved.is_some_and(|moved| moved.from_rev > heard) {
            return self.leave(socket, conversation);
        }
        let removal = moved.and_then(|moved| moved.until_rev).filter(|until| (heard + 1..=rev).contains(until));
        let (from, upto) = (from_rev.max(heard + 1), removal.unwrap_or(rev));
        if from <= upto && !socket.hint(conversation, upto) {
            socket.outbox.push(fills.frame(conversation, from, upto, fill, self.visible_from_seq.get()), 1);
        }
        if removal.is_some() {
            self.leave(socket, conversation);
        }
    }

    /// The first change that ends this user's membership, if it came after this listener did.
    fn removal(&self, parts: &[Part]) -> Option<i64> {
        let ends = |part: &&Part| part.removed == Some(self.user) && part.rev > self.since_rev.get();
        parts.iter().find(ends).map(|part| part.rev)
    }

    fn leave(&self, socket: &Socket, conversation: ConversationId) {
        socket.detach(Topic::Conversation(conversation));
        socket.notify(Notice::Left(conversation));
    }
}
