//! The second factor's commands.
//! Never a rule of codes: those stand beside.

use super::{Place, Showing};
use crate::app::App;
use crate::auth::challenges;
use crate::auth::sign_in::{Entering, Pending, SECOND_FACTOR};
use crate::auth::texts::News;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::protocol::command::{Disable2fa, Enable2fa, RegenerateBackupCodes, Setup2fa, Verify2fa};
use actors::protocol::{ErrorCode, Outcome, view};
use actors::retry::transact;
use entities::user;

/// Whoever has signed in, with a code.
fn showing<'a>(caller: &Caller, code: &'a str) -> Outcome<Showing<'a>> {
    let identity = caller.identity()?;
    Ok(Showing { user: identity.user, place: Place::Session(identity.session), code, address: caller.address })
}

async fn account(app: &App, caller: &Caller) -> Outcome<user::Model> {
    let row = user::by_id(caller.user()?).one(app.db.read()).await?;
    row.ok_or_else(|| ErrorCode::UserNotFound.into())
}

impl Run for Setup2fa {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::SecondFactorSetup> {
        app.auth.set_up_second_factor(&account(app, caller).await?).await
    }
}

impl Run for Enable2fa {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::BackupCodes> {
        let account = account(app, caller).await?;
        let codes = app.auth.enable_second_factor(showing(caller, &self.code)?).await?;
        app.auth.notices.tell(&account, News::SecondFactorEnabled);
        Ok(codes)
    }
}

impl Run for Disable2fa {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<()> {
        let account = account(app, caller).await?;
        app.auth.disable_second_factor(showing(caller, &self.code)?).await?;
        app.auth.notices.tell(&account, News::SecondFactorDisabled);
        Ok(())
    }
}

impl Run for RegenerateBackupCodes {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::BackupCodes> {
        app.auth.renew_backup_codes(showing(caller, &self.code)?).await
    }
}

impl Run for Verify2fa {
    /// The challenge's try is counted first, then the account's, then the code is looked at; and the challenge, the code
    /// and the session are one transaction.
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::SignedIn> {
        let auth = &app.auth;
        let open = challenges::attempt(&app.db, &*app.clock, &SECOND_FACTOR, &self.challenge_token).await?;
        let user = open.user.ok_or(ErrorCode::AuthChallengeExpired)?;
        let pending: Pending = open.detail()?;
        let showing = Showing { user, place: Place::SignIn, code: &self.code, address: caller.address };
        let shown = auth.try_second_factor(showing).await?;
        transact(&app.db, &*app.clock, async |transaction| {
            challenges::consume(transaction, &*app.clock, &open).await?;
            auth.use_second_factor(transaction, &shown).await?;
            let user = user::by_id(user).one(transaction).await?.ok_or(ErrorCode::AuthChallengeExpired)?;
            let by = format!("{} {}", pending.by, shown.kind());
            let entering = Entering { user, origin: pending.origin.clone(), by, is_new: false };
            Ok(view::SignedIn::Done(Box::new(auth.begin(transaction, entering).await?)))
        })
        .await
    }
}
