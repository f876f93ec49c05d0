//! What nodes tell each other: hints on topics, and who is connected where.
//! Never anything that must not be lost: rows decide, and `catch_up` mends what a hint missed.

use crate::protocol::view::{Item, Status};
use bytes::Bytes;
use entities::{ConversationId, SessionId, UserId};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What one can listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Everything of a conversation; numbered by `rev`.
    Conversation(ConversationId),
    /// Everything private to a user; numbered by `userRev`.
    User(UserId),
    /// Whether somebody is there, and that their profile has changed; not numbered.
    Presence(UserId),
}

impl Topic {
    /// Whose presence it tells, if it does.
    pub fn watched(&self) -> Option<UserId> {
        if let Topic::Presence(user) = self { Some(*user) } else { None }
    }
}

/// One frame inside a delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Who has come or gone since the gap began. Rows show the last of it only: see `Listener::hear_fill`.
    pub moves: Vec<Move>,
    /// Too much to tell: the client takes the history afresh.
    pub reset: bool,
}

/// A user's latest span in a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Move {
    /// Whose.
    pub user: UserId,
    /// The change with which it began.
    pub from_rev: i64,
    /// The change with which it ended; none while it lasts.
    pub until_rev: Option<i64>,
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
    /// The rows of this topic have changed: read them.
    Changed,
    /// A session was ended: close its sockets.
    SessionRevoked(SessionId),
    /// How the user of this topic and this one stand to each other has changed: see what of them may be heard.
    Standing(UserId),
}

/// Which ephemeral frames replace each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EphemeralKey {
    /// How far a user has read.
    Read(ConversationId, UserId),
    /// How far a user has received.
    Delivered(ConversationId, UserId),
    /// Whether a user is there.
    Presence(UserId),
    /// That a user's profile has changed.
    Profile(UserId),
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

impl Delivery {
    /// About how many bytes it takes while it waits.
    pub fn weight(&self) -> usize {
        128 + match &self.content {
            Content::Frames { bytes, .. } | Content::Ephemeral { bytes, .. } => bytes.len(),
            Content::Fill(fill) => fill.items.len() * 512,
            Content::Changed | Content::SessionRevoked(_) | Content::Standing(_) => 0,
        }
    }
}

/// What reaches a node from the others.
#[derive(Debug, Clone)]
pub enum Heard {
    /// One thing on a topic.
    Delivery(Arc<Delivery>),
    /// This node was deaf, and hears again: it compares all that it listens to with the rows, before it takes more work.
    Resubscribed,
    /// Hints may have been lost, here or on their way: all topics are to be compared with the rows.
    MayHaveMissed,
}

/// Where it enters.
pub type Inlet = Box<dyn Fn(Heard) + Send + Sync>;

/// How a node stands with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It has not heard from what joins them since it started.
    Joining,
    /// Hints come and go.
    Up,
    /// They do not, for now: the rows must be looked at more often.
    Down,
}

/// That a user is connected to a node, by one of their devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// To which node.
    pub node: Arc<str>,
    /// By which sign-in; one device has one.
    pub session: SessionId,
    /// How the user wants to be shown there.
    pub status: Status,
}

/// What a claim has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// All claims of the user before it.
    pub before: Vec<Claim>,
    /// And with it.
    pub after: Vec<Claim>,
}

/// The claims of users, as far as anybody can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// For each user, in the order in which they were asked for.
    pub claims: Vec<Vec<Claim>>,
    /// Whether they are those of all nodes; of this one alone while nobody can tell.
    pub everywhere: bool,
}

/// How often something may be done, over all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Over time.
    pub per_sec: u32,
    /// At once.
    pub burst: u32,
}

/// What is left after one more was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// How many more are possible at once.
    pub remaining: u32,
    /// When all of the burst will be possible again.
    pub reset: Duration,
    /// When the next one is possible; `None` if this one was.
    pub wait: Option<Duration>,
}

/// What the operator sees of a link; a clone shares the counts.
#[derive(Clone, Default)]
pub struct Meters {
    /// Hints that were handed over for the other nodes.
    pub published: Counter,
    /// Hints that could not be.
    pub dropped: Counter,
    /// Hints of other nodes.
    pub heard: Counter,
    /// How often the link has come up.
    pub connects: Counter,
}

impl Meters {
    /// Names them in a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("hints_published", "Hints handed over for the other nodes", self.published.clone());
        registry.register("hints_dropped", "Hints that could not be handed over", self.dropped.clone());
        registry.register("hints_heard", "Hints of other nodes", self.heard.clone());
        registry.register("cluster_connects", "How often the link to other nodes has come up", self.connects.clone());
    }
}

