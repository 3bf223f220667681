//! How long to wait before another attempt: full jitter
//! (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).

use std::time::Duration;

/// The wait after the first failure, before the jitter.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait that we choose.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The longest wait that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// The wait after `failures` failures in a row; `asked` is what the receiver wants at least. `chance` is evenly distributed.
#[must_use]
pub fn wait(failures: u32, asked: Option<Duration>, chance: u32) -> Duration {
    let limit = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    let ours = limit.mul_f64(f64::from(chance) / f64::from(u32::MAX));
    ours.max(asked.unwrap_or_default().min(LONGEST_ASKED))
}

/// A number by chance; the largest if the host has no random numbers.
#[must_use]
pub fn chance() -> u32 {
    let mut bytes = [0; 4];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() { u32::MAX } else { u32::from_le_bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_five_minutes_and_a_receiver_may_ask_for_an_hour() {
        let seconds = |failures, asked: Option<u64>, chance| {
            wait(failures, asked.map(Duration::from_secs), chance).as_secs_f64().round() as u64
        };
        assert_eq!([1, 2, 3, 9, 10, 1000].map(|failures| seconds(failures, None, u32::MAX)), [1, 2, 4, 256, 300, 300]);
        assert_eq!([0, u32::MAX / 2].map(|chance| seconds(10, None, chance)), [0, 150]);
        assert_eq!([30, 3600, 90_000].map(|asked| seconds(1, Some(asked), u32::MAX)), [30, 3600, 3600]);
    }
}
