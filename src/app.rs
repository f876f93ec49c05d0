//! Everything that a handler may hold.
//! Never does anything itself: it is put together in `node.rs`.

use crate::auth::{Auth, Sessions};
use crate::config::Config;
use crate::gateway::limits::Limiter;
use crate::health::DatabaseHealth;
use crate::metrics::Metrics;
use crate::users::Contacts;
use crate::users::leaving::Leaving;
use actors::clock::Clock;
use actors::conversation::Conversations;
use actors::entry::Entries;
use actors::nodes::Nodes;
use actors::presence::Presences;
use entities::db::Db;
use std::sync::Arc;

/// One worker's view of the node; cheap to clone, all parts are shared.
#[derive(Clone)]
pub struct App {
    /// The effective configuration.
    pub config: Arc<Config>,
    /// The rows.
    pub db: Db,
    /// Time, ids, randomness.
    pub clock: Arc<dyn Clock>,
    /// Signing in: codes, tokens, keys.
    pub auth: Arc<Auth>,
    /// Whether sessions still stand.
    pub sessions: Arc<Sessions>,
    /// The conversations' rooms and rows.
    pub conversations: Conversations,
    /// Address books.
    pub contacts: Arc<Contacts>,
    /// Copies of people's data, and the end of accounts.
    pub leaving: Arc<Leaving>,
    /// Who is there.
    pub presences: Presences,
    /// What this node's sockets listen to.
    pub entries: Entries,
    /// This node among the others.
    pub nodes: Nodes,
    /// REST limits by user and by address.
    pub limiter: Arc<Limiter>,
    /// What the operator sees.
    pub metrics: Arc<Metrics>,
    /// How the database answered when it was asked last.
    pub database_health: Arc<DatabaseHealth>,
}
