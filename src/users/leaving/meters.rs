//! What the operator sees at `/metrics` of copies and of accounts that end.
//! Never a decision: nothing reads these but that page.
//!
//! # Why each node counts all
//! What waits is in rows that all nodes share, and any of them may do it. So each tells the same numbers, as it finds
//! them when it looks for work; what it left undone is its own.

use super::Leaving;
use super::purge::SETTLED;
use entities::db::parameter;
use entities::{ExportState, Timestamp, export};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter};

/// The meters; a clone shares the counts.
#[derive(Clone, Default)]
pub struct Meters {
    /// Copies that are made, or wait to be.
    pub exports_waiting: Gauge,
    /// Copies of the last month that could not be made.
    pub exports_failed: Gauge,
    /// Accounts whose grace is over, and that are not purged yet.
    pub accounts_due: Gauge,
    /// For how many seconds the oldest of them has been.
    pub accounts_due_for: Gauge,
    /// Pieces of work that this node could not do.
    pub left_undone: Counter,
}

impl Meters {
    /// Names them in a registry.
    pub fn register(&self, registry: &mut Registry) {
        let counted = "in the whole database";
        let waiting = format!("Copies of people's data that are made or wait to be, {counted}");
        registry.register("exports_waiting", waiting, self.exports_waiting.clone());
        let failed = format!("Copies of the last month that could not be made, {counted}");
        registry.register("exports_failed", failed, self.exports_failed.clone());
        let due = format!("Accounts whose grace is over and that are not wholly purged yet, {counted}");
        registry.register("accounts_due", due, self.accounts_due.clone());
        let oldest = "For how long the oldest of them has been due; a little over an hour at most, if all is well";
        registry.register_with_unit("accounts_due_oldest", oldest, Unit::Seconds, self.accounts_due_for.clone());
        let undone = "Copies and purges that this node left undone, to be tried again";
        registry.register("leaving_left_undone", undone, self.left_undone.clone());
    }
}

impl Leaving {
    /// Looks how many copies there are to be made.
    pub(super) async fn count_exports(&self) -> Result<(), DbErr> {
        for (state, gauge) in
            [(ExportState::Pending, &self.meters.exports_waiting), (ExportState::Failed, &self.meters.exports_failed)]
        {
            let these = export::Entity::find().filter(export::COLUMN.state.eq(state));
            gauge.set(these.count(self.db.read()).await?.cast_signed());
        }
        Ok(())
    }

    /// Looks how many accounts are due, and since when. Who has ended waits for an hour to be looked through once more,
    /// which is counted; who works on an account puts off when it is due, so its end tells for how long it has been.
    pub(super) async fn count_due(&self) -> Result<(), DbErr> {
        let (now, backend) = (self.clock.now(), self.db.backend());
        let (settled, due) = (parameter(backend, 1, "bigint"), parameter(backend, 2, "bigint"));
        let sql = format!(
            "SELECT count(*), min(coalesce(left_at, leaves_at)) FROM users \
             WHERE leaves_at <= {settled} AND (leaves_at <= {due} OR left_at IS NOT NULL)"
        );
        let statement = backend.statement(sql, [now.plus(SETTLED).into(), now.into()]);
        let Some(row) = self.db.read().query_one_raw(statement).await? else { return Ok(()) };
        let since: Option<Timestamp> = row.try_get_by_index(1)?;
        self.meters.accounts_due.set(row.try_get_by_index(0)?);
        let seconds = since.map_or(0, |since| now.since(since).as_secs());
        self.meters.accounts_due_for.set(seconds.cast_signed());
        Ok(())
    }
}
