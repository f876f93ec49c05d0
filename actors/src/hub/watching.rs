//! Who of a thread's sockets watches whom, and what of it each may hear.
//! Never who may: that is looked up elsewhere, and said here.

use super::listener::Listener;
use super::{Hub, HubHandle, Order as HubOrder, Socket};
use crate::cluster::{Content, Delivery, EphemeralKey, Topic};
use crate::presence::{Sight, hidden, profile_changed};
use entities::UserId;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Who watches, and whom.
pub(crate) type Watch = (UserId, UserId);

/// Which of the watches are asked for.
#[derive(Clone)]
pub(crate) enum Which {
    All,
    /// Those of who watches one of these.
    Of(Arc<HashSet<UserId>>),
    /// Those by which nothing is heard.
    Blind,
}

/// What the thread is asked or told of those who watch.
pub(super) enum Order {
    Watches(Which, oneshot::Sender<Vec<Watch>>),
    Unwatch(Arc<[Watch]>),
    See(Arc<HashMap<Watch, Sight>>, oneshot::Sender<HashSet<UserId>>),
    Show(Arc<[Arc<Delivery>]>, oneshot::Sender<()>),
}

/// What a listener may hear of whom it watches. Nothing, until somebody has looked.
#[derive(Default)]
pub(super) struct Watching {
    sight: Cell<Sight>,
    /// How often a change of who may see what was looked at.
    reviews: Cell<u64>,
    /// It may see them since a moment ago, and was not told yet how they are.
    blinking: Cell<bool>,
}

impl Watching {
    /// Whether a frame of this key is for it.
    pub(super) fn may_hear(&self, key: Option<EphemeralKey>) -> bool {
        match key {
            Some(EphemeralKey::Presence(_)) => self.sight.get().presence,
            Some(EphemeralKey::Profile(_)) => self.sight.get().profile.is_some(),
            Some(EphemeralKey::Read(..) | EphemeralKey::Delivered(..)) | None => true,
        }
    }
}

impl HubHandle {
    fn watching(&self, order: Order) {
        // Fails only when the thread has ended, and its sockets with it.
        let _ = self.orders.send(HubOrder::Watching(order));
    }

    /// Who of this thread's sockets watches whom.
    pub(crate) async fn watches(&self, which: Which) -> Vec<Watch> {
        let (sender, watches) = oneshot::channel();
        self.watching(Order::Watches(which, sender));
        watches.await.unwrap_or_default()
    }

    /// These watch no more.
    pub(crate) fn unwatch(&self, strangers: Arc<[Watch]>) {
        self.watching(Order::Unwatch(strangers));
    }

    /// What each may hear of whom from now on. Who may see somebody no more is told that they are offline, and to whom
    /// more or less of a profile is shown, that it has changed; of whom somebody sees again how they are, `show` is to tell.
    pub(crate) async fn see(&self, sights: Arc<HashMap<Watch, Sight>>) -> HashSet<UserId> {
        let (sender, newly_seen) = oneshot::channel();
        self.watching(Order::See(sights, sender));
        newly_seen.await.unwrap_or_default()
    }

    /// How these are, for those who see them again; ends when it lies in their queues.
    pub(crate) async fn show(&self, told: Arc<[Arc<Delivery>]>) {
        let (sender, shown) = oneshot::channel();
        self.watching(Order::Show(told, sender));
        shown.await.unwrap_or_default();
    }
}

impl Hub {
    pub(super) fn watching(&self, order: Order) {
        match order {
            Order::Watches(which, asked) => drop(asked.send(self.watches(&which))),
            Order::Unwatch(strangers) => self.unwatch(&strangers),
            Order::See(sights, asked) => drop(asked.send(self.see(&sights))),
            Order::Show(told, asked) => {
                told.iter().for_each(|told| self.show(told));
                let _ = asked.send(());
            }
        }
    }

