//! The second factor: an authenticator app, or a backup code; how it is set up, shown and used once.
//! Never the first one, nor the session that both are for (see `sign_in`).
//!
//! # How a code is used
//! `try_second_factor` counts the try and looks at the code; `use_second_factor` uses it up in the transaction of what
//! it was for, by a conditional update: of two who bring the same code at once, on whichever nodes, one is let in.

mod backup;
#[cfg(test)]
mod fuzz;
pub mod http;
mod serve;
mod totp;
mod tries;

pub use tries::Place;

use super::sealing::Context;
use super::{Auth, audit, secrets};
use actors::protocol::{ErrorCode, Outcome, Refusal, view};
use actors::retry::transact;
use aws_lc_rs::hmac;
use entities::{Timestamp, UserId, backup_code, second_factor, user};
use sea_orm::sea_query::OnConflict;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, ExprTrait, QueryFilter, QuerySelect, Set,
};
use serde_json::json;
use std::net::IpAddr;
use std::time::Duration;
use totp::Authenticator;

/// How long somebody may take from the secret to its first code.
const SETUP_TTL: Duration = Duration::from_secs(15 * 60);
/// No step was used yet.
const NO_STEP: i64 = -1;

/// Somebody who shows a code.
#[derive(Debug, Clone, Copy)]
pub struct Showing<'a> {
    /// Whose second factor it is.
    pub user: UserId,
    /// Where they show it.
    pub place: Place,
    /// The code, as it was typed.
    pub code: &'a str,
    /// From where, for the audit trail.
    pub address: Option<IpAddr>,
}

/// A code that was right, and has still to be used up.
#[derive(Debug)]
pub struct Shown {
    user: UserId,
    place: Place,
    code: Code<i64, Vec<u8>>,
    /// When the authenticator that it belongs to was set up.
    since: Timestamp,
}

impl Shown {
    /// What it was, in a word for the audit trail: `totp` or `backupCode`.
    pub fn kind(&self) -> &'static str {
        match self.code {
            Code::App(_) => "totp",
            Code::Backup(_) => "backupCode",
        }
    }
}

/// A code, of either kind: what was typed, or what it turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Code<A, B> {
    /// Of the app: its digits; its step.
    App(A),
    /// A backup code: in its normal form; its hash.
    Backup(B),
}

/// What a text writes; spaces and hyphens are for people.
fn read(text: &str) -> Outcome<Code<String, String>> {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    if digits.len() == totp::DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Code::App(digits));
    }
    let code = backup::read(text).map(Code::Backup);
    code.ok_or_else(|| Refusal::invalid("code", "must be six digits, or a backup code").into())
}

impl Auth {
    /// Whether a code of whoever has a second factor is right. The try is counted first.
    ///
    /// # Errors
    /// `auth.second_factor_missing` if they have none, `auth.second_factor_invalid`, `auth.second_factor_limited` after
    /// too many wrong ones; `request.invalid` for what can be no code; a fault of the database.
    pub async fn try_second_factor(&self, showing: Showing<'_>) -> Outcome<Shown> {
        let Showing { user, place, code, .. } = showing;
        let code = read(code)?;
        let guarding = second_factor::guarding(user).one(self.db.read()).await?;
        let row = guarding.ok_or(ErrorCode::AuthSecondFactorMissing)?;
        if place != Place::SignIn || matches!(code, Code::App(_)) {
            self.count_try(user, place).await?;
        }
        let found = match code {
            Code::App(digits) => {
                let step = self.authenticator(&row).await?.step_of(&digits, self.clock.now());
                step.filter(|step| *step > row.last_step).map(Code::App)
            }
            Code::Backup(code) => {
                let hash = self.backup_codes().hash(user, &code);
                let unused = backup_code::unused_of(user).filter(backup_code::COLUMN.code_hash.eq(hash.clone()));
                unused.one(self.db.read()).await?.map(|_| Code::Backup(hash))
            }
        };
        match found {
            Some(code) => Ok(Shown { user, place, code, since: row.created_at }),
            None => Err(self.wrong(showing).await?.into()),
        }
    }

