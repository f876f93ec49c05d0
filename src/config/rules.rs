//! Which values are allowed, and what production refuses.
//! Never a correction: a wrong value is named, not replaced.

mod carriers;

use super::layers::ConfigError;
use super::values::{DatabaseUrl, duration};
use super::{ClusterKind, Config, MailProvider, Profile, SmsProvider};
use entities::Backend;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// A part of the node that serves development in place of the real one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn {
    /// The setting that chose it.
    pub key: &'static str,
    /// What it does, for the operator.
    pub does: &'static str,
}

/// The fewest characters of a master secret: 128 bits, even if only hexadecimal digits are used.
const MASTER_CHARACTERS: usize = 32;
/// The most characters of a node's name.
const NODE_CHARACTERS: usize = 64;
/// What every secret holds that we ever ship, in examples and compositions.
const SHIPPED_SECRET: &str = "change-me";

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

impl Config {
    /// Refuses what is out of range, and in production every stand-in and every shipped secret.
    ///
    /// # Errors
    /// All that is wrong, by key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut wrong = ConfigError::none();
        self.check_numbers(&mut wrong);
        self.check_people(&mut wrong);
        self.check_durations(&mut wrong);
        self.check_texts(&mut wrong);
        self.oauth.check(self.profile, &mut wrong);
        if self.profile == Profile::Production {
            self.check_production(&mut wrong);
        }
        wrong.or_ok()
    }

    /// The stand-ins that serve this node.
    pub fn stand_ins(&self) -> Vec<StandIn> {
        let mut found = Vec::new();
        if self.sms.provider == SmsProvider::Log {
            found.push(StandIn { key: "sms.provider", does: "one-time codes are printed in the log, not sent" });
        }
        if self.mail.provider == MailProvider::Log {
            found.push(StandIn { key: "mail.provider", does: "letters are printed in the log, not sent" });
        }
        if self.secrets.master.is_empty() {
            found.push(StandIn { key: "secrets.master", does: "the master secret is a file in the data folder" });
        }
        if self.gateway.allowed_origins.iter().any(|origin| origin == "*") {
            found.push(StandIn { key: "gateway.allowed_origins", does: "pages of every origin may use this node" });
        }
        found
    }

    fn check_numbers(&self, wrong: &mut ConfigError) {
        const MANY: usize = 100_000_000;
        const RATE: RangeInclusive<u32> = 1..=100_000_000;
        let limits = &self.limits;
        within(wrong, "gateway.workers", self.gateway.workers, 0..=1024);
        within(wrong, "gateway.backlog", self.gateway.backlog, 1..=1 << 16);
        within(wrong, "gateway.body_bytes", self.gateway.body_bytes, 16 * KIB..=64 * MIB);
        within(wrong, "database.readers", self.database.readers, 1..=256);
        within(wrong, "database.connections", self.database.connections, 2..=10_000);
        within(wrong, "database.retries", self.database.retries, 0..=100);
        if self.database.max_bytes > 0 {
            within(wrong, "database.max_bytes", self.database.max_bytes, MIB as u64..=1 << 47);
        }
        within(wrong, "journal.lanes", self.journal.lanes, 1..=64);
        within(wrong, "journal.queue_items", self.journal.queue_items, 1..=MANY);
        within(wrong, "journal.queue_bytes", self.journal.queue_bytes, MIB..=1 << 34);
        within(wrong, "journal.batch_items", self.journal.batch_items, 1..=4096);
        within(wrong, "rooms.queue_items", self.rooms.queue_items, 1..=MANY);
        within(wrong, "rooms.queue_bytes", self.rooms.queue_bytes, 64 * KIB..=1 << 34);
        within(wrong, "limits.participants", limits.participants, 2..=1_000_000);
        within(wrong, "limits.reactions", limits.reactions, 1..=1000);
        within(wrong, "limits.frame_bytes", limits.frame_bytes, 16 * KIB..=16 * MIB);
        within(wrong, "limits.hello_bytes", limits.hello_bytes, 16 * KIB..=16 * MIB);
        within(wrong, "limits.commands_per_sec", limits.commands_per_sec, RATE);
        within(wrong, "limits.command_burst", limits.command_burst, RATE);
        within(wrong, "limits.in_flight", limits.in_flight, 1..=MANY);
        within(wrong, "limits.sockets_per_user", limits.sockets_per_user, 1..=MANY);
        within(wrong, "limits.waiting_hellos_per_address", limits.waiting_hellos_per_address, 1..=MANY);
        within(wrong, "limits.queue_bytes", limits.queue_bytes, 64 * KIB..=1 << 30);
        within(wrong, "limits.reply_bytes", limits.reply_bytes, 32 * KIB..=limits.queue_bytes);
        within(wrong, "limits.rest_per_user_per_sec", limits.rest_per_user_per_sec, RATE);
        within(wrong, "limits.rest_per_user_burst", limits.rest_per_user_burst, RATE);
        within(wrong, "limits.rest_per_address_per_sec", limits.rest_per_address_per_sec, RATE);
        within(wrong, "limits.rest_per_address_burst", limits.rest_per_address_burst, RATE);
        within(wrong, "limits.syncs_per_user_per_sec", limits.syncs_per_user_per_sec, RATE);
        within(wrong, "limits.syncs_per_user_burst", limits.syncs_per_user_burst, RATE);
        within(wrong, "auth.token_cache", self.auth.token_cache, 1..=100_000_000);
        within(wrong, "auth.otp_tries", self.auth.otp_tries, 1..=10);
        within(wrong, "auth.otp_per_hour", self.auth.otp_per_hour, 1..=1000);
        self.check_passwords(wrong);
        within(wrong, "auth.otp_per_day", self.auth.otp_per_day, self.auth.otp_per_hour..=10_000);
        within(wrong, "sms.retries", self.sms.retries, 0..=5);
        within(wrong, "mail.connections", self.mail.connections, 1..=256);
        let per_hour = self.auth.otp_per_address_per_hour;
        within(wrong, "auth.otp_per_address_per_hour", per_hour, 1..=MANY);
        within(wrong, "auth.otp_per_address_per_day", self.auth.otp_per_address_per_day, per_hour..=MANY);
        within(wrong, "auth.otp_per_country_per_day", self.auth.otp_per_country_per_day, 0..=MANY as i64);
        within(wrong, "auth.otp_in_all_per_day", self.auth.otp_in_all_per_day, 0..=MANY as i64);
    }

    fn check_people(&self, wrong: &mut ConfigError) {
        let contacts = &self.contacts;
        within(wrong, "contacts.most", contacts.most, 1..=1_000_000);
        within(wrong, "limits.devices", self.limits.devices, 1..=1000);
        within(wrong, "limits.reports_per_day", self.limits.reports_per_day, 1..=1_000_000);
        within(wrong, "contacts.numbers_first_day", contacts.numbers_first_day, 1..=1_000_000);
        within(wrong, "contacts.numbers_per_day", contacts.numbers_per_day, 1..=1_000_000);
        within(wrong, "exports.per_day", self.exports.per_day, 1..=100);
    }

    fn check_passwords(&self, wrong: &mut ConfigError) {
        let auth = &self.auth;
        within(wrong, "auth.password_characters", auth.password_characters, 8..=64);
        within(wrong, "auth.password_score", auth.password_score, 0..=4);
        // Below OWASP's lowest (7 MiB and 5 passes) nothing is gained, and above 1 GiB nobody signs in.
        within(wrong, "auth.password_memory_kib", auth.password_memory_kib, 7168..=1 << 20);
        within(wrong, "auth.password_passes", auth.password_passes, 1..=100);
        within(wrong, "auth.hashes_at_once", auth.hashes_at_once, 1..=64);
        within(wrong, "auth.hashes_waiting", auth.hashes_waiting, 0..=10_000);
        within(wrong, "auth.free_tries", auth.free_tries, 1..=100);
        within(wrong, "auth.free_tries_per_address", auth.free_tries_per_address, 1..=1_000_000);
        lasts(wrong, "auth.longest_delay", auth.longest_delay, SECOND..=DAY);
        lasts(wrong, "auth.longest_delay_per_address", auth.longest_delay_per_address, SECOND..=DAY);
    }

    fn check_durations(&self, wrong: &mut ConfigError) {
        let (database, journal, rooms) = (&self.database, &self.journal, &self.rooms);
        let (sockets, auth) = (&self.sockets, &self.auth);
        lasts(wrong, "gateway.drain_wait", self.gateway.drain_wait, Duration::ZERO..=10 * MINUTE);
        lasts(wrong, "gateway.shutdown", self.gateway.shutdown, SECOND..=10 * MINUTE);
        lasts(wrong, "database.statement_timeout", database.statement_timeout, SECOND..=10 * MINUTE);
        lasts(wrong, "database.acquire_timeout", database.acquire_timeout, SECOND / 10..=MINUTE);
        let statement = database.statement_timeout.max(SECOND);
        lasts(wrong, "database.lock_timeout", database.lock_timeout, SECOND / 100..=statement);
        lasts(wrong, "database.idle_in_transaction_timeout", database.idle_in_transaction_timeout, SECOND..=MINUTE);
        lasts(wrong, "database.retry_within", database.retry_within, Duration::ZERO..=MINUTE);
        lasts(wrong, "database.replica_lag", database.replica_lag, SECOND..=HOUR);
        lasts(wrong, "journal.outbox_keep", journal.outbox_keep, MINUTE..=30 * DAY);
        lasts(wrong, "cluster.lease", self.cluster.lease, SECOND..=HOUR);
        lasts(wrong, "rooms.idle", rooms.idle, SECOND..=DAY);
        lasts(wrong, "rooms.gap_wait", rooms.gap_wait, Duration::from_millis(1)..=5 * SECOND);
        lasts(wrong, "rooms.sweep", rooms.sweep, SECOND / 10..=10 * MINUTE);
        lasts(wrong, "sockets.hello_within", sockets.hello_within, SECOND / 10..=MINUTE);
        lasts(wrong, "sockets.heartbeat", sockets.heartbeat, SECOND..=10 * MINUTE);
        lasts(wrong, "sockets.heartbeat_answer", sockets.heartbeat_answer, SECOND..=10 * MINUTE);
        lasts(wrong, "presence.grace", self.presence.grace, Duration::ZERO..=10 * MINUTE);
        lasts(wrong, "auth.access_ttl", auth.access_ttl, 10 * SECOND..=DAY);
        lasts(wrong, "auth.refresh_ttl", auth.refresh_ttl, HOUR..=400 * DAY);
        lasts(wrong, "auth.refresh_grace", auth.refresh_grace, Duration::ZERO..=HOUR);
        lasts(wrong, "auth.otp_ttl", auth.otp_ttl, 10 * SECOND..=HOUR);
        lasts(wrong, "auth.events_keep", auth.events_keep, DAY..=4000 * DAY);
        lasts(wrong, "auth.deletion_grace", auth.deletion_grace, Duration::ZERO..=400 * DAY);
        lasts(wrong, "exports.keep", self.exports.keep, HOUR..=90 * DAY);
        lasts(wrong, "sms.timeout", self.sms.timeout, SECOND / 10..=MINUTE);
        lasts(wrong, "mail.timeout", self.mail.timeout, SECOND / 10..=5 * MINUTE);
    }

    fn check_texts(&self, wrong: &mut ConfigError) {
        if self.data.as_os_str().is_empty() {
            wrong.add("data", "must name a folder");
        }
        for (key, text) in [("auth.issuer", &self.auth.issuer), ("auth.audience", &self.auth.audience)] {
            if text.trim().is_empty() {
                wrong.add(key, "must not be empty");
            }
        }
        let issuer = &self.auth.totp_issuer;
        if issuer.trim().is_empty() || issuer.contains(':') || issuer.len() > 100 {
            wrong.add("auth.totp_issuer", "must be a name of 1 to 100 bytes without a colon");
        }
        for origin in self.gateway.allowed_origins.iter().filter(|origin| !is_origin(origin)) {
            wrong.add(
                "gateway.allowed_origins",
                format!("{origin:?} is no origin; write https://host or https://host:port"),
            );
        }
        let gateway = &self.gateway;
        match (gateway.tls_certificate.as_os_str().is_empty(), gateway.tls_key.as_os_str().is_empty()) {
            (true, false) => wrong.add("gateway.tls_certificate", "must name a file, as gateway.tls_key does"),
            (false, true) => wrong.add("gateway.tls_key", "must name a file, as gateway.tls_certificate does"),
            _ => {}
        }
        let url = self.database.url.expose();
        if !url.is_empty() && Backend::of_url(url).is_none() {
            wrong.add("database.url", "must begin with sqlite:// or postgres://, or be empty");
        }
        self.check_carriers(wrong);
        self.check_replicas(wrong);
        self.check_cluster(wrong);
        if let Err(err) = EnvFilter::builder().parse(&self.log.filter) {
            wrong.add("log.filter", err);
        }
        let master = &self.secrets.master;
        if !master.is_empty() && master.expose().chars().count() < MASTER_CHARACTERS {
            wrong.add("secrets.master", format!("must have {MASTER_CHARACTERS} characters at least"));
        }
    }

    fn check_cluster(&self, wrong: &mut ConfigError) {
        let cluster = &self.cluster;
        let known = |url: &str| url.is_empty() || ["redis://", "rediss://"].iter().any(|known| url.starts_with(known));
        if !cluster.url.expose().split(',').all(|url| known(url.trim())) {
            wrong.add("cluster.url", "must begin with redis:// or rediss://, or be empty");
        }
        if !cluster.url.is_empty() && !is_server(&self.database.url) {
            wrong.add(
                "cluster.url",
                "nodes are joined over one PostgreSQL, and database.url names SQLite: set database.url, or leave \
                 cluster.url empty",
            );
        }
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
        if cluster.node.len() > NODE_CHARACTERS || !cluster.node.bytes().all(is_plain) {
            wrong.add(
                "cluster.node",
                format!("must be up to {NODE_CHARACTERS} of A-Z, a-z, 0-9, \".\", \"_\" and \"-\""),
            );
        }
        let is_prefix = |b: u8| is_plain(b) || b == b':';
        if cluster.prefix.is_empty() || cluster.prefix.len() > NODE_CHARACTERS || !cluster.prefix.bytes().all(is_prefix)
        {
            wrong.add("cluster.prefix", "must be 1 to 64 of A-Z, a-z, 0-9, \".\", \"_\", \"-\" and \":\"");
        }
        if cluster.advertise.len() > 255 || cluster.advertise.chars().any(|c| c.is_control() || c.is_whitespace()) {
            wrong.add("cluster.advertise", "must be an address without spaces, such as 10.0.0.7:3000");
        }
        if cluster.kind == ClusterKind::Sentinel && cluster.sentinel_master.is_empty() {
            wrong.add("cluster.sentinel_master", "must be what the Sentinels call the master");
        }
    }

    fn check_replicas(&self, wrong: &mut ConfigError) {
        let database = &self.database;
        if !database.replicas.is_empty() && !is_server(&database.url) {
            wrong.add("database.replicas", "only PostgreSQL has replicas, and database.url names none");
        }
        for replica in database.replicas.iter().filter(|url| !is_server(url)) {
            wrong.add("database.replicas", format!("{} must begin with postgres://", replica.shown()));
        }
    }

    fn check_production(&self, wrong: &mut ConfigError) {
        for stand_in in self.stand_ins() {
            wrong.add(stand_in.key, format!("a stand-in, which production refuses: {}", stand_in.does));
        }
        let secrets = [
            ("secrets.master", self.secrets.master.expose()),
            ("database.url", self.database.url.expose()),
            ("cluster.url", self.cluster.url.expose()),
            ("cluster.sentinel_password", self.cluster.sentinel_password.expose()),
            ("sms.secret", self.sms.secret.expose()),
            ("mail.password", self.mail.password.expose()),
        ];
        let replicas = self.database.replicas.iter().map(|url| ("database.replicas", url.expose()));
        let of_providers = self.oauth.secrets();
        let of_providers = of_providers.iter().map(|(key, secret)| (key.as_str(), secret.expose()));
        for (key, secret) in secrets.into_iter().chain(replicas).chain(of_providers) {
            if secret.to_lowercase().contains(SHIPPED_SECRET) {
                wrong.add(key, "a shipped secret, which production refuses");
            }
        }
    }
}

fn within<T: PartialOrd + Display>(wrong: &mut ConfigError, key: &str, value: T, range: RangeInclusive<T>) {
    if !range.contains(&value) {
        wrong.add(key, format!("{value} is not in {} to {}", range.start(), range.end()));
    }
}

fn lasts(wrong: &mut ConfigError, key: &str, value: Duration, range: RangeInclusive<Duration>) {
    if !range.contains(&value) {
        let [value, start, end] = [value, *range.start(), *range.end()].map(duration::print);
        wrong.add(key, format!("{value} is not in {start} to {end}"));
    }
}

/// Whether a URL names a PostgreSQL.
fn is_server(url: &DatabaseUrl) -> bool {
    Backend::of_url(url.expose()) == Some(Backend::Postgres)
}

/// Whether a text is an origin as browsers send it: a scheme, a host and perhaps a port, in lower case.
pub(super) fn is_origin(text: &str) -> bool {
    let Some(("http" | "https", host)) = text.split_once("://") else {
        return text == "*";
    };
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]_".contains(&b))
}
