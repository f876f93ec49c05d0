//! The end of an account, when its grace is over: a job that may die at any instant, and that another goes on with.
//! Never a choice: what becomes of messages its owner has said, and of the rest nothing remains but an id.
//!
//! # What becomes of what
//! *At first, a few rows at a time*: its number goes out of address books, for it is known by that alone.
//! *At once, in one transaction*: the account's row keeps its id and when it ended; number, username and address are
//! free for others; its sessions are ended, no link opens a copy of its data, and codes that were sent there go, and what
//! was tried in vain to get in.
//! *Then, a few rows at a time*: what was its own is deleted, what opens doors before all else. It leaves address books
//! and lists of who is blocked, whose owners' devices learn of it. It leaves every conversation, through the journal
//! (`actors::conversation::departing`); its messages stay, as from a deleted user, or become tombstones; its reactions
//! are taken back either way.
//! *What stays*: messages, if its owner chose so; reports, by it and about it, which are the operators'; of the audit
//! trail what was done and when, without addresses; in other people's messages, that they named it.
//!
//! # Why all of it is done twice
//! A command that was under way at the end may write after its table was wiped, and nodes learn from the sessions' rows
//! which sockets to close. So after an hour everything is looked through once more, and then sessions go, too.
//!
//! # Why `leaves_at` is the claim
//! It says from when on somebody may work on this account. Whoever does so puts it off for as long as they expect to
//! need, saying from when: so one of two gets it, and it comes back by itself if they die. Who has been due for longest
//! comes first, so an account that cannot be purged comes after the others.

use super::Leaving;
use super::exports::Exports;
use super::wipe::{self, OWN, SESSIONS, Table};
use crate::auth::{audit, sessions};
use crate::jobs::{self, Job};
use actors::conversation::raise_users;
use actors::protocol::command::LeftMessages;
use actors::protocol::{Error, ErrorCode, Outcome};
use actors::retry::transact;
use actors::sql;
use entities::{ConversationId, Privacy, Settings, Timestamp, UserId, otp_verification, participant, session, user};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, Set,
};
use std::time::Duration;
use uuid::Uuid;

/// How long after the end everything is looked through once more.
pub(super) const SETTLED: Duration = Duration::from_secs(3600);
/// People whose lists are changed in one transaction.
const LISTS: u64 = 100;
/// Conversations of a page.
const PAGE: u64 = 100;
/// Address books out of which one transaction takes a number.
const BOOKS: u64 = 500;
/// How often a conversation is asked again that is busy.
const PATIENCE: u32 = 100;
/// How long it is left alone meanwhile, if it does not say so.
const PAUSE: Duration = Duration::from_secs(1);

/// An account that this node purges.
#[derive(Debug, Clone)]
pub struct Claim {
    user: UserId,
    /// When it ended; before it has, when it was claimed.
    left_at: Timestamp,
    /// Whether its messages go; decided when it ends.
    removes: bool,
    /// Until when nobody else takes it; also which claim it is.
    until: Timestamp,
}

/// The job.
pub struct Purge<'a>(pub &'a Leaving);

impl Job for Purge<'_> {
    const NAME: &'static str = "the purge of accounts";

    async fn next(&self) -> Outcome<bool> {
        self.0.count_due().await?;
        let Some(claim) = self.0.claim_purge().await? else { return Ok(false) };
        let user = claim.user;
        if let Err(error) = Box::pin(self.0.purge(claim)).await {
            self.0.meters.left_undone.inc();
            tracing::warn!(%user, %error, "the purge of an account was left undone; it is tried again after others");
        }
        Ok(true)
    }

    async fn woken(&self) {
        self.0.bell.heard().await;
    }
}

