//! One thread's sockets and what they listen to: the last steps of a delivery.
//! Never an order of its own: what enters a hub is already in order, and each socket hears it so.
//!
//! # Why
//! A socket's queue is touched by its own thread alone. So a delivery crosses threads once for all
//! listeners of a thread, and putting a frame into a queue is neither a lock nor a message.

mod listener;
mod watching;

use crate::cluster::{Delivery, Topic};
use crate::entry::Entries;
use crate::guard::guarded;
use crate::outbox::Outbox;
use bytes::Bytes;
use entities::{ConversationId, SessionId, UserId};
use listener::{FillFrames, Listener};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use watching::Watching;
pub(crate) use watching::{Watch, Which};

/// Listeners served before others of the thread get their turn.
const TURN: usize = 1000;

/// Deliveries of one topic that are held while a socket joins.
const HELD: usize = 4096;
/// Deliveries taken at once.
const ORDERS: usize = 256;

/// What a socket asks of its session, beside the frames that go straight out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The user is in this conversation and the socket does not listen to it yet.
    Join {
        /// Which.
        conversation: ConversationId,
        /// The user's own counter when they joined.
        user_rev: i64,
    },
    /// The user is no longer in this conversation.
    Left(ConversationId),
    /// The session was ended.
    Revoked,
    /// The heartbeat has left the queue.
    BeatOut,
    /// The queue is empty, and something was waiting for that.
    Emptied,
    /// The node is going away.
    Drain {
        /// When the client should come back.
        reconnect_after_ms: u64,
    },
}

/// One socket: its queue, who is behind it, and what it listens to.
pub struct Socket {
    /// What goes out.
    pub outbox: Outbox,
    /// Whose it is.
    pub user: Cell<Option<UserId>>,
    /// By which sign-in.
    pub session: Cell<Option<SessionId>>,
    id: usize,
    hub: Rc<Hub>,
    listening: RefCell<HashMap<Topic, Rc<Listener>>>,
    notices: mpsc::UnboundedSender<Notice>,
    /// Where a heartbeat ends in the queue; `Notice::BeatOut` tells when it has left.
    beat: Cell<Option<u64>>,
    wants_emptied: Cell<bool>,
    pull: RefCell<Option<HashMap<ConversationId, i64>>>,
}

/// What a hub is told from other threads.
enum Order {
    Deliver(Arc<Delivery>),
    Drain { spread_ms: u64, seed: u64 },
    Watching(watching::Order),
}

/// The way into a hub, from any thread.
#[derive(Clone)]
pub struct HubHandle {
    orders: mpsc::UnboundedSender<Order>,
    waiting_bytes: Arc<AtomicUsize>,
    arbiter: actix_rt::ArbiterHandle,
}

impl HubHandle {
    /// Hands over a delivery; what waits here is bounded by the entries, which look at `waiting_bytes`.
    pub(crate) fn deliver(&self, delivery: Arc<Delivery>) {
        self.waiting_bytes.fetch_add(delivery.weight(), Ordering::Relaxed);
        // Fails only when the thread has ended, and its sockets with it.
        let _ = self.orders.send(Order::Deliver(delivery));
    }

    /// Bytes of frames that this hub has not yet put into queues.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed)
    }

    /// The thread.
    pub fn arbiter(&self) -> &actix_rt::ArbiterHandle {
        &self.arbiter
    }

    /// Tells every socket to come back elsewhere, after up to `spread_ms`.
    pub fn drain(&self, spread_ms: u64, seed: u64) {
        let _ = self.orders.send(Order::Drain { spread_ms, seed });
    }
}

/// One thread's sockets.
pub struct Hub {
    id: usize,
    entries: Entries,
    audiences: RefCell<HashMap<Topic, Vec<Rc<Listener>>>>,
    sockets: RefCell<HashMap<usize, std::rc::Weak<Socket>>>,
    next_socket: Cell<usize>,
}

