//! Who read what the gateway kept: recorded before anything of it is handed out.
//!
//! ```text
//!  api ─► record_reading ─► recorded a minute ago at most? ─ no ─► SessionsRead, also after the end of the grant
//! ```
//! A program that lists sessions in a loop must not fill the trail, so that the same reading of the same person is recorded
//! once in a minute.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::refusals::{About, Kind};
use super::{Broker, BrokerError};
use crate::grant::refusal::Refusal;
use crate::grant::request::Person;
use crate::grant::{Author, Event, Grant, GrantId, Reading};
use crate::ledger::{LedgerError, TrailError};

/// How long the same reading of the same person is not recorded again.
const FOLDED_FOR: Duration = Duration::from_secs(60);

/// At most so many readings are remembered; those beyond are recorded each.
const REMEMBERED: usize = 16 * 1024;

/// How often a reading of a grant that is over is tried again, if another event of the grant was recorded meanwhile.
const TRIES: usize = 5;

/// The readings of the last minute.
#[derive(Default)]
pub(super) struct Readings(Mutex<HashMap<What, Vec<(Author, Instant)>>>);

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct What {
    grant: GrantId,
    reading: Reading,
    session: Option<String>,
}

impl Readings {
    fn is_recent(&self, what: &What, by: &Author, now: Instant) -> bool {
        let recent = |(author, at): &(Author, Instant)| author == by && now.duration_since(*at) < FOLDED_FOR;
        self.0.lock().get(what).is_some_and(|readings| readings.iter().any(recent))
    }

    fn remember(&self, what: What, by: &Author, now: Instant) {
        let mut all = self.0.lock();
        if all.len() >= REMEMBERED {
            all.retain(|_, readings| {
                readings.retain(|(_, at)| now.duration_since(*at) < FOLDED_FOR);
                !readings.is_empty()
            });
        }
        if all.len() < REMEMBERED {
            let readings = all.entry(what).or_default();
            readings.retain(|(author, at)| author != by && now.duration_since(*at) < FOLDED_FOR);
            readings.push((by.clone(), now));
        }
    }
}

impl Broker {
    /// Records that somebody reads what the gateway kept of a grant that was live. What is read may be handed out only after
    /// it.
    ///
    /// # Errors
    /// [`BrokerError::Ledger`]; then nothing may be handed out.
    pub async fn record_reading(
        &self,
        grant: &GrantId,
        by: &Author,
        reading: Reading,
        session: Option<String>,
    ) -> Result<(), BrokerError> {
        let what = What { grant: grant.clone(), reading, session };
        if self.readings.is_recent(&what, by, Instant::now()) {
            return Ok(());
        }
        let event = Event::SessionsRead { what: reading, session: what.session.clone() };
        self.record_about(grant, by, &event).await?;
        self.readings.remember(what, by, Instant::now());
        Ok(())
    }

    /// Records an event that may also follow the end of a grant.
    pub(super) async fn record_about(&self, grant: &GrantId, by: &Author, event: &Event) -> Result<(), BrokerError> {
        let mut tries = TRIES;
        loop {
            if let Some(open_grant) = self.ledger.open_grant(grant) {
                let mut locked = open_grant.lock().await;
                if !locked.grant().is_over() {
                    self.ledger.record(&mut locked, by, vec![event.clone()]).await?;
                    return Ok(());
                }
            }
            let unknown = || LedgerError::NoSuchGrant(grant.to_string());
            let (found, last) = self.ledger.recorded(grant).await?.ok_or_else(unknown)?;
            if !found.is_over() || found.live_at.is_none() {
                // Somebody took it up from the trail just now, or nothing can have been done with it.
                return Err(unknown().into());
            }
            tries = tries.saturating_sub(1);
            match self.ledger.record_late(grant, last, by, vec![event.clone()]).await {
                Err(LedgerError::Trail(TrailError::Moved { .. })) if tries > 0 => {}
                recorded => return Ok(recorded?),
            }
        }
    }

    /// Records that somebody may not read a recording, and returns the refusal.
    pub async fn refuse_reading(&self, grant: &Grant, by: &Person, refusal: Refusal) -> BrokerError {
        if let Some(open_grant) = self.ledger.open_grant(&grant.id) {
            let mut locked = open_grant.lock().await;
            if !locked.grant().is_over() {
                return self.refuse(&mut locked, by, "recording", refusal).await;
            }
        }
        // Nothing but readings follows the end of a grant; this is counted with the person's other refusals.
        let code = refusal.code.as_str();
        let kind = Kind { about: About::Action(grant.id.clone(), "recording".to_owned()), code };
        if self.refusals.is_news(by, kind.clone(), self.ledger.now())
            && let Err(error) = self.record_refusal(by, code).await
        {
            self.refusals.is_not_written(by, &kind, self.ledger.now());
            return error;
        }
        refusal.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reading_of_the_same_person_is_recorded_once_in_a_minute() {
        let (readings, now) = (Readings::default(), Instant::now());
        let by = |name: &str| Author::Person { name: name.parse().unwrap(), login: None };
        let what = |reading, session: Option<&str>| What {
            grant: GrantId::from_random([7; 10]),
            reading,
            session: session.map(str::to_owned),
        };
        readings.remember(what(Reading::List, None), &by("bob"), now);
        assert!(readings.is_recent(&what(Reading::List, None), &by("bob"), now));
        assert!(!readings.is_recent(&what(Reading::List, None), &by("carol"), now));
        assert!(!readings.is_recent(&what(Reading::Log, None), &by("bob"), now));
        assert!(!readings.is_recent(&what(Reading::List, Some("0198")), &by("bob"), now));
        assert!(!readings.is_recent(&what(Reading::List, None), &by("bob"), now + FOLDED_FOR));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (readings, now) = (Readings::default(), Instant::now());
        let by = Author::Person { name: "bob".parse().unwrap(), login: None };
        let what = |number: usize| What {
            grant: GrantId::from_random([7; 10]),
            reading: Reading::Recording,
            session: Some(number.to_string()),
        };
        (0..=REMEMBERED).for_each(|number| readings.remember(what(number), &by, now));
        assert!(readings.is_recent(&what(0), &by, now) && !readings.is_recent(&what(REMEMBERED), &by, now));
        readings.remember(what(REMEMBERED), &by, now + FOLDED_FOR);
        assert!(readings.is_recent(&what(REMEMBERED), &by, now + FOLDED_FOR));
    }
}
