//! What a node knows of each topic that somebody here listens to: order, gaps, listeners.
//! Never a second way to a listener: a room's own results and other nodes' frames enter here alike.
//!
//! # Why
//! Hints may be lost, doubled or out of order. An entry lets through each `rev` once and in order;
//! what it misses it has read from the rows, by the mender (`mender.rs`).

mod watched;

use crate::clock::Clock;
use crate::cluster::{Cluster, Content, Delivery, Fill, Heard, Part, Topic};
use crate::hub::HubHandle;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::protocol::view::Status;
use entities::{SessionId, Timestamp, UserId};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::{Notify, OnceCell, mpsc};
use watched::Audiences;
pub(crate) use watched::Shown;

const SHARDS: usize = 64;

/// All entries of a node.
#[derive(Clone)]
pub struct Entries(Arc<Inner>);

struct Inner {
    shards: Vec<Mutex<HashMap<Topic, Arc<Entry>>>>,
    hubs: RwLock<Vec<HubHandle>>,
    cluster: Arc<dyn Cluster>,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    metrics: Arc<Metrics>,
    mend: mpsc::UnboundedSender<Topic>,
    doubt: Doubt,
    audiences: Mutex<Audiences>,
}

/// That hints may have been lost, of which topics nobody knows.
#[derive(Default)]
struct Doubt {
    arose: Notify,
    deafness: Mutex<Deafness>,
}

#[derive(Default)]
struct Deafness {
    /// Since when everything heard is behind; `None` if it is not.
    since: Option<Timestamp>,
    /// How often this node began to hear again.
    resubscriptions: u64,
}

struct Entry {
    confirmed: OnceCell<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Up to here everything was delivered; `None` until the first listener has read its snapshot.
    delivered: Option<i64>,
    /// The first listener's snapshot: nothing at or below it was forwarded.
    began_at: i64,
    /// What came above a gap, by its first change.
    held: BTreeMap<i64, Arc<Delivery>>,
    /// Whether the gap will be looked at; of a presence, whether not all who watch were told alike.
    gap_known: bool,
    /// How somebody is shown to all who watch them here; `None` when nobody looked yet, or not to all alike.
    shown: Option<Status>,
    /// How often that was told or set: what is looked up for long must not be said after what came meanwhile.
    told: u64,
    /// Which threads listen, and how many sockets of each.
    hubs: SmallVec<[(u32, u32); 2]>,
}

/// The topics that should be compared with the rows.
pub type MendRequests = mpsc::UnboundedReceiver<Topic>;

impl Entries {
    /// No entries yet. The mender takes the requests.
    pub fn new(
        cluster: Arc<dyn Cluster>,
        clock: Arc<dyn Clock>,
        limits: Arc<Limits>,
        metrics: Arc<Metrics>,
    ) -> (Entries, MendRequests) {
        let (mend, requests) = mpsc::unbounded_channel();
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (hubs, doubt, audiences) = (RwLock::default(), Doubt::default(), Mutex::default());
        let entries =
            Entries(Arc::new(Inner { shards, hubs, cluster, clock, limits, metrics, mend, doubt, audiences }));
        let weak = Arc::downgrade(&entries.0);
        entries.0.cluster.connect(Box::new(move |heard| {
            if let Some(inner) = weak.upgrade() {
                Entries(inner).hear(heard);
            }
        }));
        (entries, requests)
    }

    /// What the operator sees.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// What joins this node to others.
    pub fn cluster(&self) -> &Arc<dyn Cluster> {
        &self.0.cluster
    }

    pub(crate) fn add_hub(&self, hub: HubHandle) -> usize {
        let mut hubs = self.0.hubs.write();
        hubs.push(hub);
        hubs.len() - 1
    }

    /// The threads that have sockets.
    pub fn hubs(&self) -> Vec<HubHandle> {
        self.0.hubs.read().clone()
    }

    fn shard(&self, topic: Topic) -> &Mutex<HashMap<Topic, Arc<Entry>>> {
        &self.0.shards[shard_of(topic, SHARDS)]
    }

    fn find(&self, topic: Topic) -> Option<Arc<Entry>> {
        self.shard(topic).lock().get(&topic).cloned()
    }

    /// Counts one listener of a thread; ends when the topic is subscribed.
    pub(crate) async fn attach(&self, topic: Topic, hub: usize) {
        let entry = {
            let mut shard = self.shard(topic).lock();
            let entry = shard.entry(topic).or_insert_with(|| {
                self.0.metrics.entries.inc();
                Arc::new(Entry { confirmed: OnceCell::new(), state: Mutex::default() })
            });
            let mut state = entry.state.lock();
            match state.hubs.iter_mut().find(|(id, _)| *id as usize == hub) {
                Some((_, count)) => *count += 1,
                None => state.hubs.push((hub as u32, 1)),
            }
            drop(state);
            entry.clone()
        };
        entry.confirmed.get_or_init(|| self.0.cluster.subscribe(topic)).await;
    }

