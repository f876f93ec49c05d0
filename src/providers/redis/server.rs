//! Which Redis there is, and connections to it: one server, a master that Sentinels name, or a Redis Cluster.
//! Never what is said on them.

use super::connection::Connection;
use super::trial;
use crate::config;
use anyhow::{Context, anyhow, bail};
use redis::aio::AsyncPushSender;
use redis::cluster::ClusterClientBuilder;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, ProtocolVersion,
    RedisError, RedisResult, TlsCertificates, TlsMode, cmd,
};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

/// What may wait to be written, so that no command waits for its turn: it would be overtaken by a later one.
const WAITING: usize = 1 << 16;
/// A Redis that answers nothing for so long is away.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// What the settings name.
pub struct Server {
    kind: Kind,
    addresses: Vec<ConnectionInfo>,
}

enum Kind {
    /// One server.
    Standalone(Client),
    /// The master of this name.
    Sentinel(Mutex<SentinelClient>, String),
    /// Several, each with a part of the channels and keys.
    Cluster(Option<TlsCertificates>),
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
            let root_cert = std::fs::read(&config.ca)
                .with_context(|| format!("cluster.ca: {} cannot be read", config.ca.display()))?;
            Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) })
        };
        let addresses = config.url.expose().split(',').map(|url| address(url.trim()));
        let addresses = addresses.collect::<RedisResult<Vec<_>>>().map_err(|_| {
            anyhow!(
                "cluster.url: not of the form redis://user:password@host:port/number; what is not a letter or digit in \
                 a password is written as in all URLs, such as %40 for @"
            )
        })?;
        let kind = match config.kind {
            config::ClusterKind::Standalone => match &addresses[..] {
                [one] => Kind::Standalone(client(one.clone(), certificates).context("cluster.url, cluster.ca")?),
                _ => bail!("cluster.url: several servers are a \"sentinel\" or a \"cluster\"; set cluster.kind"),
            },
            config::ClusterKind::Sentinel => {
                let sentinels = sentinels(config, &addresses, certificates).context("cluster.url, cluster.ca")?;
                Kind::Sentinel(Mutex::new(sentinels), config.sentinel_master.clone())
            }
            config::ClusterKind::Cluster => Kind::Cluster(certificates),
        };
        Ok(Server { kind, addresses })
    }

    /// Connects; `push` hears what is published, and that the connection has ended.
    pub async fn connect(&self, push: impl AsyncPushSender) -> RedisResult<Connection> {
        let client = match &self.kind {
            Kind::Standalone(client) => client.clone(),
            Kind::Sentinel(sentinels, _) => sentinels.lock().await.async_get_client().await?,
            Kind::Cluster(certificates) => {
                let client = ClusterClientBuilder::new(self.addresses.clone())
                    .use_protocol(ProtocolVersion::RESP3)
                    .tcp_settings(at_once())
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
            .set_pipeline_buffer_size(WAITING)
            .set_push_sender(push);
        Ok(Connection::Single(client.get_multiplexed_async_connection_with_config(&config).await?))
    }

    /// Whether it is there, is a Redis that serves us, and lets us do what we do.
    ///
    /// # Errors
    /// Those of the connection; `refusal` tells which of them are for good.
    pub async fn try_out(&self, prefix: &str, name: &str) -> RedisResult<()> {
        let tried = async {
            let mut connection = self.greeted().await?;
            trial::greet(&mut connection).await?;
            trial::try_all(&mut connection, prefix, name).await
        };
        match tried.await {
            Err(error) if error.kind() == ErrorKind::MasterNameNotFoundBySentinel => {
                Err(self.without_master(error).await)
            }
            Err(error) if error.is_timeout() && self.is_without_tls().await => {
                Err((ErrorKind::InvalidClientConfig, "it does not speak TLS", "redis:// is without".to_owned()).into())
            }
            tried => tried,
        }
    }

    /// Connects for the first time. Who accepts the connection and ends it when Redis's greeting comes is no Redis; a
    /// Redis that dies just then does so once.
    async fn greeted(&self) -> RedisResult<Connection> {
        let connect = || self.connect(|_| Ok::<(), ()>(()));
        match connect().await {
            Err(error) if matches!(self.kind, Kind::Standalone(_)) && trial::hung_up(&error) => {
                connect().await.map_err(|error| match trial::hung_up(&error) {
                    true => (ErrorKind::Parse, "the connection was ended at the first word").into(),
                    false => error,
                })
            }
            connected => connected,
        }
    }

    /// A master may be unknown, or merely away: only the one is for good.
    async fn without_master(&self, error: RedisError) -> RedisError {
        let Kind::Sentinel(sentinels, master) = &self.kind else { return error };
        let known = async {
            let sentinel = sentinels.lock().await.async_get_sentinel_client().await?;
            let mut connection = sentinel.get_multiplexed_async_connection().await?;
            let mut ask = cmd("SENTINEL");
            ask.arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async::<Option<(String, u16)>>(&mut connection).await
        };
        match known.await {
            Ok(None) => error,
            Ok(Some(_)) => (ErrorKind::Io, "the Sentinels say that the master is away").into(),
            Err(error) => error,
        }
    }

    /// Whether a server that did not take up TLS answers without. It may wait for the end of what it takes for a line.
    async fn is_without_tls(&self) -> bool {
        let Some(ConnectionAddr::TcpTls { host, port, .. }) = self.addresses.first().map(ConnectionInfo::addr) else {
            return false;
        };
        let answer = async {
            let mut stream = TcpStream::connect((host.as_str(), *port)).await.ok()?;
            stream.write_all(b"PING\r\n").await.ok()?;
            stream.read_u8().await.ok()
        };
        // Redis's own answers begin so: it is well, or asks for a password.
        matches!(tokio::time::timeout(ANSWERS_WITHIN, answer).await, Ok(Some(b'+' | b'-')))
    }

    /// What its channels are: those of a Redis Cluster are not heard elsewhere.
    pub fn kind_of_channels(&self) -> &'static str {
        match self.kind {
            Kind::Cluster(_) => "redis-cluster",
            Kind::Standalone(_) | Kind::Sentinel(..) => "redis",
        }
    }

    /// Where it is, without passwords.
    pub fn shown(&self) -> String {
        let addresses = self.addresses.iter().map(|info| info.addr().to_string()).collect::<Vec<_>>().join(", ");
        match &self.kind {
            Kind::Standalone(_) => format!("Redis at {addresses}"),
            Kind::Sentinel(_, master) => format!("Redis {master} by the Sentinels at {addresses}"),
            Kind::Cluster(_) => format!("Redis Cluster by {addresses}"),
        }
    }
}

/// What is written goes out as it is: the next does not wait until the one before has been acknowledged.
fn at_once() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

fn address(url: &str) -> RedisResult<ConnectionInfo> {
    let info = url.into_connection_info()?;
    // Without CLIENT SETINFO, for which its user would need a right; behind Sentinels and in a Redis Cluster the driver
    // says it nevertheless.
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    Ok(info.set_redis_settings(settings).set_tcp_settings(at_once()))
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
        .set_client_to_redis_protocol(ProtocolVersion::RESP3)
        .set_client_to_redis_tcp_settings(at_once());
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
