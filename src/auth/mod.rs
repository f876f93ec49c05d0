//! Signing in and staying so: one-time codes, sessions, access and refresh tokens, and the keys behind them.
//! Never what somebody may do in a conversation, and never a profile.

mod accounts;
pub mod asking;
pub mod audit;
pub mod carriers;
pub mod challenges;
pub mod contact;
pub mod contact_points;
pub mod contact_points_http;
pub mod delays;
pub mod email;
mod events;
#[cfg(test)]
mod fuzz;
pub mod hasher;
pub mod http;
pub mod keys;
mod login;
pub mod notices;
pub mod oauth;
pub mod otp;
pub mod password_http;
#[cfg(test)]
mod password_tests;
mod passwords;
pub mod phone;
mod reauthenticate;
pub mod refresh;
mod register;
pub mod roles;
pub mod seal;
pub mod sealing;
pub mod second_factor;
pub mod secrets;
mod session_list;
pub mod sessions;
pub mod sessions_http;
mod sign_in;
pub mod strength;
#[cfg(test)]
pub(crate) mod testing;
pub mod texts;
pub mod tokens;

pub use delays::Delays;
pub use hasher::Hasher;
pub use oauth::OAuth;
pub use otp::Otp;
pub use refresh::Refresh;
pub use secrets::Secrets;
pub use sessions::Sessions;
pub use tokens::Tokens;

use crate::app::App;
use crate::config::Config;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::clock::Clock;
use actors::protocol::command::{Logout, RefreshToken, Renew, VerifyOtp};
use actors::protocol::{ErrorCode, Fault, Outcome, view};
use carriers::Carriers;
use entities::{Db, SessionId, UserId};
use notices::Notices;
use refresh::Spending;
use sessions::Origin;
use std::sync::Arc;
use std::time::Duration;
use texts::Texts;

/// How often rows that tell nothing any more are deleted.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// What signs people in.
pub struct Auth {
    /// The master secret's keys.
    pub secrets: Secrets,
    /// Access tokens.
    pub tokens: Tokens,
    /// What seals secrets in rows.
    pub ring: sealing::Ring,
    /// One-time codes.
    pub otp: Arc<Otp>,
    /// What people are told of their accounts.
    pub notices: Notices,
    /// Hashes of passwords.
    pub hasher: Hasher,
    /// How long whoever tries in vain has to wait.
    pub delays: Delays,
    /// Refresh tokens.
    pub refresh: Refresh,
    /// What authenticator apps list a secret under.
    totp_issuer: String,
    /// How long the audit trail is kept.
    events_keep: Duration,
    /// Who else vouches for people.
    pub oauth: OAuth,
    /// How long a session is fresh.
    fresh: Duration,
    db: Db,
    clock: Arc<dyn Clock>,
}

impl Auth {
    /// Reads the master secret and the signing keys, and makes them where there are none yet.
    ///
    /// # Errors
    /// Those of the secret's file and of the database, and that the keys there belong to another secret.
    pub async fn open(config: &Config, db: Db, clock: Arc<dyn Clock>, carriers: Carriers) -> Outcome<Auth> {
        let secrets = Secrets::open(config, &*clock).map_err(Fault::new)?;
        let keys = keys::Keys::open(db.clone(), clock.clone(), &secrets).await?;
        let ring = sealing::Ring::open(db.clone(), clock.clone(), &secrets).await?;
        let texts = Arc::new(Texts::new(&config.auth).map_err(Fault::new)?);
        let key = secrets.derive(secrets::OTP_CODES);
        let otp = Otp::new(db.clone(), clock.clone(), key, carriers.clone(), texts.clone(), &config.auth);
        let otp = Arc::new(otp);
        let notices = Notices::new(carriers, texts, otp.clone());
        let hasher = Hasher::new(&config.auth, clock.clone())?;
        let key = secrets.derive(secrets::SIGN_IN_DELAYS);
        let delays = Delays::new(db.clone(), clock.clone(), key, &config.auth);
        let refresh = Refresh::new(db.clone(), clock.clone(), &config.auth);
        let oauth = OAuth::open(&config.oauth)?;
        let tokens = Tokens::new(keys, clock.clone(), &config.auth);
        // Its tables are read at first use, which would hold up whoever came first.
        phone::normal_form("+12025550143");
        let (totp_issuer, fresh) = (config.auth.totp_issuer.clone(), config.auth.fresh);
        let events_keep = config.auth.events_keep;
        Ok(Auth {
            secrets,
            tokens,
            ring,
            otp,
            notices,
            hasher,
            delays,
            refresh,
            oauth,
            totp_issuer,
            events_keep,
            fresh,
            db,
            clock,
        })
    }

    /// Reads the signing keys again and again, and deletes what is over. One task of each node; never ends.
    pub async fn keep(&self) {
        tokio::join!(self.tokens.keys.keep(), self.ring.keep(), self.sweep());
    }

    async fn sweep(&self) {
        loop {
            self.clock.sleep(SWEEP_EVERY).await;
            let swept = async {
                let challenges = challenges::sweep(&self.db, &*self.clock).await?;
                let (events, delays) = (self.sweep_events().await?, self.delays.sweep().await?);
                let keys = self.tokens.keys.sweep().await?;
                let tokens = self.otp.sweep().await? + self.refresh.sweep().await?;
                Ok::<_, sea_orm::DbErr>(tokens + challenges + events + delays + keys)
            };
            if let Err(error) = self.ring.tidy().await {
                tracing::warn!(%error, "what older keys had sealed could not be sealed anew");
            }
            match swept.await {
                Ok(rows) => tracing::debug!(rows, "deleted codes, tokens and events that were over"),
                Err(error) => tracing::warn!(%error, "codes, tokens and events that are over could not be deleted"),
            }
        }
    }

    fn pair(&self, user: UserId, session: SessionId, refresh_token: String) -> Outcome<view::Tokens> {
        Ok(view::Tokens {
            access_token: self.tokens.issue(user, session)?,
            refresh_token: Some(refresh_token),
            expires_in_secs: self.tokens.ttl().as_secs(),
            session_id: session,
        })
    }
}

/// A session was ended here: nobody acts by it any more, and its sockets close.
pub(crate) fn close(app: &App, user: UserId, session: SessionId) {
    app.sessions.forget(session);
    app.entries.session_revoked(user, session);
}

impl Run for VerifyOtp {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::SignedIn> {
        let origin = Origin::of(caller, self.device.clone());
        let signed_in = app.auth.sign_in(self, origin).await?;
        app.contacts.look_for_arrivals();
        Ok(signed_in)
    }
}

impl Run for RefreshToken {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Tokens> {
        match app.auth.refresh.spend(&self.refresh_token, caller.address).await? {
            Spending::Next { user, session, token } => app.auth.pair(user, session, token),
            Spending::Reused { user, session } => {
                close(app, user, session);
                tracing::warn!(%user, %session, request_id = %caller.request_id, "a refresh token was reused");
                Err(ErrorCode::AuthRefreshReused.into())
            }
        }
    }
}

impl Run for Logout {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<()> {
        let session = app.auth.refresh.session_of(&self.refresh_token).await?.ok_or(ErrorCode::AuthRefreshInvalid)?;
        if let Some(user) = app.auth.sign_out(session, caller.address).await? {
            close(app, user, session);
        }
        Ok(())
    }
}

impl Run for Renew {
    /// A socket's session serves it before it comes here: what is renewed is the session's own.
    async fn run(self, _: &App, _: &Caller) -> Outcome<view::Renewed> {
        Err(ErrorCode::RequestWrongDoor.into())
    }
}
