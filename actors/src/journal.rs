//! The group commit: what waits in every room goes into one transaction, and the next begins when
//! that is done. Never a timer, and never a rule: `conversation/store.rs` writes, `policy.rs` judges.
//!
//! # Why
//! One `fsync` serves all who wait, so under load the cost of a commit is shared, and without load
//! nobody waits for company. A conversation always has the same lane on a node, so its changes stay
//! in the order in which its room asked for them.

use crate::clock::Clock;
use crate::cluster::Topic;
use crate::conversation::change::{Change, Done, Written};
use crate::conversation::store::{self, Committed};
use crate::entry::{Entries, shard_of};
use crate::limits::Limits;
use crate::protocol::{Error, ErrorCode, Outcome, Refusal};
use crate::retry::{Failed, Retries};
use crate::room::Reply;
use entities::db::CheckpointMode;
use entities::{Backend, ConversationId, Db, Role, Trouble, UserId};
use futures_util::FutureExt;
use sea_orm::DbErr;
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// SQLite's log is emptied between two batches when it is longer than this.
const WAL_LIMIT: u64 = 64 * 1024 * 1024;
/// It is copied beside the commits when it is longer than this.
const WAL_COPY: u64 = 4 * 1024 * 1024;

/// One durable change on its way to the rows.
pub struct Item {
    /// Of which conversation.
    pub conversation: ConversationId,
    /// Who wants it.
    pub actor: UserId,
    /// The actor's role, as the room knows it.
    pub role: Option<Role>,
    /// What the role was true at; where the row has another, it is read again. -1: not known.
    pub policy_rev: i64,
    /// What.
    pub change: Change,
    /// Where the outcome goes, by way of the room.
    pub reply: Reply<Done>,
    /// The room.
    pub room: mpsc::UnboundedSender<Verdict>,
}

/// What one item comes to, and where to say so.
pub type Answer = (Reply<Done>, Outcome<Done>);

/// What a room hears of its items: one for each transaction, in `rev` order.
pub enum Verdict {
    /// They were decided.
    Decided {
        /// What was written to the conversation.
        written: Written,
        /// What each comes to.
        answers: Vec<Answer>,
    },
    /// Whether they were written is not known: the room's picture of the rows is worth nothing.
    Unknown,
}

#[derive(Default)]
struct Waiting {
    items: AtomicUsize,
    bytes: AtomicUsize,
}

/// The way into the journal.
#[derive(Clone)]
pub struct Journal {
    lanes: Arc<[mpsc::UnboundedSender<(Item, usize)>]>,
    waiting: Arc<Waiting>,
    limits: Arc<Limits>,
    entries: Entries,
}

