//! The real HAProxy with the file that is shipped, in front of nodes that run: started, reloaded, asked how it sees them.
//! Never a setting that the shipped file does not name.

use super::node::Node;
use super::process::{Process, lines, signals};
use super::{Stage, free_address, until, within};
use std::cell::RefCell;
use std::collections::HashMap;
use std::process::{Child, Command, ExitStatus, Stdio};
use tokio::sync::{Mutex, mpsc};

/// The file that everybody runs.
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/haproxy.cfg");

/// A balancer that runs. It is ended at the latest when the story is over.
pub struct Balancer {
    child: RefCell<Child>,
    log: Mutex<mpsc::UnboundedReceiver<String>>,
    /// The fleet as clients find it; its operations are the balancer's own.
    pub node: Node,
}

impl Balancer {
    /// Whether HAProxy is there; says so on stderr where it is not.
    pub fn is_there() -> bool {
        let there = Command::new("haproxy").arg("-v").stdout(Stdio::null()).status().is_ok();
        if !there {
            eprintln!("not told with a balancer: haproxy is not installed");
        }
        there
    }

    /// Starts in front of these nodes, on free ports, and awaits that it serves.
    pub async fn starts(stage: &Stage, nodes: &[&Process]) -> Balancer {
        Balancer::starts_with(stage, nodes, &[]).await
    }

    /// The same with more variables.
    pub async fn starts_with(stage: &Stage, nodes: &[&Process], variables: &[(&str, &str)]) -> Balancer {
        let (address, inner) = (free_address(), free_address());
        let mut command = Command::new("haproxy");
        command.args(["-W", "-f", CONFIGURATION]).envs(variables.iter().copied());
        command.env("QUCKCHAT_BALANCER_LISTEN", address.to_string());
        command.env("QUCKCHAT_BALANCER_INNER", inner.to_string());
        command.env("QUCKCHAT_CHECK_EVERY", "100ms");
        for (at, process) in nodes.iter().enumerate() {
            let operations = process.node.operations.expect("a door for operators");
            let server = format!("{} port {}", process.node.address, operations.port());
            command.env(format!("QUCKCHAT_NODE_{}", at + 1), server);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Mutex::new(lines(child.stderr.take().unwrap()));
        let balancer = Balancer { child: RefCell::new(child), log, node: Node::at(stage, address, Some(inner)) };
        balancer.has_loaded().await;
        balancer
    }

    /// Reads its file again (SIGUSR2): a new worker on the same listeners, while the old one keeps its sockets.
    pub async fn reloads(&self) {
        signals(&self.child.borrow(), "USR2");
        self.has_loaded().await;
    }

    /// Ends it at once, with whatever goes through it.
    pub async fn stops(self) -> ExitStatus {
        signals(&self.child.borrow(), "TERM");
        let mut log = self.log.lock().await;
        within(async { while log.recv().await.is_some() {} }, "the balancer to end").await;
        self.child.borrow_mut().wait().unwrap()
    }

    async fn has_loaded(&self) {
        let mut log = self.log.lock().await;
        let mut told = String::new();
        loop {
            let line = within(log.recv(), "the balancer to serve").await;
            let line = line.unwrap_or_else(|| panic!("it ended: {told}"));
            if line.contains("Loading success") {
                return;
            }
            told = format!("{told}{line}\n");
        }
    }

    /// What it counts of a node (from 1), by the name of the column in its statistics.
    pub async fn sees(&self, node: usize, column: &str) -> String {
        let page = String::from_utf8(self.node.operators("/;csv").await.body).unwrap();
        let mut rows = page.trim_start_matches("# ").lines().map(|line| line.split(',').collect::<Vec<_>>());
        let columns: HashMap<&str, usize> = rows.next().unwrap().into_iter().zip(0..).collect();
        let name = format!("node{node}");
        let row = rows.find(|row| row[columns["pxname"]] == "nodes" && row[columns["svname"]] == name);
        row.unwrap_or_else(|| panic!("no {name} in {page}"))[columns[column]].to_owned()
    }

    /// Awaits that it sees a node so: "UP" or "DOWN".
    pub async fn finds(&self, node: usize, status: &str) {
        let what = format!("node {node} to be {status} at the balancer");
        until(&what, async || self.sees(node, "status").await == status).await;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Its workers end with the master, which a kill would leave behind.
        let child = self.child.get_mut();
        if matches!(child.try_wait(), Ok(None)) {
            signals(child, "TERM");
            let _ = child.wait();
        }
    }
}
