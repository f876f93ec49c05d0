//! A network that can be broken: a proxy of TCP that freezes, cuts, or loses what Redis publishes.
//! Never half a value of a protocol: a connection goes on, stands still, or ends.

use super::{ports, resp};
use crate::chance::Chance;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::sync::watch;

/// A proxy in front of one server.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: watch::Sender<State>,
    lost: Arc<AtomicU32>,
}

/// What it does at present.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct State {
    /// Nothing passes, and nothing ends.
    frozen: bool,
    /// Connections of an earlier age are over.
    age: u64,
    /// How many messages of Redis in a hundred do not arrive.
    losing: u32,
    /// There is no proxy any more.
    over: bool,
}

impl Proxy {
    /// In front of any server.
    pub fn of(server: SocketAddr, seed: u64) -> Proxy {
        Proxy::start(server, seed, false)
    }

    /// In front of a Redis, whose messages it can lose.
    pub fn of_redis(server: SocketAddr, seed: u64) -> Proxy {
        Proxy::start(server, seed, true)
    }

    /// On a thread of its own, so that it does not wait for whoever runs the test.
    fn start(server: SocketAddr, seed: u64, redis: bool) -> Proxy {
        let address = ports::free();
        let (state, watching) = watch::channel(State::default());
        let lost = Arc::new(AtomicU32::new(0));
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let line = Line { server, state: watching, lost: lost.clone(), seed, redis };
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(line.serve(listener));
        });
        Proxy { address, state, lost }
    }

    /// Lets nothing pass, or everything again.
    pub fn freezes(&self, frozen: bool) {
        self.state.send_modify(|state| state.frozen = frozen);
    }

    /// Ends all connections; new ones are taken.
    pub fn cuts(&self) {
        self.state.send_modify(|state| state.age += 1);
    }

    /// Loses so many messages of Redis in a hundred.
    pub fn loses(&self, percent: u32) {
        self.state.send_modify(|state| state.losing = percent);
    }

    /// How many messages it has lost so far.
    pub fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.over = true);
    }
}

#[derive(Clone)]
struct Line {
    server: SocketAddr,
    state: watch::Receiver<State>,
    lost: Arc<AtomicU32>,
    seed: u64,
    redis: bool,
}

impl Line {
    async fn serve(mut self, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let client = tokio::select! {
                client = listener.accept() => client,
                _ = self.state.wait_for(|state| state.over) => return,
            };
            if let Ok((client, _)) = client {
                self.seed += 1;
                let age = self.state.borrow().age;
                tokio::spawn(self.clone().join(client, age));
            }
        }
    }

    async fn join(mut self, client: TcpStream, age: u64) {
        let mut watching = self.state.clone();
        let over = watching.wait_for(|state| state.age != age || state.over);
        let joined = async {
            self.flows().await;
            // Nobody there: the client sees its connection end.
            let Ok(server) = TcpStream::connect(self.server).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::select! {
                () = self.clone().pumps(from_client, to_server, false) => {}
                () = self.clone().pumps(from_server, to_client, self.redis) => {}
            }
        };
        tokio::select! { () = joined => {}, _ = over => {} }
    }

    async fn flows(&mut self) -> State {
        self.state.wait_for(|state| !state.frozen).await.map(|state| *state).unwrap_or_default()
    }

    /// Passes on what one end says; value by value where some may be lost.
    async fn pumps(mut self, mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, sifted: bool) {
        let mut chance = Chance::of(self.seed, 0);
        let (mut read, mut values) = (vec![0; 1 << 16], Vec::new());
        while let Ok(length @ 1..) = from.read(&mut read).await {
            let state = self.flows().await;
            let passed = if sifted {
                values.extend_from_slice(&read[..length]);
                to.write_all(&self.sift(&mut values, state.losing, &mut chance)).await
            } else {
                to.write_all(&read[..length]).await
            };
            if passed.is_err() {
                return;
            }
        }
    }

    /// Takes the values that are complete; gives those that arrive.
    fn sift(&self, values: &mut Vec<u8>, losing: u32, chance: &mut Chance) -> Vec<u8> {
        let (mut arriving, mut start) = (Vec::new(), 0);
        while let Some(length) = resp::length(&values[start..]) {
            let value = &values[start..start + length];
            if resp::is_message(value) && chance.percent(losing) {
                self.lost.fetch_add(1, Ordering::Relaxed);
            } else {
                arriving.extend_from_slice(value);
            }
            start += length;
        }
        values.drain(..start);
        arriving
    }
}
