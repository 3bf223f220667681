//! What is kept of what is done through the gateway, until when nothing may be done, and what it refuses.
//!
//! The terms are the rule's; the gateway carries them out, because only it sees the requests.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::request::{Malformed, Window, seconds};
use super::{Event, Restricted, Restriction};

/// What the gateway keeps of what is done through a grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// Nothing.
    Off,
    /// Each request: what it does to what, when, from where, and how it ended. No content.
    #[default]
    Metadata,
    /// Also what an exec or attach prints. Without a recording there is no session.
    Required,
}

impl Record {
    /// The word for it, as in the files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Metadata => "metadata",
            Self::Required => "required",
        }
    }
}

/// The terms for what is done through the gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionTerms {
    /// What is kept.
    #[serde(default)]
    pub record: Record,
    /// Whether a recording also has what the person types, passwords included.
    #[serde(default, skip_serializing_if = "is_false")]
    pub record_input: bool,
    /// How long a session may go on without a byte from or to the person; absent: as long as the grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub idle: Option<Window>,
    /// What is refused although the role allows it: those of the guardrails first, then the rule's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refuse: Vec<Restriction>,
}

impl SessionTerms {
    /// Whether these are the terms of a rule that says nothing about sessions, and of every grant of earlier trails.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Whether somebody was promised what only the gateway can keep: a recording, an end when nobody does anything, or a
    /// refusal.
    #[must_use]
    pub fn need_gateway(&self) -> bool {
        self.follow_sessions() || !self.refuse.is_empty()
    }

    /// Whether an exec or attach may pass only if the gateway can follow what passes in it.
    #[must_use]
    pub fn follow_sessions(&self) -> bool {
        self.record == Record::Required || self.record_input || self.idle.is_some()
    }

    /// Whether a port-forward may pass only if the gateway can read the port of each connection in it.
    #[must_use]
    pub fn limit_ports(&self) -> bool {
        self.refuse.iter().any(|one| matches!(one.refuses, Restricted::PortForward { .. }))
    }

    /// What is recorded, for people: `each request, and what exec and attach print, but not what is typed`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut says = match (self.record, self.record_input) {
            (Record::Off, _) => "nothing of what is done",
            (Record::Metadata, _) => "each request, without content",
            (Record::Required, false) => "each request, and what exec and attach print, but not what is typed",
            (Record::Required, true) => {
                "each request, what exec and attach print, and what is typed, passwords included"
            }
        }
        .to_owned();
        if let Some(idle) = self.idle {
            says.push_str(&format!("; a session without a byte for {idle} ends"));
        }
        says
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// How long is kept what was done with a grant, after it is over: days (`90d`), or shorter (`12h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep(i64);

/// Ten years.
const LONGEST_KEPT: i64 = 3650 * DAY;
const DAY: i64 = 86_400;

impl Keep {
    /// The length as a duration.
    #[must_use]
    pub fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(self.0)
    }
}

impl FromStr for Keep {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let length = match text.strip_suffix('d') {
            Some(days) if days.bytes().all(|byte| byte.is_ascii_digit()) => {
                days.parse().ok().map(|days: i64| days.saturating_mul(DAY))
            }
            Some(_) => None,
            None => Some(i64::from(seconds(text)?)),
        };
        length.filter(|length| (1..=LONGEST_KEPT).contains(length)).map(Self).ok_or_else(|| {
            Malformed::new(
                "duration",
                text,
                "write days like 90d, at most 3650d, or hours, minutes and seconds like 12h",
            )
        })
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            length if length % DAY == 0 => write!(out, "{}d", length / DAY),
            length if length % 3600 == 0 => write!(out, "{}h", length / 3600),
            length if length % 60 == 0 => write!(out, "{}m", length / 60),
            length => write!(out, "{length}s"),
        }
    }
}

/// Where a gateway's log of a grant stands: whoever knows it can tell whether a line before it was changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogHead {
    /// How many lines it has.
    pub lines: u64,
    /// SHA-256 of the last one, hex. Each line has that of the line before it.
    #[serde(deserialize_with = "hash")]
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: String,
}