    /// Counts one listener less; the last one takes the entry with it.
    pub(crate) fn detach(&self, topic: Topic, hub: usize) {
        let mut shard = self.shard(topic).lock();
        let Some(entry) = shard.get(&topic) else { return };
        let empty = {
            let mut state = entry.state.lock();
            if let Some((_, count)) = state.hubs.iter_mut().find(|(id, _)| *id as usize == hub) {
                *count -= 1;
            }
            state.hubs.retain(|(_, count)| *count > 0);
            state.hubs.is_empty()
        };
        if empty {
            shard.remove(&topic);
            self.0.metrics.entries.dec();
            self.0.cluster.unsubscribe(topic);
        }
    }

    /// A listener has read its snapshot at `rev`: what lies at or below it need not be delivered.
    pub(crate) fn settle(&self, topic: Topic, rev: i64) {
        let Some(entry) = self.find(topic) else { return };
        let mut state = entry.state.lock();
        // Later snapshots do not move it: frames between may still be on their way to others.
        if state.delivered.is_none() {
            state.delivered = Some(rev);
            state.began_at = rev;
            if std::mem::take(&mut state.gap_known) {
                self.mend(topic);
            }
            self.settle_held(topic, &mut state);
        } else if rev < state.began_at {
            // It looked before the first who was released; what lies between was forwarded to nobody.
            state.began_at = rev;
            drop(state);
            self.rewind(topic, rev);
        }
    }

    /// A listener has heard only up to `rev`: the rest comes again from the rows; who has heard it drops it.
    pub(crate) fn rewind(&self, topic: Topic, rev: i64) {
        let Some(entry) = self.find(topic) else { return };
        let mut state = entry.state.lock();
        state.delivered = state.delivered.map(|delivered| delivered.min(rev));
        self.mend(topic);
    }

    fn hear(&self, heard: Heard) {
        match heard {
            Heard::Delivery(delivery) => self.receive(delivery),
            Heard::Resubscribed => {
                {
                    let mut deafness = self.0.doubt.deafness.lock();
                    deafness.since.get_or_insert_with(|| self.0.clock.now());
                    deafness.resubscriptions += 1;
                }
                self.catch_up();
            }
            Heard::MayHaveMissed => self.catch_up(),
        }
    }

    /// Has every topic compared with the rows, as soon as may be.
    pub fn catch_up(&self) {
        self.0.doubt.arose.notify_one();
    }

    /// Ends when every topic should be compared with the rows.
    pub(crate) async fn doubted(&self) {
        self.0.doubt.arose.notified().await;
    }

    /// Since when this node catches up with what it did not hear; `None` when it has.
    pub fn deaf_since(&self) -> Option<Timestamp> {
        self.0.doubt.deafness.lock().since
    }

    /// How often this node began to hear again.
    pub(crate) fn resubscriptions(&self) -> u64 {
        self.0.doubt.deafness.lock().resubscriptions
    }

    /// Every topic was compared with the rows since this node began to hear again, if it was not deaf once more since
    /// there were so many `resubscriptions`.
    pub(crate) fn caught_up(&self, resubscriptions: u64) {
        let mut deafness = self.0.doubt.deafness.lock();
        if deafness.resubscriptions == resubscriptions {
            deafness.since = None;
        }
    }

    /// A room's own result, or a mended gap's: to this node's listeners and to the other nodes.
    pub fn deliver(&self, delivery: Arc<Delivery>) {
        self.receive(delivery.clone());
        self.0.cluster.publish(delivery);
    }

    /// To this node's listeners.
    pub(crate) fn receive(&self, delivery: Arc<Delivery>) {
        let topic = delivery.topic;
        let Some(entry) = self.find(topic) else { return };
        let mut state = entry.state.lock();
        if matches!(delivery.content, Content::Changed) {
            if let Topic::Presence(user) = topic {
                self.0.audiences.lock().users.insert(user);
            }
            // Before the first snapshot there is nothing to compare with; `settle` asks again.
            state.gap_known |= state.delivered.is_none();
            self.mend(topic);
            return;
        }
        if let (Content::Standing(other), Topic::User(user)) = (&delivery.content, topic) {
            self.0.audiences.lock().pairs.insert((user, *other));
            self.mend(topic);
            return;
        }
        let Some((from, rev)) = delivery.numbers else {
            // That a session was ended takes no room, and nothing makes up for it.
            if matches!(delivery.content, Content::SessionRevoked(_)) {
                self.forward(&state, &delivery);
            } else if !self.is_behind(&state) {
                if state.is_news(&delivery) {
                    self.forward(&state, &delivery);
                }
            } else if matches!(topic, Topic::Presence(_)) {
                state.says(None);
                state.gap_known = true;
            }
            return;
        };
        match state.delivered {
            Some(delivered) if rev <= delivered => return,
            Some(delivered) if from <= delivered + 1 && !self.is_behind(&state) => {
                self.forward(&state, &after(&delivery, delivered));
                state.delivered = Some(rev);
            }
            _ => {
                let held = state.held.entry(from).or_insert_with(|| delivery.clone());
                if held.numbers.is_some_and(|(_, last)| last < rev) {
                    *held = delivery;
                }
            }
        }
        self.settle_held(topic, &mut state);
    }

