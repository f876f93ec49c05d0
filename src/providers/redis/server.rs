//! Which Redis there is, and connections to it: one server, a master that Sentinels name, or a Redis Cluster.
//! Never what is said on them.

use crate::config;
use anyhow::{Context, bail};
use futures_util::future::try_join_all;
use redis::aio::{AsyncPushSender, ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline,
    ProtocolVersion, RedisError, RedisFuture, RedisResult, TlsCertificates, TlsMode, Value, cmd,
};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::Mutex;

/// A Redis that answers nothing for so long is away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// The oldest that has sharded channels. Valkey says 7.2 here.
const OLDEST: (u32, u32) = (7, 0);

/// Where Redis is, and of what kind.
pub enum Server {
    /// One server.
    Standalone(Client),
    /// The master that these name.
    Sentinel(Mutex<SentinelClient>),
    /// Several, each with a part of the channels and keys.
    Cluster(Vec<ConnectionInfo>, Option<TlsCertificates>),
}

/// A connection; a clone shares it.
#[derive(Clone)]
pub enum Connection {
    /// To one server.
    Single(MultiplexedConnection),
    /// To all of a Redis Cluster.
    Cluster(ClusterConnection),
}

impl Server {
    /// What the settings name.
    ///
    /// # Errors
    /// An address or a certificate that cannot be read, with its key.
    pub fn from_config(config: &config::Cluster) -> anyhow::Result<Server> {
        let certificates = if config.ca.as_os_str().is_empty() {
            None
        } else {
            let root_cert = std::fs::read(&config.ca).context("cluster.ca cannot be read")?;
            Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
        };
        let addresses = config.url.expose().split(',').map(|url| address(url.trim()));
        let mut addresses = addresses.collect::<RedisResult<Vec<_>>>().context("cluster.url")?;
        match config.kind {
            config::ClusterKind::Standalone => match (addresses.pop(), addresses.is_empty()) {
                (Some(one), true) => Ok(Server::Standalone(client(one, certificates).context("cluster.url")?)),
                _ => bail!("cluster.url: several servers are a \"sentinel\" or a \"cluster\"; set cluster.kind"),
            },
            config::ClusterKind::Sentinel => {
                let sentinels = sentinels(config, &addresses, certificates).context("cluster.url")?;
                Ok(Server::Sentinel(Mutex::new(sentinels)))
            }
            config::ClusterKind::Cluster => Ok(Server::Cluster(addresses, certificates)),
        }
    }

    /// Connects; `push` hears what is published, and that the connection has ended.
    pub async fn connect(&self, push: impl AsyncPushSender) -> RedisResult<Connection> {
        let client = match self {
            Server::Standalone(client) => client.clone(),
            Server::Sentinel(sentinels) => sentinels.lock().await.async_get_client().await?,
            Server::Cluster(addresses, certificates) => {
                let client = ClusterClientBuilder::new(addresses.clone())
                    .use_protocol(ProtocolVersion::RESP3)
                    .connection_timeout(ANSWERS_WITHIN)
                    .response_timeout(ANSWERS_WITHIN)
                    .push_sender(push);
                let client = match certificates {
                    Some(certificates) => client.certs(certificates.clone()),
                    None => client,
                };
                return Ok(Connection::Cluster(client.build()?.get_async_connection().await?));
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWERS_WITHIN))
            .set_response_timeout(Some(ANSWERS_WITHIN))
            .set_push_sender(push);
        Ok(Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?))
    }

    /// Whether it is there, is a Redis that serves us, and lets us in.
    ///
    /// # Errors
    /// Those of the connection; `ErrorKind::InvalidClientConfig` if it is too old.
    pub async fn try_out(&self) -> RedisResult<()> {
        let mut connection = self.connect(|_| Ok::<(), ()>(())).await?;
        // Unlike INFO, an ACL cannot take HELLO away from who has signed in.
        let hello: RedisResult<HashMap<String, Value>> = match &mut connection {
            Connection::Single(connection) => cmd("HELLO").query_async(connection).await,
            // Its connections speak RESP3 already, which asks for 6.0; sharded channels are asked for when used.
            Connection::Cluster(_) => return Ok(()),
        };
        let Some(Value::BulkString(version)) = hello?.remove("version") else { return Ok(()) };
        let version = String::from_utf8_lossy(&version).into_owned();
        let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
            let is_old = (ErrorKind::InvalidClientConfig, "it is too old: 7.0 or later is asked for", version);
            return Err(RedisError::from(is_old));
        }
        Ok(())
    }

    /// Where it is, without passwords.
    pub fn shown(&self) -> String {
        let list = |addresses: &[ConnectionInfo]| {
            addresses.iter().map(|info| info.addr().to_string()).collect::<Vec<_>>().join(", ")
        };
        match self {
            Server::Standalone(client) => format!("Redis at {}", client.get_connection_info().addr()),
            Server::Sentinel(_) => "Redis as the Sentinels name it".to_owned(),
            Server::Cluster(addresses, _) => format!("Redis Cluster by {}", list(addresses)),
        }
    }
}

