//! Moments of the past as people write them, for searching.
//!
//! It reads no clock. `arguments` is the caller.

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// What can be written, for the message about what can't be read.
pub(crate) const FORMS: &str = "write 2026-11-29T14:30:00Z, \"2026-11-29 14:30\", 2026-11-29 or 14:30 in your time zone, or 2h or 7d for so long ago";

/// The moment that `text` names: an RFC 3339 time, a date and a time of day or a date (its midnight) in `zone`, the last time
/// that a clock there showed this, or a span before now. None when it is none of these.
pub(crate) fn past(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    // Hours alone could as well be a span without its unit.
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
    // What begins so is a moment to come where the start of access is written.
    if span.is_negative() || text.starts_with('+') {
        return None;
    }
    Some(now.to_zoned(zone.clone()).checked_sub(span).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_the_past_is_written_in_one_of_four_ways() {
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
