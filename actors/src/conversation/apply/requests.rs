//! What becomes of a request: a private conversation that another has opened, and whoever was asked takes up or declines.
//! Never what who asked hears of it: of a decline nothing, and of an answer what anybody hears.
//!
//! # What declining comes to
//! The conversation goes from all lists and sockets of whoever was asked, and stays away: nobody brings it back by
//! writing once more. For who asked nothing changes: what they write is kept, and unread. So a decline is no block, and
//! nobody can tell it from a request that waits. It is over when whoever was asked answers, or takes it up after all.

use super::{Verdict, Work, head, refuse};
use crate::conversation::change::Done;
use crate::journal::Item;
use crate::protocol::ErrorCode;
use entities::{ConversationId, UserId, participant};

impl Work {
    /// Whether the conversation is a request to a user, which they have not taken up.
    pub fn is_request(&self, conversation: ConversationId, user: UserId) -> bool {
        self.participants.get(&(conversation, user)).and_then(Option::as_ref).is_some_and(|row| row.request)
    }

    /// Those who have taken up a request.
    pub fn takers(&self) -> Vec<UserId> {
        self.written.values().flat_map(|written| &written.takers).copied().collect()
    }

    /// What was a request to somebody is a conversation like others from now on: they have answered it, or said so.
    pub(super) fn take_up(&mut self, conversation: ConversationId, user: UserId) {
        let row = self.participants.get(&(conversation, user)).and_then(Option::as_ref);
        let Some(row) = row.filter(|row| row.request).cloned() else { return };
        let user_rev = self.raise(conversation, user);
        let taken = participant::Model { request: false, declined_rev: None, user_rev, ..row };
        self.participants.insert((conversation, user), Some(taken));
        self.touched.insert((conversation, user));
        self.written.entry(conversation).or_default().takers.push(user);
    }

    /// What is a request to the actor goes from their lists.
    pub(super) fn decline(&mut self, item: &Item) -> Verdict<Done> {
        let last_rev = head(&mut self.heads, item.conversation)?.last_rev;
        let key = (item.conversation, item.actor);
        let row = self.participants.get(&key).and_then(Option::as_ref).filter(|row| row.request);
        let row = row.cloned().ok_or_else(|| refuse(ErrorCode::ConversationNotARequest))?;
        if row.declined_rev.is_none() {
            let user_rev = self.raise(item.conversation, item.actor);
            let declined = participant::Model { declined_rev: Some(last_rev), user_rev, ..row };
            self.participants.insert(key, Some(declined));
            self.touched.insert(key);
        }
        Ok(Done::Changed)
    }
}
