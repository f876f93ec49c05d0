//! What somebody has set for all their devices: the JSON in `users.settings`.
//!
//! Never here: privacy (see `privacy`), or what is set for one conversation (see `participant`).

use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// How a client looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the device does.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "days")]
pub enum Day {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// When nobody is to disturb. Nothing is hidden by it, but what would ring or light up does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DoNotDisturb {
    /// Whether the hours below count.
    pub scheduled: bool,
    /// From then on, `HH:MM` on the person's own clock.
    pub from: String,
    /// Until then; on the next day if it is not after `from`.
    pub until: String,
    /// On which days it begins; none is every day.
    pub days: Vec<Day>,
    /// Until this moment in any case, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<crate::Timestamp>,
}

impl Default for DoNotDisturb {
    fn default() -> DoNotDisturb {
        // At night, for who turns it on and says no more.
        let (from, until) = ("22:00".to_owned(), "07:00".to_owned());
        DoNotDisturb { scheduled: false, from, until, days: Vec::new(), paused_until: None }
    }
}

/// Everything that is set. What a row does not name is as in `Settings::default()`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, DeriveValueType)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = UserSettings)]
#[sea_orm(value_type = "String")]
pub struct Settings {
    /// The language of texts that the node writes, BCP 47, such as `de` or `pt-BR`.
    pub locale: String,
    /// The time zone, as IANA names it, such as `Europe/Berlin`.
    pub time_zone: String,
    /// How clients look.
    pub theme: Theme,
    /// Whether Enter sends.
    pub enter_sends: bool,
    /// Whether pushes show what was said.
    pub previews: bool,
    /// Whether an archived conversation stays so when something is said in it.
    pub keep_archived: bool,
    /// When nobody is to disturb.
    pub do_not_disturb: DoNotDisturb,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            locale: "en".to_owned(),
            time_zone: "UTC".to_owned(),
            theme: Theme::System,
            enter_sends: true,
            previews: true,
            keep_archived: false,
            do_not_disturb: DoNotDisturb::default(),
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Settings {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Settings, serde_json::Error> {
        serde_json::from_str(text)
    }
}
