//! Where a story is told: a database of its own, and whatever runs on it, cleared away afterwards however it ends.
//! Never a person.

use super::RedisServer;
use actors::clock::random_bytes;
use entities::{Db, Options};
use futures_util::FutureExt;
use quckchat::config::Config;
use quckchat::node;
use sea_orm::ConnectionTrait;
use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;

/// Names the maintenance database of a PostgreSQL server. `tests/run` sets it.
const POSTGRES: &str = "QUCKCHAT_TEST_POSTGRES";
/// Names a Redis, of which each story uses a corner of its own. `tests/run` sets it.
const REDIS: &str = "QUCKCHAT_TEST_REDIS";

/// One story's database and nodes.
#[derive(Clone)]
pub struct Stage(Rc<Inner>);

struct Inner {
    folder: TempDir,
    /// Empty is SQLite in the folder.
    url: String,
    server: Option<(Db, String)>,
    /// A Redis, and what all names of this story begin with there.
    redis: Option<(String, String)>,
    nodes: RefCell<Vec<Option<node::Node>>>,
    people: Cell<u32>,
}

impl Stage {
    pub async fn on_sqlite() -> Stage {
        Stage::new(String::new(), None, None)
    }

    /// Says so on stderr where there is no server.
    pub async fn on_postgres() -> Option<Stage> {
        Stage::on_servers(None).await
    }

    /// On PostgreSQL, with Redis between the nodes. Says so on stderr where one of them is missing.
    pub async fn over_redis() -> Option<Stage> {
        Stage::on_servers(Some(server_at(REDIS)?)).await
    }

    /// On PostgreSQL, with a Redis of the story's own between the nodes.
    pub async fn over(redis: &RedisServer) -> Option<Stage> {
        Stage::on_servers(Some(redis.url())).await
    }

    async fn on_servers(redis: Option<String>) -> Option<Stage> {
        let url = server_at(POSTGRES)?;
        let server = Db::open(&Options { max_connections: 1, ..Options::new(&url) }).await.unwrap();
        let mut name = [0; 8];
        random_bytes(&mut name);
        let name = format!("story_{:x}", u64::from_le_bytes(name));
        server.write().execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        let (base, _) = url.rsplit_once('/').unwrap();
        let redis = redis.map(|url| (url, format!("{name}:")));
        Some(Stage::new(format!("{base}/{name}"), Some((server, name)), redis))
    }

    fn new(url: String, server: Option<(Db, String)>, redis: Option<(String, String)>) -> Stage {
        // What a node complains about stands beside the story that failed.
        let logs = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_test_writer();
        let _ = logs.try_init();
        let folder = tempfile::tempdir().unwrap();
        Stage(Rc::new(Inner { folder, url, server, redis, nodes: RefCell::default(), people: Cell::new(0) }))
    }

    /// Tells the story, and clears the stage.
    pub async fn play<S: Future<Output = ()>>(self, story: impl FnOnce(Stage) -> S) {
        let ending = AssertUnwindSafe(Box::pin(story(self.clone()))).catch_unwind().await;
        self.clear().await;
        if let Err(panic) = ending {
            std::panic::resume_unwind(panic);
        }
    }

