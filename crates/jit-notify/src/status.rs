//! How a channel is, for `jit-notify status` and for Prometheus.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::progress::Parked;

/// How a channel is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Status {
    /// Its name.
    pub channel: String,
    /// Whether it reads what `jitd` says.
    pub connected: bool,
    /// The number of the last fact up to which everything is settled.
    pub settled: u64,
    /// How many facts are read and not settled.
    pub waiting: usize,
    /// When the oldest of them happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub oldest: Option<Timestamp>,
    /// How many were delivered since the start.
    pub delivered: u64,
    /// How many were refused for good, ever.
    pub parked: u64,
    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_parked: Option<Parked>,
    /// Why the last attempt failed, or why it does not read; none after one that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why the receiver wants nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<String>,
}

impl Status {
    /// A receiver took something.
    pub(crate) fn count_delivery(&mut self) {
        self.delivered = self.delivered.saturating_add(1);
        self.error = None;
    }

    /// The receiver wants nothing any more.
    pub(crate) fn turn_off(&mut self, why: String) {
        let what = "the receiver wants nothing any more; the channel is off until a restart";
        tracing::error!(channel = self.channel, why, "{what}");
        self.off = Some(why);
    }

    /// Lines for people.
    #[must_use]
    pub fn describe(&self, now: Timestamp) -> String {
        let mut text = format!("{}: ", self.channel);
        let _ = match (&self.off, self.connected, self.waiting, self.oldest) {
            (Some(why), ..) => write!(text, "off: {why}"),
            (None, false, 0, _) => write!(text, "not connected to jitd"),
            (None, _, 0, _) => write!(text, "up to date, fact {}", self.settled),
            (None, _, waiting, oldest) => {
                let age = oldest.map_or(0, |oldest| now.duration_since(oldest).as_secs());
                write!(text, "{waiting} waiting, the oldest for {age} s; settled up to fact {}", self.settled)
            }
        };
        if let Some(error) = &self.error {
            let _ = write!(text, "\n  last error: {error}");
        }
        if let Some(parked) = &self.last_parked {
            let Parked { number, kind, why, .. } = parked;
            let _ = write!(text, "\n  {} parked; the last is fact {number} ({kind}): {why}", self.parked);
        }
        text
    }
}

/// All channels in the text format of Prometheus.
#[must_use]
pub fn metrics(channels: &[Status], now: Timestamp) -> String {
    let age = |status: &Status| status.oldest.map_or(0, |oldest| now.duration_since(oldest).as_secs().max(0));
    let bit = |is: bool| i64::from(is);
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    type Value<'a> = &'a dyn Fn(&Status) -> i64;
    let families: [(&str, &str, &str, Value<'_>); 6] = [
        ("jit_notify_connected", "gauge", "Whether the channel reads what jitd says.", &|of| bit(of.connected)),
        ("jit_notify_off", "gauge", "Whether the receiver wants nothing any more.", &|of| bit(of.off.is_some())),
        ("jit_notify_waiting", "gauge", "Facts that are not delivered.", &|of| count(of.waiting as u64)),
        ("jit_notify_oldest_seconds", "gauge", "The age of the oldest fact that is not delivered.", &age),
        ("jit_notify_delivered_total", "counter", "Facts that were delivered since the start.", &|of| {
            count(of.delivered)
        }),
        ("jit_notify_parked_total", "counter", "Facts that a receiver refused for good.", &|of| count(of.parked)),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in families {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for status in channels {
            // The name of a channel has nothing to escape.
            let _ = writeln!(text, "{name}{{channel=\"{}\"}} {}", status.channel, value(status));
        }
    }
    text
}
