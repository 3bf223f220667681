//! How far this host's clock and the API server's are apart.
//!
//! Certificates are valid by the API server's clock, so a difference is a finding. It must never set a clock. The check
//! and the proof of trust ask it.

use jiff::{SignedDuration, Timestamp};

use super::{Check, Verdict};

/// A request takes no longer, so less than this is nothing to speak of.
const CLOCK_WARNING: SignedDuration = SignedDuration::from_secs(2);
/// A certificate begins half a minute before it is signed; to a clock further behind it is not valid yet.
const CLOCK_FAULT: SignedDuration = SignedDuration::from_secs(30);

pub(super) const CLOCK_HINT: &str = "certificates are valid by the API server's clock: set both by NTP";

impl Check<'_> {
    pub(super) fn clock(&mut self, server: Option<Timestamp>, before: Timestamp, after: Timestamp) {
        let Some(server) = server else {
            return self.tell(
                Verdict::Warning,
                "clock",
                "the API server does not tell its clock",
                Some("look for a proxy in between that takes the header `Date` away"),
            );
        };
        let apart = apart(server, before, after);
        let found = format!("{} s between this host and the API server", apart.as_secs());
        match verdict_of(apart) {
            Verdict::Ok => self.ok("clock", found),
            worse => self.tell(worse, "clock", found, Some(CLOCK_HINT)),
        }
    }
}

/// How far the clocks are apart at least: the server's was read between our two, and it tells whole seconds.
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

    /// Warned of above two seconds, a fault above thirty, whichever clock is ahead; the second that the
    /// header cuts off counts for neither.
    #[test]
    fn clocks_that_are_apart_are_told() {
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
        assert_eq!(verdict_of(apart(at(20), at(0), at(40))), Verdict::Ok, "a slow answer is no difference");
    }
}
