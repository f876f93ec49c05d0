//! The kinds of values that settings have beyond numbers and texts: durations, addresses, networks, secrets.
//! Never which of them are allowed: see `rules`.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// What stands where a secret would.
const HIDDEN: &str = "***";

impl Secret {
    /// The text itself; whoever takes it answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn shown(&self) -> &str {
        if self.is_empty() { "" } else { HIDDEN }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

/// Where the database is; its password is never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The whole URL; whoever takes it answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL without its password.
    pub fn shown(&self) -> String {
        without_password(&self.0)
    }
}

/// A URL without its password.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.is_empty() { String::new() } else { HIDDEN.to_owned() };
    };
    // The last `@` ends the authority's credentials; a query may name a password too.
    let (place, query) = rest.split_once('?').map_or((rest, ""), |(place, _)| (place, "?***"));
    let Some((credentials, host)) = place.rsplit_once('@') else {
        return format!("{scheme}://{place}{query}");
    };
    let user = credentials.split_once(':').map_or(credentials.to_owned(), |(user, _)| format!("{user}:{HIDDEN}"));
    format!("{scheme}://{user}@{host}{query}")
}

/// Where Redis is, with commas between several; their passwords are never printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ClusterUrl(String);

impl ClusterUrl {
    /// All of it; whoever takes it answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The URLs without their passwords; nothing of them where something else may be part of a password.
    pub fn shown(&self) -> String {
        let urls: Vec<&str> = self.0.split(',').map(str::trim).collect();
        match urls.iter().all(|url| is_redis(url)) {
            _ if self.is_empty() => String::new(),
            true => urls.into_iter().map(without_password).collect::<Vec<_>>().join(","),
            false => HIDDEN.to_owned(),
        }
    }
}

/// Whether a text is beyond doubt `redis://user:password@host:port/number?query`. A password that is not written as in
/// all URLs may look like a host, or like several.
fn is_redis(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("redis://").or_else(|| url.strip_prefix("rediss://")) else { return false };
    let (credentials, place) = rest.split_once('@').unwrap_or(("", rest));
    let place = place.split_once('?').map_or(place, |(place, _)| place);
    let (authority, number) = place.split_once('/').unwrap_or((place, ""));
    let (host, port) = authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')).unwrap_or((authority, ""));
    let all = |text: &str, also: &[u8]| text.bytes().all(|b| b.is_ascii_alphanumeric() || also.contains(&b));
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    all(credentials, b"-._~%!$&'()*+;=:")
        && all(host, b"-._[]:")
        && is_number(port)
        && is_number(number)
        && rest.matches('@').count() <= 1
        && rest.matches('?').count() <= 1
}

impl fmt::Debug for ClusterUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for ClusterUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// Durations as `"45s"`, `"1h 30m"` or `"60d"`, a day being 24 hours.
pub mod duration {
    use super::*;
    use jiff::{Span, SpanRelativeTo};
    use serde::{Deserializer, de};
    use std::time::Duration;

    /// Reads one.
    ///
    /// # Errors
    /// Where there is no unit, one that has no fixed length, or a sign.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let wrong = |_| format!("{text:?} is no duration; write one such as \"250ms\", \"45s\", \"1h 30m\" or \"60d\"");
        let span: Span = text.parse().map_err(wrong)?;
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(wrong)?;
        Duration::try_from(length).map_err(wrong)
    }

    /// Writes one in the largest unit that leaves no rest.
    pub fn print(duration: Duration) -> String {
        let millis = duration.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        match units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit)) {
            Some((unit, name)) => format!("{}{name}", millis / unit),
            None => format!("{millis}ms"),
        }
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }

    /// For serde.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&print(*duration))
    }
}

/// An address and port, or `""` for none.
pub mod addresses {
    use super::*;
    use serde::{Deserializer, de};
    use std::net::SocketAddr;

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(de::Error::custom),
        }
    }

    /// For serde.
    pub fn serialize<S: Serializer>(address: &Option<SocketAddr>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&address.map(|address| address.to_string()).unwrap_or_default())
    }
}

/// A list of networks; an address alone is a network of one.
pub mod networks {
    use super::*;
    use ipnet::IpNet;
    use serde::{Deserializer, de};
    use std::net::IpAddr;

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let network = |text: String| {
            let parsed = text.parse::<IpNet>().or_else(|err| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| err));
            parsed.map_err(|err| de::Error::custom(format!("{text:?}: {err}")))
        };
        texts.into_iter().map(network).collect()
    }

    /// For serde.
    pub fn serialize<S: Serializer>(networks: &[IpNet], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(networks.iter().map(IpNet::to_string))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn durations_go_there_and_back() {
        for (text, millis) in [("50ms", 50), ("45s", 45_000), ("90s", 90_000), ("15m", 900_000), ("60d", 5_184_000_000)]
        {
            assert_eq!(duration::parse(text), Ok(Duration::from_millis(millis)));
            assert_eq!(duration::print(Duration::from_millis(millis)), text);
        }
        assert_eq!(duration::parse("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration::print(Duration::ZERO), "0ms");
        for bad in ["", "45", "5 parsecs", "-1s", "1y", "1mo"] {
            assert!(duration::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_database_shows_all_but_its_password() {
        for (url, shown) in [
            ("", ""),
            ("sqlite://data/x.db", "sqlite://data/x.db"),
            ("postgres://u:p@h/d", "postgres://u:***@h/d"),
            ("postgres://u:p@p@h/d", "postgres://u:***@h/d"),
            ("postgres://u@h/d?password=p", "postgres://u@h/d?***"),
            ("no url at all", "***"),
        ] {
            assert_eq!(DatabaseUrl(url.to_owned()).shown(), shown);
        }
    }
    #[test]
    fn a_redis_shows_all_but_its_password() {
        for (url, shown) in [
            ("", ""),
            ("redis://h:6379", "redis://h:6379"),
            ("redis://u:p@[::1]:6379", "redis://u:***@[::1]:6379"),
            ("redis://:p@h", "redis://:***@h"),
            ("redis://u:p@h:1/2, rediss://u:p@i", "redis://u:***@h:1/2,rediss://u:***@i"),
            ("redis://u:p@h?password=p", "redis://u:***@h?***"),
            ("redis://u:p,q@h", "***"),
            ("redis://u:p,redis://q@h", "***"),
            ("redis://u:p@q@h", "***"),
            ("redis://u:p/q@h", "***"),
            ("redis://u:p?q@h", "***"),
            ("redis://u:p#q@h", "***"),
            ("u:p@h", "***"),
        ] {
            assert_eq!(ClusterUrl(url.to_owned()).shown(), shown, "{url}");
        }
    }
}
