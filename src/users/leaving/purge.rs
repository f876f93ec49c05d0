//! The end of an account, when its grace is over: a job that may die at any instant, and that another goes on with.
//! Never a choice: what becomes of messages its owner has said, and of the rest nothing remains but an id.
//!
//! # What becomes of what
//! *At once, in one transaction*: the account's row keeps its id and when it ended; number, username and address are
//! free for others; its sessions are ended, and nobody has its number in an address book any more; codes that were sent
//! there go, and what was tried in vain to get in.
//! *Then, a few rows at a time*: it leaves every conversation, through the journal (`actors::conversation::departing`);
//! its messages stay, as from a deleted user, or become tombstones; its reactions are taken back either way. It leaves
//! address books and lists of who is blocked, whose owners' devices learn of it. What was its own is deleted.
//! *What stays*: messages, if its owner chose so; reports, by it and about it, which are the operators'; of the audit
//! trail what was done and when, without addresses; in other people's messages, that they named it.
//!
//! # Why all of it is done twice
//! A command that was under way at the end may write after its table was wiped, and nodes learn from the sessions' rows
//! which sockets to close. So after an hour everything is looked through once more, and then sessions go, too.
//!
//! # Why `leaves_at` is the claim
//! It says from when on somebody may work on this account. Whoever does so puts it off for as long as they expect to
//! need, saying from when: so one of two gets it, and it comes back by itself if they die.

use super::Leaving;
use super::wipe::{self, OWN, SESSIONS, Table};
use crate::auth::{audit, sessions};
use crate::jobs::{self, Job};
use actors::conversation::raise_users;
use actors::protocol::command::LeftMessages;
use actors::protocol::{ErrorCode, Outcome};
use actors::retry::transact;
use actors::sql;
use entities::{
    ConversationId, Privacy, Settings, Timestamp, UserId, contact_number, otp_verification, participant, session, user,
};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    Set,
};
use std::time::Duration;

/// How long after the end everything is looked through once more.
const SETTLED: Duration = Duration::from_secs(3600);
/// People whose lists are changed in one transaction.
const LISTS: u64 = 100;
/// Conversations of a page.
const PAGE: u64 = 100;

/// An account that this node purges.
#[derive(Debug, Clone)]
pub struct Claim {
    user: UserId,
    /// When it ended.
    left_at: Timestamp,
    /// Whether its messages go.
    removes: bool,
    /// Until when nobody else takes it; also which claim it is.
    until: Timestamp,
}

/// The job.
pub struct Purge<'a>(pub &'a Leaving);

impl Job for Purge<'_> {
    const NAME: &'static str = "the purge of accounts";

    async fn next(&self) -> Outcome<bool> {
        let Some(claim) = self.0.claim_purge().await? else { return Ok(false) };
        Box::pin(self.0.purge(claim)).await.map(|()| true)
    }

    async fn woken(&self) {
        self.0.bell.heard().await;
    }
}

impl Leaving {
    /// Claims the account that has been due for the longest time; if it has not ended yet, it ends with that.
    ///
    /// # Errors
    /// A fault of the database.
    pub async fn claim_purge(&self) -> Outcome<Option<Claim>> {
        let now = self.clock.now();
        let due = user::Entity::find().filter(user::COLUMN.leaves_at.lte(now));
        let Some(seen) = due.order_by_asc(user::COLUMN.leaves_at).one(self.db.read()).await? else {
            return Ok(None);
        };
        let claimed = transact(&self.db, &*self.clock, async |transaction| {
            let row = user::by_id(seen.id).lock_exclusive().one(transaction).await?;
            // Kept after all, or another's by now.
            let Some(row) = row.filter(|row| row.leaves_at == seen.leaves_at) else { return Ok(None) };
            let claim = Claim {
                user: row.id,
                left_at: row.left_at.unwrap_or(now),
                removes: row.leaves_messages.as_deref() == Some(LeftMessages::Remove.as_str()),
                until: jobs::lease(now),
            };
            if row.left_at.is_none() {
                self.end(transaction, &row, now).await?;
            }
            empty(transaction, &claim).await?;
            Ok(Some(claim))
        });
        let claim = claimed.await?;
        if let Some(claim) = &claim {
            self.entries.user_changed(claim.user);
        }
        Ok(claim)
    }

