//! The link to Redis: comes up, is watched, is lost, and comes up again; which topics are listened to, and what goes out.
//! Never a wait in the path of a change: what cannot go out at once is dropped, and the rows tell.

use super::connection::Connection;
use super::hint;
use super::server::Server;
use super::trial;
use actors::clock::Clock;
use actors::cluster::{Delivery, Heard, Inlet, Link, Meters, Topic};
use actors::guard::guarded;
use parking_lot::{Mutex, RwLock};
use redis::{PushInfo, PushKind, RedisError, RedisResult, Value};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// Channels named in one command.
const PAGE: usize = 1000;
/// Hints sent in one go.
const TOGETHER: usize = 512;
/// What may wait to go out, in bytes; beyond, hints are dropped.
const WAITING_BYTES: usize = 32 << 20;
/// How often a link is tried, and the other nodes are told if they may have missed something.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// Between two tries to connect, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The link of one node.
pub struct Wire {
    pub server: Server,
    pub prefix: String,
    pub clock: Arc<dyn Clock>,
    pub meters: Meters,
    /// This run of this node, to know its own hints by.
    origin: u64,
    inlet: OnceLock<Inlet>,
    state: RwLock<State>,
    /// What somebody here listens to. Held while the link comes up, so that nothing is listened to by neither side.
    wanted: Mutex<HashSet<Topic>>,
    /// What this node has just asked to hear no more, in a Redis Cluster.
    leaving: Mutex<HashSet<Topic>>,
    changes: mpsc::UnboundedSender<Change>,
    hints: mpsc::UnboundedSender<Arc<Delivery>>,
    waiting_bytes: AtomicUsize,
    /// Hints were dropped that others may wait for.
    dropped: AtomicBool,
    /// Told whenever the link has come up.
    pub came_up: Arc<Notify>,
}

struct State {
    link: Link,
    /// What is wrong with it.
    trouble: Option<String>,
    live: Option<Live>,
}

/// A link that is up.
#[derive(Clone)]
pub struct Live {
    /// For all but listening.
    pub commands: Connection,
    broken: Arc<Notify>,
}

/// A topic that may be wanted now, or no longer; and who waits until it is listened to.
type Change = (Topic, Option<oneshot::Sender<()>>);

/// What the tasks of a link take in.
pub struct Inboxes {
    changes: mpsc::UnboundedReceiver<Change>,
    hints: mpsc::UnboundedReceiver<Arc<Delivery>>,
}

impl Wire {
    /// A link that is not up yet.
    pub fn new(server: Server, prefix: String, clock: Arc<dyn Clock>) -> (Arc<Wire>, Inboxes) {
        let (changes, changes_inbox) = mpsc::unbounded_channel();
        let (hints, hints_inbox) = mpsc::unbounded_channel();
        let wire = Wire {
            server,
            prefix,
            origin: u64::from_le_bytes(clock.random()),
            clock,
            meters: Meters::default(),
            inlet: OnceLock::new(),
            state: RwLock::new(State { link: Link::Joining, trouble: None, live: None }),
            wanted: Mutex::default(),
            leaving: Mutex::default(),
            changes,
            hints,
            waiting_bytes: AtomicUsize::new(0),
            dropped: AtomicBool::new(false),
            came_up: Arc::default(),
        };
        (Arc::new(wire), Inboxes { changes: changes_inbox, hints: hints_inbox })
    }

    /// Where what is heard goes.
    pub fn set_inlet(&self, inlet: Inlet) {
        let _ = self.inlet.set(inlet);
    }

    /// How it stands.
    pub fn link(&self) -> Link {
        self.state.read().link
    }

    /// What is wrong with it, if anything is.
    pub fn trouble(&self) -> Option<String> {
        self.state.read().trouble.clone()
    }

    /// The link, if it is up.
    pub fn live(&self) -> Option<Live> {
        self.state.read().live.clone()
    }

    fn hear(&self, heard: Heard) {
        if let Some(inlet) = self.inlet.get() {
            inlet(heard);
        }
    }

    // --- what goes out