impl Hub {
    /// Starts the hub of this thread and makes it known to the entries.
    pub fn start(entries: &Entries) -> Rc<Hub> {
        let (orders, mut inbox) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let handle = HubHandle { orders, waiting_bytes: waiting_bytes.clone(), arbiter: actix_rt::Arbiter::current() };
        let id = entries.add_hub(handle);
        let hub = Rc::new(Hub {
            id,
            entries: entries.clone(),
            audiences: RefCell::default(),
            sockets: RefCell::default(),
            next_socket: Cell::new(0),
        });
        let weak = Rc::downgrade(&hub);
        actix_rt::spawn(async move {
            let mut orders = Vec::new();
            while inbox.recv_many(&mut orders, ORDERS).await > 0 {
                let Some(hub) = weak.upgrade() else { return };
                let mut deliveries = Vec::with_capacity(orders.len());
                for order in orders.drain(..) {
                    match order {
                        Order::Deliver(delivery) => deliveries.push(delivery),
                        Order::Drain { spread_ms, seed } => hub.drain(spread_ms, seed),
                        Order::Watching(order) => hub.watching(order),
                    }
                }
                // What has gathered for a topic goes to each listener in one go.
                for together in deliveries.chunk_by(|one, next| one.topic == next.topic) {
                    hub.deliver(together).await;
                    waiting_bytes.fetch_sub(together.iter().map(|delivery| delivery.weight()).sum(), Ordering::Relaxed);
                }
            }
        });
        hub
    }

    /// A socket of this thread; its session listens to `notices`.
    pub fn socket(self: &Rc<Self>, queue_bytes: usize, notices: mpsc::UnboundedSender<Notice>) -> Rc<Socket> {
        let id = self.next_socket.replace(self.next_socket.get() + 1);
        let socket = Rc::new(Socket {
            id,
            beat: Cell::new(None),
            wants_emptied: Cell::new(false),
            outbox: Outbox::new(queue_bytes, self.entries.metrics().queue_bytes.clone()),
            user: Cell::new(None),
            session: Cell::new(None),
            hub: self.clone(),
            listening: RefCell::default(),
            notices,
            pull: RefCell::default(),
        });
        self.sockets.borrow_mut().insert(id, Rc::downgrade(&socket));
        socket
    }

    fn drain(&self, spread_ms: u64, seed: u64) {
        let sockets: Vec<_> = self.sockets.borrow().iter().map(|(id, socket)| (*id, socket.clone())).collect();
        for (id, socket) in sockets {
            if let Some(socket) = socket.upgrade() {
                // Spread by a hash: no two hubs and no two sockets need to agree on anything.
                let spot = (id as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
                socket.notify(Notice::Drain { reconnect_after_ms: spot % spread_ms.max(1) });
            }
        }
    }

    /// Deliveries of one topic, in order, to all who listen to it.
    async fn deliver(&self, deliveries: &[Arc<Delivery>]) {
        let Some(topic) = deliveries.first().map(|delivery| delivery.topic) else { return };
        // The list is taken out, so that sockets may come and go while others get their turn.
        let Some(mut listeners) = self.audiences.borrow_mut().get_mut(&topic).map(std::mem::take) else { return };
        let mut fills = FillFrames::default();
        let turns = async {
            let mut turns = listeners.chunks(TURN).peekable();
            while let Some(turn) = turns.next() {
                for listener in turn {
                    deliveries.iter().for_each(|delivery| listener.hear(delivery, &mut fills));
                }
                if turns.peek().is_some() {
                    tokio::task::yield_now().await;
                }
            }
        };
        if guarded("a thread's sockets", turns).await.is_none() {
            // Nobody knows who has heard what: all come back, and say how far they are.
            for socket in listeners.iter().filter_map(|listener| listener.socket.upgrade()) {
                socket.notify(Notice::Drain { reconnect_after_ms: 0 });
            }
        }
        let mut audiences = self.audiences.borrow_mut();
        let came = audiences.entry(topic).or_default();
        listeners.append(came);
        listeners.retain(|listener| !listener.gone.get());
        if listeners.is_empty() {
            audiences.remove(&topic);
        } else {
            *came = listeners;
        }
    }
}

impl Socket {
    /// Begins to listen; what arrives is held until `release`. Ends when nothing can be missed any more.
    pub async fn attach(self: &Rc<Self>, topic: Topic, user: UserId) {
        if self.listening.borrow().contains_key(&topic) {
            return;
        }
        let listener = Rc::new(Listener {
            socket: Rc::downgrade(self),
            user,
            since_rev: Cell::new(-1),
            visible_from_seq: Cell::new(0),
            held: RefCell::new(Some(Vec::new())),
            overtaken: Cell::new(false),
            gone: Cell::new(false),
            watching: Watching::default(),
        });
        self.listening.borrow_mut().insert(topic, listener.clone());
        self.hub.audiences.borrow_mut().entry(topic).or_default().push(listener);
        self.hub.entries.attach(topic, self.hub.id).await;
    }

