//! Which nodes there are: this one's lease, renewed, and what is done when another's ends.
//! Never an order of changes: rows and their locks decide that, whoever holds a lease.
//!
//! # Why
//! The rows of `nodes` are all that is needed, so leases hold while hints do not come. A node that was itself late,
//! because it was stopped or the database was, has no right to call others so: it judges only after a whole lease of
//! renewals in time, and by then every node that lives has renewed too.

mod join;
mod load;
mod rows;

pub use join::JoinError;
pub use rows::{all as list, compare_clocks};

use crate::clock::Clock;
use crate::cluster::Link;
use crate::entry::Entries;
use crate::guard::guarded;
use crate::limits::Limits;
use crate::presence::Presences;
use entities::{Backend, Db, Timestamp, node};
use futures_util::future::{Either, select};
use load::Load;
use parking_lot::Mutex;
use sea_orm::DbErr;
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How soon a renewal that failed is tried again, at the latest.
const AGAIN: Duration = Duration::from_secs(1);

/// What is said where nodes share a database and nothing else.
pub const APART: &str = "other nodes are on this database, and this one does not hear them: cluster.url and \
                         cluster.prefix must be the same on every node";

/// What this node is, and what it works with.
#[derive(Clone)]
pub struct Parts {
    /// The rows.
    pub db: Db,
    /// Time, and ids.
    pub clock: Arc<dyn Clock>,
    /// How long a lease is.
    pub limits: Arc<Limits>,
    /// What listens here, and what joins nodes.
    pub entries: Entries,
    /// Who is there.
    pub presences: Presences,
    /// The program's version.
    pub version: &'static str,
}

/// This node among the others; the same for all who hold it.
#[derive(Clone)]
pub struct Nodes(Arc<Shared>);

struct Shared {
    parts: Parts,
    address: Mutex<String>,
    draining: AtomicBool,
    /// Other nodes live that this one does not hear.
    apart: AtomicBool,
    left: AtomicBool,
    incarnation: AtomicI64,
    poked: Notify,
    replaced: Notify,
    /// Held while the lease is kept.
    kept: tokio::sync::Mutex<()>,
}

impl Nodes {
    /// This node, reached at `address`, which has not joined yet.
    pub fn new(parts: Parts, address: String) -> Nodes {
        Nodes(Arc::new(Shared {
            parts,
            address: Mutex::new(address),
            draining: AtomicBool::new(false),
            apart: AtomicBool::new(false),
            left: AtomicBool::new(false),
            incarnation: AtomicI64::new(0),
            poked: Notify::new(),
            replaced: Notify::new(),
            kept: tokio::sync::Mutex::default(),
        }))
    }

    /// Says where this node is reached, once its doors are open.
    pub fn set_address(&self, address: String) {
        *self.0.address.lock() = address;
        self.0.poked.notify_one();
    }

    /// Tells the others at once that this node is going away.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.0.poked.notify_one();
    }

    /// Whether this node is going away.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Whether other nodes live on this database that nothing joins to this one.
    pub fn is_apart(&self) -> bool {
        self.0.apart.load(Ordering::Relaxed)
    }

    /// Ends when another node has taken this one's name: this one must end too.
    pub async fn replaced(&self) {
        self.0.replaced.notified().await;
    }

    /// The row of this node as it begins.
    fn first_row(&self, now: Timestamp) -> node::Model {
        let parts = &self.0.parts;
        node::Model {
            id: parts.entries.cluster().node().to_owned(),
            // Names come again, moments do not.
            incarnation: now.millis(),
            version: parts.version.to_owned(),
            address: self.0.address.lock().clone(),
            joined_by: parts.entries.cluster().mark(),
            sockets: 0,
            rooms: 0,
            load: 0,
            draining: false,
            stopped: false,
            started_at: now,
            renewed_at: now,
            lease_until: now.plus(parts.limits.lease),
            reaper: None,
            reaper_until: None,
        }
    }
}

/// Keeps this node's lease and looks after the others'.
pub struct Keeper {
    nodes: Nodes,
    /// This node, as it was written last.
    row: node::Model,
    /// Since when this node has renewed in time, without a break.
    in_time_since: Timestamp,
    /// The nodes that had a row, by their incarnation; `None` before the first look.
    seen: Option<HashMap<String, i64>>,
    /// When one of the same name before this one was heard of last.
    former: Option<Timestamp>,
    /// When to claim this node's devices once more.
    reclaim_at: Option<Timestamp>,
    load: Load,
}

impl Keeper {
    fn new(nodes: Nodes, row: node::Model, former: Option<Timestamp>) -> Keeper {
        let in_time_since = row.renewed_at;
        nodes.0.incarnation.store(row.incarnation, Ordering::Relaxed);
        // Another may still be clearing away after the former one, and take what this one claims for that one's.
        let reclaim_at = former.map(|_| row.renewed_at.plus(nodes.0.parts.limits.lease));
        Keeper { nodes, row, in_time_since, seen: None, former, reclaim_at, load: Load::default() }
    }