    /// Has a hint go out, if it can.
    pub fn publish(&self, delivery: Arc<Delivery>) {
        let bytes = delivery.weight();
        let is_full = self.waiting_bytes.load(Ordering::Relaxed) + bytes > WAITING_BYTES;
        if is_full || self.link() != Link::Up {
            self.drop_hints(1);
            return;
        }
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let _ = self.hints.send(delivery);
    }

    fn drop_hints(&self, count: u64) {
        self.dropped.store(true, Ordering::Relaxed);
        self.meters.dropped.inc_by(count);
    }

    /// Sends what waits, until the node ends.
    async fn send_hints(self: Arc<Wire>, mut inbox: mpsc::UnboundedReceiver<Arc<Delivery>>) {
        let mut batch = Vec::new();
        while inbox.recv_many(&mut batch, TOGETHER).await > 0 {
            let (count, bytes) = (batch.len() as u64, batch.iter().map(|delivery| delivery.weight()).sum());
            match guarded("the sender of hints", self.send(std::mem::take(&mut batch))).await {
                Some(true) => drop(self.meters.published.inc_by(count)),
                Some(false) | None => self.drop_hints(count),
            }
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Sends hints; tells whether they went out.
    async fn send(&self, batch: Vec<Arc<Delivery>>) -> bool {
        let hint = |delivery: &Arc<Delivery>| {
            (hint::channel(&self.prefix, delivery.topic), hint::encode(self.origin, delivery))
        };
        let Some(mut live) = self.live() else { return false };
        let sent = live.commands.publish(batch.iter().map(hint).collect()).await;
        sent.inspect_err(|error| self.fault(&live, error)).is_ok()
    }

    /// Tells the other nodes that they may have missed something, if hints were dropped since it was told last.
    async fn announce(&self, live: &mut Live) {
        if !self.dropped.swap(false, Ordering::Relaxed) {
            return;
        }
        let news = vec![(self.nodes_channel(), self.origin.to_le_bytes().to_vec())];
        if live.commands.publish(news).await.is_err() {
            self.dropped.store(true, Ordering::Relaxed);
        }
    }

    /// A command failed: a link that is broken, or leads to who is no master any more, comes up anew. Redis Cluster's
    /// finds the way by itself, shard by shard; it is tried now and then.
    pub fn fault(&self, live: &Live, error: &RedisError) {
        tracing::debug!(%error, "Redis did not do what it was asked");
        let is_lost = error.is_io_error() || error.is_unrecoverable_error() || trial::is_no_master(error);
        if matches!(live.commands, Connection::Single(_)) && is_lost {
            live.broken.notify_one();
        }
    }

    // --- what comes in

    fn nodes_channel(&self) -> String {
        format!("{}nodes", self.prefix)
    }

    fn pushed(&self, push: PushInfo, broken: &Notify) {
        match push.kind {
            PushKind::Message | PushKind::SMessage => self.hinted(push.data),
            PushKind::Disconnection => broken.notify_one(),
            // Unasked for, it says that a shard was moved: its channels are elsewhere.
            PushKind::SUnsubscribe => {
                let channel = push.data.into_iter().next();
                let topic = channel.and_then(|channel| match channel {
                    Value::BulkString(name) => hint::topic(&self.prefix, &name),
                    _ => None,
                });
                if topic.is_none_or(|topic| !self.leaving.lock().remove(&topic)) {
                    broken.notify_one();
                }
            }
            _ => {}
        }
    }

    fn hinted(&self, data: Vec<Value>) {
        let Ok([Value::BulkString(channel), Value::BulkString(hint)]) = <[Value; 2]>::try_from(data) else { return };
        match hint::topic(&self.prefix, &channel) {
            Some(topic) => {
                if let Some(delivery) = hint::decode(self.origin, topic, hint) {
                    self.meters.heard.inc();
                    self.hear(Heard::Delivery(delivery));
                }
            }
            None if hint != self.origin.to_le_bytes() => self.hear(Heard::MayHaveMissed),
            None => {}
        }
    }

    /// Listens to a topic; ends when it is, or when nothing is heard anyway.
    pub fn subscribe(&self, topic: Topic) -> impl Future<Output = ()> + Send + use<> {
        let mut wanted = self.wanted.lock();
        wanted.insert(topic);
        let waiting = (self.link() == Link::Up).then(|| {
            let (done, waiting) = oneshot::channel();
            let _ = self.changes.send((topic, Some(done)));
            waiting
        });
        async move {
            if let Some(waiting) = waiting {
                // Dropped when the link is lost: then all is compared with the rows.
                let _ = waiting.await;
            }
        }
    }

    /// Listens to a topic no more.
    pub fn unsubscribe(&self, topic: Topic) {
        let mut wanted = self.wanted.lock();
        wanted.remove(&topic);
        if self.link() == Link::Up {
            let _ = self.changes.send((topic, None));
        }
    }

    // --- coming up and being lost

    /// Keeps the link up until the node ends.
    pub fn keep(self: &Arc<Self>, inboxes: Inboxes) -> [tokio::task::AbortHandle; 2] {
        let Inboxes { changes, hints } = inboxes;
        [
            tokio::spawn(self.clone().stay(changes)).abort_handle(),
            tokio::spawn(self.clone().send_hints(hints)).abort_handle(),
        ]
    }

    async fn stay(self: Arc<Wire>, mut changes: mpsc::UnboundedReceiver<Change>) {
        let mut pause = PAUSES.0;
        // One line when it goes, and one when it is back; more only if it refuses this node, and why is new.
        let mut said: Option<String> = None;
        loop {
            match guarded("the link", self.come_up()).await {
                Some(Ok((ears, heard))) => {
                    tracing::info!(redis = self.server.shown(), "Redis is there");
                    let up_at = self.clock.now();
                    let error = guarded("the link", self.listen(ears, heard, &mut changes)).await;
                    let error = error.unwrap_or_else(|| (redis::ErrorKind::Io, "nobody listened").into());
                    let (error, redis) = (trial::said(&error), self.server.shown());
                    let trouble = format!("{redis} is away: {error}");
                    tracing::warn!(
                        error,
                        redis,
                        "Redis is away: changes of other nodes are read from the rows, every second"
                    );
                    said = Some(String::new());
                    self.go_down(trouble, &mut changes);
                    if self.clock.now().since(up_at) > PAUSES.1 {
                        pause = PAUSES.0;
                    }
                }
                None => {}
                Some(Err(error)) => {
                    let refusal = trial::refusal(&error).unwrap_or_default();
                    let (error, redis) = (trial::said(&error), self.server.shown());
                    self.state.write().trouble = Some(match &refusal[..] {
                        "" => format!("{redis} is away: {error}"),
                        refusal => format!("{redis} refuses this node: {refusal}"),
                    });
                    if said.as_ref() != Some(&refusal) {
                        if refusal.is_empty() {
                            tracing::warn!(error, redis, "Redis cannot be reached; trying again");
                        } else {
                            tracing::warn!(redis, "Redis refuses this node: {refusal}; trying again");
                        }
                        said = Some(refusal);
                    }
                }
            }
            // Not all nodes at once.
            let jitter = self.clock.below(pause.as_millis().max(1) as u64);
            self.clock.sleep(pause / 2 + Duration::from_millis(jitter)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Connects and listens to all that is wanted; nothing is told yet of what was missed.
    async fn come_up(self: &Arc<Self>) -> RedisResult<(Ears, HashSet<Topic>)> {
        let broken = Arc::new(Notify::new());
        let (wire, ends) = (self.clone(), broken.clone());
        let hears = move |push| {
            wire.pushed(push, &ends);
            Ok::<(), ()>(())
        };
        let mut ears = self.server.connect(hears).await?;
        let ends = broken.clone();
        let mouth = move |push: PushInfo| {
            if matches!(push.kind, PushKind::Disconnection) {
                ends.notify_one();
            }
            Ok::<(), ()>(())
        };
        let mut commands = self.server.connect(mouth).await?;
        // One that takes no changes, or no longer lets us do what we do, is as good as none.
        trial::try_all(&mut commands, &self.prefix, &format!("{:016x}", self.origin)).await?;
        ears.subscribe(&[self.nodes_channel()]).await?;
        let mut heard = HashSet::new();
        loop {
            let missing: Vec<Topic> = {
                let wanted = self.wanted.lock();
                let missing = wanted.difference(&heard).copied().collect::<Vec<_>>();
                if missing.is_empty() {
                    let live = Live { commands, broken: broken.clone() };
                    *self.state.write() = State { link: Link::Up, trouble: None, live: Some(live) };
                    break;
                }
                missing
            };
            for page in missing.chunks(PAGE) {
                ears.subscribe(&self.channels(page)).await?;
            }
            heard.extend(missing);
        }
        self.meters.connects.inc();
        Ok((Ears { connection: ears, broken }, heard))
    }

    fn go_down(&self, trouble: String, changes: &mut mpsc::UnboundedReceiver<Change>) {
        {
            let _wanted = self.wanted.lock();
            *self.state.write() = State { link: Link::Down, trouble: Some(trouble), live: None };
        }
        self.leaving.lock().clear();
        while changes.try_recv().is_ok() {}
        self.dropped.store(true, Ordering::Relaxed);
        self.hear(Heard::MayHaveMissed);
    }

    fn channels(&self, topics: &[Topic]) -> Vec<String> {
        topics.iter().map(|topic| hint::channel(&self.prefix, *topic)).collect()
    }

    /// Follows what is wanted, until the link is lost; says why it was.
    async fn listen(
        &self,
        mut ears: Ears,
        mut heard: HashSet<Topic>,
        changes: &mut mpsc::UnboundedReceiver<Change>,
    ) -> RedisError {
        self.dropped.store(true, Ordering::Relaxed);
        self.came_up.notify_one();
        self.hear(Heard::Resubscribed);
        let unwanted = heard.difference(&self.wanted.lock()).map(|topic| (*topic, None)).collect::<Vec<_>>();
        unwanted.into_iter().for_each(|change| drop(self.changes.send(change)));
        let mut batch = Vec::new();
        let mut trial = self.clock.sleep(Duration::ZERO);
        loop {
            let outcome = tokio::select! {
                biased;
                () = ears.broken.notified() => Err((redis::ErrorKind::Io, "the connection was lost").into()),
                () = &mut trial => {
                    trial = self.clock.sleep(TRY_EVERY);
                    self.try_link(&mut ears).await
                }
                _ = changes.recv_many(&mut batch, PAGE) => self.follow(&mut ears, &mut heard, &mut batch).await,
            };
            if let Err(error) = outcome {
                return error;
            }
        }
    }

    /// Whether both connections answer; and what the other nodes should know.
    async fn try_link(&self, ears: &mut Ears) -> RedisResult<()> {
        let Some(mut live) = self.live() else { return Ok(()) };
        let mut commands = live.commands.clone();
        tokio::try_join!(ears.connection.ping(), commands.ping())?;
        self.announce(&mut live).await;
        Ok(())
    }

    /// Listens to what has come to be wanted, and no more to what has not.
    async fn follow(&self, ears: &mut Ears, heard: &mut HashSet<Topic>, batch: &mut Vec<Change>) -> RedisResult<()> {
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        {
            let wanted = self.wanted.lock();
            for (topic, _) in batch.iter() {
                if wanted.contains(topic) {
                    if heard.insert(*topic) {
                        begin.push(*topic);
                    }
                } else if heard.remove(topic) {
                    end.push(*topic);
                }
            }
        }
        if !begin.is_empty() {
            ears.connection.subscribe(&self.channels(&begin)).await?;
        }
        if !end.is_empty() {
            if matches!(ears.connection, Connection::Cluster(_)) {
                self.leaving.lock().extend(&end);
            }
            ears.connection.unsubscribe(&self.channels(&end)).await?;
        }
        for (_, done) in batch.drain(..) {
            done.map(|done| done.send(()));
        }
        Ok(())
    }
}

/// The connection that listens, and what tells that it has ended.
struct Ears {
    connection: Connection,
    broken: Arc<Notify>,
}
