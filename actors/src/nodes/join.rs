//! How a node takes its name: it is free, or its holder has ended.
//! Never by force: whoever renews keeps it.

use super::{Keeper, Nodes, rows};
use entities::{Timestamp, node};
use sea_orm::DbErr;

/// Why a node may not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Another node has the name.
    #[error(
        "another node is called {id:?}: the one at {address}, since {since}; its lease ends at {until} unless it renews it. \
         Give this node another cluster.node, or stop that one"
    )]
    Taken {
        /// The name.
        id: String,
        /// Where the other is reached.
        address: String,
        /// When it started.
        since: Timestamp,
        /// Until when it has the name, for now.
        until: Timestamp,
    },
    /// The database does not answer.
    #[error(transparent)]
    Database(#[from] DbErr),
}

impl Nodes {
    /// Takes this node's name. Where another had it and has not renewed it, waits until its lease is over.
    ///
    /// # Errors
    /// The name is taken; the database does not answer.
    pub async fn join(&self) -> Result<Keeper, JoinError> {
        let (db, clock) = (&self.0.parts.db, &self.0.parts.clock);
        let mut waits_for: Option<node::Model> = None;
        loop {
            let now = clock.now();
            let mut row = self.first_row(now);
            let Some(other) = rows::find(db, &row.id).await? else {
                if rows::insert(db, &row).await? {
                    return Ok(Keeper::new(self.clone(), row, None));
                }
                continue;
            };
            if !other.is_alive(now) {
                row.incarnation = row.incarnation.max(other.incarnation + 1);
                if rows::take_over(db, &other, &row).await? {
                    return Ok(Keeper::new(self.clone(), row, Some(other.renewed_at)));
                }
                continue;
            }
            match &waits_for {
                Some(first) if (first.incarnation, first.lease_until) != (other.incarnation, other.lease_until) => {
                    let node::Model { id, address, started_at, lease_until, .. } = other;
                    return Err(JoinError::Taken { id, address, since: started_at, until: lease_until });
                }
                Some(_) => {}
                None => tracing::warn!(
                    node = other.id, address = other.address, until = %other.lease_until,
                    "another node had this name and may still run: waiting until its lease ends"
                ),
            }
            let next = other.lease_until.plus_millis(1).min(now.plus(self.0.parts.limits.lease / 10));
            waits_for = Some(other);
            clock.sleep_until(next).await;
        }
    }
}
