//! What people say of themselves, and how others find them.
//! Never who may sign in, and never who is there.

pub mod blocks;
pub mod contacts;
mod counters;
pub mod devices;
pub mod devices_http;
pub mod http;
pub mod leaving;
pub mod privacy;
pub mod profile;
pub mod reports;
pub mod search;
pub mod settings;
pub mod settings_http;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;

pub use contacts::Contacts;

use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::protocol::command::{GetProfile, SearchUsers, UpdateProfile, UserChanges};
use actors::protocol::{Outcome, view};

impl Run for GetProfile {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::User> {
        let viewer = caller.user()?;
        profile::get(&app.db, &*app.clock, self.user_id.resolve(viewer), viewer).await
    }
}

impl Run for UpdateProfile {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::User> {
        let by = caller.identity()?;
        let user = self.user_id.resolve(by.user);
        let editor = profile::Editor { user: by.user, session: by.session, address: caller.address };
        let updated = profile::update(&app.db, &*app.clock, editor, self).await?;
        app.entries.user_changed(user);
        app.entries.profile_changed(user);
        Ok(updated)
    }
}

impl Run for SearchUsers {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::Page<view::User>> {
        let viewer = caller.user()?;
        if search::is_number(&self.q) {
            let found = app.contacts.find(viewer, "q", &self.q).await?;
            return search::only(&app.db, &*app.clock, viewer, found).await;
        }
        search::search(&app.db, &*app.clock, viewer, &self).await
    }
}

impl Run for UserChanges {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::UserChanges> {
        app.conversations.user_changes(caller.user()?, self).await
    }
}
