//! What is said, changed, taken back and reacted to.
//! Never who may: `policy.rs` says so.

use super::{Rights, Stored, Verdict, Work, current, head, refuse};
use crate::conversation::change::{Done, NewMessage, Place};
use crate::conversation::mentions;
use crate::conversation::policy::Act;
use crate::journal::Item;
use crate::protocol::view;
use crate::protocol::{ErrorCode, Refusal};
use entities::{ConversationId, ConversationKind, MessageId, MessageKind, Timestamp, UserId, message};
use std::collections::{BTreeSet, HashSet};

impl Work {
    pub(super) fn repeat(&self, item: &Item, new: &NewMessage) -> Verdict<Option<Done>> {
        let key = (item.conversation, item.actor, new.client_id.clone());
        let Some(stored) = self.by_key.get(&key).and_then(|id| self.messages.get(id)) else { return Ok(None) };
        if stored.row.request_hash != new.request_hash {
            let mut refusal = refuse(ErrorCode::MessageClientIdConflict);
            refusal.field = Some("clientId".into());
            return Err(refusal);
        }
        Ok(Some(Done::Message { message: Box::new(stored.view()), duplicate: true }))
    }

    pub(super) fn send(&mut self, item: &Item, rights: Rights, new: &NewMessage) -> Verdict<Done> {
        rights.check(Act::Take)?;
        if let Some(original) = new.reply_to {
            self.visible(item, original)
                .map_err(|_| Refusal { field: Some("replyTo".into()), ..refuse(ErrorCode::MessageNotFound) })?;
        }
        self.take_up(item.conversation, item.actor);
        let head = head(&mut self.heads, item.conversation)?;
        if head.kind == ConversationKind::Private && head.participants < 2 {
            // The other one's account has ended: there is nobody to hear it.
            return Err(refuse(ErrorCode::UserNotFound));
        }
        head.last_seq += 1;
        head.last_rev += 1;
        // Also if the clock was set back, what is later said is later dated.
        head.last_message_at = head.last_message_at.max(self.now);
        let row = message::Model {
            conversation_id: item.conversation,
            seq: head.last_seq,
            id: new.id,
            sender_id: item.actor,
            client_id: new.client_id.clone(),
            request_hash: new.request_hash.clone(),
            rev: head.last_rev,
            changed: false,
            kind: MessageKind::Text,
            text: Some(new.text.clone()),
            reply_to: new.reply_to,
            created_at: head.last_message_at,
            edited_at: None,
            deleted_at: None,
        };
        let place = Place { conversation: item.conversation, seq: row.seq };
        let stored = Stored { row, reactions: Vec::new(), reacted_at: Timestamp::EPOCH, new: true, dirty: false };
        let message = stored.view();
        self.new_places.insert(place);
        self.mention(place, item.actor, &new.text);
        self.take(stored);
        self.told(item.conversation, "message.created", view::Item::Message(message.clone()), None);
        Ok(Done::Message { message: Box::new(message), duplicate: false })
    }

    fn mention(&mut self, place: Place, sender: UserId, text: &str) {
        let names = mentions::names(text).into_iter();
        let users: BTreeSet<UserId> = names
            .filter_map(|name| self.mentionable.get(&(place.conversation, name)).copied())
            // Who is added or removed in this transaction counts as they are by now.
            .filter(|(user, was_member)| match self.participants.get(&(place.conversation, *user)) {
                Some(row) => row.as_ref().and_then(current).is_some(),
                None => *was_member,
            })
            .map(|(user, _)| user)
            .filter(|user| *user != sender)
            .collect();
        if users.is_empty() && self.new_places.contains(&place) {
            // Nothing is written of it yet; what it said before in this transaction does not count.
            self.mentions.remove(&place);
        } else {
            self.mentions.insert(place, users);
        }
    }