    fn watches(&self, which: &Which) -> Vec<Watch> {
        let audiences = self.audiences.borrow();
        let is_asked = |listener: &&Rc<Listener>| match which {
            Which::All | Which::Of(_) => true,
            Which::Blind => listener.watching.sight.get() == Sight::default(),
        };
        let watches = |watched: UserId, listeners: &Vec<Rc<Listener>>| {
            listeners.iter().filter(is_asked).map(|listener| (listener.user, watched)).collect::<Vec<_>>()
        };
        match which {
            Which::Of(users) => users
                .iter()
                .filter_map(|user| Some(watches(*user, audiences.get(&Topic::Presence(*user))?)))
                .flatten()
                .collect(),
            Which::All | Which::Blind => audiences
                .iter()
                .filter_map(|(topic, listeners)| Some(watches(topic.watched()?, listeners)))
                .flatten()
                .collect(),
        }
    }

    fn watchers(&self, watched: UserId) -> Vec<Rc<Listener>> {
        self.audiences.borrow().get(&Topic::Presence(watched)).cloned().unwrap_or_default()
    }

    fn unwatch(&self, strangers: &[Watch]) {
        for (watcher, watched) in strangers {
            for socket in self.watchers(*watched).iter().filter(|it| it.user == *watcher) {
                if let Some(socket) = socket.socket.upgrade() {
                    socket.detach(Topic::Presence(*watched));
                }
            }
        }
    }

    fn see(&self, sights: &HashMap<Watch, Sight>) -> HashSet<UserId> {
        let watched: HashSet<UserId> = sights.keys().map(|(_, watched)| *watched).collect();
        let mut newly_seen = HashSet::new();
        for watched in watched {
            for listener in self.watchers(watched) {
                let Some(sight) = sights.get(&(listener.user, watched)) else { continue };
                let watching = &listener.watching;
                watching.reviews.set(watching.reviews.get() + 1);
                let before = watching.sight.replace(*sight);
                // Who has just begun to watch is answered with what there is to see.
                let is_told = listener.held.borrow().is_none();
                match (before.presence, sight.presence) {
                    (true, false) if is_told => listener.push(&hidden(watched)),
                    (false, true) if is_told => watching.blinking.set(true),
                    _ => {}
                }
                if is_told && sight.profile.is_some() && sight.profile != before.profile {
                    listener.push(&profile_changed(watched));
                }
                if watching.blinking.get() {
                    newly_seen.insert(watched);
                }
            }
        }
        newly_seen
    }

    fn show(&self, told: &Delivery) {
        let Some(watched) = told.topic.watched() else { return };
        for listener in self.watchers(watched) {
            if listener.watching.blinking.take() && listener.watching.sight.get().presence {
                listener.push(told);
            }
        }
    }
}

impl Listener {
    fn push(&self, told: &Delivery) {
        if let (Some(socket), Content::Ephemeral { bytes, key }) = (self.socket.upgrade(), &told.content) {
            socket.outbox.push_ephemeral(bytes.clone(), *key);
        }
    }
}

impl Socket {
    /// The users whom it watches.
    pub fn watched(&self) -> HashSet<UserId> {
        self.listening.borrow().keys().filter_map(Topic::watched).collect()
    }

    /// How often it was looked at, since it watches somebody, what of them it may hear.
    pub(crate) fn reviews(&self, watched: UserId) -> u64 {
        let listening = self.listening.borrow();
        listening.get(&Topic::Presence(watched)).map_or(0, |listener| listener.watching.reviews.get())
    }

    /// It may hear this of whom it watches, as was found when so many `reviews` had been; a later one knows better.
    pub(crate) fn sees(&self, watched: UserId, found: Sight, reviews: u64) {
        let listening = self.listening.borrow();
        let listener = listening.get(&Topic::Presence(watched));
        if let Some(listener) = listener.filter(|listener| listener.watching.reviews.get() == reviews) {
            listener.watching.sight.set(found);
        }
    }

    /// What it may hear now of each of these; nothing of whom it does not watch.
    pub(crate) fn sights(&self, of: impl Iterator<Item = UserId>) -> HashMap<UserId, Sight> {
        let listening = self.listening.borrow();
        let sight = |listener: &Rc<Listener>| listener.watching.sight.get();
        of.map(|user| (user, listening.get(&Topic::Presence(user)).map(sight).unwrap_or_default())).collect()
    }
}
