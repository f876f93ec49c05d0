//! Whether somebody wants nobody to disturb them now: their hours, on their own clock.
//! Never what is held back then: whoever would ring or light up asks here.

use entities::settings::{Day, DoNotDisturb};
use entities::{Settings, Timestamp};
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

/// Whether nobody is to disturb somebody of these settings at this moment.
///
/// The hours are those of their time zone's clock. Where that is put forward, an hour that it leaves out counts as the
/// one after it; where it is put back, one that it shows twice counts the first time.
pub fn is_quiet(settings: &Settings, now: Timestamp) -> bool {
    let quiet = &settings.do_not_disturb;
    quiet.paused_until.is_some_and(|until| now < until) || (quiet.scheduled && is_scheduled(settings, now))
}

fn is_scheduled(settings: &Settings, now: Timestamp) -> bool {
    let quiet = &settings.do_not_disturb;
    let (Some(from), Some(until)) = (hour(&quiet.from), hour(&quiet.until)) else { return false };
    let Ok(now) = jiff::Timestamp::from_millisecond(now.millis()) else { return false };
    // One that is known no more is better taken for the world's than for none.
    let zone = TimeZone::get(&settings.time_zone).unwrap_or(TimeZone::UTC);
    let today = zone.to_datetime(now).date();
    // What began yesterday may last until today.
    let began = [Some(today), today.yesterday().ok()].into_iter().flatten().filter(|day| begins_on(quiet, *day));
    began.filter_map(|day| span(&zone, day, from, until)).any(|(from, until)| from <= now && now < until)
}

/// The moments from which and until which it lasts that begins on this day.
fn span(zone: &TimeZone, day: Date, from: Time, until: Time) -> Option<(jiff::Timestamp, jiff::Timestamp)> {
    let last = if until > from { day } else { day.tomorrow().ok()? };
    let moment = |day: Date, hour: Time| zone.to_ambiguous_timestamp(day.to_datetime(hour)).compatible().ok();
    Some((moment(day, from)?, moment(last, until)?))
}

fn begins_on(quiet: &DoNotDisturb, day: Date) -> bool {
    let day = match day.weekday() {
        Weekday::Monday => Day::Monday,
        Weekday::Tuesday => Day::Tuesday,
        Weekday::Wednesday => Day::Wednesday,
        Weekday::Thursday => Day::Thursday,
        Weekday::Friday => Day::Friday,
        Weekday::Saturday => Day::Saturday,
        Weekday::Sunday => Day::Sunday,
    };
    quiet.days.is_empty() || quiet.days.contains(&day)
}