    pub(super) fn edit(&mut self, item: &Item, rights: Rights, message: MessageId, text: &str) -> Verdict<Done> {
        let stored = self.visible(item, message)?;
        rights.check(Act::Edit { own: stored.row.sender_id == item.actor })?;
        if stored.row.deleted_at.is_some() {
            return Err(refuse(ErrorCode::MessageDeleted));
        }
        if stored.row.text.as_deref() == Some(text) {
            return Ok(Done::Message { message: Box::new(stored.view()), duplicate: true });
        }
        let place = Place { conversation: item.conversation, seq: stored.row.seq };
        let (sender, now) = (stored.row.sender_id, self.now);
        self.mention(place, sender, text);
        self.rewrite(item.conversation, message, "message.updated", |stored| {
            stored.row.text = Some(text.to_owned());
            stored.row.edited_at = Some(now);
        })
    }

    pub(super) fn delete(&mut self, item: &Item, rights: Rights, message: MessageId) -> Verdict<Done> {
        let stored = self.visible(item, message)?;
        rights.check(Act::Delete { own: stored.row.sender_id == item.actor })?;
        if stored.row.deleted_at.is_some() {
            return Ok(Done::Message { message: Box::new(stored.view()), duplicate: true });
        }
        let place = Place { conversation: item.conversation, seq: stored.row.seq };
        self.bury(place, message)
    }

    /// Leaves a tombstone instead of a message.
    pub(super) fn bury(&mut self, place: Place, message: MessageId) -> Verdict<Done> {
        let now = self.now;
        self.mentions.insert(place, BTreeSet::new());
        self.reactions.retain(|(of, _, _), _| *of != message);
        self.unloved.push(message);
        self.rewrite(place.conversation, message, "message.deleted", |stored| {
            stored.row.text = None;
            stored.row.deleted_at = Some(now);
            stored.reactions.clear();
        })
    }

    pub(super) fn react(
        &mut self,
        item: &Item,
        rights: Rights,
        message: MessageId,
        emoji: &str,
        add: bool,
    ) -> Verdict<Done> {
        self.visible(item, message)?;
        rights.check(Act::Take)?;
        let done = self.set_reaction(item, message, emoji, add)?;
        if add {
            self.take_up(item.conversation, item.actor);
        }
        Ok(done)
    }

    fn set_reaction(&mut self, item: &Item, message: MessageId, emoji: &str, add: bool) -> Verdict<Done> {
        let stored = self.visible(item, message)?;
        if stored.row.deleted_at.is_some() {
            return Err(refuse(ErrorCode::MessageDeleted));
        }
        let given = stored.reactions.iter().any(|(user, given)| *user == item.actor && given == emoji);
        if given == add {
            return Ok(Done::Message { message: Box::new(stored.view()), duplicate: true });
        }
        let kinds: HashSet<&str> = stored.reactions.iter().map(|(_, emoji)| emoji.as_str()).collect();
        if add && kinds.len() >= self.most_reactions && !kinds.contains(emoji) {
            return Err(refuse(ErrorCode::MessageTooManyReactions));
        }
        let at = self.now.max(stored.reacted_at.plus_millis(1));
        self.reactions.insert((message, item.actor, emoji.to_owned()), add.then_some(at));
        let actor = item.actor;
        self.rewrite(item.conversation, message, if add { "reaction.added" } else { "reaction.removed" }, |stored| {
            if add {
                stored.reactions.push((actor, emoji.to_owned()));
                stored.reacted_at = at;
            } else {
                stored.reactions.retain(|(user, given)| *user != actor || given != emoji);
            }
        })
    }

    /// Changes a message's row and stamps it with the next `rev`.
    pub(super) fn rewrite(
        &mut self,
        conversation: ConversationId,
        message: MessageId,
        event: &'static str,
        change: impl FnOnce(&mut Stored),
    ) -> Verdict<Done> {
        let rev = self.next_rev(conversation)?;
        let stored = self.messages.get_mut(&message).ok_or_else(|| refuse(ErrorCode::MessageNotFound))?;
        change(stored);
        stored.row.rev = rev;
        stored.row.changed = true;
        stored.dirty = true;
        let message = stored.view();
        self.told(conversation, event, view::Item::Message(message.clone()), None);
        Ok(Done::Message { message: Box::new(message), duplicate: false })
    }
}