    /// The snapshot was read at `rev`: what was held above it goes out, what comes goes out at once.
    pub fn release(&self, topic: Topic, rev: i64, visible_from_seq: i64) {
        self.hub.entries.settle(topic, rev);
        let Some(listener) = self.listening.borrow().get(&topic).cloned() else { return };
        listener.since_rev.set(rev);
        listener.visible_from_seq.set(visible_from_seq);
        let held = listener.held.take().unwrap_or_default();
        let mut fills = FillFrames::default();
        for delivery in held {
            listener.hear(&delivery, &mut fills);
        }
    }

    /// Listens no more.
    pub fn detach(&self, topic: Topic) {
        if let Some(listener) = self.listening.borrow_mut().remove(&topic) {
            self.forget(topic, &listener);
        }
    }

    fn forget(&self, topic: Topic, listener: &Rc<Listener>) {
        if listener.gone.replace(true) {
            return;
        }
        let mut audiences = self.hub.audiences.borrow_mut();
        if let Some(list) = audiences.get_mut(&topic) {
            if let Some(at) = list.iter().position(|other| Rc::ptr_eq(other, listener)) {
                list.swap_remove(at);
            }
            if list.is_empty() {
                audiences.remove(&topic);
            }
        }
        self.hub.entries.detach(topic, self.hub.id);
    }

    /// Listens to nothing any more.
    pub fn detach_all(&self) {
        let all = std::mem::take(&mut *self.listening.borrow_mut());
        for (topic, listener) in all {
            self.forget(topic, &listener);
        }
    }

    /// Whether it listens to a topic.
    pub fn listens(&self, topic: Topic) -> bool {
        self.listening.borrow().contains_key(&topic)
    }

    /// Whether what it joins has been left meanwhile, or changed for the user: then it has to look again.
    pub fn is_overtaken(&self, topic: Topic) -> bool {
        self.listening.borrow().get(&topic).is_none_or(|listener| listener.overtaken.get())
    }

    /// Something of the user's own has changed in what it is still joining, if it is.
    fn overtakes(&self, topic: Topic) -> bool {
        let listening = self.listening.borrow();
        let Some(listener) = listening.get(&topic).filter(|listener| listener.held.borrow().is_some()) else {
            return false;
        };
        listener.overtaken.set(true);
        true
    }

    /// From now on coalesced hints instead of numbered frames.
    pub fn pull(&self) {
        *self.pull.borrow_mut() = Some(HashMap::new());
    }

    /// Whether it hears hints only.
    pub fn pulls(&self) -> bool {
        self.pull.borrow().is_some()
    }

    /// The hints that gathered, for one frame.
    pub fn take_hints(&self) -> Vec<(ConversationId, i64)> {
        self.pull.borrow_mut().as_mut().map(|hints| hints.drain().collect()).unwrap_or_default()
    }

    /// Ends the hinting of a socket that has read everything: frames again.
    pub fn stop_pulling_when_idle(&self) {
        let mut pull = self.pull.borrow_mut();
        if self.outbox.is_empty() && pull.as_ref().is_some_and(HashMap::is_empty) {
            *pull = None;
        }
    }

    /// Keeps a hint instead of frames, if the socket pulls; asks the session to tell it when nothing else waits.
    fn hint(&self, conversation: ConversationId, rev: i64) -> bool {
        let mut pull = self.pull.borrow_mut();
        let Some(hints) = &mut *pull else { return false };
        hints.insert(conversation, rev);
        if hints.len() == 1 {
            self.when_emptied();
        }
        true
    }

    /// Has `Notice::Emptied` sent once the queue is empty.
    pub fn when_emptied(&self) {
        if self.outbox.is_empty() {
            self.notify(Notice::Emptied);
        } else {
            self.wants_emptied.set(true);
        }
    }

    /// The next frames for the connection; `None` when it is over.
    pub fn poll_frames(&self, cx: &std::task::Context<'_>) -> std::task::Poll<Option<Bytes>> {
        let frames = self.outbox.poll_next(cx);
        if self.beat.get().is_some_and(|end| self.outbox.drained() >= end) {
            self.beat.set(None);
            self.notify(Notice::BeatOut);
        }
        if frames.is_pending() && self.wants_emptied.replace(false) {
            self.notify(Notice::Emptied);
        }
        frames
    }

    /// Has `Notice::BeatOut` sent when everything up to here has left the queue.
    pub fn mark_beat(&self) {
        self.beat.set(Some(self.outbox.mark()));
    }

    fn notify(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.detach_all();
        self.hub.sockets.borrow_mut().remove(&self.id);
    }
}
