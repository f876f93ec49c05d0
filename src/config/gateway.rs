//! `[gateway]` and `[operations]`: where a node is reached, and by whom.
//! Never whether an address is free, or a certificate good.

use super::layers::ConfigError;
use super::rules::{KIB, MIB, MINUTE, SECOND, is_origin, lasts, within};
use super::values::{addresses, duration, networks};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// `[gateway]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Where REST and sockets are served.
    pub listen: SocketAddr,
    /// Threads that serve connections; 0 is one for each core. See `worker_count`.
    pub workers: usize,
    /// Connections that the system holds until they are accepted.
    pub backlog: u32,
    /// Networks of the proxies in front.
    #[serde(with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Origins of pages that may use this node, or `*`. See `allows_origin`.
    pub allowed_origins: Vec<String>,
    /// The largest body of a request.
    pub body_bytes: usize,
    /// How long a node that goes away says so before it sends its sockets away.
    #[serde(with = "duration")]
    pub drain_wait: Duration,
    /// How long shutting down may take after that.
    #[serde(with = "duration")]
    pub shutdown: Duration,
    /// The certificate's file, if the node speaks TLS itself; empty is plain.
    pub tls_certificate: PathBuf,
    /// Its private key's file.
    pub tls_key: PathBuf,
}

impl Gateway {
    /// How many threads serve connections.
    pub fn worker_count(&self) -> usize {
        or_cores(self.workers)
    }

    /// Whether a page of `origin` may use this node, which the request names as `host` (its `Host`).
    pub fn allows_origin(&self, origin: &str, host: Option<&str>) -> bool {
        let of_this_host = match (origin.split_once("://"), host) {
            (Some((_, origin_host)), Some(host)) => origin_host.eq_ignore_ascii_case(host),
            _ => false,
        };
        of_this_host || self.allowed_origins.iter().any(|allowed| allowed == "*" || allowed == origin)
    }

    pub(super) fn check(&self, wrong: &mut ConfigError) {
        within(wrong, "gateway.workers", self.workers, 0..=1024);
        within(wrong, "gateway.backlog", self.backlog, 1..=1 << 16);
        within(wrong, "gateway.body_bytes", self.body_bytes, 16 * KIB..=64 * MIB);
        lasts(wrong, "gateway.drain_wait", self.drain_wait, Duration::ZERO..=10 * MINUTE);
        lasts(wrong, "gateway.shutdown", self.shutdown, SECOND..=10 * MINUTE);
        for origin in self.allowed_origins.iter().filter(|origin| !is_origin(origin)) {
            wrong.add(
                "gateway.allowed_origins",
                format!("{origin:?} is no origin; write https://host or https://host:port"),
            );
        }
        match (self.tls_certificate.as_os_str().is_empty(), self.tls_key.as_os_str().is_empty()) {
            (true, false) => wrong.add("gateway.tls_certificate", "must name a file, as gateway.tls_key does"),
            (false, true) => wrong.add("gateway.tls_key", "must name a file, as gateway.tls_certificate does"),
            _ => {}
        }
    }
}

/// `[operations]`
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Operations {
    /// Where health and metrics are served, if anywhere.
    #[serde(with = "addresses")]
    pub listen: Option<SocketAddr>,
}

fn or_cores(count: usize) -> usize {
    match count {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        chosen => chosen,
    }
}
