//! The copies that people ask for, as rows: asked for, claimed by a node, kept in pieces, taken back, over.
//! Never what stands in one (see `content`), and never how it is compressed (see `archive`).
//!
//! # How long each lasts
//! A copy that is there is kept for `exports.keep`, and its pieces are deleted then, or when it is taken back, when a
//! newer one is there, or when the account ends. The row itself, which tells nothing but when it was asked for, stays for
//! a month.
//!
//! # Whose turn it is
//! One that could not be made waits behind all that were asked for before its claim has ended: so none holds up others.

use super::link::Links;
use crate::auth::audit;
use crate::config;
use crate::jobs::{self, Bell};
use actors::caller::Caller;
use actors::clock::Clock;
use actors::protocol::{ErrorCode, Outcome, Refusal, view};
use actors::retry::transact;
use entities::{Db, ExportId, ExportState, Timestamp, UserId, export, export_part, user};
use sea_orm::sea_query::{Expr, Func, IntoCondition};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait, Set,
};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// Copies that are listed.
const LISTED: u64 = 50;
/// One that is not there after this is given up.
const MADE_WITHIN: Duration = DAY;
/// How long the row of one that is over is kept.
const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// Pieces that one statement deletes: 16 MiB.
const SWEPT_AT_ONCE: u64 = 16;

/// Everything about copies but the making.
pub struct Exports {
    db: Db,
    clock: Arc<dyn Clock>,
    links: Links,
    per_day: u64,
    keep: Duration,
    /// Rings when there is one to be made, or something to be deleted.
    pub bell: Bell,
}

/// A copy that this node makes.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Which.
    pub export: ExportId,
    /// Whose data.
    pub user: UserId,
    worker: String,
    /// Until when nobody else takes it; also which claim it is.
    until: Timestamp,
    /// How many pieces there are.
    parts: i32,
    bytes: i64,
}

impl Exports {
    /// With the key that signs links.
    pub fn new(db: Db, clock: Arc<dyn Clock>, config: &config::Exports, key: &[u8; 32]) -> Exports {
        let (links, bell) = (Links::new(key), Bell::default());
        Exports { db, clock, links, per_day: config.per_day, keep: config.keep, bell }
    }

    // --- what its owner asks for

    /// Asks for one.
    ///
    /// # Errors
    /// `user.export_pending`, `user.export_budget`; `user.not_found` if the account has ended; a fault of the database.
    pub async fn ask(&self, caller: &Caller) -> Outcome<view::Export> {
        let by = caller.identity()?;
        let asked = transact(&self.db, &*self.clock, async |transaction| {
            let now = self.clock.now();
            // Two who ask at once are counted one after the other.
            let asks = user::by_id(by.user).filter(user::COLUMN.left_at.is_null()).lock_exclusive();
            asks.one(transaction).await?.ok_or(ErrorCode::UserNotFound)?;
            self.spend(transaction, by.user, now).await?;
            let row = export::Model {
                id: ExportId::from_uuid(self.clock.uuid()),
                user_id: by.user,
                state: ExportState::Pending,
                size_bytes: None,
                failure: None,
                created_at: now,
                worker: None,
                worker_until: None,
                done_at: None,
                expires_at: None,
            };
            export::Entity::insert(row.clone().into_active_model()).exec_without_returning(transaction).await?;
            audit::record(transaction, &*self.clock, event(audit::Kind::ExportAsked, caller, row.id)).await?;
            Ok(row)
        });
        let row = asked.await?;
        self.bell.ring();
        Ok(self.view(row, false))
    }

    async fn spend(&self, transaction: &DatabaseTransaction, user: UserId, now: Timestamp) -> Outcome<()> {
        let of_user = || export::of_user(user);
        if of_user().filter(export::COLUMN.state.eq(ExportState::Pending)).one(transaction).await?.is_some() {
            return Err(ErrorCode::UserExportPending.into());
        }
        let today = of_user().filter(export::COLUMN.created_at.gt(now.minus(DAY)));
        if today.clone().count(transaction).await? < self.per_day {
            return Ok(());
        }
        // The one whose day must be over before there is room.
        let blocking = today.limit(1).offset(self.per_day - 1).one(transaction).await?;
        let wait = blocking.map_or(DAY, |row| row.created_at.plus(DAY).since(now));
        Err(Refusal::new(ErrorCode::UserExportBudget).after(wait).into())
    }

