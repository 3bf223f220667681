//! Parses times in the past, for searching.
//!
//! It reads no clock. `arguments` calls it.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// The accepted forms, for the error message.
pub(crate) const FORMS: &str =
    "write 2026-11-29T14:30:00Z, \"2026-11-29 14:30\", 2026-11-29 or 14:30 in your time zone, or 2h or 7d ago";

/// Parses `text`: an RFC 3339 time; a date with a time of day, or a date (its midnight), in `zone`; a time of day, which means
/// its last occurrence there; or a span before now. None if it is none of these.
pub(crate) fn past(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    // A number without a colon could also be a span without its unit.
    if let Some(time) = text.contains(':').then(|| text.parse::<Time>().ok()).flatten() {
        let here = now.to_zoned(zone.clone());
        let today = here.with().time(time).build().ok()?;
        let last = if today <= here { today } else { here.yesterday().ok()?.with().time(time).build().ok()? };
        return Some(last.timestamp());
    }
    if let Ok(at) = text.parse::<DateTime>() {
        return Some(at.to_zoned(zone.clone()).ok()?.timestamp());
    }
    let span: Span = text.parse().ok()?;
    // `+` means a time in the future, as in `request --at`.
    if span.is_negative() || text.starts_with('+') {
        return None;
    }
    Some(now.to_zoned(zone.clone()).checked_sub(span).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_past_has_one_of_four_forms() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now: Timestamp = "2026-11-29T14:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-28T22:30:00Z", "2026-11-28T22:30:00Z"),
            ("2026-11-28T22:30:00+01:00", "2026-11-28T21:30:00Z"),
            ("2026-11-28 22:30", "2026-11-28T21:30:00Z"),
            ("2026-11-28T22:30:10", "2026-11-28T21:30:10Z"),
            ("2026-11-28", "2026-11-27T23:00:00Z"),
            ("2026-07-01", "2026-06-30T22:00:00Z"),
            ("14:30", "2026-11-29T13:30:00Z"),
            ("15:00", "2026-11-29T14:00:00Z"),
            ("15:01", "2026-11-28T14:01:00Z"),
            ("2h", "2026-11-29T12:00:00Z"),
            ("1h30m", "2026-11-29T12:30:00Z"),
            ("7d", "2026-11-22T14:00:00Z"),
        ] {
            assert_eq!(past(text, now, &zone), Some(expected.parse().unwrap()), "{text}");
        }
        for text in ["", "yesterday", "25:00", "-2h", "+2h", "2h ago", "2026-13-01", "10", "99999999d"] {
            assert_eq!(past(text, now, &zone), None, "{text}");
        }
    }
}