/// What joins the nodes.
pub trait Cluster: Send + Sync + 'static {
    /// This node's name.
    fn node(&self) -> &str;
    /// What joins them, for the operator; `None` if nothing beyond this process does.
    fn joint(&self) -> Option<String>;
    /// What tells those apart that do not hear each other: nodes that do have the same. Never a secret.
    fn mark(&self) -> String;
    /// What is wrong with what joins them, for the operator, if anything is known.
    fn trouble(&self) -> Option<String> {
        None
    }
    /// Sets where deliveries of other nodes enter; called once, at start.
    fn connect(&self, inlet: Inlet);
    /// How this node stands with the others.
    fn link(&self) -> Link;
    /// What it has counted.
    fn meters(&self) -> Meters;
    /// Tells the other nodes. Never waits.
    fn publish(&self, delivery: Arc<Delivery>);
    /// Listens to a topic; ends when what is published from then on arrives here, or when nothing does for now:
    /// `Heard::Resubscribed` follows then.
    fn subscribe(&self, topic: Topic) -> BoxFuture<'static, ()>;
    /// Listens no more.
    fn unsubscribe(&self, topic: Topic);
    /// Says how a user's device at this node is shown, or that it is no longer there. Claims of one user are made one
    /// after another, over all nodes.
    fn claim(&self, user: UserId, session: SessionId, status: Option<Status>) -> BoxFuture<'static, Claimed>;
    /// The claims of these users.
    fn claims(&self, users: Vec<UserId>) -> BoxFuture<'static, Found>;
    /// Takes away the claims of a node that has gone, of some of its users; ends with those. To be called until there
    /// are none. Of several that do so at once, each user is told to one. `None` while nobody can tell.
    fn disown(&self, node: &str) -> BoxFuture<'static, Option<Vec<UserId>>>;
    /// Counts one more of `key`; `None` where nobody counts for all nodes, for now or at all.
    fn count(&self, key: String, rate: Rate) -> BoxFuture<'static, Option<Tally>>;
}

#[derive(Default)]
struct BusState {
    nodes: HashMap<String, Member>,
    /// Who joined first: nobody else on the database is called so.
    first: Option<Arc<str>>,
    claims: HashMap<UserId, Vec<Claim>>,
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
        let mut state = self.state.lock();
        state.nodes.insert(node.to_owned(), Member { inlet: None, topics: HashSet::new() });
        let first = state.first.get_or_insert_with(|| node.into()).clone();
        Arc::new(LocalCluster { bus: self.clone(), node: node.into(), first })
    }

    /// Loses every hint from now on, as a network may; or no longer.
    pub fn lose_hints(&self, lose: bool) {
        self.deaf.store(lose, Ordering::SeqCst);
    }
}

/// One node's end of a `LocalBus`.
pub struct LocalCluster {
    bus: Arc<LocalBus>,
    node: Arc<str>,
    first: Arc<str>,
}

impl LocalCluster {
    /// Takes the claims of a node away, from all users.
    fn forget_claims(state: &mut BusState, node: &str) -> Vec<UserId> {
        let mut had = Vec::new();
        state.claims.retain(|user, claims| {
            let before = claims.len();
            claims.retain(|claim| &*claim.node != node);
            if claims.len() < before {
                had.push(*user);
            }
            !claims.is_empty()
        });
        had
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        let mut state = self.bus.state.lock();
        state.nodes.remove(&*self.node);
        Self::forget_claims(&mut state, &self.node);
    }
}

impl Cluster for LocalCluster {
    fn node(&self) -> &str {
        &self.node
    }

    fn joint(&self) -> Option<String> {
        None
    }

    fn mark(&self) -> String {
        format!("the process of {}", self.first)
    }

    fn connect(&self, inlet: Inlet) {
        if let Some(member) = self.bus.state.lock().nodes.get_mut(&*self.node) {
            member.inlet = Some(Arc::new(inlet));
        }
    }

    fn link(&self) -> Link {
        Link::Up
    }

    fn meters(&self) -> Meters {
        Meters::default()
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
                .filter(|(name, member)| **name != *self.node && member.topics.contains(&delivery.topic));
            others.filter_map(|(_, member)| member.inlet.clone()).collect()
        };
        for inlet in listeners {
            inlet(Heard::Delivery(delivery.clone()));
        }
    }

    fn subscribe(&self, topic: Topic) -> BoxFuture<'static, ()> {
        if let Some(member) = self.bus.state.lock().nodes.get_mut(&*self.node) {
            member.topics.insert(topic);
        }
        Box::pin(ready(()))
    }

    fn unsubscribe(&self, topic: Topic) {
        if let Some(member) = self.bus.state.lock().nodes.get_mut(&*self.node) {
            member.topics.remove(&topic);
        }
    }

    fn claim(&self, user: UserId, session: SessionId, status: Option<Status>) -> BoxFuture<'static, Claimed> {
        let mut state = self.bus.state.lock();
        let claims = state.claims.entry(user).or_default();
        let before = claims.clone();
        claims.retain(|claim| claim.node != self.node || claim.session != session);
        claims.extend(status.map(|status| Claim { node: self.node.clone(), session, status }));
        let after = claims.clone();
        if after.is_empty() {
            state.claims.remove(&user);
        }
        Box::pin(ready(Claimed { before, after }))
    }

    fn claims(&self, users: Vec<UserId>) -> BoxFuture<'static, Found> {
        let state = self.bus.state.lock();
        let claims = users.iter().map(|user| state.claims.get(user).cloned().unwrap_or_default()).collect();
        Box::pin(ready(Found { claims, everywhere: true }))
    }

    fn disown(&self, node: &str) -> BoxFuture<'static, Option<Vec<UserId>>> {
        Box::pin(ready(Some(Self::forget_claims(&mut self.bus.state.lock(), node))))
    }

    fn count(&self, _: String, _: Rate) -> BoxFuture<'static, Option<Tally>> {
        Box::pin(ready(None))
    }
}

/// What somebody with several devices is shown as: busy before online before away.
pub fn most_present(claims: &[Claim]) -> Option<Status> {
    claims.iter().map(|claim| claim.status).min_by_key(|status| match status {
        Status::Busy => 0,
        Status::Online => 1,
        Status::Away => 2,
        Status::Offline => 3,
    })
}