impl Journal {
    /// The journal and what runs its lanes; each is to be driven until the journal is dropped.
    pub fn new(
        db: &Db,
        clock: &Arc<dyn Clock>,
        limits: &Arc<Limits>,
        entries: &Entries,
    ) -> (Journal, Vec<impl Future<Output = ()> + Send + use<>>) {
        // SQLite has one writer.
        let count = if db.backend() == Backend::Sqlite { 1 } else { limits.lanes.max(1) };
        let waiting = Arc::new(Waiting::default());
        let (lanes, tasks) = (0..count)
            .map(|_| {
                let (sender, inbox) = mpsc::unbounded_channel();
                let lane = Lane {
                    db: db.clone(),
                    clock: clock.clone(),
                    limits: limits.clone(),
                    entries: entries.clone(),
                    waiting: waiting.clone(),
                };
                (sender, lane.run(inbox))
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        (Journal { lanes: lanes.into(), waiting, limits: limits.clone(), entries: entries.clone() }, tasks)
    }

    /// Queues an item; refuses it when too much waits already.
    pub fn enqueue(&self, item: Item) {
        let bytes = item.change.bytes();
        let full = self.waiting.items.load(Ordering::Relaxed) >= self.limits.journal_items
            || self.waiting.bytes.load(Ordering::Relaxed) + bytes > self.limits.journal_bytes;
        if full {
            item.reply.send(Err(Refusal::new(ErrorCode::ConversationBusy).after(Duration::from_millis(500)).into()));
            return;
        }
        self.waiting.items.fetch_add(1, Ordering::Relaxed);
        self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.entries.metrics().journal_waiting.inc();
        let lane = shard_of(item.conversation, self.lanes.len());
        if let Err(mpsc::error::SendError((item, _))) = self.lanes[lane].send((item, bytes)) {
            item.reply.send(Err(ErrorCode::ServerUnavailable.into()));
        }
    }

    /// Whether nothing waits and nothing is being written.
    pub fn is_idle(&self) -> bool {
        self.waiting.items.load(Ordering::Acquire) == 0
    }
}

struct Lane {
    db: Db,
    clock: Arc<dyn Clock>,
    limits: Arc<Limits>,
    entries: Entries,
    waiting: Arc<Waiting>,
}

impl Lane {
    async fn run(self, mut inbox: mpsc::UnboundedReceiver<(Item, usize)>) {
        let mut batch = Vec::new();
        while inbox.recv_many(&mut batch, self.limits.batch_items).await > 0 {
            let count = batch.len();
            let bytes: usize = batch.iter().map(|(_, bytes)| bytes).sum();
            let items = batch.drain(..).map(|(item, _)| item).collect();
            // A panic must not end the lane: the items' replies are dropped, which says "unknown".
            if AssertUnwindSafe(self.commit(items)).catch_unwind().await.is_err() {
                tracing::error!(items = count, "the journal panicked over a batch");
            }
            self.waiting.items.fetch_sub(count, Ordering::Release);
            self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.entries.metrics().journal_waiting.dec_by(count as i64);
            if self.db.wal_bytes() > WAL_LIMIT
                && let Err(error) = self.db.checkpoint(CheckpointMode::Restart).await
            {
                tracing::warn!(%error, "the write-ahead log could not be emptied");
            }
        }
    }

    async fn commit(&self, items: Vec<Item>) {
        let skipped = self.attempt(items, true).await;
        if !skipped.is_empty() {
            // Held by another node: in a transaction of their own, so that they hold up nobody else.
            self.attempt(skipped, false).await;
        }
    }

    /// One transaction; if an item spoils it, one for each. Returns what was skipped.
    async fn attempt(&self, items: Vec<Item>, skip: bool) -> Vec<Item> {
        match self.transact(&items, skip).await {
            Ok(committed) => self.hand_out(items, committed),
            Err(Failed::RolledBack(error)) if items.len() > 1 && is_about_an_item(&error) => {
                tracing::warn!(%error, items = items.len(), "a batch was rolled back; trying its items one by one");
                let mut left = items.into_iter();
                while let Some(item) = left.next() {
                    let mut single = vec![item];
                    match self.transact(&single, false).await {
                        Ok(committed) => drop(self.hand_out(single, committed)),
                        Err(Failed::RolledBack(error)) if !is_about_an_item(&error) => {
                            // The database is in trouble: nobody waits for it as often as others stand before them.
                            single.extend(left.by_ref());
                            self.fail(single, Failed::RolledBack(error));
                        }
                        Err(failed) => self.fail(single, failed),
                    }
                }
                Vec::new()
            }
            Err(failed) => {
                self.fail(items, failed);
                Vec::new()
            }
        }
    }

    /// One transaction, as a whole; again, where it was surely rolled back for what may pass.
    async fn transact(&self, items: &[Item], skip: bool) -> Result<Committed, Failed> {
        let references: Vec<&Item> = items.iter().collect();
        let mut retries = Retries::new(&self.db, self.clock.as_ref());
        loop {
            let started = Instant::now();
            let result = store::commit(&self.db, self.clock.as_ref(), &self.limits, &references, skip).await;
            let metrics = self.entries.metrics();
            metrics.journal_batch.observe(items.len() as f64);
            metrics.journal_commit.observe(started.elapsed().as_secs_f64());
            match result {
                Ok(committed) => return Ok(committed),
                Err(Failed::RolledBack(error)) if retries.again(&error).await => metrics.journal_retries.inc(),
                Err(failed) => {
                    metrics.journal_failures.inc();
                    return Err(failed);
                }
            };
        }
    }

    fn fail(&self, items: Vec<Item>, failed: Failed) {
        let (unknown, error) = match failed {
            Failed::RolledBack(error) => (false, error),
            Failed::Unknown(error) => (true, error),
        };
        tracing::error!(%error, items = items.len(), unknown, "the journal could not write");
        for item in items {
            if unknown {
                let _ = item.room.send(Verdict::Unknown);
                self.entries.mend(Topic::Conversation(item.conversation));
            }
            item.reply.send(Err(ErrorCode::ServerUnavailable.into()));
        }
    }

    /// Each room hears once of what was written and what its items come to.
    fn hand_out(&self, items: Vec<Item>, mut committed: Committed) -> Vec<Item> {
        let mut skipped = Vec::new();
        let mut rooms: HashMap<ConversationId, (mpsc::UnboundedSender<Verdict>, Vec<Answer>)> = HashMap::new();
        let mut skips = committed.skipped.iter().peekable();
        for ((at, item), outcome) in items.into_iter().enumerate().zip(committed.outcomes.drain(..)) {
            if skips.next_if_eq(&&at).is_some() {
                skipped.push(item);
                continue;
            }
            let (_, answers) = rooms.entry(item.conversation).or_insert_with(|| (item.room.clone(), Vec::new()));
            answers.push((item.reply, outcome.map_err(Error::from)));
        }
        for (conversation, (room, answers)) in rooms {
            let written = committed.written.remove(&conversation).unwrap_or_default();
            if let Err(mpsc::error::SendError(Verdict::Decided { written, answers })) =
                room.send(Verdict::Decided { written, answers })
            {
                // The room has gone meanwhile; what is committed is committed.
                self.entries.mend(Topic::Conversation(conversation));
                written.users.iter().for_each(|user| self.entries.user_changed(*user));
                written.takers.iter().for_each(|user| self.entries.audience_changed(*user));
                answers.into_iter().for_each(|(reply, outcome)| reply.send(outcome));
            }
        }
        skipped
    }
}

/// Whether a statement failed for what it said, and not because the database is in trouble.
fn is_about_an_item(error: &DbErr) -> bool {
    Trouble::of(error) == Trouble::Statement
}

/// Keeps SQLite's log short beside the commits, and the outbox no longer than it is wanted.
pub async fn keep_tidy(db: Db, clock: Arc<dyn Clock>, limits: Arc<Limits>) {
    let mut rounds: u64 = 0;
    loop {
        clock.sleep(Duration::from_secs(1)).await;
        rounds += 1;
        if db.wal_bytes() > WAL_COPY
            && let Err(error) = db.checkpoint(CheckpointMode::Passive).await
        {
            tracing::warn!(%error, "the write-ahead log could not be copied");
        }
        if rounds.is_multiple_of(60)
            && let Err(error) = store::prune_outbox(&db, clock.now().minus(limits.outbox_keep)).await
        {
            tracing::warn!(%error, "the outbox could not be pruned");
        }
    }
}
