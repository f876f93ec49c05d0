//! The moment: whole milliseconds since the Unix epoch, the same on both databases and on every door.
//!
//! Never here: reading a clock.

use jiff::fmt::StdFmtWrite;
use jiff::fmt::temporal::{DateTimeParser, DateTimePrinter};
use sea_orm::DeriveValueType;
use sea_orm::sea_query::NumericValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use utoipa::ToSchema;

const PARSER: DateTimeParser = DateTimeParser::new();
const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// A moment in UTC, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Stored as BIGINT, which both databases keep exactly and in order; printed by RFC 3339 with three decimals and `Z`.
/// A text with finer decimals is cut to milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema, DeriveValueType)]
#[schema(value_type = String, format = DateTime, examples("2026-01-31T08:05:09.120Z"))]
pub struct Timestamp(i64);

/// What a row's field calls a `Timestamp`. By this name SeaORM's `model` macro knows that its column compares as a number.
pub type UnixTimestamp = Timestamp;

impl NumericValue for Timestamp {}

impl Timestamp {
    /// 1970-01-01T00:00:00.000Z.
    pub const EPOCH: Self = Self(0);

    /// The moment this many milliseconds after the epoch (before it, if negative).
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The moment this many milliseconds later; stops at the largest one.
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The moment `duration` later, its fraction of a millisecond cut off; stops at the largest one.
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_millis(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }

    /// The moment `duration` earlier, its fraction of a millisecond cut off; stops at the smallest one.
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What the calendar cannot name prints as its last day, so that printing never fails.
        let nearest = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let moment = jiff::Timestamp::from_millisecond(self.0).unwrap_or(nearest);
        PRINTER.print_timestamp(&moment, StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

impl FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment = PARSER.parse_timestamp(text)?;
        // Downwards on both sides of the epoch: `as_millisecond` alone would round towards it.
        Ok(Self(moment.as_nanosecond().div_euclid(1_000_000) as i64))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a date and time by RFC 3339, with its offset")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_three_decimals_and_z() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1, "1970-01-01T00:00:00.001Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (1_769_846_709_120, "2026-01-31T08:05:09.120Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
            assert_eq!(text.parse::<Timestamp>().unwrap(), Timestamp::from_millis(millis));
        }
        assert!(Timestamp::from_millis(i64::MAX).to_string().starts_with("9999-12-30T"));
    }

    #[test]
    fn reads_offsets_and_cuts_finer_decimals() {
        let read = |text: &str| text.parse::<Timestamp>().map(Timestamp::millis).ok();
        assert_eq!(read("1970-01-01T02:00:00.0019+02:00"), Some(1));
        assert_eq!(read("1969-12-31T23:59:59.9995Z"), Some(-1));
        assert_eq!(read("1970-01-01T00:00:00"), None);
        assert_eq!(read("yesterday"), None);
    }

    #[test]
    fn sums_stop_at_the_ends() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(Timestamp::EPOCH.plus(Duration::from_micros(2_500)).millis(), 2);
        assert_eq!(Timestamp::EPOCH.since(end), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::from_millis(2)), Duration::from_millis(3));
    }
}
