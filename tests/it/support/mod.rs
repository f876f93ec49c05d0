//! What stories stand on: databases, nodes, people with their devices, and a clock.
//! Never an assertion of a story's own.

pub mod answer;
pub mod authenticator;
pub mod browser;
pub mod bus;
pub mod certificate;
pub mod clock;
pub mod haproxy;
pub mod issuer;
pub mod node;
pub mod person;
pub mod process;
pub mod redis;
pub mod replica;
pub mod server;
pub mod socket;
pub mod speech;
pub mod stage;
pub mod wire;

use actors::clock::{Clock, SystemClock};
pub use actors::protocol::ErrorCode;
pub use authenticator::{Authenticator, STEP};
pub use browser::Browser;
pub use entities::{ConversationId, MessageId, UserId};
pub use issuer::Issuer;
pub use node::{Fleet, Node};
pub use person::Person;
pub use redis::RedisServer;
pub use replica::Replica;
pub use serde_json::{Value, json};
pub use socket::{Manner, Socket};
pub use speech::{Door, Speaks};
pub use stage::Stage;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
pub use std::time::Duration;
pub use wire::{Dial, Wire};

/// A password that is good enough.
pub const GOOD: &str = "four lamps over Trondheim";
/// Another one.
pub const BETTER: &str = "seven kettles under Bergen";

/// What takes longer than this does not happen any more. No story waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(20);

/// Awaits what must happen; fails saying what did not.
pub async fn within<T>(happening: impl Future<Output = T>, what: &str) -> T {
    // Boxed, as every large future of a test: unoptimised, each frame on the way to it holds a copy.
    match tokio::time::timeout(PATIENCE, Box::pin(happening)).await {
        Ok(happened) => happened,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Asks through a public door, again and again, until the answer is what must come to be.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    // A moment between two questions: what runs on this thread goes on meanwhile.
    let asking = async {
        while !is_so().await {
            (&SystemClock::default() as &dyn Clock).sleep(millis(5)).await;
        }
    };
    within(asking, what).await;
}

/// An address where nobody listens. Below the range from which the system gives ports to outgoing connections and to
/// whoever listens at port 0, so that none of those takes it before its server does, or while that is away; and no two
/// servers of any story are given the same one.
pub fn free_address() -> SocketAddr {
    const PORTS: u16 = 10_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 100).unwrap() * 100;
    loop {
        let at = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(at < PORTS, "all ports were given");
        let address = SocketAddr::from(([127, 0, 0, 1], 10_000 + (own + at) % PORTS));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The two tests of a `story` in whose module it stands.
macro_rules! told_on_both {
    () => {
        #[actix_web::test]
        async fn on_sqlite() {
            Stage::on_sqlite().await.play(story).await;
        }

        #[actix_web::test]
        async fn on_postgres() {
            if let Some(stage) = Stage::on_postgres().await {
                stage.play(story).await;
            }
        }
    };
}

/// A story that is told twice: on SQLite and on PostgreSQL.
macro_rules! stories {
    ($($(#[$about:meta])* async fn $name:ident($stage:ident: Stage) $story:block)+) => {$(
        $(#[$about])*
        mod $name {
            #[allow(unused_imports, reason = "not every story uses all of its file")]
            use super::*;

            async fn story($stage: Stage) $story

            told_on_both!();
        }
    )+};
}

/// A story of several nodes, told three times: joined within the process on SQLite and on PostgreSQL, and by Redis.
macro_rules! fleet_stories {
    ($($(#[$about:meta])* async fn $name:ident($stage:ident: Stage) $story:block)+) => {$(
        $(#[$about])*
        mod $name {
            #[allow(unused_imports, reason = "not every story uses all of its file")]
            use super::*;

            async fn story($stage: Stage) $story

            told_on_both!();

            #[actix_web::test]
            async fn over_redis() {
                if let Some(stage) = Stage::over_redis().await {
                    stage.play(story).await;
                }
            }
        }
    )+};
}
