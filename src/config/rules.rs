//! That every section is checked, by what, and what production refuses.
//! Never which values are allowed: each section says so beside its fields. Never a correction: a wrong value is named,
//! not replaced.

use super::layers::ConfigError;
use super::values::duration;
use super::{Config, MailProvider, Profile, SmsProvider};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A part of the node that serves development in place of the real one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandIn {
    /// The setting that chose it.
    pub key: &'static str,
    /// What it does, for the operator.
    pub does: &'static str,
}

/// What every secret holds that we ever ship, in examples and compositions.
const SHIPPED_SECRET: &str = "change-me";

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
pub(super) const KIB: usize = 1 << 10;
pub(super) const MIB: usize = 1 << 20;
/// More than anybody needs, and no overflow yet.
pub(super) const MANY: usize = 100_000_000;

impl Config {
    /// Refuses what is out of range, and in production every stand-in and every shipped secret.
    ///
    /// # Errors
    /// All that is wrong, by key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut wrong = ConfigError::none();
        if self.data.as_os_str().is_empty() {
            wrong.add("data", "must name a folder");
        }
        self.gateway.check(&mut wrong);
        self.database.check(&mut wrong);
        self.cluster.check(&self.database, &mut wrong);
        self.journal.check(&mut wrong);
        self.rooms.check(&mut wrong);
        self.limits.check(&mut wrong);
        self.sockets.check(&mut wrong);
        self.presence.check(&mut wrong);
        self.auth.check(&mut wrong);
        self.exports.check(&mut wrong);
        self.sms.check(&self.auth, &mut wrong);
        self.mail.check(&mut wrong);
        self.oauth.check(self.profile, &mut wrong);
        self.contacts.check(&mut wrong);
        self.secrets.check(&mut wrong);
        self.log.check(&mut wrong);
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

pub(super) fn within<T: PartialOrd + Display>(wrong: &mut ConfigError, key: &str, value: T, range: RangeInclusive<T>) {
    if !range.contains(&value) {
        wrong.add(key, format!("{value} is not in {} to {}", range.start(), range.end()));
    }
}

pub(super) fn lasts(wrong: &mut ConfigError, key: &str, value: Duration, range: RangeInclusive<Duration>) {
    if !range.contains(&value) {
        let [value, start, end] = [value, *range.start(), *range.end()].map(duration::print);
        wrong.add(key, format!("{value} is not in {start} to {end}"));
    }
}

/// Whether a text is an origin as browsers send it: a scheme, a host and perhaps a port, in lower case.
pub(super) fn is_origin(text: &str) -> bool {
    let Some(("http" | "https", host)) = text.split_once("://") else {
        return text == "*";
    };
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-:[]_".contains(&b))
}
