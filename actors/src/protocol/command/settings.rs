//! What somebody sets for all their devices, whom they let see and do what, and what they are at.
//! Never who it is shown to.

use super::Command;
use crate::protocol::check;
use crate::protocol::error::{Outcome, Refusal};
use crate::protocol::view;
use entities::settings::{Day, Theme};
use entities::{Audience, Timestamp};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

/// The longest status, in bytes.
pub const STATUS_BYTES: usize = 200;
/// The longest time that a status may be said to last: a year.
pub const STATUS_SECS: u64 = 366 * 24 * 60 * 60;

/// Reads a field that may be `null`, which takes away what was; what is absent stays (with `default`).
///
/// # Errors
/// Those of the field.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The caller's settings.
#[derive(Debug, Deserialize, ToSchema)]
pub struct GetSettings {}
command!(GetSettings = "users.getSettings" -> view::OwnSettings);

/// Changes the caller's settings, on all their devices. Absent fields stay.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateSettings {
    /// The language of texts that the node writes, BCP 47.
    pub locale: Option<String>,
    /// The time zone, as IANA names it.
    pub time_zone: Option<String>,
    /// How clients look.
    pub theme: Option<Theme>,
    /// Whether Enter sends.
    pub enter_sends: Option<bool>,
    /// Whether pushes show what was said.
    pub previews: Option<bool>,
    /// Whether an archived conversation stays so when something is said in it.
    pub keep_archived: Option<bool>,
    /// When nobody is to disturb.
    pub do_not_disturb: Option<DoNotDisturbPatch>,
}
command!(UpdateSettings = "users.updateSettings" -> view::OwnSettings; |c| {
    c.locale.as_deref().map(check::locale).transpose()?;
    c.time_zone.as_deref().map(check::time_zone).transpose()?;
    c.do_not_disturb.as_ref().map_or(Ok(()), DoNotDisturbPatch::check)
});

/// When nobody is to disturb. Absent fields stay.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoNotDisturbPatch {
    /// Whether the hours below count.
    pub scheduled: Option<bool>,
    /// From then on, `HH:MM` on the person's own clock.
    pub from: Option<String>,
    /// Until then; on the next day if it is not after `from`.
    pub until: Option<String>,
    /// On which days it begins; none is every day.
    pub days: Option<Vec<Day>>,
    /// Until this moment in any case; `null` takes it away.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Timestamp>)]
    pub paused_until: Option<Option<Timestamp>>,
}

impl DoNotDisturbPatch {
    fn check(&self) -> Outcome<()> {
        for (field, hour) in [("doNotDisturb.from", &self.from), ("doNotDisturb.until", &self.until)] {
            if hour.as_deref().is_some_and(|hour| crate::quiet::hour(hour).is_none()) {
                return Err(Refusal::invalid(field, "must be HH:MM, from 00:00 to 23:59").into());
            }
        }
        check::count("doNotDisturb.days", self.days.as_ref().map_or(0, Vec::len), 0, 7)
    }
}

/// Whom the caller lets see and do what.
#[derive(Debug, Deserialize, ToSchema)]
pub struct GetPrivacy {}
command!(GetPrivacy = "users.getPrivacy" -> view::OwnPrivacy);

/// Changes whom the caller lets see and do what. Absent fields stay.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdatePrivacy {
    /// Who sees whether the caller is there, and when they last were.
    pub last_seen: Option<Audience>,
    /// Who sees the picture.
    pub photo: Option<Audience>,
    /// Who sees what the caller says about themselves, and their status.
    pub bio: Option<Audience>,
    /// Who sees the phone number.
    pub phone_number: Option<Audience>,
    /// Who finds the caller by their number.
    pub found_by_number: Option<Audience>,
    /// Who is told what the caller has read. In groups all are told, or nobody; and who does not tell the other one of a
    /// private chat is not told by them.
    pub read_receipts: Option<Audience>,
    /// Who may add the caller to a group.
    pub added_to_groups: Option<Audience>,
    /// Who may call.
    pub called: Option<Audience>,
    /// Whose new private chats open as chats; those of others land as requests.
    pub private_chats: Option<Audience>,
}
command!(UpdatePrivacy = "users.updatePrivacy" -> view::OwnPrivacy);

/// Says what the caller is at, in place of what they said before; nothing takes it away.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetStatus {
    /// At most 200 bytes.
    pub text: Option<String>,
    /// One emoji.
    pub emoji: Option<String>,
    /// When it is over; must lie ahead.
    pub until: Option<Timestamp>,
    /// Or: in how many seconds, up to a year.
    pub expires_in_secs: Option<u64>,
}
command!(SetStatus = "users.setStatus" -> view::User; |c| {
    c.text.as_ref().map_or(Ok(()), |text| check::text("text", text, 0, STATUS_BYTES))?;
    c.emoji.as_deref().map_or(Ok(()), check::emoji)?;
    match (c.until, c.expires_in_secs) {
        (Some(_), Some(_)) => Err(Refusal::invalid("until", "must not stand beside 'expiresInSecs'").into()),
        (_, Some(secs)) if !(1..=STATUS_SECS).contains(&secs) => {
            Err(Refusal::invalid("expiresInSecs", format!("must be 1 to {STATUS_SECS}")).into())
        }
        _ => Ok(()),
    }
});
