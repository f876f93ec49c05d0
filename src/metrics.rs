//! What the operator sees at `/metrics`: commands, refusals, the database pool, and what `actors` counts.
//! Never a decision: nothing reads these but that page and the detailed health.

use crate::auth::{hasher, notices};
use crate::gateway::dispatch::COMMANDS;
use crate::users::leaving;
use actors::cluster;
use actors::protocol::{Door, ErrorCode};
use entities::Db;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;
use std::time::Duration;

/// What the page is, for `Content-Type`.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A command's latency at each of `DOORS` that serves it.
type ByDoor = [Option<Histogram>; 2];

type Labels = [(&'static str, &'static str); 2];

/// The node's meters. Those that a command touches are looked up at the start: to count costs no look-up by label.
pub struct Metrics {
    registry: Registry,
    /// By name, in order.
    commands: Vec<(&'static str, ByDoor)>,
    /// By door, then as `ErrorCode::ALL` has them.
    refusals: [Vec<Counter>; 2],
    pool_open: Gauge,
    pool_idle: Gauge,
    wal_bytes: Gauge,
    cluster_up: Gauge,
    ready: Gauge,
    alive: [Gauge; 5],
    /// Those of copies, and of accounts that end.
    pub leaving: leaving::Meters,
}

/// What is alive on this node, in numbers.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alive {
    /// Sockets that have said hello.
    pub sockets: i64,
    /// Open rooms.
    pub rooms: i64,
    /// Topics that somebody listens to.
    pub topics: i64,
    /// Bytes that wait for sockets.
    pub queue_bytes: i64,
    /// Changes that wait to be committed.
    pub journal_waiting: i64,
}

/// The doors that are told apart: REST, and sockets of whatever namespace.
const DOORS: [(&str, Door); 2] = [("rest", Door::Rest), ("socket", Door::Socket)];

fn index(door: Door) -> usize {
    usize::from(door.is_socket())
}