    /// What must be gone when the account's row is emptied: what is found by its number alone, and who acts for it.
    async fn end(&self, transaction: &DatabaseTransaction, row: &user::Model, now: Timestamp) -> Outcome<()> {
        sessions::revoke_all(transaction, row.id, None, "account_deleted", now).await?;
        let reached: Vec<&String> = row.phone.iter().chain(&row.email_key).collect();
        let codes = otp_verification::COLUMN.phone.is_in(reached);
        otp_verification::Entity::delete_many().filter(codes).exec(transaction).await?;
        self.tries.forget(transaction, row).await?;
        if let Some(phone) = &row.phone {
            let kept = contact_number::COLUMN.number_hash.eq(self.hash_of_number(phone));
            contact_number::Entity::delete_many().filter(kept).exec(transaction).await?;
        }
        let event = audit::Event { kind: "account_deleted", user: Some(row.id), ..audit::Event::default() };
        audit::record(transaction, &*self.clock, event).await?;
        Ok(())
    }

    /// Does all of it. What was done before is found done, and costs a look.
    ///
    /// # Errors
    /// A fault: the claim is another's; one of the database, or of a room. Done again, it goes on.
    pub async fn purge(&self, mut claim: Claim) -> Outcome<()> {
        let last = claim.left_at.plus(SETTLED) <= self.clock.now();
        let ended = session::of_user(claim.user).select_only().column(session::Column::Id);
        let ended = ended.filter(session::COLUMN.revoke_reason.eq("account_deleted"));
        for session in ended.into_tuple().all(self.db.read()).await? {
            self.close(claim.user, session);
        }
        Box::pin(self.leave_conversations(&mut claim)).await?;
        self.leave_lists(&mut claim).await?;
        self.wipe_all(&mut claim, OWN).await?;
        while wipe::anonymise(&self.db, claim.user).await? {
            self.hold_purge(&mut claim).await?;
        }
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
        let conversation = member.conversation_id;
        if member.until_rev.is_none() {
            self.conversations.depart(claim.user, conversation).await?;
        }
        let mut after = Some(0);
        while let Some(seq) = after {
            after = self.conversations.withdraw(claim.user, conversation, seq, claim.removes).await?;
            self.hold_purge(claim).await?;
        }
        Ok(())
    }

    /// Takes the account out of others' address books, and of what they block: a tombstone each, of which their devices
    /// learn.
    async fn leave_lists(&self, claim: &mut Claim) -> Outcome<()> {
        for (table, fields) in [
            ("contacts", "removed = true, suggested = false, favourite = false, name = NULL"),
            ("blocks", "removed = true"),
        ] {
            loop {
                let owners = self.leave_some_lists(claim.user, table, fields).await?;
                if owners.is_empty() {
                    break;
                }
                owners.into_iter().for_each(|owner| self.entries.user_changed(owner));
                self.hold_purge(claim).await?;
            }
        }
        Ok(())
    }

    async fn leave_some_lists(&self, user: UserId, table: &str, fields: &str) -> Outcome<Vec<UserId>> {
        let backend = self.db.backend();
        let listing = format!(
            "SELECT l.owner_id FROM {table} AS l JOIN users AS u ON u.id = l.owner_id AND u.left_at IS NULL \
             WHERE l.user_id = {} AND l.removed = false ORDER BY l.owner_id LIMIT {LISTS}",
            entities::db::parameter(backend, 1, "uuid")
        );
        transact(&self.db, &*self.clock, async |transaction| {
            let rows = transaction.query_all_raw(backend.statement(&listing, [user.into()])).await?;
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
            let until = jobs::lease(now);
            self.put_off(claim, Some(until)).await?;
            claim.until = until;
        }
        Ok(())
    }

    /// Says from when on somebody may work on this account again; never, if that is over.
    async fn put_off(&self, claim: &Claim, until: Option<Timestamp>) -> Outcome<()> {
        let mut change = user::ActiveModel { leaves_at: Set(until), ..user::ActiveModel::default() };
        if until.is_none() {
            change.leaves_messages = Set(None);
        }
        let mine = user::COLUMN.id.eq(claim.user).and(user::COLUMN.leaves_at.eq(claim.until));
        let put_off = user::Entity::update_many().set(change).filter(mine).exec(self.db.write());
        match self.db.heard(put_off).await?.rows_affected {
            0 => Err(jobs::lost()),
            _ => Ok(()),
        }
    }
}

/// Leaves nothing in the account's row but its id and when it began and ended, and claims it.
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
        leaves_at: Set(Some(claim.until)),
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
