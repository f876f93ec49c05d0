//! Asking for the end of an account, and undoing it: what its owner does, until the time of grace is over.
//! Never the end itself (see `purge`).
//!
//! # Who may
//! Both are for whoever has the account. The end is asked for by those who have shown just now who they are (the
//! command's access is `Fresh`); to keep the account it is enough to be signed in: a thief who asked for its end is
//! stopped by whoever comes back within the grace, and everybody but the one who asked has to sign in again.

use super::Leaving;
use crate::auth::{audit, sessions};
use actors::caller::Caller;
use actors::protocol::command::LeftMessages;
use actors::protocol::{ErrorCode, Outcome, view};
use actors::retry::transact;
use entities::{SessionId, UserId, user};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Set};
use serde_json::json;

impl Leaving {
    /// `users.deleteAccount`; gives also the account as it is now, if this was the first time.
    ///
    /// # Errors
    /// `user.not_found` if it has ended; a fault of the database.
    pub async fn ask_for_deletion(
        &self,
        caller: &Caller,
        messages: LeftMessages,
    ) -> Outcome<(view::Leaving, Option<user::Model>)> {
        let by = caller.identity()?;
        let asked = transact(&self.db, &*self.clock, async |transaction| {
            let now = self.clock.now();
            // Of two who ask at once one is the first.
            let before = user::by_id(by.user).lock_exclusive().one(transaction).await?;
            let before = before.ok_or(ErrorCode::UserNotFound)?;
            let leaves_at = before.leaves_at.unwrap_or(now.plus(self.grace));
            let change = user::ActiveModel {
                // Asked for again, it does not come later.
                leaves_at: Set(Some(leaves_at)),
                leaves_messages: Set(Some(messages.as_str().to_owned())),
                ..user::ActiveModel::default()
            };
            let row = changed(transaction, by.user, change).await?.ok_or(ErrorCode::UserNotFound)?;
            let ended = sessions::revoke_all(transaction, by.user, Some(by.session), "deletion_asked", now).await?;
            let detail = json!({ "leavesAt": leaves_at, "messages": messages });
            audit::record(transaction, &*self.clock, event(audit::Kind::DeletionAsked, caller, detail)).await?;
            Ok((leaves_at, Some(row).filter(|_| before.leaves_at.is_none()), ended))
        });
        let (leaves_at, first, ended) = asked.await?;
        ended.into_iter().for_each(|session| self.close(by.user, session));
        self.entries.user_changed(by.user);
        self.bell.ring();
        Ok((view::Leaving { leaves_at, messages }, first))
    }

    /// `users.cancelDeletion`.
    ///
    /// # Errors
    /// `user.not_found` if it has ended; a fault of the database.
    pub async fn keep_account(&self, caller: &Caller) -> Outcome<view::User> {
        let user = caller.user()?;
        let kept = transact(&self.db, &*self.clock, async |transaction| {
            let row = user::by_id(user).lock_exclusive().one(transaction).await?.ok_or(ErrorCode::UserNotFound)?;
            if row.leaves_at.is_none() {
                return Ok((row, false));
            }
            let change =
                user::ActiveModel { leaves_at: Set(None), leaves_messages: Set(None), ..user::ActiveModel::default() };
            let row = changed(transaction, user, change).await?.ok_or(ErrorCode::UserNotFound)?;
            audit::record(transaction, &*self.clock, event(audit::Kind::DeletionCancelled, caller, json!({}))).await?;
            Ok((row, true))
        });
        let (row, changed) = kept.await?;
        if changed {
            self.entries.user_changed(user);
        }
        Ok(view::User::own(row))
    }

    /// A session was ended here: nobody acts by it any more, and its sockets close.
    pub(super) fn close(&self, user: UserId, session: SessionId) {
        self.sessions.forget(session);
        self.entries.session_revoked(user, session);
    }
}

/// Changes the row of an account that has not ended, which its owner's devices hear of.
async fn changed(
    transaction: &DatabaseTransaction,
    user: UserId,
    change: user::ActiveModel,
) -> Outcome<Option<user::Model>> {
    let updated = user::Entity::update_many()
        .set(change)
        .col_expr(user::Column::UserRev, user::COLUMN.user_rev.add(1))
        .col_expr(user::Column::ProfileUserRev, user::COLUMN.user_rev.add(1))
        .filter(user::COLUMN.id.eq(user).and(user::COLUMN.left_at.is_null()))
        .exec_with_returning(transaction)
        .await?;
    Ok(updated.into_iter().next())
}

fn event(kind: audit::Kind, caller: &Caller, detail: serde_json::Value) -> audit::Event {
    let identity = caller.identity;
    audit::Event {
        kind,
        user: identity.map(|identity| identity.user),
        session: identity.map(|identity| identity.session),
        address: caller.address,
        detail,
    }
}
