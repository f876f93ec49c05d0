//! Redis between the nodes: hints on channels, who is connected where, and counts over all nodes.
//! Never anything that must not be lost: what Redis forgets, or cannot say now, the rows tell.

mod claims;
mod connection;
mod count;
mod hint;
mod link;
mod server;
mod trial;

use crate::config;
use actors::clock::Clock;
use actors::cluster::{Claimed, Cluster, Delivery, Found, Inlet, Link, Meters, Rate, Tally, Topic};
use actors::protocol::view::Status;
use anyhow::bail;
use claims::Claims;
use count::Counts;
use entities::{SessionId, UserId};
use futures_util::future::BoxFuture;
use link::Wire;
use server::Server;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// One node's end of what Redis joins.
pub struct RedisCluster {
    node: Arc<str>,
    wire: Arc<Wire>,
    claims: Arc<Claims>,
    counts: Arc<Counts>,
    tasks: Vec<AbortHandle>,
}

impl RedisCluster {
    /// Joins the node of this name to the others. A Redis that is merely away does not keep it from starting: the link
    /// comes up when it can.
    ///
    /// # Errors
    /// Settings that cannot be read, and a Redis that would refuse this node at any time, each with what to do.
    pub async fn start(
        config: &config::Cluster,
        node: &str,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Arc<RedisCluster>> {
        // Two providers of cryptography are compiled in, ours and the database driver's: which one TLS has is to be said.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = Server::from_config(config)?;
        // One that is merely away is waited for: the link says so.
        if let Err(error) = server.try_out(&config.prefix, node).await
            && let Some(refusal) = trial::refusal(&error)
        {
            bail!("cluster.url: {} cannot be used: {refusal}", server.shown());
        }
        let (wire, inboxes) = Wire::new(server, config.prefix.clone(), clock);
        let node: Arc<str> = node.into();
        let claims = Arc::new(Claims::new(wire.clone(), node.clone()));
        let mut tasks = Vec::from(wire.keep(inboxes));
        tasks.push(tokio::spawn(claims.clone().keep(wire.came_up.clone())).abort_handle());
        Ok(Arc::new(RedisCluster { node, counts: Arc::new(Counts::new(wire.clone())), wire, claims, tasks }))
    }
}

impl Drop for RedisCluster {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Cluster for RedisCluster {
    fn node(&self) -> &str {
        &self.node
    }

    fn joint(&self) -> Option<String> {
        Some(self.wire.server.shown())
    }

    fn mark(&self) -> String {
        format!("{} {}", self.wire.server.kind_of_channels(), self.wire.prefix)
    }

    fn trouble(&self) -> Option<String> {
        self.wire.trouble()
    }

    fn connect(&self, inlet: Inlet) {
        self.wire.set_inlet(inlet);
    }

    fn link(&self) -> Link {
        self.wire.link()
    }

    fn meters(&self) -> Meters {
        self.wire.meters.clone()
    }

    fn publish(&self, delivery: Arc<Delivery>) {
        self.wire.publish(delivery);
    }

    fn subscribe(&self, topic: Topic) -> BoxFuture<'static, ()> {
        Box::pin(self.wire.subscribe(topic))
    }

    fn unsubscribe(&self, topic: Topic) {
        self.wire.unsubscribe(topic);
    }

    fn claim(&self, user: UserId, session: SessionId, status: Option<Status>) -> BoxFuture<'static, Claimed> {
        Box::pin(self.claims.claim(user, session, status))
    }

    fn claims(&self, users: Vec<UserId>) -> BoxFuture<'static, Found> {
        let claims = self.claims.clone();
        Box::pin(async move { claims.of(users).await })
    }

    fn disown(&self, node: &str) -> BoxFuture<'static, Option<Vec<UserId>>> {
        let (claims, node) = (self.claims.clone(), node.to_owned());
        Box::pin(async move { claims.disown(&node).await })
    }

    fn count(&self, key: String, rate: Rate) -> BoxFuture<'static, Option<Tally>> {
        let counts = self.counts.clone();
        Box::pin(async move { counts.count(&key, rate).await })
    }
}
