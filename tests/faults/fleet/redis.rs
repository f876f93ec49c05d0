//! A Redis of the run's own, which keeps nothing.
//! Never anything that the nodes could not lose.

use super::ports;
use super::program::{Owner, Program, bound, installed};
use crate::wait;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server.
pub struct Redis {
    /// Where it listens.
    pub address: SocketAddr,
    folder: PathBuf,
    program: Option<Program>,
}

impl Redis {
    /// Starts a server whose log is in this folder.
    pub async fn start(folder: &Path) -> Redis {
        let mut redis = Redis { address: ports::free(), folder: folder.to_owned(), program: None };
        redis.serves().await;
        redis
    }

    /// Starts it on the same port, empty, and awaits that it answers.
    pub async fn serves(&mut self) {
        let mut command = bound(installed("redis-server").unwrap(), "KILL", Owner::default());
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
        command.arg(self.address.port().to_string()).arg("--dir").arg(&self.folder);
        self.program = Some(Program::start(command, "KILL", &self.folder.join("redis.log")));
        wait::must("Redis to answer", async || ping(self.address).await).await;
    }

    /// Kills it: what it held is gone.
    pub async fn dies(&mut self) {
        self.program.take().expect("a server that runs").dies().await;
    }

    /// Lets it do nothing until it goes on; its connections stay.
    pub fn is_stopped(&self, stopped: bool) {
        let program = self.program.as_ref().expect("a server that runs");
        program.signal(if stopped { "STOP" } else { "CONT" });
    }
}

async fn ping(address: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(b"PING\r\n").await.ok()?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.ok()?;
    (&answer == b"+PONG").then_some(())
}
