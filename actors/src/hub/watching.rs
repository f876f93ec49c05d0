//! Who of a thread's sockets watches whom, and what of it each may hear.
//! Never who may: that is looked up elsewhere, and said here.

use super::listener::Listener;
use super::{Hub, HubHandle, Order as HubOrder, Socket};
use crate::cluster::{Content, Delivery, EphemeralKey, Topic};
use crate::presence::{Sight, hidden};
use entities::UserId;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Who watches, and whom.
pub(crate) type Watch = (UserId, UserId);

/// What the thread is asked or told of those who watch.
pub(super) enum Order {
    Watches(Option<Arc<HashSet<UserId>>>, oneshot::Sender<Vec<Watch>>),
    Unwatch(Arc<[Watch]>),
    See(Arc<HashMap<Watch, Sight>>, oneshot::Sender<HashSet<UserId>>),
    Show(Arc<[Arc<Delivery>]>),
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
            Some(EphemeralKey::Presence(_)) => self.sight.get() == Sight::All,
            Some(EphemeralKey::Profile(_)) => self.sight.get() != Sight::Nothing,
            Some(EphemeralKey::Read(..) | EphemeralKey::Delivered(..)) | None => true,
        }
    }
}

impl HubHandle {
    fn watching(&self, order: Order) {
        // Fails only when the thread has ended, and its sockets with it.
        let _ = self.orders.send(HubOrder::Watching(order));
    }

    /// Who of this thread's sockets watches whom; of these, if any are named.
    pub(crate) async fn watches(&self, of: Option<Arc<HashSet<UserId>>>) -> Vec<Watch> {
        let (sender, watches) = oneshot::channel();
        self.watching(Order::Watches(of, sender));
        watches.await.unwrap_or_default()
    }

    /// These watch no more.
    pub(crate) fn unwatch(&self, strangers: Arc<[Watch]>) {
        self.watching(Order::Unwatch(strangers));
    }

    /// What each may hear of whom from now on. Who may see somebody no more is told that they are offline; of whom
    /// somebody sees again how they are, `show` is to tell.
    pub(crate) async fn see(&self, sights: Arc<HashMap<Watch, Sight>>) -> HashSet<UserId> {
        let (sender, newly_seen) = oneshot::channel();
        self.watching(Order::See(sights, sender));
        newly_seen.await.unwrap_or_default()
    }

    /// How these are, for those who see them again.
    pub(crate) fn show(&self, told: Arc<[Arc<Delivery>]>) {
        self.watching(Order::Show(told));
    }
}

impl Hub {
    pub(super) fn watching(&self, order: Order) {
        match order {
            Order::Watches(of, asked) => drop(asked.send(self.watches(of.as_deref()))),
            Order::Unwatch(strangers) => self.unwatch(&strangers),
            Order::See(sights, asked) => drop(asked.send(self.see(&sights))),
            Order::Show(told) => told.iter().for_each(|told| self.show(told)),
        }
    }

    fn watches(&self, of: Option<&HashSet<UserId>>) -> Vec<Watch> {
        let audiences = self.audiences.borrow();
        let watches = |watched: UserId, listeners: &Vec<Rc<Listener>>| {
            listeners.iter().map(|listener| (listener.user, watched)).collect::<Vec<_>>()
        };
        match of {
            Some(users) => users
                .iter()
                .filter_map(|user| Some(watches(*user, audiences.get(&Topic::Presence(*user))?)))
                .flatten()
                .collect(),
            None => audiences
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
                match (before == Sight::All, *sight == Sight::All) {
                    (true, false) if is_told => listener.push(&hidden(watched)),
                    (false, true) if is_told => watching.blinking.set(true),
                    _ => {}
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
            if listener.watching.blinking.take() && listener.watching.sight.get() == Sight::All {
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
    /// Gives what it may hear now.
    pub(crate) fn sees(&self, watched: UserId, found: Sight, reviews: u64) -> Sight {
        let listening = self.listening.borrow();
        let Some(listener) = listening.get(&Topic::Presence(watched)) else { return Sight::Nothing };
        if listener.watching.reviews.get() == reviews {
            listener.watching.sight.set(found);
        }
        listener.watching.sight.get()
    }
}