impl Leaving {
    /// Claims the account that has been due for the longest time. A failure after this is that account's alone.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn claim_purge(&self) -> Outcome<Option<Claim>> {
        loop {
            let now = self.clock.now();
            let due = user::Entity::find().filter(user::COLUMN.leaves_at.lte(now));
            let due = due.order_by_asc(user::COLUMN.leaves_at).one(self.db.read()).await?;
            let Some((row, until)) = due.and_then(|row| row.leaves_at.map(|until| (row, until))) else {
                return Ok(None);
            };
            let left_at = row.left_at.unwrap_or(now);
            let mut claim = Claim { user: row.id, left_at, removes: is_removing(&row), until };
            // Else it is kept after all, or another's by now.
            if self.postpone(&mut claim, jobs::lease(now)).await? {
                return Ok(Some(claim));
            }
        }
    }

    /// Ends the account, and empties its row again where it has ended.
    async fn end_account(&self, claim: &mut Claim) -> Outcome<()> {
        loop {
            let ended = transact(&self.db, &*self.clock, async |transaction| {
                let row = user::by_id(claim.user).lock_exclusive().one(transaction).await?;
                // Else it is kept after all, or another's by now.
                let row = row.filter(|row| row.leaves_at == Some(claim.until)).ok_or_else(jobs::lost)?;
                let left_at = row.left_at.unwrap_or(self.clock.now());
                let claim = Claim { left_at, removes: is_removing(&row), ..claim.clone() };
                if row.left_at.is_none() {
                    if self.leave_books(transaction, &row).await? {
                        return Ok(None);
                    }
                    self.end(transaction, &row, left_at).await?;
                }
                empty(transaction, &claim).await?;
                Ok(Some(claim))
            });
            if let Some(ended) = ended.await? {
                *claim = ended;
                self.entries.user_changed(claim.user);
                self.entries.profile_changed(claim.user);
                return Ok(());
            }
            self.hold_purge(claim).await?;
        }
    }

    /// Takes the account's number out of some address books; tells whether there may be more. While they are found by
    /// it, it is the account's.
    async fn leave_books(&self, transaction: &DatabaseTransaction, row: &user::Model) -> Outcome<bool> {
        let Some(phone) = &row.phone else { return Ok(false) };
        let backend = self.db.backend();
        let delete = format!(
            "DELETE FROM contact_numbers WHERE (owner_id, number_hash) IN \
             (SELECT owner_id, number_hash FROM contact_numbers WHERE number_hash = {} LIMIT {BOOKS})",
            entities::db::parameter(backend, 1, "bytea")
        );
        let delete = backend.statement(delete, [self.hash_of_number(phone).into()]);
        Ok(transaction.execute_raw(delete).await?.rows_affected() >= BOOKS)
    }

    /// What must be gone when the account's row is emptied: what is found by its number alone, and who acts for it.
    async fn end(&self, transaction: &DatabaseTransaction, row: &user::Model, now: Timestamp) -> Outcome<()> {
        sessions::revoke_all(transaction, row.id, None, "account_deleted", now).await?;
        let reached: Vec<&String> = row.phone.iter().chain(&row.email_key).collect();
        let codes = otp_verification::COLUMN.phone.is_in(reached);
        otp_verification::Entity::delete_many().filter(codes).exec(transaction).await?;
        self.tries.forget(transaction, row).await?;
        Exports::end_all(transaction, row.id).await?;
        let event = audit::Event { user: Some(row.id), ..audit::Event::of(audit::Kind::AccountDeleted) };
        audit::record(transaction, &*self.clock, event).await?;
        Ok(())
    }

    /// Does all of it; if it has not ended yet, the account ends with that. What was done before is found done, and costs
    /// a look.
    ///
    /// # Errors
    /// A fault: the claim is another's; one of the database, or of a room. Done again, it goes on.
    pub async fn purge(&self, mut claim: Claim) -> Outcome<()> {
        self.end_account(&mut claim).await?;
        let last = claim.left_at.plus(SETTLED) <= self.clock.now();
        let ended = session::of_user(claim.user).select_only().column(session::Column::Id);
        let ended = ended.filter(session::COLUMN.revoke_reason.eq("account_deleted"));
        for session in ended.into_tuple().all(self.db.read()).await? {
            self.close(claim.user, session);
        }
        self.wipe_all(&mut claim, OWN).await?;
        while wipe::anonymise(&self.db, claim.user).await? {
            self.hold_purge(&mut claim).await?;
        }
        self.leave_lists(&mut claim).await?;
        Box::pin(self.leave_conversations(&mut claim)).await?;
        if !last {
            return self.put_off(&claim, Some(claim.left_at.plus(SETTLED))).await;
        }
        self.wipe_all(&mut claim, SESSIONS).await?;
        tracing::info!(user = %claim.user, "an account that was deleted is purged");
        self.put_off(&claim, None).await
    }

    async fn wipe_all(&self, claim: &mut Claim, tables: &[Table]) -> Outcome<()> {
        for table in tables {
            while wipe::wipe(&self.db, table, claim.user).await? {
                self.hold_purge(claim).await?;
            }
        }
        Ok(())
    }

    async fn leave_conversations(&self, claim: &mut Claim) -> Outcome<()> {
        let mut after: Option<ConversationId> = None;
        loop {
            let mut page = participant::of_user(claim.user);
            if let Some(after) = after {
                page = page.filter(participant::COLUMN.conversation_id.gt(after));
            }
            let page = page.order_by_asc(participant::COLUMN.conversation_id).limit(PAGE).all(self.db.read()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.conversation_id);
            for member in page {
                self.leave_conversation(claim, &member).await?;
            }
        }
    }

    /// First they go, and say nothing more; so what is then looked through stays so.
    async fn leave_conversation(&self, claim: &mut Claim, member: &participant::Model) -> Outcome<()> {
        let (user, conversation, removes) = (claim.user, member.conversation_id, claim.removes);
        if member.until_rev.is_none() {
            self.patiently(claim, || self.conversations.depart(user, conversation)).await?;
        }
        let mut after = Some(0);
        while let Some(seq) = after {
            after = self.patiently(claim, || self.conversations.withdraw(user, conversation, seq, removes)).await?;
        }
        Ok(())
    }

    /// Does a piece again for as long as it is refused for what passes: a busy conversation is no reason to begin anew.
    pub(super) async fn patiently<T>(&self, claim: &mut Claim, piece: impl AsyncFn() -> Outcome<T>) -> Outcome<T> {
        let mut left = PATIENCE;
        loop {
            let done = piece().await;
            self.hold_purge(claim).await?;
            match done {
                Err(Error::Refused(refusal)) if refusal.code.retryable() && left > 0 => {
                    left -= 1;
                    self.clock.sleep(refusal.retry_after.unwrap_or(PAUSE)).await;
                }
                done => return done,
            }
        }
    }

    /// Takes the account out of others' address books, and of what they block: a tombstone each, of which their devices
    /// learn.
    async fn leave_lists(&self, claim: &mut Claim) -> Outcome<()> {
        for (table, fields) in [
            ("contacts", "removed = true, suggested = false, favourite = false, name = NULL"),
            ("blocks", "removed = true"),
        ] {
            // Tombstones stay: they are not to be looked through again for each page.
            let mut after = UserId::from_uuid(Uuid::nil());
            loop {
                let owners = self.leave_some_lists(claim.user, table, fields, after).await?;
                let Some(last) = owners.last() else { break };
                after = *last;
                owners.into_iter().for_each(|owner| self.entries.user_changed(owner));
                self.hold_purge(claim).await?;
            }
        }
        Ok(())
    }

    async fn leave_some_lists(&self, user: UserId, table: &str, fields: &str, after: UserId) -> Outcome<Vec<UserId>> {
        let backend = self.db.backend();
        let listing = format!(
            "SELECT l.owner_id FROM {table} AS l JOIN users AS u ON u.id = l.owner_id AND u.left_at IS NULL \
             WHERE l.user_id = {} AND l.owner_id > {} AND l.removed = false ORDER BY l.owner_id LIMIT {LISTS}",
            entities::db::parameter(backend, 1, "uuid"),
            entities::db::parameter(backend, 2, "uuid"),
        );
        transact(&self.db, &*self.clock, async |transaction| {
            let rows = transaction.query_all_raw(backend.statement(&listing, [user.into(), after.into()])).await?;
            let owners = rows.iter().map(|row| row.try_get_by_index(0)).collect::<Result<Vec<UserId>, _>>()?;
            let mut changed = sql::Table::new(3);
            for (owner, user_rev) in raise_users(transaction, &owners).await? {
                changed.push([owner.into(), user.into(), user_rev.into()]);
            }
            changed
                .update(transaction, &["uuid", "uuid", "bigint"], |values| {
                    format!(
                        "UPDATE {table} SET {fields}, user_rev = v.column3 FROM (VALUES {values}) AS v \
                         WHERE {table}.owner_id = v.column1 AND {table}.user_id = v.column2"
                    )
                })
                .await?;
            Ok(owners)
        })
        .await
    }

    /// Keeps the claim, where it is about to age.
    async fn hold_purge(&self, claim: &mut Claim) -> Outcome<()> {
        let now = self.clock.now();
        if jobs::is_ageing(claim.until, now) {
            self.postpone(claim, jobs::lease(now)).await?.then_some(()).ok_or_else(jobs::lost)?;
        }
        Ok(())
    }

    /// Claims it, or keeps it claimed, until then; tells whether it was as the claim says.
    async fn postpone(&self, claim: &mut Claim, until: Timestamp) -> Result<bool, DbErr> {
        let postponed = self.set_leaves_at(claim, Some(until)).await?;
        claim.until = until;
        Ok(postponed)
    }

    /// Says from when on somebody may work on this account again; never, if that is over.
    async fn put_off(&self, claim: &Claim, until: Option<Timestamp>) -> Outcome<()> {
        self.set_leaves_at(claim, until).await?.then_some(()).ok_or_else(jobs::lost)
    }

    async fn set_leaves_at(&self, claim: &Claim, until: Option<Timestamp>) -> Result<bool, DbErr> {
        let mut change = user::ActiveModel { leaves_at: Set(until), ..user::ActiveModel::default() };
        if until.is_none() {
            change.leaves_messages = Set(None);
        }
        let mine = user::COLUMN.id.eq(claim.user).and(user::COLUMN.leaves_at.eq(claim.until));
        let put_off = user::Entity::update_many().set(change).filter(mine).exec(self.db.write());
        Ok(self.db.heard(put_off).await?.rows_affected > 0)
    }
}