    fn parts(&self) -> &Parts {
        &self.nodes.0.parts
    }

    /// Renews until the node ends, or another has taken its name.
    pub async fn run(mut self) {
        let shared = self.nodes.0.clone();
        let _kept = shared.kept.lock().await;
        if let Some(renewed_at) = self.former.take() {
            self.bury_former(renewed_at);
        }
        let Parts { db, clock, limits, .. } = self.parts().clone();
        let lease = limits.lease;
        // One line when it goes wrong, and one when it is well again.
        let (mut failing, database) = (false, db.place());
        while !shared.left.load(Ordering::Relaxed) {
            let next = match select(pin!(guarded("the keeper of the lease", self.round())), clock.sleep(lease)).await {
                Either::Left((Some(Ok(Some(next))), _)) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("this node's lease is renewed again");
                    }
                    next
                }
                Either::Left((Some(Ok(None)), _)) => return,
                Either::Left((None, _)) => clock.now().plus(AGAIN.min(lease / 3)),
                Either::Left((Some(Err(error)), _)) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, database, "this node's lease could not be renewed; trying again");
                    }
                    clock.now().plus(AGAIN.min(lease / 3))
                }
                Either::Right(_) => {
                    db.was_silent();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(database, "this node's lease could not be renewed in time; trying again");
                    }
                    clock.now()
                }
            };
            select(clock.sleep_until(next), pin!(self.nodes.0.poked.notified())).await;
        }
    }

    /// Renews, and looks; tells when to do so again, or `None` when the name is another's.
    async fn round(&mut self) -> Result<Option<Timestamp>, DbErr> {
        let Parts { db, clock, limits, .. } = self.parts().clone();
        compare_clocks(&db, &*clock).await?;
        let asked = clock.now();
        let lapsed = asked > self.row.lease_until;
        let mut row = self.row_at(asked);
        if !rows::renew(&db, &row).await? {
            if let Some(other) = rows::find(&db, &row.id).await? {
                self.end(&other);
                return Ok(None);
            }
            // Others took this node for gone and have cleared away what it had.
            row.incarnation = asked.millis().max(row.incarnation + 1);
            // Known before it is written: if the answer is lost, the row that is there then is this node's own.
            self.row.incarnation = row.incarnation;
            self.nodes.0.incarnation.store(row.incarnation, Ordering::Relaxed);
            if !rows::insert(&db, &row).await? {
                return Ok(Some(asked));
            }
        }
        let now = clock.now();
        if lapsed || now.since(self.row.renewed_at) >= limits.lease / 2 {
            self.in_time_since = now;
        }
        self.row = row;
        self.come_back(lapsed, now).await;
        self.look(now).await.map(Some)
    }

    fn row_at(&mut self, now: Timestamp) -> node::Model {
        let load = self.load.percent();
        let parts = self.parts();
        let metrics = parts.entries.metrics();
        node::Model {
            address: self.nodes.0.address.lock().clone(),
            sockets: metrics.sockets.get(),
            rooms: metrics.rooms.get(),
            load: load.unwrap_or(self.row.load),
            draining: self.nodes.is_draining(),
            renewed_at: now,
            lease_until: now.plus(parts.limits.lease),
            ..self.row.clone()
        }
    }

    /// Others may have taken this node for gone: what it missed is read, and its devices are claimed anew; once more
    /// when nobody can be clearing away after it any longer.
    async fn come_back(&mut self, lapsed: bool, now: Timestamp) {
        if lapsed {
            tracing::warn!("this node's lease had ended before it was renewed");
            self.parts().entries.catch_up();
            self.reclaim_at = Some(now.plus(self.parts().limits.lease));
        } else if self.reclaim_at.is_some_and(|at| at <= now) {
            self.reclaim_at = None;
        } else {
            return;
        }
        self.parts().presences.reclaim().await;
    }

    fn end(&self, other: &node::Model) {
        tracing::error!(
            node = other.id, address = other.address, since = %other.started_at,
            "another node has taken this node's name, whose lease had ended: this node ends"
        );
        self.nodes.0.replaced.notify_one();
    }

    /// Looks for nodes that this one does not hear, and says so once. One that ended before this one began is none.
    fn look_aside(&self, rows: &[node::Model], now: Timestamp) {
        let is_alive = |row: &node::Model| row.is_alive(now) && row.renewed_at > self.row.started_at;
        let is_strange = |row: &&node::Model| row.joined_by != self.row.joined_by && is_alive(row);
        // A file is one machine's, and its owner's affair.
        let other = rows.iter().find(is_strange).filter(|_| self.parts().db.backend() == Backend::Postgres);
        if !self.nodes.0.apart.swap(other.is_some(), Ordering::Relaxed)
            && let Some(other) = other
        {
            tracing::warn!(node = other.id, address = other.address, "{APART}");
        }
    }

    /// Compares the rows with what was seen before; tells when to look again.
    async fn look(&mut self, now: Timestamp) -> Result<Timestamp, DbErr> {
        let rows = rows::all(&self.parts().db).await?;
        self.look_aside(&rows, now);
        let lease = self.parts().limits.lease;
        let judges_from = self.in_time_since.plus(lease);
        let mut next = now.plus(lease / 3);
        let (mut alive, mut ended) = (0, Vec::new());
        let seen: HashMap<String, i64> = rows.iter().map(|row| (row.id.clone(), row.incarnation)).collect();
        for row in rows {
            // What another node's clock or its commit may be behind.
            let ends = row.lease_until.plus(lease / 20);
            if row.id == self.row.id || now < ends || now < judges_from {
                alive += i64::from(!row.stopped);
                next = if row.id == self.row.id { next } else { next.min(ends.max(judges_from)) };
            } else {
                ended.push(row);
            }
        }
        self.parts().entries.metrics().nodes.set(alive);
        let gone = ended.iter().map(|row| Arc::from(&*row.id)).collect::<HashSet<Arc<str>>>();
        let newly = self.parts().presences.set_gone(gone);
        // A row that is not there any more, or another one of the same name, tells of an end; a new one of a start.
        let changed = self.seen.as_ref().is_some_and(|before| *before != seen);
        self.seen = Some(seen);
        if newly || changed {
            self.parts().entries.catch_up();
        }
        for row in ended {
            if row.reaper_until.is_none_or(|until| until < now) {
                self.reap(row, now).await?;
            }
        }
        Ok(next)
    }

    /// Clears away after a node, if nobody else does. While claims cannot be seen it waits: they would stay.
    async fn reap(&self, row: node::Model, now: Timestamp) -> Result<(), DbErr> {
        let Parts { db, clock, limits, entries, presences, .. } = self.parts().clone();
        let until = now.plus(limits.lease);
        let can_see = entries.cluster().link() == Link::Up;
        if !can_see || !rows::begin_reaping(&db, &row, &self.row.id, now, until).await? {
            return Ok(());
        }
        let (node, address, last_heard) = (&row.id, &row.address, row.renewed_at);
        if row.stopped {
            tracing::info!(node, address, %last_heard, "a node has stopped");
        } else {
            tracing::warn!(node, address, %last_heard, "a node has gone");
        }
        let reaper = self.row.id.clone();
        actix_rt::spawn(async move {
            // Past its time another one goes on, with those who are left; of whom this one took it tells nevertheless.
            if !presences.bury(&row.id, row.renewed_at).await || clock.now() >= until {
                return;
            }
            if let Err(error) = rows::remove(&db, &row, Some(&reaper)).await {
                tracing::warn!(%error, "the row of a node that has gone could not be removed");
            }
        });
        Ok(())
    }

    /// Who was connected to the one before this one, and does not come back within the grace, has gone.
    fn bury_former(&self, renewed_at: Timestamp) {
        let Parts { clock, limits, presences, .. } = self.parts().clone();
        let id = self.row.id.clone();
        actix_rt::spawn(async move {
            let users = presences.disown(&id).await;
            // Who has come already was among them, perhaps.
            presences.reclaim().await;
            clock.sleep(limits.presence_grace).await;
            presences.tell_of(users, renewed_at).await;
        });
    }
}