    /// Uses up a code that was right, in the transaction of what it was for.
    ///
    /// # Errors
    /// `auth.second_factor_invalid` if somebody was faster, or the second factor is another one by now; a fault of the
    /// database.
    pub async fn use_second_factor(&self, transaction: &DatabaseTransaction, shown: &Shown) -> Outcome<()> {
        let columns = &second_factor::COLUMN;
        let same = columns.user_id.eq(shown.user).and(columns.created_at.eq(shown.since));
        let same = same.and(columns.enabled_at.is_not_null());
        let used = match &shown.code {
            Code::App(step) => {
                let used =
                    second_factor::ActiveModel { last_step: Set(*step), ..second_factor::ActiveModel::default() };
                let unused = same.and(columns.last_step.lt(*step));
                second_factor::Entity::update_many().set(used).filter(unused).exec(transaction).await?.rows_affected
                    == 1
            }
            Code::Backup(hash) => {
                let stands =
                    second_factor::Entity::find().filter(same).lock_exclusive().one(transaction).await?.is_some();
                stands && backup::spend(transaction, &*self.clock, shown.user, hash).await?
            }
        };
        if !used {
            return Err(ErrorCode::AuthSecondFactorInvalid.into());
        }
        tries::forget(transaction, &shown.place.key(&self.tries_key(), shown.user)).await?;
        Ok(())
    }

