//! How many reports of texts go into the trail: many at once after an outage, and few all the time.
//!
//! The trail is never shortened, and `jit-notify` is not believed: one that was taken over must not fill the disk. One that
//! reports more has to wait; what it is told does not wait for that.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long one text takes: 20 in a second, which is some KiB.
const EACH: Duration = Duration::from_millis(50);

/// How many may come at once.
const AT_ONCE: u32 = 20_000;

/// What all readers together may report.
pub(super) struct Allowance {
    /// When the whole of it is there again.
    full_at: Mutex<Instant>,
}

impl Allowance {
    /// The whole of it.
    pub(super) fn new(now: Instant) -> Self {
        Self { full_at: Mutex::new(now) }
    }

    /// Takes some of it, and returns from when on it can be used.
    pub(super) fn take(&self, texts: usize, now: Instant) -> Instant {
        let texts = u32::try_from(texts).unwrap_or(u32::MAX);
        let mut full_at = self.full_at.lock();
        *full_at = (*full_at).max(now) + EACH.saturating_mul(texts);
        now + full_at.duration_since(now).saturating_sub(EACH.saturating_mul(AT_ONCE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An outage's reports are recorded at once, and after them one in 50 ms.
    #[test]
    fn many_come_at_once_and_then_few() {
        let now = Instant::now();
        let allowance = Allowance::new(now);
        assert_eq!(allowance.take(20_000, now), now);
        assert_eq!(allowance.take(1, now), now + EACH);
        assert_eq!(allowance.take(64, now), now + EACH * 65);
        let later = now + EACH * 65;
        assert_eq!(allowance.take(1, later), later + EACH);
        let rested = now + Duration::from_secs(2000);
        assert_eq!(allowance.take(20_000, rested), rested);
    }
}