/// Whether its owner wants the messages gone.
fn is_removing(row: &user::Model) -> bool {
    row.leaves_messages.as_deref() == Some(LeftMessages::Remove.as_str())
}

/// Leaves nothing in the account's row but its id and when it began and ended, and the claim.
async fn empty(transaction: &DatabaseTransaction, claim: &Claim) -> Outcome<()> {
    let nothing = user::ActiveModel {
        phone: Set(None),
        username: Set(None),
        username_key: Set(None),
        name_key: Set(String::new()),
        display_name: Set(String::new()),
        bio: Set(String::new()),
        email: Set(None),
        email_key: Set(None),
        avatar_id: Set(None),
        status_text: Set(None),
        status_emoji: Set(None),
        status_until: Set(None),
        privacy: Set(Privacy::default()),
        settings: Set(Settings::default()),
        settings_user_rev: Set(0),
        audience_changed_at: Set(None),
        last_seen_at: Set(None),
        left_at: Set(Some(claim.left_at)),
        updated_at: Set(claim.left_at),
        ..user::ActiveModel::default()
    };
    let emptied = user::Entity::update_many()
        .set(nothing)
        .col_expr(user::Column::UserRev, user::COLUMN.user_rev.add(1))
        .col_expr(user::Column::ProfileUserRev, user::COLUMN.user_rev.add(1))
        .filter(user::COLUMN.id.eq(claim.user))
        .exec(transaction)
        .await?;
    match emptied.rows_affected {
        0 => Err(ErrorCode::UserNotFound.into()),
        _ => Ok(()),
    }
}