    /// Forgets the tries at the second step of signing in: whoever made them knew a password that is none any more. In the
    /// transaction of that.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget_second_factor_tries(
        &self,
        transaction: &DatabaseTransaction,
        user: UserId,
    ) -> Result<(), DbErr> {
        tries::forget(transaction, &Place::SignIn.key(&self.tries_key(), user)).await
    }

    /// Makes a secret and keeps it until its first code comes; an earlier one that guards nothing yet is forgotten.
    async fn set_up_second_factor(&self, user: &user::Model) -> Outcome<view::SecondFactorSetup> {
        let secret: [u8; totp::SECRET_BYTES] = self.clock.random();
        let account = user.username.as_ref().or(user.email.as_ref()).or(user.phone.as_ref());
        let account = account.cloned().unwrap_or_else(|| user.id.to_string());
        let shared = totp::share(&secret, &self.totp_issuer, &account)?;
        let sealed_secret = self.ring.seal(&Context::Totp(user.id), &secret)?;
        let row = second_factor::ActiveModel {
            user_id: Set(user.id),
            sealed_secret: Set(sealed_secret),
            last_step: Set(NO_STEP),
            created_at: Set(self.clock.now()),
            enabled_at: Set(None),
        };
        use second_factor::Column::{CreatedAt, LastStep, SealedSecret, UserId};
        let in_place = OnConflict::column(UserId)
            .update_columns([SealedSecret, LastStep, CreatedAt])
            .action_and_where(second_factor::COLUMN.enabled_at.is_null())
            .to_owned();
        let kept = second_factor::Entity::insert(row).on_conflict(in_place).exec_without_returning(self.db.write());
        if self.db.heard(kept).await? == 0 {
            return Err(ErrorCode::AuthSecondFactorEnabled.into());
        }
        Ok(view::SecondFactorSetup {
            secret: shared.secret,
            otpauth_uri: shared.uri,
            qr_png: shared.picture,
            expires_in_secs: SETUP_TTL.as_secs(),
        })
    }

    /// Switches on what was set up, if its code is right; gives the backup codes.
    async fn enable_second_factor(&self, showing: Showing<'_>) -> Outcome<view::BackupCodes> {
        let (user, now) = (showing.user, self.clock.now());
        let Code::App(digits) = read(showing.code)? else {
            return Err(Refusal::invalid("code", "must be the six digits that the app shows").into());
        };
        let row = second_factor::of_user(user).one(self.db.read()).await?;
        let row = row.ok_or(ErrorCode::AuthSecondFactorMissing)?;
        if row.enabled_at.is_some() {
            return Err(ErrorCode::AuthSecondFactorEnabled.into());
        }
        if row.created_at.plus(SETUP_TTL) <= now {
            return Err(ErrorCode::AuthSecondFactorMissing.into());
        }
        self.count_try(user, showing.place).await?;
        let Some(step) = self.authenticator(&row).await?.step_of(&digits, now) else {
            return Err(self.wrong(showing).await?.into());
        };
        let codes = self.new_backup_codes();
        transact(&self.db, &*self.clock, async |transaction| {
            let columns = &second_factor::COLUMN;
            // Of what was set up twice meanwhile, the secret whose code this is does not count any more.
            let same = columns.user_id.eq(user).and(columns.sealed_secret.eq(row.sealed_secret.clone()));
            let same = same.and(columns.enabled_at.is_null());
            let enabled = second_factor::ActiveModel {
                last_step: Set(step),
                enabled_at: Set(Some(now)),
                ..second_factor::ActiveModel::default()
            };
            let enabled = second_factor::Entity::update_many().set(enabled).filter(same).exec(transaction).await?;
            if enabled.rows_affected == 0 {
                return Err(ErrorCode::AuthSecondFactorInvalid.into());
            }
            backup::replace(transaction, &self.backup_codes(), user, &codes).await?;
            tries::forget(transaction, &showing.place.key(&self.tries_key(), user)).await?;
            self.record(transaction, showing, audit::Kind::SecondFactorEnabled, json!(null)).await?;
            Ok(())
        })
        .await?;
        Ok(as_shown(&codes))
    }

    /// Switches it off, if the code is right.
    async fn disable_second_factor(&self, showing: Showing<'_>) -> Outcome<()> {
        let shown = self.try_second_factor(showing).await?;
        transact(&self.db, &*self.clock, async |transaction| {
            self.use_second_factor(transaction, &shown).await?;
            backup::forget(transaction, showing.user).await?;
            let own = second_factor::COLUMN.user_id.eq(showing.user);
            second_factor::Entity::delete_many().filter(own).exec(transaction).await?;
            self.record(transaction, showing, audit::Kind::SecondFactorDisabled, json!({ "by": shown.kind() })).await?;
            Ok(())
        })
        .await
    }

    /// Gives new backup codes, if the code is right.
    async fn renew_backup_codes(&self, showing: Showing<'_>) -> Outcome<view::BackupCodes> {
        let shown = self.try_second_factor(showing).await?;
        let codes = self.new_backup_codes();
        transact(&self.db, &*self.clock, async |transaction| {
            self.use_second_factor(transaction, &shown).await?;
            backup::replace(transaction, &self.backup_codes(), showing.user, &codes).await?;
            self.record(transaction, showing, audit::Kind::BackupCodesRenewed, json!({ "by": shown.kind() })).await?;
            Ok(())
        })
        .await?;
        Ok(as_shown(&codes))
    }

    async fn authenticator(&self, row: &second_factor::Model) -> Outcome<Authenticator> {
        Authenticator::new(&self.ring.unseal(&Context::Totp(row.user_id), &row.sealed_secret).await?)
    }

    async fn count_try(&self, user: UserId, place: Place) -> Outcome<()> {
        let key = place.key(&self.tries_key(), user);
        transact(&self.db, &*self.clock, async |transaction| tries::count(transaction, &*self.clock, &key).await).await
    }

    /// Notes that a code was wrong, so that its owner sees that somebody guesses.
    async fn wrong(&self, showing: Showing<'_>) -> Outcome<ErrorCode> {
        self.db.heard(self.record(self.db.write(), showing, audit::Kind::SecondFactorFailed, json!(null))).await?;
        Ok(ErrorCode::AuthSecondFactorInvalid)
    }

    async fn record(
        &self,
        db: &impl ConnectionTrait,
        showing: Showing<'_>,
        kind: audit::Kind,
        detail: serde_json::Value,
    ) -> Result<(), DbErr> {
        let session = match showing.place {
            Place::SignIn => None,
            Place::Session(session) => Some(session),
        };
        let event = audit::Event { kind, user: Some(showing.user), session, address: showing.address, detail };
        audit::record(db, &*self.clock, event).await
    }

    fn new_backup_codes(&self) -> Vec<String> {
        (0..backup::COUNT).map(|_| backup::make(&*self.clock)).collect()
    }

    fn backup_codes(&self) -> backup::Hasher {
        backup::Hasher::new(&self.secrets.derive(secrets::BACKUP_CODES))
    }

    fn tries_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.secrets.derive(secrets::SECOND_FACTOR_TRIES))
    }
}

fn as_shown(codes: &[String]) -> view::BackupCodes {
    view::BackupCodes { backup_codes: codes.iter().map(|code| backup::shown(code)).collect() }
}

#[cfg(test)]
mod tests;