impl Nodes {
    /// Gives the name back: it is free at once. The people of this node have the grace to come back at another, which
    /// then clears away; where there is no other, nothing is left.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn leave(&self) -> Result<(), DbErr> {
        self.0.left.store(true, Ordering::Relaxed);
        self.0.poked.notify_one();
        // What is under way would take the name again.
        let _kept = self.0.kept.lock().await;
        let parts = &self.0.parts;
        let (now, incarnation) = (parts.clock.now(), self.0.incarnation.load(Ordering::Relaxed));
        let id = parts.entries.cluster().node().to_owned();
        let rows = rows::all(&parts.db).await?;
        let others = rows.iter().any(|row| row.id != id && row.is_alive(now));
        let mine = |row: &node::Model| row.id == id && row.incarnation == incarnation;
        let Some(mut row) = rows.into_iter().find(mine) else { return Ok(()) };
        // While nobody can tell what it claims, somebody must find the row, and clear away.
        if !others && parts.presences.bury(&id, now).await {
            return rows::remove(&parts.db, &row, None).await;
        }
        (row.stopped, row.draining, row.sockets) = (true, true, 0);
        (row.renewed_at, row.lease_until) = (now, now.plus(parts.limits.presence_grace));
        rows::renew(&parts.db, &row).await.map(drop)
    }
}
