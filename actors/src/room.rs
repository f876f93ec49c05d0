//! Rooms: one actor for each live thing, found by its id, opened on demand, closed when idle.
//! Never state that must survive: a room may vanish at any instant, and the next command opens it anew.
//!
//! # Why
//! Supervision is ours: `actix::Supervisor` does not restart an actor that panicked. A dead address
//! is noticed at the next command and replaced. What waits for a room is counted here, in items and
//! bytes, since each clone of an actix address owns a place beyond its mailbox's capacity; so an
//! address is kept, and never cloned for a call.

use crate::entry::{Entries, shard_of};
use crate::protocol::{ErrorCode, Outcome, Refusal};
use actix::dev::ToEnvelope;
use actix::prelude::*;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// An actor that is one of many of its kind.
pub trait Room: Actor<Context = Context<Self>> + Handler<Self::Command>
where
    Context<Self>: ToEnvelope<Self, Self::Command>,
{
    /// What it is found by.
    type Id: Copy + Eq + Hash + Send + Sync + 'static;
    /// What all of them share.
    type Deps: Clone + Send + Sync + 'static;
    /// What it is asked to do.
    type Command: Message<Result = ()> + Send + 'static;

    /// A room without state; `lease` tells whether it may close.
    fn open(id: Self::Id, deps: Self::Deps, lease: Lease<Self>) -> Self;
}

/// What waits in one room.
#[derive(Default)]
struct Waiting {
    items: AtomicUsize,
    bytes: AtomicUsize,
}

/// Where the answer to one command goes; counts the command as waiting until it is dropped.
pub struct Reply<T> {
    sender: Option<oneshot::Sender<Outcome<T>>>,
    waiting: Arc<Waiting>,
    bytes: usize,
}

impl<T> Reply<T> {
    /// A reply that counts for no room, and where its outcome arrives.
    pub fn unbound() -> (Reply<T>, oneshot::Receiver<Outcome<T>>) {
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting { items: AtomicUsize::new(1), bytes: AtomicUsize::new(0) };
        (Reply { sender: Some(sender), waiting: Arc::new(waiting), bytes: 0 }, answer)
    }

    /// Answers.
    pub fn send(mut self, outcome: Outcome<T>) {
        if let Some(sender) = self.sender.take() {
            // Whoever asked may have gone; that is their affair.
            let _ = sender.send(outcome);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        self.waiting.items.fetch_sub(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Slot<R: Room>
where
    Context<R>: ToEnvelope<R, R::Command>,
{
    address: Addr<R>,
    waiting: Arc<Waiting>,
}

/// The supervisor of one domain: its index of rooms, and what they share.
struct Supervisor<R: Room>
where
    Context<R>: ToEnvelope<R, R::Command>,
{
    shards: Vec<Mutex<HashMap<R::Id, Slot<R>>>>,
    entries: Entries,
    deps: R::Deps,
    items: usize,
    bytes: usize,
    /// How many are open.
    open: Gauge,
}

/// The rooms of one domain.
pub struct Rooms<R: Room>(Arc<Supervisor<R>>)
where
    Context<R>: ToEnvelope<R, R::Command>;

impl<R: Room> Clone for Rooms<R>
where
    Context<R>: ToEnvelope<R, R::Command>,
{
    fn clone(&self) -> Self {
        Rooms(self.0.clone())
    }
}

/// A room's hold on its place in the index.
pub struct Lease<R: Room>
where
    Context<R>: ToEnvelope<R, R::Command>,
{
    id: R::Id,
    rooms: std::sync::Weak<Supervisor<R>>,
}

impl<R: Room> Lease<R>
where
    Context<R>: ToEnvelope<R, R::Command>,
{
    /// Gives the place up if nothing waits; the room may stop then, and nobody will ask it any more.
    pub fn release_if_idle(&self) -> bool {
        let Some(supervisor) = self.rooms.upgrade() else { return true };
        let mut shard = supervisor.shard(self.id).lock();
        let idle = shard.get(&self.id).is_none_or(|slot| slot.waiting.items.load(Ordering::Acquire) == 0);
        if idle && shard.remove(&self.id).is_some() {
            supervisor.open.dec();
        }
        idle
    }
}

impl<R: Room> Supervisor<R>
where
    Context<R>: ToEnvelope<R, R::Command>,
{
    fn shard(&self, id: R::Id) -> &Mutex<HashMap<R::Id, Slot<R>>> {
        &self.shards[shard_of(id, self.shards.len())]
    }
}

impl<R: Room> Rooms<R>
where
    Context<R>: ToEnvelope<R, R::Command>,
{
    /// No rooms yet; each may have `items` commands of `bytes` in all waiting. `open` shows how many there are.
    pub fn new(entries: Entries, deps: R::Deps, items: usize, bytes: usize, open: Gauge) -> Rooms<R> {
        let shards = (0..64).map(|_| Mutex::default()).collect();
        Rooms(Arc::new(Supervisor { shards, entries, deps, items, bytes, open }))
    }

    /// Sends a command of about `bytes` to a room, opening it if need be, and waits for the answer.
    ///
    /// Refused as `conversation.busy` when too much waits there. A room that dies before it answers
    /// leaves the outcome unknown: `server.unavailable`.
    pub async fn ask<T>(&self, id: R::Id, bytes: usize, command: impl FnOnce(Reply<T>) -> R::Command) -> Outcome<T> {
        let answer = self.send(id, bytes, command)?;
        answer.await.unwrap_or_else(|_| Err(ErrorCode::ServerUnavailable.into()))
    }

    fn send<T>(
        &self,
        id: R::Id,
        bytes: usize,
        command: impl FnOnce(Reply<T>) -> R::Command,
    ) -> Outcome<oneshot::Receiver<Outcome<T>>> {
        let busy = || Refusal::new(ErrorCode::ConversationBusy).after(Duration::from_millis(200));
        let mut shard = self.0.shard(id).lock();
        if shard.get(&id).is_some_and(|slot| !slot.address.connected()) {
            // It died: the next one takes its place.
            shard.remove(&id);
            self.0.open.dec();
        }
        let slot = self.slot(&mut shard, id)?;
        let waiting = slot.waiting.clone();
        if waiting.items.load(Ordering::Relaxed) >= self.0.items
            || waiting.bytes.load(Ordering::Relaxed) + bytes > self.0.bytes
        {
            return Err(busy().into());
        }
        waiting.items.fetch_add(1, Ordering::AcqRel);
        waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        #[expect(
            clippy::disallowed_methods,
            reason = "what waits is bounded by the count above, not by the mailbox, which is short until the room has started"
        )]
        slot.address.do_send(command(Reply { sender: Some(sender), waiting, bytes }));
        Ok(answer)
    }

    fn slot<'a>(&self, shard: &'a mut HashMap<R::Id, Slot<R>>, id: R::Id) -> Outcome<&'a Slot<R>> {
        use std::collections::hash_map::Entry;
        match shard.entry(id) {
            Entry::Occupied(slot) => Ok(slot.into_mut()),
            Entry::Vacant(place) => {
                let hubs = self.0.entries.hubs();
                let hub = hubs.get(shard_of(id, hubs.len())).ok_or(ErrorCode::ServerUnavailable)?;
                let (deps, lease) = (self.0.deps.clone(), Lease { id, rooms: Arc::downgrade(&self.0) });
                let address = R::start_in_arbiter(hub.arbiter(), move |_| R::open(id, deps, lease));
                self.0.open.inc();
                Ok(place.insert(Slot { address, waiting: Arc::default() }))
            }
        }
    }
}
