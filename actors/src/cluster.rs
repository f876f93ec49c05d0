//! What nodes tell each other: hints on topics, and who is connected where.
//! Never anything that must not be lost: rows decide, and `catch_up` mends what a hint missed.

use crate::protocol::view::{Item, Status};
use bytes::Bytes;
use entities::{ConversationId, SessionId, UserId};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What one can listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Everything of a conversation; numbered by `rev`.
    Conversation(ConversationId),
    /// Everything private to a user; numbered by `userRev`.
    User(UserId),
    /// Whether somebody is there; not numbered.
    Presence(UserId),
}

/// One frame inside a delivery.
#[derive(Debug, Clone)]
pub struct Part {
    /// Where its bytes end in the delivery's; they begin where the part before ends.
    pub end: usize,
    /// The change that it tells.
    pub rev: i64,
    /// The message that it is about.
    pub seq: Option<i64>,
    /// Who is no member after it.
    pub removed: Option<UserId>,
    /// The conversation that it is about, on a user's topic.
    pub conversation: Option<ConversationId>,
}

/// Several changes read from the rows, to be told in one frame.
#[derive(Debug, Clone)]
pub struct Fill {
    /// The rows, in `rev` order.
    pub items: Vec<Item>,
    /// Too much to tell: the client takes the history afresh.
    pub reset: bool,
}

/// What goes to the listeners of a topic.
#[derive(Debug, Clone)]
pub enum Content {
    /// Frames as they go out, one after another, each of them one change.
    Frames {
        /// The bytes of all.
        bytes: Bytes,
        /// Where each ends, and what it is about.
        parts: Vec<Part>,
    },
    /// A gap, filled.
    Fill(Fill),
    /// A frame that may be dropped for whoever is slow; the newest of a key is sent again.
    Ephemeral {
        /// The frame.
        bytes: Bytes,
        /// What a newer one replaces.
        key: Option<EphemeralKey>,
    },
    /// The rows of this user have changed up to this `userRev`: read them.
    UserChanged,
    /// A session was ended: close its sockets.
    SessionRevoked(SessionId),
}

/// Which ephemeral frames replace each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EphemeralKey {
    /// How far a user has read.
    Read(ConversationId, UserId),
    /// How far a user has received.
    Delivered(ConversationId, UserId),
    /// Whether a user is there.
    Presence(UserId),
}

/// One thing on a topic, shared by all who hear it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Where.
    pub topic: Topic,
    /// The first and the last change that it tells; `None` for what is not numbered.
    pub numbers: Option<(i64, i64)>,
    /// What.
    pub content: Content,
}

/// Where deliveries of other nodes enter.
pub type Inlet = Box<dyn Fn(Arc<Delivery>) + Send + Sync>;

/// What joins the nodes.
pub trait Cluster: Send + Sync + 'static {
    /// This node's name.
    fn node(&self) -> &str;
    /// Sets where deliveries of other nodes enter; called once, at start.
    fn connect(&self, inlet: Inlet);
    /// Tells the other nodes. Never waits.
    fn publish(&self, delivery: Arc<Delivery>);
    /// Listens to a topic; ends when what is published from then on arrives here.
    fn subscribe(&self, topic: Topic) -> BoxFuture<'static, ()>;
    /// Listens no more.
    fn unsubscribe(&self, topic: Topic);
    /// Says that a user is, or is no longer, connected to this node.
    fn claim(&self, user: UserId, status: Option<Status>) -> BoxFuture<'static, ()>;
    /// How these users are shown, over all nodes; `None` for those who are nowhere.
    fn presence(&self, users: Vec<UserId>) -> BoxFuture<'static, Vec<Option<Status>>>;
}

#[derive(Default)]
struct BusState {
    nodes: HashMap<String, Member>,
    claims: HashMap<UserId, HashMap<String, Status>>,
}

struct Member {
    inlet: Option<Arc<Inlet>>,
    topics: HashSet<Topic>,
}

/// The bus of one process: what a single node uses, and what joins several nodes in tests.
#[derive(Default)]
pub struct LocalBus {
    state: Mutex<BusState>,
    deaf: AtomicBool,
}

impl LocalBus {
    /// A bus without nodes.
    pub fn new() -> Arc<LocalBus> {
        Arc::default()
    }

    /// A node's end of it.
    pub fn join(self: &Arc<Self>, node: &str) -> Arc<LocalCluster> {
        self.state.lock().nodes.insert(node.to_owned(), Member { inlet: None, topics: HashSet::new() });
        Arc::new(LocalCluster { bus: self.clone(), node: node.to_owned() })
    }

    /// Loses every hint from now on, as a network may; or no longer.
    pub fn lose_hints(&self, lose: bool) {
        self.deaf.store(lose, Ordering::SeqCst);
    }
}

/// One node's end of a `LocalBus`.
pub struct LocalCluster {
    bus: Arc<LocalBus>,
    node: String,
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        let mut state = self.bus.state.lock();
        state.nodes.remove(&self.node);
        for claims in state.claims.values_mut() {
            claims.remove(&self.node);
        }
    }
}

impl Cluster for LocalCluster {
    fn node(&self) -> &str {
        &self.node
    }

    fn connect(&self, inlet: Inlet) {
        if let Some(member) = self.bus.state.lock().nodes.get_mut(&self.node) {
            member.inlet = Some(Arc::new(inlet));
        }
    }

    fn publish(&self, delivery: Arc<Delivery>) {
        let listeners: Vec<Arc<Inlet>> = {
            let state = self.bus.state.lock();
            if state.nodes.len() < 2 || self.bus.deaf.load(Ordering::SeqCst) {
                return;
            }
            let others = state
                .nodes
                .iter()
                .filter(|(name, member)| **name != self.node && member.topics.contains(&delivery.topic));
            others.filter_map(|(_, member)| member.inlet.clone()).collect()
        };
        for inlet in listeners {
            inlet(delivery.clone());
        }
    }

    fn subscribe(&self, topic: Topic) -> BoxFuture<'static, ()> {
        if let Some(member) = self.bus.state.lock().nodes.get_mut(&self.node) {
            member.topics.insert(topic);
        }
        Box::pin(std::future::ready(()))
    }

    fn unsubscribe(&self, topic: Topic) {
        if let Some(member) = self.bus.state.lock().nodes.get_mut(&self.node) {
            member.topics.remove(&topic);
        }
    }

    fn claim(&self, user: UserId, status: Option<Status>) -> BoxFuture<'static, ()> {
        let mut state = self.bus.state.lock();
        let claims = state.claims.entry(user).or_default();
        match status {
            Some(status) => claims.insert(self.node.clone(), status),
            None => claims.remove(&self.node),
        };
        if claims.is_empty() {
            state.claims.remove(&user);
        }
        Box::pin(std::future::ready(()))
    }

    fn presence(&self, users: Vec<UserId>) -> BoxFuture<'static, Vec<Option<Status>>> {
        let state = self.bus.state.lock();
        let found = users
            .iter()
            .map(|user| state.claims.get(user).and_then(|claims| most_present(claims.values().copied())))
            .collect();
        Box::pin(std::future::ready(found))
    }
}

/// What somebody on several nodes is shown as: busy before online before away.
pub fn most_present(claims: impl Iterator<Item = Status>) -> Option<Status> {
    claims.min_by_key(|status| match status {
        Status::Busy => 0,
        Status::Online => 1,
        Status::Away => 2,
        Status::Offline => 3,
    })
}
