//! Whether a Redis is one that this node can use, and what to do if it is not.
//! Never a retry: a Redis that is merely away is the link's.

use super::connection::Connection;
use super::count::GCRA;
use redis::{ErrorKind, RedisError, RedisResult, Script, ServerErrorKind, Value, cmd, pipe};
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The oldest that has sharded channels. Valkey began later.
const OLDEST: (u32, u32) = (7, 0);
/// What is written to try whether one may ends by itself after this.
const KEPT: Duration = Duration::from_secs(60);

/// Does once what a node does again and again, on keys that mean nothing: whoever may not is told at the start.
pub async fn try_all(connection: &mut Connection, prefix: &str, name: &str) -> RedisResult<()> {
    connection.ping().await?;
    let (hash, set, kept) = (format!("{prefix}try:h:{name}"), format!("{prefix}try:s:{name}"), KEPT.as_millis() as u64);
    if matches!(connection, Connection::Single(_)) {
        // Within a transaction the driver does not expect that this is refused. In a Redis Cluster each goes to a shard.
        cmd("MULTI").exec_async(connection).await?;
        cmd("EXEC").exec_async(connection).await?;
    }
    let mut fields = pipe();
    fields.atomic().cmd("HSET").arg(&hash).arg(name).arg("").cmd("PEXPIRE").arg(&hash).arg(kept);
    fields.cmd("HGETALL").arg(&hash).cmd("HDEL").arg(&hash).arg(name);
    fields.exec_async(connection).await?;
    let mut members = pipe();
    members.cmd("SADD").arg(&set).arg(name).cmd("PEXPIRE").arg(&set).arg(kept);
    members.cmd("SRANDMEMBER").arg(&set).arg(1).cmd("SREM").arg(&set).arg(name);
    members.exec_async(connection).await?;
    let script = Script::new(GCRA);
    script.key(format!("{prefix}try:c:{name}")).arg(1).arg(1).invoke_async::<Value>(connection).await?;
    let channel = format!("{prefix}try:{name}");
    connection.subscribe(std::slice::from_ref(&channel)).await?;
    connection.publish(vec![(channel.clone(), Vec::new())]).await?;
    connection.unsubscribe(&[channel]).await
}

/// Whether it is of the kind and the age that is asked for.
pub async fn greet(connection: &mut Connection) -> RedisResult<()> {
    // Unlike INFO, an ACL cannot take HELLO away from who has signed in. A Redis Cluster's age shows when its sharded
    // channels are tried.
    let Connection::Single(connection) = connection else { return Ok(()) };
    let hello: HashMap<String, Value> = cmd("HELLO").query_async(connection).await?;
    let text = |name: &str| hello.get(name).and_then(|value| redis::from_redis_value_ref::<String>(value).ok());
    let wrong = |what: &'static str, detail: String| Err((ErrorKind::InvalidClientConfig, what, detail).into());
    match text("mode").as_deref() {
        Some("cluster") => return wrong("it is of a Redis Cluster", "set cluster.kind = \"cluster\"".to_owned()),
        Some("sentinel") => return wrong("it is a Sentinel", "set cluster.kind = \"sentinel\"".to_owned()),
        _ => {}
    }
    let Some(version) = text("version") else { return Ok(()) };
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
        return wrong("it is too old", format!("7.0 or later is asked for, and this is {version}"));
    }
    Ok(())
}

/// Why a Redis refuses this node whenever it is asked, and what to do; `None` if it is merely away.
pub fn refusal(error: &RedisError) -> Option<String> {
    if let Some(inner) = within(error) {
        return refusal(&inner);
    }
    let (text, detail) = (said(error), error.detail().unwrap_or_default());
    let with = |what: &str| Some(format!("{what} ({text})"));
    match (error.code(), error.kind()) {
        (Some("WRONGPASS"), _) | (_, ErrorKind::AuthenticationFailed) => {
            Some("the user or the password in it is wrong".to_owned())
        }
        (Some("NOAUTH"), _) => Some("it asks for a password: redis://user:password@host:port".to_owned()),
        (Some("NOPERM"), _) => {
            with("its user may not do what a node does, see the README for the rights that it needs")
        }
        (Some("ERR"), _) if detail.contains("max number of clients") => None,
        (Some("ERR"), _) if detail.contains("cluster support disabled") => {
            Some("it is of no Redis Cluster: set cluster.kind = \"standalone\"".to_owned())
        }
        (Some("ERR" | "NOPROTO" | "DENIED"), _) => with("it refuses this node"),
        (_, ErrorKind::RESP3NotSupported) => Some("it is too old: 7.0 or later is asked for".to_owned()),
        // What it said may be anything, over many lines.
        (_, ErrorKind::Parse) => {
            Some("what answers there is no Redis, or it speaks TLS, which is rediss://".to_owned())
        }
        (_, ErrorKind::InvalidClientConfig) if text.contains("sentinel node") => Some(
            "it is no Sentinel: name the Sentinels in cluster.url, or set cluster.kind = \"standalone\"".to_owned(),
        ),
        (_, ErrorKind::InvalidClientConfig) => Some(text),
        (_, ErrorKind::MasterNameNotFoundBySentinel) => {
            Some("the Sentinels know no master of this name: see cluster.sentinel_master".to_owned())
        }
        (_, ErrorKind::Io) => of_transport(error),
        _ => None,
    }
}

/// What a pipeline or a transaction failed for: the right that is missing rather than what followed from that.
fn within(error: &RedisError) -> Option<RedisError> {
    let errors = error.clone().into_server_errors()?;
    let cause = errors.iter().find(|(_, error)| error.code() == "NOPERM").or(errors.first())?;
    let inner = RedisError::from(cause.1.clone());
    // An error that stands alone is its own cause.
    (inner.to_string() != error.to_string()).then_some(inner)
}

/// An error in words, without the driver's name for its kind.
pub fn said(error: &RedisError) -> String {
    let text = error.to_string();
    let kind = format!(" - {:?}", error.kind());
    match error.detail() {
        Some(detail) => text.replace(&format!("{kind}: {detail}"), &format!(": {detail}")),
        None => text.strip_suffix(&kind).map_or(text.clone(), str::to_owned),
    }
}

/// Whether who accepted the connection ended it when it was spoken to.
pub fn hung_up(error: &RedisError) -> bool {
    error.is_connection_dropped() && !error.is_connection_refusal()
}

fn of_transport(error: &RedisError) -> Option<String> {
    let inner = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    let io = inner.downcast_ref::<io::Error>()?;
    let tls = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let text = io.to_string();
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => {
            Some(format!("its certificate is not trusted ({why}): put those who vouch for it into cluster.ca"))
        }
        Some(why) => Some(format!("TLS does not come about ({why}): a server without TLS is redis://")),
        None if text.contains("lookup") && !text.contains("Temporary") => {
            Some(format!("there is no such host ({text})"))
        }
        None => None,
    }
}

/// Whether an error says that this Redis takes no changes, as one does that is no master any more.
pub fn is_no_master(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_without_the_drivers_words() {
        let lost = RedisError::from((ErrorKind::Io, "the connection was lost"));
        assert_eq!(said(&lost), "the connection was lost");
        let wrong = RedisError::from((ErrorKind::InvalidClientConfig, "it is a Sentinel", "set it".to_owned()));
        assert_eq!(said(&wrong), "it is a Sentinel: set it");
        assert_eq!(refusal(&lost), None);
    }
}
