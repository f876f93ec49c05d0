//! What joins the nodes of a story: a bus within the process, or Redis; with hints that can be lost.
//! Never the link itself: that is the node's own.

use super::Stage;
use actors::clock::SystemClock;
use actors::cluster::{Claimed, Cluster, Delivery, Found, Heard, Inlet, Link, LocalBus, Meters, Rate, Tally, Topic};
use actors::protocol::view::Status;
use entities::{SessionId, UserId};
use futures_util::future::BoxFuture;
use quckchat::config::Config;
use quckchat::providers::redis::RedisCluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What several nodes have between them.
pub struct Bus {
    local: Arc<LocalBus>,
    deaf: Arc<AtomicBool>,
}

impl Bus {
    pub fn new() -> Bus {
        Bus { local: LocalBus::new(), deaf: Arc::default() }
    }

    /// A node's end of it.
    pub async fn join(&self, stage: &Stage, config: &Config, name: &str) -> Arc<dyn Cluster> {
        let inner: Arc<dyn Cluster> = if stage.has_redis() {
            // What is between machines takes the machine's time.
            RedisCluster::start(&config.cluster, name, Arc::new(SystemClock::default())).await.unwrap()
        } else {
            self.local.join(name)
        };
        Arc::new(Lossy { inner, deaf: self.deaf.clone() })
    }

    /// Loses every hint from now on, as a network may; or no longer.
    pub fn lose_hints(&self, lose: bool) {
        self.deaf.store(lose, Ordering::SeqCst);
    }
}

/// A link on which hints may be lost.
struct Lossy {
    inner: Arc<dyn Cluster>,
    deaf: Arc<AtomicBool>,
}

impl Cluster for Lossy {
    fn node(&self) -> &str {
        self.inner.node()
    }

    fn joint(&self) -> Option<String> {
        self.inner.joint()
    }

    fn mark(&self) -> String {
        self.inner.mark()
    }

    fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }

    fn connect(&self, inlet: Inlet) {
        let deaf = self.deaf.clone();
        self.inner.connect(Box::new(move |heard| {
            if !matches!(heard, Heard::Delivery(_)) || !deaf.load(Ordering::SeqCst) {
                inlet(heard);
            }
        }));
    }

    fn link(&self) -> Link {
        self.inner.link()
    }

    fn meters(&self) -> Meters {
        self.inner.meters()
    }

    fn publish(&self, delivery: Arc<Delivery>) {
        if !self.deaf.load(Ordering::SeqCst) {
            self.inner.publish(delivery);
        }
    }

    fn subscribe(&self, topic: Topic) -> BoxFuture<'static, ()> {
        self.inner.subscribe(topic)
    }

    fn unsubscribe(&self, topic: Topic) {
        self.inner.unsubscribe(topic);
    }

    fn claim(&self, user: UserId, session: SessionId, status: Option<Status>) -> BoxFuture<'static, Claimed> {
        self.inner.claim(user, session, status)
    }

    fn claims(&self, users: Vec<UserId>) -> BoxFuture<'static, Found> {
        self.inner.claims(users)
    }

    fn disown(&self, node: &str) -> BoxFuture<'static, Option<Vec<UserId>>> {
        self.inner.disown(node)
    }

    fn count(&self, key: String, rate: Rate) -> BoxFuture<'static, Option<Tally>> {
        self.inner.count(key, rate)
    }
}