    /// A user's copies, the newest first; with links if these may be told.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn list(&self, user: UserId, with_links: bool) -> Outcome<view::Page<view::Export>> {
        let rows = export::of_user(user).limit(LISTED).all(self.db.read()).await?;
        Ok(view::Page { items: rows.into_iter().map(|row| self.view(row, with_links)).collect(), next_cursor: None })
    }

    /// Takes one back.
    ///
    /// # Errors
    /// `user.export_not_found`; a fault of the database.
    pub async fn cancel(&self, caller: &Caller, id: ExportId) -> Outcome<()> {
        let user = caller.user()?;
        let cancelled = transact(&self.db, &*self.clock, async |transaction| {
            let gone = export::COLUMN.user_id.eq(user).and(export::COLUMN.id.eq(id));
            let alive = export::COLUMN.state.is_in([ExportState::Pending, ExportState::Done]);
            let updated =
                export::Entity::update_many().set(over(ExportState::Gone)).filter(gone).filter(alive).exec(transaction);
            if updated.await?.rows_affected > 0 {
                audit::record(transaction, &*self.clock, event(audit::Kind::ExportCancelled, caller, id)).await?;
                return Ok(());
            }
            export::of(user, id).one(transaction).await?.map(drop).ok_or_else(|| ErrorCode::UserExportNotFound.into())
        });
        cancelled.await?;
        self.bell.ring();
        Ok(())
    }

    /// The copy of a link, if it is there.
    ///
    /// # Errors
    /// `user.export_not_found`, `user.export_expired`; a fault of the database.
    pub async fn linked(&self, id: ExportId, expires: i64, signature: &str) -> Outcome<export::Model> {
        let now = self.clock.now();
        self.links.check(id, expires, signature, now)?;
        let row = export::Entity::find().filter(export::COLUMN.id.eq(id)).one(self.db.read()).await?;
        let row = row.filter(|row| row.state == ExportState::Done).ok_or(ErrorCode::UserExportNotFound)?;
        match row.expires_at.is_some_and(|until| now < until) {
            true => Ok(row),
            false => Err(ErrorCode::UserExportExpired.into()),
        }
    }

    /// A copy as its owner sees it; with its link if that may be told.
    fn view(&self, row: export::Model, with_link: bool) -> view::Export {
        let there = row.state == ExportState::Done && row.expires_at.is_some_and(|until| self.clock.now() < until);
        let url = row.expires_at.filter(|_| there && with_link).map(|until| self.links.to(row.id, until));
        view::Export {
            id: row.id,
            // Over is over, whether its pieces were deleted by now or not.
            state: if row.state == ExportState::Done && !there { ExportState::Gone } else { row.state },
            created_at: row.created_at,
            size_bytes: row.size_bytes,
            failure: row.failure,
            done_at: row.done_at,
            expires_at: row.expires_at,
            url,
        }
    }

    // --- what the node does that makes it

    /// Claims the one that waits longest since it was asked for or last tried, and has nobody who makes it; what another
    /// made of it is thrown away. One that could not be made in a day is given up, once it was tried.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn claim(&self, worker: &str) -> Outcome<Option<Claim>> {
        let since = Func::coalesce([Expr::col(export::Column::WorkerUntil), Expr::col(export::Column::CreatedAt)]);
        loop {
            let now = self.clock.now();
            let free = export::COLUMN.worker_until.is_null().or(export::COLUMN.worker_until.lte(now));
            let waits = export::Entity::find().filter(export::COLUMN.state.eq(ExportState::Pending)).filter(free);
            let waits = waits.order_by_asc(Expr::expr(since.clone())).order_by_asc(export::COLUMN.id);
            let Some(row) = waits.one(self.db.read()).await? else { return Ok(None) };
            let Some(mut claim) = self.take(&row, worker, now).await? else { continue };
            if row.worker.is_some() && row.created_at.plus(MADE_WITHIN) <= now {
                self.give_up(&claim).await?;
                continue;
            }
            while self.drop_parts(export_part::COLUMN.export_id.eq(row.id)).await? {
                self.hold(&mut claim).await?;
            }
            return Ok(Some(claim));
        }
    }

    /// Claims this one; none if another was faster, or it is not wanted any more.
    async fn take(&self, row: &export::Model, worker: &str, now: Timestamp) -> Result<Option<Claim>, DbErr> {
        let until = jobs::lease(now);
        let claimed = export::ActiveModel {
            worker: Set(Some(worker.to_owned())),
            worker_until: Set(Some(until)),
            ..export::ActiveModel::default()
        };
        let seen = match row.worker_until {
            Some(until) => export::COLUMN.worker_until.eq(until),
            None => export::COLUMN.worker_until.is_null(),
        };
        let claim = export::Entity::update_many().set(claimed).filter(export::COLUMN.id.eq(row.id)).filter(seen);
        let claim = claim.filter(export::COLUMN.state.eq(ExportState::Pending)).exec(self.db.write());
        let is_mine = self.db.heard(claim).await?.rows_affected > 0;
        let worker = worker.to_owned();
        Ok(is_mine.then_some(Claim { export: row.id, user: row.user_id, worker, until, parts: 0, bytes: 0 }))
    }

    /// Keeps the claim, where it is about to age.
    ///
    /// # Errors
    /// A fault: the claim is another's, or the copy was taken back; one of the database.
    pub async fn hold(&self, claim: &mut Claim) -> Outcome<()> {
        if !jobs::is_ageing(claim.until, self.clock.now()) {
            return Ok(());
        }
        let until = jobs::lease(self.clock.now());
        let renewed = export::ActiveModel { worker_until: Set(Some(until)), ..export::ActiveModel::default() };
        let renewal = claim.update(renewed).exec(self.db.write());
        if self.db.heard(renewal).await?.rows_affected == 0 {
            return Err(jobs::lost());
        }
        claim.until = until;
        Ok(())
    }

    /// Keeps a piece; only while the claim holds, so that no two nodes' pieces are mixed.
    ///
    /// # Errors
    /// Those of `hold`.
    pub async fn add(&self, claim: &mut Claim, bytes: Vec<u8>) -> Outcome<()> {
        let until = jobs::lease(self.clock.now());
        let size = bytes.len() as i64;
        transact(&self.db, &*self.clock, async |transaction| {
            let renewed = export::ActiveModel { worker_until: Set(Some(until)), ..export::ActiveModel::default() };
            if claim.update(renewed).exec(transaction).await?.rows_affected == 0 {
                return Err(jobs::lost());
            }
            let part = export_part::Model { export_id: claim.export, number: claim.parts, bytes: bytes.clone() };
            export_part::Entity::insert(part.into_active_model()).exec_without_returning(transaction).await?;
            Ok(())
        })
        .await?;
        (claim.until, claim.parts, claim.bytes) = (until, claim.parts + 1, claim.bytes + size);
        Ok(())
    }

    /// It is there, and takes the place of those before it.
    ///
    /// # Errors
    /// Those of `hold`.
    pub async fn finish(&self, claim: &Claim) -> Outcome<view::Export> {
        let row = transact(&self.db, &*self.clock, async |transaction| {
            let now = self.clock.now();
            let done = export::ActiveModel {
                size_bytes: Set(Some(claim.bytes)),
                done_at: Set(Some(now)),
                expires_at: Set(Some(now.plus(self.keep))),
                ..over(ExportState::Done)
            };
            let row = claim.update(done).exec_with_returning(transaction).await?;
            let row = row.into_iter().next().ok_or_else(jobs::lost)?;
            let older = export::COLUMN.state.eq(ExportState::Done).and(export::COLUMN.id.ne(claim.export));
            end_those(transaction, claim.user, older).await?;
            Ok(row)
        });
        Ok(self.view(row.await?, false))
    }

    async fn give_up(&self, claim: &Claim) -> Outcome<()> {
        tracing::error!(export = %claim.export, "a copy of somebody's data could not be made in a day; given up");
        let failed = export::ActiveModel { failure: Set(Some("timed_out".to_owned())), ..over(ExportState::Failed) };
        self.db.heard(claim.update(failed).exec(self.db.write())).await?;
        Ok(())
    }

    // --- what is over

    /// Ends all copies of somebody whose account ends in this transaction: no link opens one any more, and whoever makes
    /// one has lost their claim.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn end_all(transaction: &DatabaseTransaction, user: UserId) -> Result<(), DbErr> {
        end_those(transaction, user, export::COLUMN.state.is_in([ExportState::Pending, ExportState::Done])).await
    }

    /// Deletes what is over: first copies whose time has passed, then the pieces of those that nobody can have any more.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn sweep(&self) -> Result<(), DbErr> {
        let now = self.clock.now();
        let expired = export::COLUMN.state.eq(ExportState::Done).and(export::COLUMN.expires_at.lte(now));
        let gone = export::Entity::update_many().set(over(ExportState::Gone)).filter(expired);
        self.db.heard(gone.exec(self.db.write())).await?;
        // Whatever became of their copies' rows: a piece is written while its copy's row says that it is made.
        let alive = export::COLUMN.state.is_in([ExportState::Pending, ExportState::Done]);
        let alive = export::Entity::find().select_only().column(export::Column::Id).filter(alive).into_query();
        while self.drop_parts(export_part::COLUMN.export_id.not_in_subquery(alive.clone())).await? {}
        let ended = export::COLUMN.state.is_in([ExportState::Gone, ExportState::Failed]);
        let forgotten = ended.and(export::COLUMN.created_at.lt(now.minus(REMEMBERED)));
        self.db.heard(export::Entity::delete_many().filter(forgotten).exec(self.db.write())).await?;
        Ok(())
    }

    /// Deletes some of these pieces; tells whether there may be more.
    async fn drop_parts(&self, these: impl IntoCondition) -> Result<bool, DbErr> {
        let parts = export_part::Entity::find()
            .select_only()
            .columns([export_part::Column::ExportId, export_part::Column::Number])
            .filter(these)
            .limit(SWEPT_AT_ONCE);
        let parts: Vec<(ExportId, i32)> = parts.into_tuple().all(self.db.read()).await?;
        let full = parts.len() as u64 == SWEPT_AT_ONCE;
        if !parts.is_empty() {
            let keys = parts.into_iter().map(|(export, number)| {
                export_part::COLUMN.export_id.eq(export).and(export_part::COLUMN.number.eq(number))
            });
            let any = keys.fold(sea_orm::Condition::any(), sea_orm::Condition::add);
            self.db.heard(export_part::Entity::delete_many().filter(any).exec(self.db.write())).await?;
        }
        Ok(full)
    }
}

