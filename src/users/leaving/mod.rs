//! Leaving: copies of everything that is known of somebody, and the end of accounts; and the jobs that make both.
//! Never a conversation's rows: those are the journal's.

mod archive;
mod content;
mod deletion;
mod exports;
pub mod http;
mod link;
mod making;
mod meters;
mod purge;
#[cfg(test)]
mod tests;
mod tries;
mod wipe;
mod words;

pub use meters::Meters;

use crate::app::App;
use crate::auth::texts::News;
use crate::auth::{Auth, Sessions, secrets};
use crate::config::Config;
use crate::gateway::dispatch::Run;
use crate::jobs::{self, Bell, Job};
use actors::caller::Caller;
use actors::clock::Clock;
use actors::cluster::{Content, Delivery, Topic};
use actors::conversation::Conversations;
use actors::entry::Entries;
use actors::protocol::command::{CancelDeletion, CancelExport, DeleteAccount, ExportData, ListExports};
use actors::protocol::event::Event;
use actors::protocol::{ErrorCode, Outcome, view};
use aws_lc_rs::hmac;
use entities::Db;
use exports::Exports;
use making::Making;
use purge::Purge;
use std::sync::Arc;
use std::time::Duration;
use tries::Tries;

/// What leaving needs of the node.
pub struct Parts<'a> {
    /// The rows.
    pub db: Db,
    /// Time, ids.
    pub clock: Arc<dyn Clock>,
    /// The settings.
    pub config: &'a Config,
    /// What keys come from, and what opens the names in address books.
    pub auth: Arc<Auth>,
    /// The way out of conversations.
    pub conversations: Conversations,
    /// The way to sockets.
    pub entries: Entries,
    /// What is known of sessions.
    pub sessions: Arc<Sessions>,
    /// What the operator sees.
    pub meters: Meters,
}

/// Everything about leaving.
pub struct Leaving {
    db: Db,
    clock: Arc<dyn Clock>,
    conversations: Conversations,
    entries: Entries,
    sessions: Arc<Sessions>,
    grace: Duration,
    number_key: hmac::Key,
    tries: Tries,
    exports: Exports,
    auth: Arc<Auth>,
    meters: Meters,
    /// Rings when an account may be due.
    bell: Bell,
}

impl Leaving {
    /// Nothing is done before `keep` is polled.
    pub fn new(parts: Parts<'_>) -> Leaving {
        let Parts { db, clock, config, auth, conversations, entries, sessions, meters } = parts;
        let keys = &auth.secrets;
        let links = keys.derive(secrets::EXPORT_LINKS);
        let number_key = hmac::Key::new(hmac::HMAC_SHA256, &keys.derive(secrets::CONTACT_NUMBERS));
        let tries = Tries::new(db.clone(), clock.clone(), keys, &config.auth);
        let exports = Exports::new(db.clone(), clock.clone(), &config.exports, &links);
        let (grace, bell) = (config.auth.deletion_grace, Bell::default());
        Leaving { db, clock, conversations, entries, sessions, grace, number_key, tries, exports, auth, meters, bell }
    }

    /// Makes copies and purges accounts. One task of each node; never ends.
    ///
    /// # Why it may be dropped at any time
    /// A node that stops drops it wherever it is: what was begun is rolled back, and the claim ends by itself.
    pub async fn keep(&self) {
        let (exports, purge) = (MakeExports(self), Purge(self));
        tokio::join!(jobs::keep(&exports, &*self.clock), jobs::keep(&purge, &*self.clock));
    }

    /// Makes a copy; if that fails, it is tried again when its claim has ended.
    async fn make(&self, mut claim: exports::Claim) -> Outcome<()> {
        let (user, now) = (claim.user, self.clock.now());
        let mut making = Making::begin(&self.exports, &mut claim, now);
        let from = content::Sources { db: &self.db, ring: &self.auth.ring };
        Box::pin(content::write(from, &mut making, user, now)).await?;
        making.finish().await?;
        let export = self.exports.finish(&claim).await?;
        // Their devices may miss it: the list tells them.
        let bytes = Event::new("export.ready", &export).frame();
        let content = Content::Ephemeral { bytes, key: None };
        self.entries.deliver(Arc::new(Delivery { topic: Topic::User(user), numbers: None, content }));
        Ok(())
    }

    /// What address books keep of a number.
    fn hash_of_number(&self, number: &str) -> Vec<u8> {
        hmac::sign(&self.number_key, number.as_bytes()).as_ref().to_vec()
    }
}

/// The job that makes copies, and deletes those that are over.
struct MakeExports<'a>(&'a Leaving);

impl Job for MakeExports<'_> {
    const NAME: &'static str = "the making of exports";

    async fn next(&self) -> Outcome<bool> {
        let Leaving { entries, exports, meters, .. } = self.0;
        exports.sweep().await?;
        self.0.count_exports().await?;
        let Some(claim) = exports.claim(entries.cluster().node()).await? else { return Ok(false) };
        let export = claim.export;
        if let Err(error) = Box::pin(self.0.make(claim)).await {
            meters.left_undone.inc();
            tracing::warn!(%export, %error, "a copy of somebody's data was left undone; it is tried again after others");
        }
        Ok(true)
    }

    async fn woken(&self) {
        self.0.exports.bell.heard().await;
    }
}

impl Run for ExportData {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Export> {
        app.leaving.exports.ask(caller).await
    }
}

impl Run for ListExports {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Page<view::Export>> {
        let by = caller.identity()?;
        // A link takes no token, so it is told to those alone who may ask for a copy.
        let is_fresh = match app.sessions.check_fresh(by).await {
            Err(error) if error.code() == ErrorCode::AuthReauthenticationRequired => false,
            checked => checked.map(|()| true)?,
        };
        app.leaving.exports.list(by.user, is_fresh).await
    }
}

impl Run for CancelExport {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<()> {
        app.leaving.exports.cancel(caller, self.export_id).await
    }
}

impl Run for DeleteAccount {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Leaving> {
        let (leaving, first) = app.leaving.ask_for_deletion(caller, self.messages).await?;
        if let Some(account) = first {
            app.auth.notices.tell(&account, News::DeletionAsked);
        }
        Ok(leaving)
    }
}

impl Run for CancelDeletion {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::User> {
        app.leaving.keep_account(caller).await
    }
}
