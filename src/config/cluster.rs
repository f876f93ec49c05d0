//! `[cluster]`: what joins a node to others, and what they know it by.
//! Never whether Redis can be reached.

use super::layers::ConfigError;
use super::rules::{HOUR, SECOND, lasts};
use super::values::duration;
use super::{ClusterUrl, Database, Secret};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// The most characters of a node's name.
const NODE_CHARACTERS: usize = 64;

/// `[cluster]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Where Redis is; empty is nowhere, and the node stands alone.
    pub url: ClusterUrl,
    /// What the URL names.
    pub kind: ClusterKind,
    /// Sentinel: the master's name.
    pub sentinel_master: String,
    /// Sentinel: the Sentinels' own password.
    pub sentinel_password: Secret,
    /// Who vouches for Redis's certificate, as PEM; empty is whom the system trusts.
    pub ca: PathBuf,
    /// What all channels and keys begin with.
    pub prefix: String,
    /// The node's name; empty is a new one with every start.
    pub node: String,
    /// Where others reach the node; empty is where it listens.
    pub advertise: String,
    /// How long a node lives, for the others, after it was heard of last.
    #[serde(with = "duration")]
    pub lease: Duration,
}

/// What `cluster.url` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterKind {
    /// One server.
    Standalone,
    /// Sentinels, which name the master.
    Sentinel,
    /// The first nodes of a Redis Cluster.
    Cluster,
}

impl Cluster {
    /// Nodes that are joined share one database.
    pub(super) fn check(&self, database: &Database, wrong: &mut ConfigError) {
        lasts(wrong, "cluster.lease", self.lease, SECOND..=HOUR);
        let known = |url: &str| url.is_empty() || ["redis://", "rediss://"].iter().any(|known| url.starts_with(known));
        if !self.url.expose().split(',').all(|url| known(url.trim())) {
            wrong.add("cluster.url", "must begin with redis:// or rediss://, or be empty");
        }
        if !self.url.is_empty() && !database.is_server() {
            wrong.add(
                "cluster.url",
                "nodes are joined over one PostgreSQL, and database.url names SQLite: set database.url, or leave \
                 cluster.url empty",
            );
        }
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
        if self.node.len() > NODE_CHARACTERS || !self.node.bytes().all(is_plain) {
            wrong.add(
                "cluster.node",
                format!("must be up to {NODE_CHARACTERS} of A-Z, a-z, 0-9, \".\", \"_\" and \"-\""),
            );
        }
        let is_prefix = |b: u8| is_plain(b) || b == b':';
        if self.prefix.is_empty() || self.prefix.len() > NODE_CHARACTERS || !self.prefix.bytes().all(is_prefix) {
            wrong.add("cluster.prefix", "must be 1 to 64 of A-Z, a-z, 0-9, \".\", \"_\", \"-\" and \":\"");
        }
        if self.advertise.len() > 255 || self.advertise.chars().any(|c| c.is_control() || c.is_whitespace()) {
            wrong.add("cluster.advertise", "must be an address without spaces, such as 10.0.0.7:3000");
        }
        if self.kind == ClusterKind::Sentinel && self.sentinel_master.is_empty() {
            wrong.add("cluster.sentinel_master", "must be what the Sentinels call the master");
        }
    }
}
