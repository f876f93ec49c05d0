//! What these tests stand on: databases, nodes, ears, and a clock that stands still.
//! Never an assertion of a test's own.

pub mod clock;
pub mod ear;
pub mod node;
pub mod rows;
pub mod session;
pub mod stage;
pub mod wire;

pub use clock::FakeClock;
pub use ear::Ear;
pub use node::{Node, Setting};
pub use rows::{Rows, mark, send};
pub use stage::Stage;

pub use actors::cluster::{Cluster, Content, Delivery, LocalBus, Part, Topic};
pub use actors::conversation::change::{Change, Done, NewMessage};
pub use actors::conversation::read;
pub use actors::conversation::store::{self, Committed};
pub use actors::hub::Notice;
pub use actors::journal::{Item, Verdict};
pub use actors::protocol::command::*;
pub use actors::protocol::{Error, ErrorCode, Outcome, Refusal, view};
pub use entities::{Backend, ConversationId, ConversationKind, Db, MessageId, Role, SessionId, Timestamp, UserId};
pub use serde_json::{Value, json};
pub use std::collections::{BTreeMap, BTreeSet, HashMap};
pub use std::rc::Rc;
pub use std::sync::Arc;
pub use std::time::Duration;

/// What takes longer than this does not happen any more. No test waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits what must happen; fails saying what did not.
pub async fn within<T>(happening: impl Future<Output = T>, what: &str) -> T {
    // Boxed, as every large future of a test: unoptimised, each frame on the way to it holds a copy.
    match tokio::time::timeout(PATIENCE, Box::pin(happening)).await {
        Ok(happened) => happened,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Lets everything else of this thread go on until something is so.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let happening = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    within(happening, what).await;
}

/// A value as its JSON.
pub fn json_of(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

/// Tests that run twice: on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($(#[$about:meta])* async fn $name:ident($stage:ident: &Stage) $test:block)+) => {$(
        $(#[$about])*
        mod $name {
            #[allow(unused_imports, reason = "not every test uses all of its file")]
            use super::*;

            async fn test($stage: &Stage) $test

            #[actix_rt::test]
            async fn on_sqlite() {
                Stage::on_sqlite().await.play(test).await;
            }

            #[actix_rt::test]
            async fn on_postgres() {
                if let Some(stage) = Stage::on_postgres().await {
                    stage.play(test).await;
                }
            }
        }
    )+};
}

/// Tests of what only PostgreSQL has: several writers, and a connection that can be lost.
macro_rules! on_postgres {
    ($($(#[$about:meta])* async fn $name:ident($stage:ident: &Stage) $test:block)+) => {$(
        $(#[$about])*
        #[actix_rt::test]
        async fn $name() {
            async fn test($stage: &Stage) $test
            if let Some(stage) = Stage::on_postgres().await {
                stage.play(test).await;
            }
        }
    )+};
}
