//! What happens to who was connected to a node that has ended, and to a node that others took for ended.
//! Never whether a node has: the rows of the nodes tell.

use super::actor::Command;
use super::{Presences, SHARDS, told};
use crate::clock::Clock;
use crate::protocol::Outcome;
use crate::protocol::view::{Presence, Status};
use crate::retry::transact;
use crate::sql::{Table, select_in};
use entities::{Backend, Db, Timestamp, UserId};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Users of one transaction, and of one look at the claims.
const PAGE: usize = 1000;
/// How soon what could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Presences {
    /// Sets which nodes have ended and were not cleared away yet; tells whether one is new among them.
    pub(crate) fn set_gone(&self, nodes: HashSet<Arc<str>>) -> bool {
        let mut gone = self.gone.write();
        let newly = nodes.iter().any(|node| !gone.contains(node));
        *gone = nodes;
        newly
    }

    /// Claims all devices that are connected here anew: others may have taken this node for gone.
    pub(crate) async fn reclaim(&self) {
        for shard in 0..SHARDS {
            let told = self.rooms.ask(shard, 32, |reply| Command::Reclaim.answering(reply)).await;
            if let Err(error) = told {
                tracing::warn!(%error, "devices could not be claimed anew");
            }
        }
    }

    /// Takes away what a node claims that has ended.
    pub(crate) async fn disown(&self, node: &str) -> Vec<UserId> {
        let mut users = Vec::new();
        loop {
            match self.entries.cluster().disown(node).await {
                Some(more) if more.is_empty() => return users,
                Some(mut more) => users.append(&mut more),
                None => self.clock.sleep(AGAIN).await,
            }
        }
    }

    /// The same, and tells of those whom it had. Tells whether that was all: while nobody can tell, it is not.
    pub(crate) async fn bury(&self, node: &str, seen_at: Timestamp) -> bool {
        while let Some(users) = self.entries.cluster().disown(node).await {
            if users.is_empty() {
                return true;
            }
            self.tell_of(users, seen_at).await;
        }
        false
    }

    /// Tells the watchers of these users, on all nodes, how they are shown now; those who are nowhere were seen last at
    /// `seen_at`. Who is shown so already is not told of again. Waits until somebody can tell.
    pub(crate) async fn tell_of(&self, users: Vec<UserId>, seen_at: Timestamp) {
        for page in users.chunks(PAGE) {
            let shown_as = loop {
                match self.statuses(page).await {
                    Some(shown_as) => break shown_as,
                    None => self.clock.sleep(AGAIN).await,
                }
            };
            let absent = |(user, status): (&UserId, &Option<Status>)| status.is_none().then_some(*user);
            let mut absent: Vec<UserId> = page.iter().zip(&shown_as).filter_map(absent).collect();
            absent.sort_unstable();
            while let Err(error) = seen(&self.db, &*self.clock, &absent, seen_at).await {
                tracing::warn!(%error, "when people were seen last could not be written");
                self.clock.sleep(AGAIN).await;
            }
            // Again: they may have come back while that was written.
            let shown_as = self.statuses(page).await.unwrap_or(shown_as);
            for (user, status) in page.iter().zip(shown_as) {
                let last_seen_at = status.is_none().then_some(seen_at);
                let presence = Presence { user_id: *user, status: status.unwrap_or(Status::Offline), last_seen_at };
                self.entries.deliver(told(&presence));
            }
        }
    }
}

/// Writes when these users, in the order of their ids, were seen last; who was seen later was, and who has left is not.
pub(super) async fn seen(db: &Db, clock: &dyn Clock, users: &[UserId], at: Timestamp) -> Outcome<()> {
    const CASTS: [&str; 2] = ["uuid", "bigint"];
    if users.is_empty() {
        return Ok(());
    }
    let update = |values: &str| {
        format!(
            "UPDATE users SET last_seen_at = v.column2 FROM (VALUES {values}) AS v \
             WHERE users.id = v.column1 AND users.left_at IS NULL AND (users.last_seen_at IS NULL OR users.last_seen_at < v.column2)"
        )
    };
    transact(db, clock, async |transaction| {
        // All who lock several users do so in this order.
        if users.len() > 1 && db.backend() == Backend::Postgres {
            let lock = |list: &str| format!("SELECT id FROM users WHERE id IN ({list}) ORDER BY id FOR NO KEY UPDATE");
            select_in(transaction, users, "uuid", lock).await?;
        }
        let mut rows = Table::new(2);
        users.iter().for_each(|user| rows.push([(*user).into(), at.into()]));
        Ok(rows.update(transaction, &CASTS, update).await?)
    })
    .await
}
