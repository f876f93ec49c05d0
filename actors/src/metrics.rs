//! What the operator sees of rooms, sockets and the journal (names and units as Prometheus asks).
//! Never a decision: nothing reads these but the metrics page.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The meters of this crate.
pub struct Metrics {
    /// Sockets that have said hello.
    pub sockets: Gauge,
    /// Topics that somebody listens to.
    pub entries: Gauge,
    /// Open rooms of conversations.
    pub rooms: Gauge,
    /// Bytes that wait for sockets.
    pub queue_bytes: Gauge,
    /// Sockets closed as too slow.
    pub too_slow: Counter,
    /// Items that wait for the journal.
    pub journal_waiting: Gauge,
    /// Items of a journal's transaction.
    pub journal_batch: Histogram,
    /// Seconds from the begin of a journal's transaction to its commit.
    pub journal_commit: Histogram,
    /// Transactions whose items had to be tried one by one, or whose outcome is unknown.
    pub journal_failures: Counter,
    /// Transactions that were rolled back and tried again as a whole.
    pub journal_retries: Counter,
    /// Pages of history that came from a replica.
    pub replica_pages: Counter,
    /// Topics that were behind the rows and were mended.
    pub mended: Counter,
    /// Nodes that hold a lease.
    pub nodes: Gauge,
    /// Hellos answered with `ready`.
    pub readies: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            sockets: Gauge::default(),
            entries: Gauge::default(),
            rooms: Gauge::default(),
            queue_bytes: Gauge::default(),
            too_slow: Counter::default(),
            journal_waiting: Gauge::default(),
            journal_batch: Histogram::new(exponential_buckets(1.0, 2.0, 10)),
            journal_commit: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            journal_failures: Counter::default(),
            journal_retries: Counter::default(),
            replica_pages: Counter::default(),
            mended: Counter::default(),
            nodes: Gauge::default(),
            readies: Counter::default(),
        }
    }
}

impl Metrics {
    /// Names them in a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("sockets", "Sockets that have said hello", self.sockets.clone());
        registry.register("entries", "Topics that somebody on this node listens to", self.entries.clone());
        registry.register("rooms", "Open rooms of conversations", self.rooms.clone());
        registry.register_with_unit("queue", "Bytes that wait for sockets", Unit::Bytes, self.queue_bytes.clone());
        registry.register("sockets_too_slow", "Sockets closed as too slow", self.too_slow.clone());
        registry.register("journal_waiting", "Items that wait for the journal", self.journal_waiting.clone());
        registry.register("journal_batch_items", "Items of a journal's transaction", self.journal_batch.clone());
        registry.register_with_unit(
            "journal_commit",
            "Duration of a journal's transaction",
            Unit::Seconds,
            self.journal_commit.clone(),
        );
        registry.register("journal_failures", "Transactions that failed as a whole", self.journal_failures.clone());
        registry.register("journal_retries", "Transactions that were tried again", self.journal_retries.clone());
        registry.register("replica_pages", "Pages of history from a replica", self.replica_pages.clone());
        registry.register("mended", "Topics that were behind the rows and were mended", self.mended.clone());
        registry.register("nodes", "Nodes that live, by their leases", self.nodes.clone());
        registry.register("hellos", "Hellos answered with ready", self.readies.clone());
    }
}