/// The time of day that `HH:MM` says; `None` if it says none.
pub fn hour(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<i8>().ok()).flatten()
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(zone: &str, from: &str, until: &str, days: &[Day]) -> Settings {
        let (from, until) = (from.to_owned(), until.to_owned());
        let do_not_disturb = DoNotDisturb { scheduled: true, from, until, days: days.to_vec(), paused_until: None };
        Settings { time_zone: zone.to_owned(), do_not_disturb, ..Settings::default() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn hours_are_those_of_a_clock() {
        for good in ["00:00", "07:05", "23:59"] {
            assert!(hour(good).is_some(), "{good}");
        }
        for bad in ["", "7:05", "07:5", "24:00", "07:60", "07:05:00", "+7:05", "-1:00", "ab:cd", "0７:05"] {
            assert!(hour(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn it_lasts_from_one_hour_to_the_other_over_midnight() {
        // In Berlin it is one hour later than in UTC, in winter.
        let night = settings("Europe/Berlin", "22:00", "07:00", &[]);
        let noon = settings("Europe/Berlin", "12:00", "13:00", &[]);
        let whole_days = settings("Europe/Berlin", "12:00", "12:00", &[]);
        for (moment, at_night, at_noon) in [
            ("2026-01-14T20:59:59.999Z", false, false),
            ("2026-01-14T21:00:00Z", true, false),
            ("2026-01-14T23:30:00Z", true, false),
            ("2026-01-15T05:59:59.999Z", true, false),
            ("2026-01-15T06:00:00Z", false, false),
            ("2026-01-15T10:59:59.999Z", false, false),
            ("2026-01-15T11:00:00Z", false, true),
            ("2026-01-15T12:00:00Z", false, false),
        ] {
            assert_eq!(is_quiet(&night, at(moment)), at_night, "night at {moment}");
            assert_eq!(is_quiet(&noon, at(moment)), at_noon, "noon at {moment}");
            assert!(is_quiet(&whole_days, at(moment)), "all day at {moment}");
        }
    }

    #[test]
    fn days_are_those_on_which_it_begins() {
        // 2026-01-16 is a Friday.
        let weekend = settings("UTC", "22:00", "07:00", &[Day::Friday, Day::Saturday]);
        for (moment, quiet) in [
            ("2026-01-16T06:00:00Z", false),
            ("2026-01-16T22:00:00Z", true),
            ("2026-01-17T06:59:00Z", true),
            ("2026-01-17T12:00:00Z", false),
            ("2026-01-18T06:59:00Z", true),
            ("2026-01-18T22:00:00Z", false),
            ("2026-01-19T01:00:00Z", false),
        ] {
            assert_eq!(is_quiet(&weekend, at(moment)), quiet, "{moment}");
        }
    }

    #[test]
    fn clocks_that_are_put_forward_or_back_are_followed() {
        // Berlin goes from 02:00 to 03:00 on 2026-03-29 at 01:00Z, and from 03:00 back to 02:00 on 2026-10-25 at 01:00Z.
        let left_out = settings("Europe/Berlin", "02:30", "04:00", &[]);
        let twice = settings("Europe/Berlin", "02:30", "02:45", &[]);
        let night = settings("Europe/Berlin", "22:00", "07:00", &[]);
        for (settings, moment, quiet) in [
            (&left_out, "2026-03-29T00:59:00Z", false),
            (&left_out, "2026-03-29T01:29:00Z", false),
            (&left_out, "2026-03-29T01:30:00Z", true),
            (&left_out, "2026-03-29T01:59:00Z", true),
            (&left_out, "2026-03-29T02:00:00Z", false),
            (&twice, "2026-10-25T00:30:00Z", true),
            (&twice, "2026-10-25T00:45:00Z", false),
            (&twice, "2026-10-25T01:30:00Z", false),
            (&night, "2026-03-28T21:00:00Z", true),
            (&night, "2026-03-29T04:59:00Z", true),
            (&night, "2026-03-29T05:00:00Z", false),
            (&night, "2026-10-24T19:59:00Z", false),
            (&night, "2026-10-24T20:00:00Z", true),
            (&night, "2026-10-25T05:59:00Z", true),
            (&night, "2026-10-25T06:00:00Z", false),
        ] {
            assert_eq!(is_quiet(settings, at(moment)), quiet, "{moment} {:?}", settings.do_not_disturb);
        }
        // Where the day of the person is not that of UTC.
        let far = settings("Pacific/Kiritimati", "00:00", "06:00", &[Day::Saturday]);
        assert!(is_quiet(&far, at("2026-01-16T10:00:00Z")));
        assert!(!is_quiet(&far, at("2026-01-16T09:59:00Z")));
    }

    #[test]
    fn a_pause_counts_in_any_case() {
        let mut settings = Settings::default();
        let now = at("2026-01-14T12:00:00Z");
        assert!(!is_quiet(&settings, now));
        settings.do_not_disturb.paused_until = Some(now.plus_millis(1));
        assert!(is_quiet(&settings, now) && !is_quiet(&settings, now.plus_millis(1)));
    }

    #[test]
    fn what_cannot_be_read_disturbs() {
        let now = at("2026-01-14T23:00:00Z");
        assert!(!is_quiet(&settings("UTC", "", "07:00", &[]), now));
        assert!(is_quiet(&settings("Nowhere/Such", "22:00", "07:00", &[]), now), "as if in UTC");
    }
}
