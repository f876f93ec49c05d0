//! What breaks: three nodes, a balancer, PostgreSQL, Redis, and the networks between them, all of the run's own.
//! Never anything that is still there when the run is over.

pub mod balancer;
pub mod node;
pub mod ports;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod redis;
pub mod resp;

use balancer::Balancer;
use node::{Node, Plan};
use postgres::Postgres;
use proxy::Proxy;
use redis::Redis;
use serde_json::Value;
use std::net::SocketAddr;
use tempfile::TempDir;

/// How many nodes there are.
pub const NODES: usize = 3;

/// A whole fleet.
pub struct Fleet {
    pub nodes: Vec<Node>,
    pub postgres: Postgres,
    pub redis: Redis,
    pub balancer: Balancer,
    folder: TempDir,
}

/// Where clients reach a fleet.
pub struct Doors {
    pub balancer: SocketAddr,
    pub nodes: Vec<SocketAddr>,
}

/// The shipped settings but for these: what is shorter lets a fault be noticed within a short run.
fn settings(heartbeat: &str) -> Vec<(&'static str, String)> {
    let master: String = std::iter::repeat_with(fastrand::alphanumeric).take(48).collect();
    let shorter = [
        // The balancer asks every 200 ms, and believes the second answer.
        ("QUCKCHAT__GATEWAY__DRAIN_WAIT", "600ms"),
        ("QUCKCHAT__GATEWAY__SHUTDOWN", "5s"),
        ("QUCKCHAT__GATEWAY__WORKERS", "2"),
        // A node that was killed gets its name again when its lease is over.
        ("QUCKCHAT__CLUSTER__LEASE", "3s"),
        ("QUCKCHAT__ROOMS__SWEEP", "1s"),
        ("QUCKCHAT__SOCKETS__HEARTBEAT", heartbeat),
        ("QUCKCHAT__SOCKETS__HEARTBEAT_ANSWER", "3s"),
        ("QUCKCHAT__LIMITS__WAITING_HELLOS_PER_ADDRESS", "10000"),
        // Whoever reads everything afresh at the end reads fast.
        ("QUCKCHAT__LIMITS__COMMANDS_PER_SEC", "1000000"),
        ("QUCKCHAT__LIMITS__COMMAND_BURST", "1000000"),
        ("QUCKCHAT__LOG__FORMAT", "pretty"),
    ];
    let shorter = shorter.into_iter().map(|(name, value)| (name, value.to_owned()));
    shorter.chain([("QUCKCHAT__SECRETS__MASTER", master)]).collect()
}

/// What the machine lacks, if anything.
pub fn missing() -> Option<&'static str> {
    let needed = [
        (postgres::programs().is_some(), "postgresql (15 or later)"),
        (program::installed("redis-server").is_some(), "redis-server"),
        (program::installed("haproxy").is_some(), "haproxy"),
        (program::installed("setpriv").is_some(), "util-linux"),
        (node::faketime().is_some(), "libfaketime"),
    ];
    needed.into_iter().find(|(there, _)| !there).map(|(_, package)| package)
}

impl Fleet {
    /// Starts everything; nodes ask each socket so often whether it is there.
    pub async fn start(seed: u64, heartbeat: &str) -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let postgres = Postgres::start(folder.path()).await;
        let redis = Redis::start(folder.path()).await;
        let settings = settings(heartbeat);
        let mut nodes = Vec::new();
        for at in 0..NODES {
            let database = Proxy::of(postgres.address, seed + at as u64);
            let url = postgres.url(database.address);
            let plan = Plan {
                name: format!("node-{at}"),
                database: (database, url),
                redis: Proxy::of_redis(redis.address, seed + at as u64),
                settings: settings.clone(),
                folder: folder.path().to_owned(),
            };
            nodes.push(Node::new(plan));
        }
        // All at once, as a fleet is deployed.
        futures_util::future::join_all(nodes.iter_mut().map(Node::serves)).await;
        let balancer = Balancer::start(&nodes, folder.path()).await;
        Fleet { nodes, postgres, redis, balancer, folder }
    }

    /// Where clients reach it.
    pub fn doors(&self) -> Doors {
        Doors { balancer: self.balancer.address, nodes: self.nodes.iter().map(|node| node.address).collect() }
    }

    /// The URL of the database itself, past the proxies.
    pub fn database_url(&self) -> String {
        self.postgres.url(self.postgres.address)
    }

    /// So many people with tokens, as `admin seed` prints them.
    pub fn people(&self, count: usize) -> Vec<Value> {
        let mut seed = self.nodes[0].command(&["admin", "seed", "--json", "--users", &count.to_string()]);
        let seeded = seed.output().unwrap();
        assert!(seeded.status.success(), "{}", String::from_utf8_lossy(&seeded.stderr));
        let lines = String::from_utf8(seeded.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What the nodes have complained of, for a run that failed.
    fn complaints(&self) -> String {
        let mut told = String::new();
        for node in &self.nodes {
            let log = std::fs::read_to_string(node.log()).unwrap_or_default();
            let bad: Vec<&str> = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
            for line in &bad[bad.len().saturating_sub(20)..] {
                told.push_str(&format!("{}: {line}\n", node.name));
            }
        }
        told
    }
}

impl Drop for Fleet {
    /// Whatever failed, what the nodes said of it is told.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("{}logs: {}", self.complaints(), self.folder.path().display());
        }
    }
}
