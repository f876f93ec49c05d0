//! What was tried in vain at an account that ends: the rows that can be found by its names, places and sessions.
//! Never what was tried from an address, whatever the account: that is not its owner's.

use crate::auth::delays::{Delays, Key};
use crate::auth::second_factor::Place;
use crate::auth::{Secrets, secrets};
use crate::config;
use actors::clock::Clock;
use aws_lc_rs::hmac;
use entities::{Db, SessionId, session, user};
use sea_orm::{ConnectionTrait, DbErr, QuerySelect};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Under which keys tries are counted.
pub struct Tries {
    pub(super) delays: Delays,
    pub(super) second_factor: hmac::Key,
}

impl Tries {
    /// Under those that signing in has.
    pub fn new(db: Db, clock: Arc<dyn Clock>, keys: &Secrets, config: &config::Auth) -> Tries {
        let second_factor = hmac::Key::new(hmac::HMAC_SHA256, &keys.derive(secrets::SECOND_FACTOR_TRIES));
        Tries { delays: Delays::new(db, clock, keys.derive(secrets::SIGN_IN_DELAYS), config), second_factor }
    }

    /// Forgets them, while the account's row still says what it is called.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget(&self, transaction: &impl ConnectionTrait, account: &user::Model) -> Result<(), DbErr> {
        let sessions = session::of_user(account.id).select_only();
        let sessions = sessions.columns([session::Column::Id, session::Column::Address]);
        let sessions: Vec<(SessionId, Option<String>)> = sessions.into_tuple().all(transaction).await?;
        let addresses = sessions.iter().filter_map(|(_, address)| address.as_ref()?.parse::<IpAddr>().ok());
        let places: BTreeSet<IpAddr> = addresses.collect();
        let names: Vec<&str> = [&account.phone, &account.email_key, &account.username_key]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let mut keys: Vec<Key<'_>> = sessions.iter().map(|(session, _)| Key::Session(*session)).collect();
        for name in names {
            keys.push(Key::Identifier(name));
            keys.extend(places.iter().map(|place| Key::Place(name, *place)));
        }
        self.delays.forget(transaction, &keys).await?;
        let shown_at = sessions.iter().map(|(session, _)| Place::Session(*session)).chain([Place::SignIn]);
        let shown_at = shown_at.map(|place| place.key(&self.second_factor, account.id)).collect();
        crate::auth::delays::forget(transaction, shown_at).await
    }
}