/// 64 hexadecimal digits: a head comes from another program, and goes into the trail.
pub(super) fn hash<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() == 64 && text.bytes().all(is_digit) {
        Ok(text)
    } else {
        Err(D::Error::custom("a hash has 64 hexadecimal digits"))
    }
}

impl LogHead {
    /// Whether a log that stood here cannot stand at `later` afterwards: lines are missing, or the last one is another.
    #[must_use]
    pub fn contradicts(&self, later: &Self) -> bool {
        later.lines < self.lines || later.lines == self.lines && later.sha256 != self.sha256
    }
}

/// At most so many heads of one grant are recorded after its end: a gateway closes what was cut in a line each, but reports
/// them together, and one that was taken over must not fill the trail.
const AFTER_THE_END: u32 = 8;

/// What the trail has about the log of one grant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogHistory {
    was_live: bool,
    is_over: bool,
    after_the_end: u32,
    head: Option<LogHead>,
    /// A head that the end of the grant contradicts, until the trail says so.
    contradicted: Option<LogHead>,
}

/// Why a head is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLogged {
    /// Nothing was ever done with the grant.
    #[error("it is about a grant that never was live")]
    NeverLive,
    /// `AFTER_THE_END` heads were recorded after the end.
    #[error("enough heads of this grant were recorded after its end")]
    TooMany,
}

impl LogHistory {
    /// The history after another event of the grant, in the order of the trail.
    #[must_use]
    pub fn after(mut self, event: &Event) -> Self {
        match event {
            Event::Live { .. } => self.was_live = true,
            Event::Logged { lines, sha256 } => self.has(*lines, sha256),
            Event::LogContradicted { lines, sha256, .. } => {
                self.contradicted = None;
                self.has(*lines, sha256);
            }
            Event::Ended { log, .. } => {
                self.is_over = true;
                if let Some(log) = log {
                    self.contradicted = self.head.replace(log.clone()).filter(|before| before.contradicts(log));
                }
            }
            _ => {}
        }
        self
    }

    fn has(&mut self, lines: u64, sha256: &str) {
        self.was_live = true;
        self.head = Some(LogHead { lines, sha256: sha256.to_owned() });
        self.after_the_end = self.after_the_end.saturating_add(self.is_over.into());
    }

