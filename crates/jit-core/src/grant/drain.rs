//! A drained daemon: from an operator's `drain` until `resume` it accepts no request, collection, break-glass access or
//! extension. Live access continues until it ends.
//!
//! The broker checks this before it grants anything; the trail records since when, by whom and why.

use jiff::Timestamp;

use super::refusal::{Code, Refusal};
use super::request::{PersonName, Reason};
use super::{Event, Fact};

/// Since when the daemon is drained, by whom and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draining {
    /// Since when.
    pub since: Timestamp,
    /// The operator.
    pub by: PersonName,
    /// Why, in the operator's words; people who are refused read it.
    pub reason: Option<Reason>,
}

impl Draining {
    /// The state after `fact`, given the state before it.
    #[must_use]
    pub fn after(before: Option<Self>, fact: &Fact) -> Option<Self> {
        match (&fact.event, fact.by()) {
            (Event::Drained { reason }, Some(by)) => {
                Some(Self { since: fact.at, by: by.clone(), reason: reason.clone() })
            }
            (Event::Resumed, _) => None,
            _ => before,
        }
    }
}

/// Checks that the daemon is not drained.
///
/// # Errors
/// The refusal, with the operator's reason.
pub fn ensure_not_drained(draining: Option<&Draining>) -> Result<(), Refusal> {
    let Some(Draining { since, reason, .. }) = draining else { return Ok(()) };
    let why = reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
    Err(Refusal::new(Code::Draining, format!("the daemon grants no new access since {since:.0}{why}"))
        .hint("live access continues until it ends; try again after an administrator runs `jitd resume`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::{Author, Operator};

    fn fact(event: Event) -> Fact {
        let operator = Operator { name: "root".parse().unwrap(), uid: 0, login: None };
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        Author::Operator(operator).fact(at, None, event)
    }

    #[test]
    fn nothing_is_granted_between_a_drain_and_a_resume() {
        assert_eq!(ensure_not_drained(None), Ok(()));
        let drained = fact(Event::Drained { reason: Some("kernel update".parse().unwrap()) });
        let draining = Draining::after(None, &drained);
        let refusal = ensure_not_drained(draining.as_ref()).unwrap_err();
        assert_eq!(refusal.code, Code::Draining);
        assert!(refusal.why.ends_with(": kernel update"), "{}", refusal.why);
        let later = Draining::after(draining.clone(), &fact(Event::Stopped));
        assert_eq!(later, draining, "a restart changes nothing");
        assert_eq!(Draining::after(later, &fact(Event::Resumed)), None);
    }
}
