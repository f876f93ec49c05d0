//! The settings: typed sections, read from `config.toml` < `--config FILE` < `QUCKCHAT__SECTION__KEY` < arguments.
//! Never a default: those stand in `config.toml`, which is compiled in.

mod auth;
mod carriers;
mod cluster;
mod database;
mod gateway;
mod layers;
mod limits;
mod log;
pub mod oauth;
mod rooms;
mod rules;
mod secrets;
mod values;

pub use auth::{Auth, Contacts, Exports};
pub use carriers::{Mail, MailProvider, MailTls, Sms, SmsProvider};
pub use cluster::{Cluster, ClusterKind};
pub use database::Database;
pub use gateway::{Gateway, Operations};
pub use layers::ConfigError;
pub use limits::ClientLimits;
pub use log::{Log, LogFormat};
pub use oauth::OAuth;
pub use rooms::{Journal, Presence, Rooms, Sockets};
pub use rules::StandIn;
pub use secrets::Secrets;
pub use values::{ClusterUrl, DatabaseUrl, Secret};

use actors::limits::Limits;
use entities::Backend;
use layers::Layer;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The shipped settings: the base of every configuration, and the list of what can be set.
const BASE: &str = include_str!("../config.toml");

/// What a node is run with.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether stand-ins may serve.
    pub profile: Profile,
    /// The folder for what the node keeps.
    pub data: PathBuf,
    /// The doors.
    pub gateway: Gateway,
    /// The operator's door.
    pub operations: Operations,
    /// The rows.
    pub database: Database,
    /// What joins nodes.
    pub cluster: Cluster,
    /// The group commit.
    pub journal: Journal,
    /// What is alive.
    pub rooms: Rooms,
    /// What clients may ask for.
    pub limits: ClientLimits,
    /// The pace of sockets.
    pub sockets: Sockets,
    /// Who is there.
    pub presence: Presence,
    /// Signing in.
    pub auth: Auth,
    /// Copies of what is known of somebody.
    pub exports: Exports,
    /// Who carries codes to phones.
    pub sms: Sms,
    /// Who carries letters to e-mail addresses.
    pub mail: Mail,
    /// Who else vouches for people.
    pub oauth: OAuth,
    /// Address books.
    pub contacts: Contacts,
    /// What other keys come from.
    pub secrets: Secrets,
    /// What is logged.
    pub log: Log,
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Serves from a clone, with stand-ins.
    Development,
    /// Refuses stand-ins and shipped secrets.
    Production,
}