impl Metrics {
    /// All meters at zero, those of `actors` and of the link to other nodes among them.
    pub fn new(
        actors: &actors::metrics::Metrics,
        cluster: &cluster::Meters,
        passwords: &hasher::Meters,
        notices: &notices::Meters,
    ) -> Metrics {
        let mut registry = Registry::with_prefix("quckchat");
        actors.register(&mut registry);
        cluster.register(&mut registry);
        passwords.register(&mut registry);
        notices.register(&mut registry);
        let leaving = leaving::Meters::default();
        leaving.register(&mut registry);

        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 14));
        let latency = Family::<Labels, Histogram, _>::new_with_constructor(seconds);
        let mut commands: Vec<_> = COMMANDS
            .iter()
            .map(|served| {
                let at = |(name, door)| {
                    let labels = [("command", served.name), ("door", name)];
                    served.doors.serve(served.name, door).then(|| latency.get_or_create_owned(&labels))
                };
                (served.name, DOORS.map(at))
            })
            .collect();
        commands.sort_unstable_by_key(|(name, _)| *name);
        registry.register_with_unit("command", "Time from a command to its reply", Unit::Seconds, latency);

        let refused = Family::<Labels, Counter>::default();
        let refusals = DOORS.map(|(name, _)| {
            let count = |code: &ErrorCode| refused.get_or_create_owned(&[("code", code.as_str()), ("door", name)]);
            ErrorCode::ALL.iter().map(count).collect()
        });
        registry.register("refusals", "Requests and commands refused, or failed as server.unavailable", refused);

        let [pool_open, pool_idle, wal_bytes, cluster_up, ready] = [(); 5].map(|()| Gauge::default());
        registry.register("cluster_up", "Whether the node hears the others: 1 or 0", cluster_up.clone());
        registry.register("ready", "Whether the node may be sent requests: 1 or 0", ready.clone());
        registry.register("database_connections", "Connections to the database", pool_open.clone());
        registry.register("database_connections_idle", "Connections that nobody uses", pool_idle.clone());
        let wal_help = "Length of SQLite's write-ahead log";
        registry.register_with_unit("database_wal", wal_help, Unit::Bytes, wal_bytes.clone());

        let alive = [&actors.sockets, &actors.rooms, &actors.entries, &actors.queue_bytes, &actors.journal_waiting];
        let alive = alive.map(Gauge::clone);
        Metrics { registry, commands, refusals, pool_open, pool_idle, wal_bytes, cluster_up, ready, alive, leaving }
    }

    /// What is alive now.
    pub fn alive(&self) -> Alive {
        let [sockets, rooms, topics, queue_bytes, journal_waiting] = self.alive.each_ref().map(Gauge::get);
        Alive { sockets, rooms, topics, queue_bytes, journal_waiting }
    }

    /// A command was served, or refused with a code. REST's refusals are counted where they are answered, those of the
    /// extractors among them: see `refused`.
    pub fn command(&self, name: &'static str, door: Door, elapsed: Duration, refused: Option<ErrorCode>) {
        let found = self.commands.binary_search_by_key(&name, |(name, _)| *name);
        if let Some(latency) = found.ok().and_then(|at| self.commands[at].1[index(door)].as_ref()) {
            latency.observe(elapsed.as_secs_f64());
        }
        if let Some(code) = refused.filter(|_| door.is_socket()) {
            self.refused(door, code);
        }
    }

    /// A door answered with an error.
    pub fn refused(&self, door: Door, code: ErrorCode) {
        if let Some(counter) = self.refusals[index(door)].get(code as usize) {
            counter.inc();
        }
    }

    /// The page, in OpenMetrics' text format, which Prometheus reads.
    ///
    /// # Errors
    /// None that is known: it is written to memory.
    pub fn render(&self, db: &Db, is_linked: bool, is_ready: bool) -> Result<String, std::fmt::Error> {
        self.cluster_up.set(i64::from(is_linked));
        self.ready.set(i64::from(is_ready));
        self.pool_open.set(i64::from(db.pool_size()));
        self.pool_idle.set(i64::try_from(db.pool_idle()).unwrap_or(i64::MAX));
        self.wal_bytes.set(i64::try_from(db.wal_bytes()).unwrap_or(i64::MAX));
        let mut page = String::with_capacity(64 << 10);
        prometheus_client::encoding::text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(metrics: &Metrics) -> String {
        let mut page = String::new();
        prometheus_client::encoding::text::encode(&mut page, &metrics.registry).unwrap();
        page
    }

    #[test]
    fn commands_and_refusals_are_counted_by_name_and_door() {
        let (actors, cluster) = (actors::metrics::Metrics::default(), cluster::Meters::default());
        let metrics = Metrics::new(&actors, &cluster, &hasher::Meters::default(), &notices::Meters::default());
        let spent = Duration::from_millis(3);
        metrics.command("messages.send", Door::Rest, spent, None);
        metrics.command("messages.send", Door::ChatSocket, spent, Some(ErrorCode::ConversationNotFound));
        metrics.command("messages.edit", Door::Rest, spent, Some(ErrorCode::MessageNotFound));
        metrics.refused(Door::Rest, ErrorCode::MessageNotFound);
        let page = page(&metrics);
        for line in [
            r#"quckchat_command_seconds_count{command="messages.send",door="rest"} 1"#,
            r#"quckchat_command_seconds_count{command="messages.send",door="socket"} 1"#,
            r#"quckchat_refusals_total{code="conversation.not_found",door="socket"} 1"#,
            r#"quckchat_refusals_total{code="message.not_found",door="rest"} 1"#,
            r#"quckchat_refusals_total{code="request.invalid",door="rest"} 0"#,
        ] {
            assert!(page.contains(line), "{line}");
        }
    }

    #[test]
    fn a_code_is_counted_where_it_stands_among_all() {
        for (place, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(*code as usize, place);
        }
    }
}