fn address(url: &str) -> RedisResult<ConnectionInfo> {
    let info = url.into_connection_info()?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(settings))
}

fn client(address: ConnectionInfo, certificates: Option<TlsCertificates>) -> RedisResult<Client> {
    match certificates {
        Some(certificates) => Client::build_with_tls(address, certificates),
        None => Client::open(address),
    }
}

/// What the URLs say of user, password, database and TLS holds for the Redis servers that the Sentinels name.
fn sentinels(
    config: &config::Cluster,
    addresses: &[ConnectionInfo],
    certificates: Option<TlsCertificates>,
) -> RedisResult<SentinelClient> {
    let places = addresses.iter().map(|info| info.addr().clone());
    let mut builder = SentinelClientBuilder::new(places, &config.sentinel_master, SentinelServerType::Master)?
        .set_client_to_redis_protocol(ProtocolVersion::RESP3);
    if let Some(first) = addresses.first() {
        let settings = first.redis_settings();
        builder = builder.set_client_to_redis_db(settings.db());
        if let Some(username) = settings.username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = settings.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if matches!(first.addr(), ConnectionAddr::TcpTls { .. }) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
    }
    if !config.sentinel_password.is_empty() {
        builder = builder.set_client_to_sentinel_password(config.sentinel_password.expose());
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    builder.build()
}

impl Connection {
    /// Listens to channels; ends when what is published from then on arrives.
    pub async fn subscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        match self {
            Connection::Single(connection) => connection.subscribe(channels).await,
            // One command may name channels of one shard only.
            Connection::Cluster(connection) => {
                let each = channels.iter().map(|channel| {
                    let mut connection = connection.clone();
                    async move { connection.ssubscribe(channel).await }
                });
                try_join_all(each).await.map(drop)
            }
        }
    }

    /// Listens to channels no more.
    pub async fn unsubscribe(&mut self, channels: &[String]) -> RedisResult<()> {
        match self {
            Connection::Single(connection) => connection.unsubscribe(channels).await,
            Connection::Cluster(connection) => {
                let each = channels.iter().map(|channel| {
                    let mut connection = connection.clone();
                    async move { connection.sunsubscribe(channel).await }
                });
                try_join_all(each).await.map(drop)
            }
        }
    }

    /// Publishes, in this order for each channel: each a channel and what is said there.
    pub async fn publish(&mut self, hints: Vec<(String, Vec<u8>)>) -> RedisResult<()> {
        match self {
            Connection::Single(connection) => {
                let mut pipeline = Pipeline::with_capacity(hints.len());
                for (channel, hint) in hints {
                    pipeline.cmd("PUBLISH").arg(channel).arg(hint).ignore();
                }
                pipeline.exec_async(connection).await
            }
            Connection::Cluster(connection) => {
                let each = hints.into_iter().map(|(channel, hint)| {
                    let mut connection = connection.clone();
                    async move { cmd("SPUBLISH").arg(channel).arg(hint).exec_async(&mut connection).await }
                });
                try_join_all(each).await.map(drop)
            }
        }
    }

    /// Whether it answers.
    pub async fn ping(&mut self) -> RedisResult<()> {
        cmd("PING").exec_async(self).await
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Single(connection) => connection.req_packed_command(cmd),
            Connection::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Single(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Why a Redis refuses this node whenever it is asked; `None` if it is merely away.
pub fn refusal(error: &RedisError) -> Option<String> {
    let of_server = error.code().filter(|code| ["NOAUTH", "WRONGPASS", "NOPERM", "ERR"].contains(code));
    let text = error.to_string();
    match error.kind() {
        ErrorKind::AuthenticationFailed => Some(format!("the user or the password is wrong ({text})")),
        _ if of_server.is_some() => Some(format!("it refuses this node: {text}")),
        ErrorKind::RESP3NotSupported => Some("it is too old: 7.0 or later is asked for".to_owned()),
        ErrorKind::Parse => Some(format!("what answers there is no Redis ({text})")),
        ErrorKind::InvalidClientConfig | ErrorKind::MasterNameNotFoundBySentinel => Some(text),
        ErrorKind::Io if text.contains("certificate") || text.contains("lookup") => Some(text),
        _ => None,
    }
}