    /// Delivers what is held and in order now; asks for the gap below the rest.
    fn settle_held(&self, topic: Topic, state: &mut State) {
        let Some(mut delivered) = state.delivered else {
            // Nobody has a snapshot yet; the bound is the same as for a gap.
            while state.held.len() > HELD {
                state.held.pop_last();
                state.gap_known = true;
            }
            return;
        };
        while let Some((&from, next)) = state.held.first_key_value() {
            let rev = next.numbers.map_or(from, |(_, rev)| rev);
            if rev > delivered {
                if from > delivered + 1 || self.is_behind(state) {
                    break;
                }
                let next = after(next, delivered);
                self.forward(state, &next);
                delivered = rev;
            }
            state.held.pop_first();
        }
        state.delivered = Some(delivered);
        while state.held.len() > HELD {
            state.held.pop_last();
        }
        if !state.held.is_empty() && !std::mem::replace(&mut state.gap_known, true) {
            self.mend_later(topic);
        }
    }

    /// Whether a thread has so much to put into queues that more should wait in the rows.
    fn is_behind(&self, state: &State) -> bool {
        let hubs = self.0.hubs.read();
        state
            .hubs
            .iter()
            .any(|(id, _)| hubs.get(*id as usize).is_some_and(|hub| hub.waiting_bytes() > self.0.limits.journal_bytes))
    }

    fn forward(&self, state: &State, delivery: &Arc<Delivery>) {
        let hubs = self.0.hubs.read();
        for (id, _) in &state.hubs {
            if let Some(hub) = hubs.get(*id as usize) {
                hub.deliver(delivery.clone());
            }
        }
    }

    /// Has a topic compared with the rows, now.
    pub fn mend(&self, topic: Topic) {
        let _ = self.0.mend.send(topic);
    }

    fn mend_later(&self, topic: Topic) {
        let (wait, mend) = (self.0.clock.sleep(self.0.limits.gap_wait), self.0.mend.clone());
        tokio::spawn(async move {
            wait.await;
            let _ = mend.send(topic);
        });
    }

    /// How far a topic was delivered here; `None` when nobody listens, or nobody has a snapshot yet.
    pub(crate) fn position(&self, topic: Topic) -> Option<i64> {
        let entry = self.find(topic)?;
        let mut state = entry.state.lock();
        // Before the first snapshot nothing can be compared: `settle` asks again.
        state.gap_known &= state.delivered.is_none();
        state.delivered
    }

    /// The numbered topics that somebody listens to.
    pub(crate) fn numbered_topics(&self) -> Vec<Topic> {
        let numbered = |topic: &Topic| !matches!(topic, Topic::Presence(_));
        self.0
            .shards
            .iter()
            .flat_map(|shard| shard.lock().keys().copied().filter(numbered).collect::<Vec<_>>())
            .collect()
    }

    /// Something private to a user has changed: their sockets on every node hear of it.
    pub fn user_changed(&self, user: UserId) {
        self.deliver(Arc::new(Delivery { topic: Topic::User(user), numbers: None, content: Content::Changed }));
    }

    /// A session was ended: its sockets on every node close.
    pub fn session_revoked(&self, user: UserId, session: SessionId) {
        self.deliver(Arc::new(Delivery {
            topic: Topic::User(user),
            numbers: None,
            content: Content::SessionRevoked(session),
        }));
    }
}

/// A delivery without what was delivered already, up to `rev`.
fn after(delivery: &Arc<Delivery>, rev: i64) -> Arc<Delivery> {
    let Some((from, last)) = delivery.numbers.filter(|(from, _)| *from <= rev) else { return delivery.clone() };
    debug_assert!(from <= rev && rev < last);
    let content = match &delivery.content {
        Content::Frames { bytes, parts } => {
            let known = parts.iter().take_while(|part| part.rev <= rev).count();
            let start = known.checked_sub(1).map_or(0, |at| parts[at].end);
            let parts = parts[known..].iter().map(|part| Part { end: part.end - start, ..part.clone() }).collect();
            Content::Frames { bytes: bytes.slice(start..), parts }
        }
        Content::Fill(fill) => {
            let items = fill.items.iter().filter(|item| item.rev() > rev).cloned().collect();
            Content::Fill(Fill { items, moves: fill.moves.clone(), reset: fill.reset })
        }
        other => other.clone(),
    };
    Arc::new(Delivery { topic: delivery.topic, numbers: Some((rev + 1, last)), content })
}

/// Deliveries held above one gap; what comes further above is read from the rows.
const HELD: usize = 256;

/// Which of `count` a topic belongs to.
pub(crate) fn shard_of(key: impl std::hash::Hash, count: usize) -> usize {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    (hash % count.max(1) as u64) as usize
}