impl Config {
    /// Reads the configuration: the shipped settings, `file` over them, then the environment, then `arguments`
    /// (a key such as `gateway.listen`, and its value as text).
    ///
    /// # Errors
    /// Every key that does not exist, or whose value is wrong, by name and with where it came from.
    pub fn load(file: Option<&Path>, arguments: &[(&str, String)]) -> Result<Config, ConfigError> {
        let mut over = Vec::new();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|err| ConfigError::one(path.display(), err))?;
            over.push(Layer::toml(&path.display().to_string(), &text)?);
        }
        over.push(Layer::environment(config::Environment::default())?);
        over.push(Layer::texts("the arguments", arguments));
        Config::layered(over)
    }

    /// The shipped settings as they are, for tests and tools.
    ///
    /// # Errors
    /// None, as a test of this file holds.
    pub fn shipped() -> Result<Config, ConfigError> {
        Config::layered(Vec::new())
    }

    fn layered(over: Vec<Layer>) -> Result<Config, ConfigError> {
        let config: Config = layers::merge(Layer::toml("config.toml", BASE)?, over)?;
        config.validate()?;
        Ok(config)
    }

    /// What `actors` keeps to.
    pub fn limits(&self) -> Limits {
        Limits {
            participants: self.limits.participants,
            reactions: self.limits.reactions,
            frame_bytes: self.limits.frame_bytes,
            hello_bytes: self.limits.hello_bytes,
            commands_per_sec: self.limits.commands_per_sec,
            command_burst: self.limits.command_burst,
            in_flight: self.limits.in_flight,
            sockets_per_user: self.limits.sockets_per_user,
            queue_bytes: self.limits.queue_bytes,
            reply_bytes: self.limits.reply_bytes,
            room_items: self.rooms.queue_items,
            room_bytes: self.rooms.queue_bytes,
            journal_items: self.journal.queue_items,
            journal_bytes: self.journal.queue_bytes,
            batch_items: self.journal.batch_items,
            lanes: self.journal.lanes,
            room_idle: self.rooms.idle,
            gap_wait: self.rooms.gap_wait,
            lease: self.cluster.lease,
            sweep: self.rooms.sweep,
            hello_within: self.sockets.hello_within,
            heartbeat: self.sockets.heartbeat,
            heartbeat_answer: self.sockets.heartbeat_answer,
            presence_grace: self.presence.grace,
            outbox_keep: self.journal.outbox_keep,
        }
    }

    /// How to open the database.
    pub fn database(&self) -> entities::Options {
        let in_data = || format!("sqlite://{}", self.data.join("quckchat.db").display());
        let url = Some(self.database.url.expose()).filter(|url| !url.is_empty()).map_or_else(in_data, str::to_owned);
        let max_connections = match Backend::of_url(&url) {
            Some(Backend::Sqlite) => self.database.readers,
            _ => self.database.connections,
        };
        entities::Options {
            max_connections,
            acquire_timeout: self.database.acquire_timeout,
            statement_timeout: self.database.statement_timeout,
            lock_timeout: self.database.lock_timeout,
            idle_in_transaction_timeout: self.database.idle_in_transaction_timeout,
            retries: self.database.retries,
            retry_within: self.database.retry_within,
            replicas: self.database.replicas.iter().map(|url| url.expose().to_owned()).collect(),
            replica_lag: self.database.replica_lag,
            max_bytes: self.database.max_bytes,
            ..entities::Options::new(url)
        }
    }

    /// Which database it is, for the operator, without its password.
    pub fn shown_database(&self) -> String {
        match self.database.url.shown() {
            url if url.is_empty() => format!("SQLite in {}", self.data.display()),
            url => url,
        }
    }

    /// What is in effect, as TOML with the shipped comments; secrets are hidden.
    pub fn to_toml(&self) -> String {
        layers::rewrite(BASE, &serde_json::to_value(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn file(text: &str) -> Result<Config, ConfigError> {
        Config::layered(vec![Layer::toml("node.toml", text)?])
    }

    fn environment(name: &str, value: &str) -> Result<Config, ConfigError> {
        let variables = [(name.to_owned(), value.to_owned())].into_iter().collect();
        Config::layered(vec![Layer::environment(config::Environment::default().source(Some(variables)))?])
    }

    #[test]
    fn the_shipped_settings_are_whole_and_valid() {
        let config = Config::shipped().unwrap();
        assert_eq!(config.auth.refresh_ttl, Duration::from_secs(60 * 86_400));
        assert_eq!(config.limits().gap_wait, Duration::from_millis(50));
        assert_eq!(config.database().url, "sqlite://data/quckchat.db");
        assert_eq!(config.database().max_connections, 4);
    }

    #[test]
    fn later_layers_win() {
        let text = |value: &str| value.to_owned();
        let variables = [
            (text("QUCKCHAT__LIMITS__REACTIONS"), text("7")),
            (text("QUCKCHAT__GATEWAY__ALLOWED_ORIGINS"), text("https://a.example, https://b.example")),
            (text("QUCKCHAT__SECRETS__MASTER"), text("0123456789012345678901234567890123")),
            (text("QUCKCHAT_TEST_POSTGRES"), text("not ours to read")),
        ];
        let config = Config::layered(vec![
            Layer::toml("node.toml", "data = 'there'\n[limits]\nreactions = 6\nin_flight = 64").unwrap(),
            Layer::environment(config::Environment::default().source(Some(variables.into_iter().collect()))).unwrap(),
            Layer::texts("the arguments", &[("data", text("here")), ("gateway.listen", text("[::1]:0"))]),
        ])
        .unwrap();
        assert_eq!((config.limits.reactions, config.limits.in_flight), (7, 64));
        assert_eq!(config.data, Path::new("here"));
        assert_eq!(config.gateway.listen.to_string(), "[::1]:0");
        assert_eq!(config.gateway.allowed_origins, ["https://a.example", "https://b.example"]);
        // All digits, and yet a text to the last of them.
        assert_eq!(config.secrets.master.expose().len(), 34);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_refused_by_name() {
        for (text, key) in [
            ("[rooms]\nidel = '5m'", "rooms.idel"),
            ("[roms]\nidle = '5m'", "roms.idle"),
            ("listen = '127.0.0.1:1'", "listen"),
            ("gateway = 3", "gateway"),
            ("[gateway.listen]\nport = 3", "gateway.listen.port"),
            ("[limits]\nparticipants = 'many'", "limits.participants"),
            ("[limits]\nparticipants = true", "limits.participants"),
            ("[limits]\nparticipants = 1.5", "limits.participants"),
            ("[limits]\nparticipants = -1", "limits.participants"),
            ("[limits]\nparticipants = 1", "limits.participants"),
            ("[sockets]\nheartbeat = 25", "sockets.heartbeat"),
            ("[sockets]\nheartbeat = '25'", "sockets.heartbeat"),
            ("[sockets]\nheartbeat = 'soon'", "sockets.heartbeat"),
            ("[sockets]\nheartbeat = '-5s'", "sockets.heartbeat"),
            ("[sockets]\nheartbeat = '1 month'", "sockets.heartbeat"),
            ("[sockets]\nheartbeat = '0s'", "sockets.heartbeat"),
            ("profile = 'staging'", "profile"),
            ("[sms]\nprovider = 'pigeon'", "sms.provider"),
            ("[gateway]\nlisten = 'localhost'", "gateway.listen"),
            ("[operations]\nlisten = 'here'", "operations.listen"),
            ("[gateway]\ntrusted_proxies = ['10.0.0.0/33']", "gateway.trusted_proxies"),
            ("[gateway]\nallowed_origins = ['https://a.example/']", "gateway.allowed_origins"),
            ("[gateway]\nallowed_origins = [1]", "gateway.allowed_origins"),
            ("[database]\nurl = 'mysql://host/db'", "database.url"),
            ("[database]\nreplicas = ['postgres://host/db']", "database.replicas"),
            ("[database]\nurl = 'postgres://host/db'\nreplicas = ['sqlite://file']", "database.replicas"),
            ("[cluster]\nurl = 'redis://host'", "cluster.url"),
            ("[database]\nurl = 'sqlite://file'\n[cluster]\nurl = 'redis://host'", "cluster.url"),
            ("[database]\nlock_timeout = '20s'", "database.lock_timeout"),
            ("[database]\nacquire_timeout = '1ms'", "database.acquire_timeout"),
            ("[database]\nretries = 1000", "database.retries"),
            ("[database]\nmax_bytes = 1000", "database.max_bytes"),
            ("[secrets]\nmaster = 'short'", "secrets.master"),
            ("[auth]\nissuer = ''", "auth.issuer"),
            ("[auth]\nfresh = '0s'", "auth.fresh"),
            ("[auth]\nfresh = '2d'", "auth.fresh"),
            ("[log]\nfilter = 'quckchat=loud'", "log.filter"),
            ("[auth]\notp_per_day = 1", "auth.otp_per_day"),
            ("[oauth.providers]\ngoogle = 'x'", "oauth.providers.google"),
            ("[oauth.providers.google]\nsecret = 'x'", "oauth.providers.google.secret"),
            ("[oauth.providers.Google]\nclient_id = 'x'", "oauth.providers.Google.client_id"),
            ("[oauth.providers.NAME]\nclient_id = 'x'", "oauth.providers.NAME.client_id"),
            ("[oauth.providers.google]\ntrust_email = 'yes'", "oauth.providers.google.trust_email"),
            ("[oauth.providers.google]\nkind = 'sheet'", "oauth.providers.google.kind"),
            ("[oauth.providers.a.b]\nkind = 'oidc'", "oauth.providers.a.b.kind"),
            ("[limits]\nreply_bytes = 2_000_000", "limits.reply_bytes"),
        ] {
            let error = file(text).expect_err(text);
            assert!(error.names(key), "{text}: {error}");
            let from_elsewhere = error.to_string().contains(" (in ") && !error.to_string().contains("node.toml");
            assert!(!from_elsewhere, "{error}");
        }
        assert!(file("[limits").unwrap_err().to_string().contains("node.toml"));
    }

    #[test]
    fn what_is_wrong_in_the_environment_is_refused_by_name() {
        for (name, value, key) in [
            ("QUCKCHAT__ROOMS__IDEL", "5m", "rooms.idel"),
            ("QUCKCHAT__LISTEN", "127.0.0.1:1", "listen"),
            ("QUCKCHAT__GATEWAY", "x", "gateway"),
            ("QUCKCHAT__LIMITS__PARTICIPANTS", "many", "limits.participants"),
            ("QUCKCHAT__LIMITS__PARTICIPANTS", "", "limits.participants"),
            ("QUCKCHAT__ROOMS__IDLE", "300", "rooms.idle"),
            ("QUCKCHAT__ROOMS__IDLE", "a while", "rooms.idle"),
            ("QUCKCHAT__OAUTH__PROVIDERS__GOOGLE__SECRET", "x", "oauth.providers.google.secret"),
            ("QUCKCHAT__OAUTH__PROVIDERS__GOOGLE__TRUST_EMAIL", "yes", "oauth.providers.google.trust_email"),
        ] {
            let error = environment(name, value).expect_err(name);
            assert!(error.names(key), "{name}: {error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn production_refuses_stand_ins_and_shipped_secrets() {
        let error = file("profile = 'production'\n[gateway]\nallowed_origins = ['*']").unwrap_err();
        for key in ["sms.provider", "mail.provider", "secrets.master", "gateway.allowed_origins"] {
            assert!(error.names(key), "{error}");
        }
        assert!(!error.names("database.url"), "SQLite may serve: {error}");

        let error = file(
            "profile = 'production'
            [secrets]
            master = 'change-me-change-me-change-me-change-me'
            [database]
            url = 'postgres://quckchat:change-me@db/quckchat'",
        )
        .unwrap_err();
        for key in ["secrets.master", "database.url"] {
            assert!(error.names(key), "{error}");
        }
        assert!(!error.to_string().contains("change-me-change"), "{error}");
    }

    #[test]
    fn what_is_printed_reads_back_and_hides_secrets() {
        let master = "in-no-output-in-no-output-in-no-output";
        let text = format!(
            "[secrets]\nmaster = '{master}'\n[database]\nurl = 'postgres://ann:hid\"den@host:5/db'\n
            [cluster]\nurl = 'rediss://node:hid@one:6379, rediss://node:hid@two:6379'
            [auth]\nrefresh_ttl = '36h'\n[gateway]\ntrusted_proxies = ['10.1.2.3', 'fd00::/8']"
        );
        let config = file(&text).unwrap();
        let printed = config.to_toml();
        assert!(!printed.contains(master) && !format!("{config:?}").contains(master), "{printed}");
        assert!(!printed.contains("hid") && !format!("{config:?}").contains("hid\\\""), "{printed}");
        assert!(printed.contains("postgres://ann:***@host:5/db"), "{printed}");
        assert!(printed.contains("rediss://node:***@one:6379,rediss://node:***@two:6379"), "{printed}");
        assert!(printed.contains("refresh_ttl = \"36h\""), "{printed}");
        assert!(printed.contains(r#"trusted_proxies = ["10.1.2.3/32","fd00::/8"]"#), "{printed}");
        assert_eq!(printed.lines().count(), BASE.lines().count());
        let readable = printed.replace("master = \"***\"", "master = \"\"");
        assert_eq!(file(&readable).unwrap().to_toml().replace("master = \"\"", "master = \"***\""), printed);
    }

    #[test]
    fn origins_are_exact_and_the_own_host_always_may() {
        let gateway = file("[gateway]\nallowed_origins = ['https://chat.example']").unwrap().gateway;
        for (origin, host, allowed) in [
            ("https://chat.example", Some("node.example"), true),
            ("http://chat.example", Some("node.example"), false),
            ("https://chat.example.evil", Some("node.example"), false),
            ("http://localhost:3000", Some("localhost:3000"), true),
            ("http://localhost:4000", Some("localhost:3000"), false),
            ("null", Some("null"), false),
            ("https://node.example", None, false),
        ] {
            assert_eq!(gateway.allows_origin(origin, host), allowed, "{origin} at {host:?}");
        }
    }
}
