//! Compares this host's clock with the API server's.
//!
//! The API server checks certificates by its own clock, so this one compares the two. It must never set a clock.
//! `check` and `proof` call it.

use jiff::{SignedDuration, Timestamp};

use super::{Check, Verdict};

/// A request takes no longer, so a smaller difference is not reported.
const CLOCK_WARNING: SignedDuration = SignedDuration::from_secs(2);
/// Certificates are valid from half a minute before they are signed; to a clock further behind they are not valid yet.
const CLOCK_FAULT: SignedDuration = SignedDuration::from_secs(30);

pub(super) const CLOCK_HINT: &str = "the API server checks certificates by its own clock; synchronize both with NTP";

impl Check<'_> {
    pub(super) fn clock(&mut self, server: Option<Timestamp>, before: Timestamp, after: Timestamp) {
        let Some(server) = server else {
            return self.tell(
                Verdict::Warning,
                "clock",
                "the API server's answer has no `Date` header, so its clock is unknown",
                Some("look for a proxy that removes the header"),
            );
        };
        let apart = apart(server, before, after);
        let found = format!("this host and the API server differ by {} s", apart.as_secs());
        match verdict_of(apart) {
            Verdict::Ok => self.ok("clock", found),
            worse => self.tell(worse, "clock", found, Some(CLOCK_HINT)),
        }
    }
}

/// The smallest possible difference between the clocks: the server's clock was read between our two readings, in whole
/// seconds.
pub(super) fn apart(server: Timestamp, before: Timestamp, after: Timestamp) -> SignedDuration {
    let ahead = server.duration_since(after);
    let behind = before.duration_since(server) - SignedDuration::from_secs(1);
    ahead.max(behind).max(SignedDuration::ZERO)
}

pub(super) fn verdict_of(apart: SignedDuration) -> Verdict {
    match apart {
        apart if apart > CLOCK_FAULT => Verdict::Fault,
        apart if apart > CLOCK_WARNING => Verdict::Warning,
        _ => Verdict::Ok,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A warning above two seconds, a fault above thirty, whichever clock is ahead. The fraction of a second that the
    /// header lacks is allowed for.
    #[test]
    fn a_clock_difference_is_reported() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        for (server, expected) in [
            (0, Verdict::Ok),
            (2, Verdict::Ok),
            (-3, Verdict::Ok),
            (3, Verdict::Warning),
            (-4, Verdict::Warning),
            (30, Verdict::Warning),
            (-31, Verdict::Warning),
            (31, Verdict::Fault),
            (-32, Verdict::Fault),
        ] {
            assert_eq!(verdict_of(apart(at(server), at(0), at(0))), expected, "{server}");
        }
        assert_eq!(verdict_of(apart(at(20), at(0), at(40))), Verdict::Ok, "a slow answer is not a difference");
    }
}
