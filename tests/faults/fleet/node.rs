//! A node of the fleet: the built program at one address, whatever becomes of its process.
//! Never a look inside: it is reached as clients and operators reach it.

use super::ports;
use super::program::{Owner, Program, bound};
use super::proxy::Proxy;
use crate::wait;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// A place in the fleet, and the process that fills it at present.
pub struct Node {
    /// Its id, and the name of its log.
    pub name: String,
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Where balancers ask whether it is ready.
    pub operations: SocketAddr,
    /// Its way to PostgreSQL.
    pub database: Proxy,
    /// Its way to Redis.
    pub redis: Proxy,
    /// The variables that all nodes have in common.
    settings: Vec<(&'static str, String)>,
    database_url: String,
    folder: PathBuf,
    program: Option<Program>,
}

/// What a node is made of.
pub struct Plan {
    /// Its id.
    pub name: String,
    /// Its way to PostgreSQL, and the URL by it.
    pub database: (Proxy, String),
    /// Its way to Redis.
    pub redis: Proxy,
    /// What it has in common with the others.
    pub settings: Vec<(&'static str, String)>,
    /// Where its log and its data are.
    pub folder: PathBuf,
}

/// Where Debian's libfaketime is, if it is installed.
pub fn faketime() -> Option<PathBuf> {
    let found = std::fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    found.map(|folder| folder.join("faketime/libfaketime.so.1")).find(|library| library.exists())
}

impl Node {
    /// A place without a process.
    pub fn new(plan: Plan) -> Node {
        let Plan { name, database: (database, database_url), redis, settings, folder } = plan;
        let (address, operations) = (ports::free(), ports::free());
        Node { name, address, operations, database, redis, settings, database_url, folder, program: None }
    }

    /// The built program with these arguments, on the fleet's database.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bound(env!("CARGO_BIN_EXE_quckchat"), "KILL", Owner::default());
        command.args(arguments).env("QUCKCHAT__DATABASE__URL", &self.database_url);
        command.env("QUCKCHAT__DATA", self.folder.join(&self.name));
        command.env("QUCKCHAT__GATEWAY__LISTEN", self.address.to_string());
        command.env("QUCKCHAT__OPERATIONS__LISTEN", self.operations.to_string());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.env("QUCKCHAT__CLUSTER__URL", format!("redis://{}", self.redis.address));
        command.env("QUCKCHAT__CLUSTER__NODE", &self.name);
        command
    }

    /// Starts it, and awaits that it is ready.
    pub async fn serves(&mut self) {
        let command = self.command(&["serve"]);
        self.begins(command).await;
    }

    /// The same with a clock that is so many seconds ahead, or behind.
    pub async fn serves_with_clock(&mut self, ahead: i32) {
        let mut command = self.command(&["serve"]);
        command.env("LD_PRELOAD", faketime().expect("libfaketime")).env("FAKETIME", format!("{ahead:+}s"));
        // How long something lasts is told by a clock that nobody sets.
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
        self.begins(command).await;
        let off = wait::must("its clock in its health", async || self.clock_is_off().await).await;
        assert!((off + 1000 * i64::from(ahead)).abs() < 10_000, "its clock is {off} ms behind the database's");
    }

    /// By how many milliseconds the database's clock is ahead of its own.
    async fn clock_is_off(&self) -> Option<i64> {
        let health = ports::get(self.operations, "/health").await?;
        let (_, rest) = health.split_once("\"clockAheadMs\":")?;
        rest.split([',', '}']).next()?.parse().ok()
    }

    async fn begins(&mut self, command: Command) {
        self.program = Some(Program::start(command, "KILL", &self.log()));
        self.is_ready().await;
    }

    /// Awaits that it wants work.
    pub async fn is_ready(&mut self) {
        let (operations, log) = (self.operations, self.log());
        let program = self.program.as_mut().expect("a node that runs");
        wait::must("a node to be ready", async || {
            if program.has_ended() {
                panic!("a node has ended: {}", std::fs::read_to_string(&log).unwrap());
            }
            ports::is_well(operations, "/ready").await
        })
        .await;
    }

    /// Kills it as nothing can be prepared for.
    pub async fn dies(&mut self) {
        self.program.take().expect("a node that runs").dies().await;
    }

    /// Tells it to stop, and awaits that it has.
    pub async fn stops(&mut self) {
        let program = self.program.take().expect("a node that runs");
        program.signal("TERM");
        program.ends().await;
    }

    /// Lets it do nothing until it goes on.
    pub fn is_stopped(&self, stopped: bool) {
        let program = self.program.as_ref().expect("a node that runs");
        program.signal(if stopped { "STOP" } else { "CONT" });
    }

    /// Where it says what happens to it.
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }
}
