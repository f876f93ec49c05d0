//! The real program, as an operator runs it: started, listened to, told to stop, or killed.
//! Never a look at its memory: what it prints and serves is all there is.

use super::node::Node;
use super::{Person, Stage, within};
use serde_json::Value;
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use tokio::sync::{Mutex, mpsc};

/// What a run that came to its end has said.
pub struct Ended {
    pub status: ExitStatus,
    pub out: String,
    pub log: String,
}

/// The program with these arguments and variables, on this stage's database.
fn program(stage: &Stage, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quckchat"));
    let folder = stage.folder().to_str().unwrap();
    command.args(["--data", folder, "--database", &stage.database_url()]).args(arguments);
    command.envs(variables.iter().copied()).env("QUCKCHAT__OPERATIONS__LISTEN", "127.0.0.1:0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end.
pub async fn runs(stage: &Stage, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
    let mut command = program(stage, arguments, variables);
    let ended = actix_web::rt::task::spawn_blocking(move || command.output());
    let ended = within(ended, "the program to end").await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { status: ended.status, out: text(ended.stdout), log: text(ended.stderr) }
}

/// A node in a process of its own. It is killed at the latest when the story is over.
pub struct Process {
    child: RefCell<Child>,
    out: Mutex<mpsc::UnboundedReceiver<String>>,
    log: Mutex<mpsc::UnboundedReceiver<String>>,
    /// What it said when it began to serve.
    pub greeting: String,
    pub node: Node,
}

impl Process {
    /// Starts it on a free port, and awaits that it serves.
    pub async fn serves(stage: &Stage, variables: &[(&str, &str)]) -> Process {
        let mut child = program(stage, &["--listen", "127.0.0.1:0", "serve"], variables).spawn().unwrap();
        let mut out = lines(child.stdout.take().unwrap());
        let log = lines(child.stderr.take().unwrap());
        let mut greeting = String::new();
        // The doors stand in this order: REST, sockets, operations.
        let mut doors = Vec::<SocketAddr>::new();
        while doors.len() < 3 {
            let line = within(out.recv(), "the program to serve").await;
            let line = line.unwrap_or_else(|| panic!("it ended: {greeting}"));
            greeting = format!("{greeting}{line}\n");
            if let Some((_, rest)) = line.split_once("://") {
                doors.push(rest.split('/').next().unwrap().parse().unwrap());
            }
        }
        let node = Node::at(stage, doors[1], Some(doors[2]));
        let (child, out, log) = (RefCell::new(child), Mutex::new(out), Mutex::new(log));
        Process { child, out, log, greeting, node }
    }

    /// The people that `admin seed` makes.
    pub async fn people<const N: usize>(&self, names: [&str; N]) -> [Person; N] {
        let seeded = runs(&self.node.stage, &["admin", "seed", "--users", &N.to_string(), "--json"], &[]).await;
        assert!(seeded.status.success(), "{}", seeded.log);
        let lines = seeded.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let people = names.into_iter().zip(lines).map(|(name, line)| Person::seeded(&self.node, name, &line));
        people.collect::<Vec<_>>().try_into().ok().expect("as many people as names")
    }

    /// Kills it as nothing can be prepared for (SIGKILL).
    pub async fn dies(self) {
        self.child.borrow_mut().kill().unwrap();
        self.ends().await;
    }

    /// Tells it to stop (SIGTERM), and awaits that it does.
    pub async fn stops(self) -> ExitStatus {
        self.is_told_to_stop();
        self.ends().await
    }

    /// The same; gives all that it has logged.
    pub async fn stops_and_tells(self) -> String {
        self.is_told_to_stop();
        self.ends_and_tells().await.1
    }

    /// Awaits that it ends by itself; gives how, and all that it has logged.
    pub async fn ends_and_tells(self) -> (ExitStatus, String) {
        let status = self.ends().await;
        let mut log = self.log.lock().await;
        let mut told = String::new();
        while let Some(line) = within(log.recv(), "the end of the log").await {
            told.push_str(&line);
            told.push('\n');
        }
        (status, told)
    }

    /// Stops it where it stands (SIGSTOP).
    pub fn freezes(&self) {
        signals(&self.child.borrow(), "STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn thaws(&self) {
        signals(&self.child.borrow(), "CONT");
    }

    /// Tells it to stop, and awaits nothing.
    pub fn is_told_to_stop(&self) {
        signals(&self.child.borrow(), "TERM");
    }

    /// Awaits a line of its log with this in it.
    pub async fn logs(&self, text: &str) {
        let mut log = self.log.lock().await;
        let found = async {
            while let Some(line) = log.recv().await {
                if line.contains(text) {
                    return;
                }
            }
            panic!("it ended before it logged {text:?}");
        };
        within(found, &format!("{text:?} in the log")).await;
    }

    /// Tells it that its files may have changed (SIGHUP).
    pub fn is_told_to_look(&self) {
        signals(&self.child.borrow(), "HUP");
    }

    /// Awaits that it has ended by itself.
    pub async fn ends(&self) -> ExitStatus {
        let mut out = self.out.lock().await;
        let closed = async { while out.recv().await.is_some() {} };
        within(closed, "the program to end").await;
        // It has closed its output: all that is left is to be waited for.
        self.child.borrow_mut().wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Sends a signal to a process that runs.
pub fn signals(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
}

/// What comes out of a pipe, line by line; read to its end whoever listens.
pub fn lines(pipe: impl Read + Send + 'static) -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}
