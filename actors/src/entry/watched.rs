//! How the people whom somebody here watches are shown: what was told of them last, and what should be told again.
//! Never how they are: claims tell.

use super::{Entries, State};
use crate::cluster::{Content, Delivery, Topic};
use crate::presence::{profile_changed, shown, told};
use crate::protocol::view::{Presence, Status};
use entities::UserId;
use std::collections::HashSet;
use std::sync::Arc;

/// Of whom it has changed who may see what.
#[derive(Default)]
pub(crate) struct Audiences {
    /// Everybody who watches these may see more of them, or less.
    pub(crate) users: HashSet<UserId>,
    /// The first of each pair may see more of the second, or less.
    pub(crate) pairs: HashSet<(UserId, UserId)>,
}

impl Audiences {
    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.pairs.is_empty()
    }
}

impl Entries {
    /// The users whom somebody here watches.
    pub(crate) fn watched(&self) -> Vec<UserId> {
        self.0
            .shards
            .iter()
            .flat_map(|shard| shard.lock().keys().filter_map(Topic::watched).collect::<Vec<_>>())
            .collect()
    }

    /// Somebody's profile has changed: those who watch them on every node hear of it, but nobody who is blocked.
    pub fn profile_changed(&self, user: UserId) {
        self.deliver(profile_changed(user));
    }

    /// It has changed who may see what of somebody, by their privacy, contacts or blocks: every node looks again what
    /// those who watch them may hear. After the commit of what changed it; `privacy::audience_changed` stamps it there.
    pub fn audience_changed(&self, user: UserId) {
        let content = Content::Changed;
        self.deliver(Arc::new(Delivery { topic: Topic::Presence(user), numbers: None, content }));
    }

    /// The same of these two alone: one of them blocks the other, or does no more. Only nodes where they have sockets
    /// look.
    pub fn standing_changed(&self, one: UserId, other: UserId) {
        for (user, other) in [(one, other), (other, one)] {
            let content = Content::Standing(other);
            self.deliver(Arc::new(Delivery { topic: Topic::User(user), numbers: None, content }));
        }
    }

    /// Of whom it has changed, since this was asked last, who may see what.
    pub(crate) fn take_audiences(&self) -> Audiences {
        std::mem::take(&mut *self.0.audiences.lock())
    }

    /// The same is still to be looked at.
    pub(crate) fn put_back_audiences(&self, told: Audiences) {
        let mut audiences = self.0.audiences.lock();
        audiences.users.extend(told.users);
        audiences.pairs.extend(told.pairs);
    }

    /// Somebody who begins to watch was told so. If others were told otherwise, all are told again.
    pub(crate) fn show(&self, user: UserId, status: Status) {
        let topic = Topic::Presence(user);
        let Some(entry) = self.find(topic) else { return };
        let mut state = entry.state.lock();
        match state.shown {
            None if !state.gap_known => state.says(Some(status)),
            Some(shown) if shown != status => {
                state.says(None);
                state.gap_known = true;
                self.mend(topic);
            }
            _ => {}
        }
    }

    /// How somebody is shown here; `None` when nobody watches.
    pub(crate) fn shows(&self, user: UserId) -> Option<Shown> {
        let entry = self.find(Topic::Presence(user))?;
        let state = entry.state.lock();
        Some(Shown { status: state.shown, told: state.told })
    }

    /// Tells those who watch here how somebody is shown, unless they were told anything since it was `before`.
    pub(crate) fn correct(&self, before: Shown, presence: &Presence) {
        let Some(entry) = self.find(Topic::Presence(presence.user_id)) else { return };
        let mut state = entry.state.lock();
        if state.told == before.told && !self.is_behind(&state) {
            state.says(Some(presence.status));
            state.gap_known = false;
            self.forward(&state, &told(presence));
        }
    }
}

/// How somebody is shown, and how often that was told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown {
    /// `None` when not to all alike.
    pub status: Option<Status>,
    told: u64,
}

impl State {
    /// Those who watch are told this from now on; nothing, if not all of them the same.
    pub(super) fn says(&mut self, status: Option<Status>) {
        self.shown = status;
        self.told = self.told.wrapping_add(1);
    }

    /// Whether a delivery tells of somebody what was not told yet. When they were seen last may be new.
    pub(super) fn is_news(&mut self, delivery: &Delivery) -> bool {
        let Some(status) = shown(&delivery.content) else { return true };
        self.gap_known = false;
        let before = self.shown;
        self.says(Some(status));
        before != Some(status) || status == Status::Offline
    }
}