    /// The event for a head that the gateway reported; `None` if the trail has it already. After a contradiction at the end
    /// of the grant, the report itself follows: ask again.
    ///
    /// # Errors
    /// [`NotLogged`].
    pub fn news(&self, reported: &LogHead) -> Result<Option<Event>, NotLogged> {
        let contradicted = |before: &LogHead, LogHead { lines, sha256 }: &LogHead| Event::LogContradicted {
            lines: *lines,
            sha256: sha256.clone(),
            before: before.clone(),
        };
        let event = match (&self.contradicted, &self.head) {
            (Some(before), Some(head)) => contradicted(before, head),
            (_, Some(head)) if head == reported => return Ok(None),
            (_, Some(head)) if head.contradicts(reported) => contradicted(head, reported),
            _ => Event::Logged { lines: reported.lines, sha256: reported.sha256.clone() },
        };
        match self {
            Self { was_live: false, .. } => Err(NotLogged::NeverLive),
            Self { after_the_end: AFTER_THE_END.., .. } => Err(NotLogged::TooMany),
            _ => Ok(Some(event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::grant::{EndCause, EndProof};

    fn head(lines: u64, digit: char) -> LogHead {
        LogHead { lines, sha256: digit.to_string().repeat(64) }
    }

    fn live() -> Event {
        Event::Live { until: Timestamp::UNIX_EPOCH }
    }

    fn ended(log: Option<LogHead>) -> Event {
        Event::Ended { why: EndCause::Expired, proof: EndProof::Denied, reason: None, cut: Some(0), log }
    }

    fn history(events: &[Event]) -> LogHistory {
        events.iter().fold(LogHistory::default(), LogHistory::after)
    }

    fn grown(LogHead { lines, sha256 }: LogHead) -> Event {
        Event::Logged { lines, sha256 }
    }

    fn logged(lines: u64) -> Event {
        grown(head(lines, 'a'))
    }

    fn contradicted(LogHead { lines, sha256 }: LogHead, before: LogHead) -> Event {
        Event::LogContradicted { lines, sha256, before }
    }

    /// A head that has grown is recorded, one that is known is not, and one that has shrunk or changed is what it is.
    #[test]
    fn a_head_that_goes_back_is_a_contradiction() {
        let before = history(&[live(), logged(5)]);
        let goes_back = |log| Ok(Some(contradicted(log, head(5, 'a'))));
        assert_eq!(history(&[live()]).news(&head(1, 'a')), Ok(Some(logged(1))));
        assert_eq!(before.news(&head(5, 'a')), Ok(None));
        assert_eq!(before.news(&head(6, 'b')), Ok(Some(grown(head(6, 'b')))));
        assert_eq!(before.news(&head(4, 'a')), goes_back(head(4, 'a')));
        assert_eq!(before.news(&head(5, 'b')), goes_back(head(5, 'b')));
        // What contradicted is the head from then on, so that it is recorded once.
        let after = before.after(&contradicted(head(4, 'a'), head(5, 'a')));
        assert_eq!(after.news(&head(4, 'a')), Ok(None));
        assert_eq!(after.news(&head(5, 'b')), Ok(Some(grown(head(5, 'b')))));
    }

    /// The head at the end is compared like any other, though nothing waits for that before the end.
    #[test]
    fn a_head_at_the_end_that_goes_back_is_a_contradiction() {
        assert_eq!(history(&[live(), logged(5), ended(Some(head(7, 'a')))]).news(&head(7, 'a')), Ok(None));
        assert_eq!(history(&[live(), logged(5), ended(None)]).news(&head(7, 'a')), Ok(Some(logged(7))));
        let over = history(&[live(), logged(5), ended(Some(head(3, 'a')))]);
        let event = contradicted(head(3, 'a'), head(5, 'a'));
        assert_eq!(over.news(&head(3, 'a')), Ok(Some(event.clone())));
        assert_eq!(over.news(&head(4, 'a')), Ok(Some(event.clone())), "first what the end contradicts");
        assert_eq!(over.clone().after(&event).news(&head(4, 'a')), Ok(Some(logged(4))));
        assert_eq!(over.after(&event).news(&head(3, 'a')), Ok(None));
    }

    #[test]
    fn a_gateway_cannot_fill_the_trail_after_an_end() {
        assert_eq!(history(&[]).news(&head(1, 'a')), Err(NotLogged::NeverLive));
        let mut over = history(&[live(), logged(1), ended(None)]);
        let mut recorded = 0;
        for lines in 2..100 {
            match over.news(&head(lines, 'a')) {
                Ok(event) => {
                    recorded += 1;
                    over = over.after(&event.unwrap());
                }
                Err(why) => assert_eq!(why, NotLogged::TooMany),
            }
        }
        assert_eq!(recorded, AFTER_THE_END);
        let live = (0..100).fold(history(&[live()]), |history, lines| history.after(&logged(lines)));
        assert!(live.news(&head(100, 'a')).is_ok(), "a live grant grows on");
    }

    #[test]
    fn days_and_shorter_times_are_kept() {
        for (written, length, said) in [
            ("90d", 90 * DAY, "90d"),
            ("12h", 43_200, "12h"),
            ("36h", 129_600, "36h"),
            ("5s", 5, "5s"),
            ("48h", 2 * DAY, "2d"),
        ] {
            let keep: Keep = written.parse().unwrap();
            assert_eq!((keep.duration().as_secs(), keep.to_string().as_str()), (length, said));
        }
        for wrong in ["", "d", "0d", "0s", "3651d", "-1d", "+1d", "1d12h", "99999999999999999999d", "90 d", "ever"] {
            assert!(wrong.parse::<Keep>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_hash_is_taken_for_one() {
        let read =
            |sha256: &str| serde_json::from_value::<LogHead>(serde_json::json!({ "lines": 1, "sha256": sha256 }));
        assert!(read(&"0f".repeat(32)).is_ok());
        for wrong in ["", "0f", &"0F".repeat(32), &"0g".repeat(32), &"0".repeat(65), &"\u{e9}".repeat(32)] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
