//! A Redis of a story's own, which it may kill, pause and restart empty; one server, or what belongs to several.
//! Never the Redis of `tests/run`, which all stories share.

use super::process::{lines, signals};
use super::{free_address, within};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A server of redis-server. It is killed at the latest when the story is over.
pub struct RedisServer {
    pub port: u16,
    pub folder: TempDir,
    arguments: Vec<String>,
    child: RefCell<Option<Child>>,
}

/// Whether the program is installed. Says so on stderr where it is not.
pub fn has_redis_server() -> bool {
    let found = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("not told there: redis-server is not installed");
    }
    found
}

impl RedisServer {
    /// Starts one on a free port; it keeps nothing on disk.
    pub async fn start(arguments: &[&str]) -> RedisServer {
        let port = free_address().port();
        let plain = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let arguments = plain.iter().chain(arguments).map(|text| (*text).to_owned()).collect();
        RedisServer::with(port, arguments).await
    }

    /// Starts one with these arguments alone, which say that it listens at this port.
    pub async fn with(port: u16, arguments: Vec<String>) -> RedisServer {
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer { port, folder, arguments, child: RefCell::default() };
        server.again().await;
        server
    }

    /// Starts it on its port, empty.
    pub async fn again(&self) {
        let mut command = Command::new("redis-server");
        command.args(&self.arguments).current_dir(self.folder.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut log = lines(child.stdout.take().unwrap());
        *self.child.borrow_mut() = Some(child);
        let mut told = String::new();
        loop {
            let line = within(log.recv(), "a Redis that takes connections").await;
            let line = line.unwrap_or_else(|| panic!("it ended: {told}"));
            if line.contains("Ready to accept connections") || line.contains("Sentinel ID is") {
                return;
            }
            told = format!("{told}{line}\n");
        }
    }

    /// Kills it (SIGKILL); all that it knew is gone.
    pub fn dies(&self) {
        if let Some(mut child) = self.child.borrow_mut().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it in its tracks (SIGSTOP): connections stay, and nothing answers.
    pub fn pauses(&self) {
        self.signals("STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn goes_on(&self) {
        self.signals("CONT");
    }

    fn signals(&self, signal: &str) {
        signals(self.child.borrow().as_ref().expect("a Redis that runs"), signal);
    }

    /// Where nodes find it.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What it answers to a command.
    #[track_caller]
    pub fn asked(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let answer = Command::new("redis-cli").args(["-p", &port]).args(command).output().unwrap();
        let text = String::from_utf8(answer.stdout).unwrap();
        assert!(answer.status.success(), "{command:?}: {text}");
        text
    }

    /// How many hints were published on it so far.
    pub fn publishes(&self) -> u64 {
        let stats = self.asked(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
        line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    }

    /// The connections that others have with it, by its own numbers for them.
    pub fn connections(&self) -> BTreeSet<String> {
        let clients = self.asked(&["CLIENT", "LIST"]);
        let others = clients.lines().filter(|line| !line.contains(" cmd=client"));
        others.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.dies();
    }
}
