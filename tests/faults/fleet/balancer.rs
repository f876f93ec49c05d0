//! The real HAProxy with the file that is shipped, in front of the run's nodes.
//! Never a setting that the shipped file does not name.

use super::node::Node;
use super::ports;
use super::program::{Owner, Program, bound, installed};
use crate::wait;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The file that everybody runs.
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/haproxy.cfg");

/// A balancer that runs.
pub struct Balancer {
    /// Where clients come.
    pub address: SocketAddr,
    inner: SocketAddr,
    nodes: Vec<String>,
    log: PathBuf,
    program: Option<Program>,
}

impl Balancer {
    /// Starts in front of these nodes, and awaits that it lets clients through.
    pub async fn start(nodes: &[Node], folder: &Path) -> Balancer {
        let server = |node: &Node| format!("{} port {}", node.address, node.operations.port());
        let (nodes, log) = (nodes.iter().map(server).collect(), folder.join("haproxy.log"));
        let mut balancer = Balancer { address: ports::free(), inner: ports::free(), nodes, log, program: None };
        balancer.serves().await;
        balancer
    }

    /// Starts it at the same address.
    pub async fn serves(&mut self) {
        let mut command = bound(installed("haproxy").unwrap(), "TERM", Owner::default());
        command.args(["-W", "-f", CONFIGURATION]);
        command.env("QUCKCHAT_BALANCER_LISTEN", self.address.to_string());
        command.env("QUCKCHAT_BALANCER_INNER", self.inner.to_string());
        command.env("QUCKCHAT_CHECK_EVERY", "200ms");
        for (at, node) in self.nodes.iter().enumerate() {
            command.env(format!("QUCKCHAT_NODE_{}", at + 1), node);
        }
        let loaded = self.loaded();
        self.program = Some(Program::start(command, "TERM", &self.log));
        self.has_loaded(loaded + 1).await;
        let address = self.address;
        wait::must("HAProxy to find a node", async || ports::is_well(address, "/api/v1/health/ready").await).await;
    }

    /// Reads its file again: a new worker on the same listeners, while the old one keeps its sockets.
    pub async fn reloads(&self) {
        let loaded = self.loaded();
        self.program.as_ref().expect("a balancer that runs").signal("USR2");
        self.has_loaded(loaded + 1).await;
    }

    /// Ends it at once: whoever came through it loses their connection.
    pub async fn stops(&mut self) {
        let program = self.program.take().expect("a balancer that runs");
        program.signal("TERM");
        program.ends().await;
    }

    fn loaded(&self) -> usize {
        std::fs::read_to_string(&self.log).unwrap_or_default().matches("Loading success").count()
    }

    async fn has_loaded(&self, times: usize) {
        wait::must("HAProxy to load", async || (self.loaded() >= times).then_some(())).await;
    }
}