    /// Stops what still runs, and drops the database.
    pub async fn clear(&self) {
        let nodes = std::mem::take(&mut *self.0.nodes.borrow_mut());
        for node in nodes.into_iter().flatten() {
            // One whose story has failed may wait for a clock that nobody drives any more.
            let _ = tokio::time::timeout(super::PATIENCE, node.stop()).await;
        }
        if let Some((server, name)) = &self.0.server {
            let dropped = server.write().execute_unprepared(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
            dropped.unwrap();
        }
    }

    /// The settings of a node on this stage: the shipped ones, on free ports, with nobody limited, and no two waits
    /// alike, so that a story can tell who waits for what.
    pub fn config(&self) -> Config {
        let mut config = Config::shipped().unwrap();
        config.data = self.folder().to_owned();
        config.database.url = serde_json::from_value(self.0.url.as_str().into()).unwrap();
        config.database.connections = 8;
        if let Some((url, prefix)) = &self.0.redis {
            config.cluster.url = serde_json::from_value(url.as_str().into()).unwrap();
            config.cluster.prefix.clone_from(prefix);
        }
        config.gateway.listen = ([127, 0, 0, 1], 0).into();
        config.gateway.workers = 2;
        config.gateway.shutdown = Duration::from_secs(10);
        config.operations.listen = None;
        let limits = &mut config.limits;
        for limit in [
            &mut limits.commands_per_sec,
            &mut limits.command_burst,
            &mut limits.rest_per_user_per_sec,
            &mut limits.rest_per_user_burst,
            &mut limits.rest_per_address_per_sec,
            &mut limits.rest_per_address_burst,
            &mut limits.syncs_per_user_per_sec,
            &mut limits.syncs_per_user_burst,
        ] {
            *limit = 1_000_000;
        }
        config.auth.otp_per_address_per_hour = 1_000_000;
        config.auth.otp_per_address_per_day = 1_000_000;
        config.sockets.heartbeat = Duration::from_secs(600);
        config.presence.grace = Duration::from_secs(7);
        config.rooms.sweep = Duration::from_secs(11);
        config.cluster.lease = Duration::from_secs(3000);
        config
    }

    /// Whether Redis joins the nodes.
    pub fn has_redis(&self) -> bool {
        self.0.redis.is_some()
    }

    /// A folder of the story's own, where SQLite's file is too.
    pub fn folder(&self) -> &Path {
        self.0.folder.path()
    }

    /// The database's URL, as `--database` takes it.
    pub fn database_url(&self) -> String {
        match self.0.url.as_str() {
            "" => format!("sqlite://{}", self.folder().join("quckchat.db").display()),
            url => url.to_owned(),
        }
    }

    /// A story on a database of that URL, which is there already.
    pub fn at(url: &str) -> Stage {
        Stage::new(url.to_owned(), None, None)
    }

    /// Lets the database only be read in sessions that begin from now on, and cuts those that there are; or lets it be
    /// written again, in sessions that begin from now on. PostgreSQL only.
    pub async fn reads_only(&self, reads_only: bool) {
        let (server, name) = self.0.server.as_ref().expect("a database server");
        let alter = format!("ALTER DATABASE {name} SET default_transaction_read_only = {reads_only}");
        server.write().execute_unprepared(&alter).await.unwrap();
        if reads_only {
            self.cuts_connections().await;
        }
    }

    /// Cuts every connection to the database, as a server that is restarted does. PostgreSQL only.
    pub async fn cuts_connections(&self) {
        let (server, name) = self.0.server.as_ref().expect("a database server");
        let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
        server.write().execute_unprepared(&cut).await.unwrap();
    }

    /// Lets nobody in any more, as a database that is away; or everybody again. PostgreSQL only.
    pub async fn opens_database(&self, opens: bool) {
        let (server, name) = self.0.server.as_ref().expect("a database server");
        let alter = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {opens}");
        server.write().execute_unprepared(&alter).await.unwrap();
        self.cuts_connections().await;
    }

    /// Keeps a node until it is stopped, or the story is over; gives its place.
    pub fn keep(&self, node: node::Node) -> usize {
        let mut nodes = self.0.nodes.borrow_mut();
        nodes.push(Some(node));
        nodes.len() - 1
    }

    /// Takes a node from its place, to stop it.
    pub fn take(&self, place: usize) -> Option<node::Node> {
        self.0.nodes.borrow_mut()[place].take()
    }

    /// A node's name that no other in this story has.
    pub fn node_name(&self) -> String {
        format!("node-{}", self.0.nodes.borrow().len())
    }

    /// A phone number that nobody else in this story has.
    pub fn phone_number(&self) -> String {
        let number = self.0.people.get() + 1;
        self.0.people.set(number);
        format!("+49151{:08}", 12_000_000 + number)
    }
}

/// Where the test runner says that a server is.
fn server_at(variable: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the test runner says where its servers are")]
    let found = std::env::var(variable).ok();
    if found.is_none() {
        eprintln!("not told there: {variable} is not set");
    }
    found
}