impl Claim {
    /// A change of the row, if the claim still holds.
    fn update(&self, change: export::ActiveModel) -> sea_orm::UpdateMany<export::Entity> {
        let mine = export::COLUMN.id.eq(self.export).and(export::COLUMN.state.eq(ExportState::Pending));
        let mine = mine.and(export::COLUMN.worker.eq(self.worker.as_str()));
        export::Entity::update_many().set(change).filter(mine).filter(export::COLUMN.worker_until.eq(self.until))
    }
}

/// Ends these copies of somebody's.
async fn end_those(transaction: &DatabaseTransaction, user: UserId, these: impl IntoCondition) -> Result<(), DbErr> {
    let theirs = export::Entity::update_many().set(over(ExportState::Gone)).filter(export::COLUMN.user_id.eq(user));
    theirs.filter(these).exec(transaction).await.map(drop)
}

/// Nobody makes it any more, and so it is from now on.
fn over(state: ExportState) -> export::ActiveModel {
    export::ActiveModel {
        state: Set(state),
        worker: Set(None),
        worker_until: Set(None),
        ..export::ActiveModel::default()
    }
}

fn event(kind: audit::Kind, caller: &Caller, export: ExportId) -> audit::Event {
    let identity = caller.identity;
    audit::Event {
        kind,
        user: identity.map(|identity| identity.user),
        session: identity.map(|identity| identity.session),
        address: caller.address,
        detail: json!({ "exportId": export }),
    }
}
