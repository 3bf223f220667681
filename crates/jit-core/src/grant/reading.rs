//! Who may read what was done with a grant: its log is for everybody who may see the grant, a recording for readers only.
//!
//! The readers are fixed with the terms of the request, so that a later policy neither opens nor closes an old recording.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Grant;
use super::policy::Terms;
use super::refusal::{Code, Refusal};
use super::request::Person;

/// What is read of what the gateway kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reading {
    /// The sessions of a grant, or one of them: who, when, which command, how it ended.
    List,
    /// Every request of a grant.
    Log,
    /// What a session printed.
    Recording,
}

impl Terms {
    /// The groups whose members may read the recordings: those of the rule; without any, those that may see the grant and the
    /// groups `overseers`.
    #[must_use]
    pub fn readers<'a>(&'a self, overseers: &'a [String]) -> Vec<&'a str> {
        match &self.readers {
            Some(readers) => readers.iter().map(String::as_str).collect(),
            None => {
                let mut groups = self.watchers();
                for group in overseers {
                    if !groups.contains(&group.as_str()) {
                        groups.push(group);
                    }
                }
                groups
            }
        }
    }
}

/// Who may read the recordings, for people, where the rule has these readers.
#[must_use]
pub fn describe(readers: Option<&[String]>) -> String {
    match readers {
        None => "whoever may approve or review it, and auditors, may play them".to_owned(),
        Some([]) => "only root on the bastion may play them".to_owned(),
        Some(groups) => format!("only members of {} may play them", groups.join(", ")),
    }
}

/// Whether a person who may see the grant may read a recording of it.
///
/// # Errors
/// The refusal, which says who may.
pub fn may_play(grant: &Grant, person: &Person, overseers: &[String]) -> Result<(), Refusal> {
    let readers = grant.terms.readers(overseers);
    if person.is_in_any(&readers) {
        return Ok(());
    }
    let who = if readers.is_empty() {
        "nobody may play the recordings of this grant; root can on the bastion".to_owned()
    } else {
        format!("only members of {} may play the recordings of this grant", readers.join(", "))
    };
    Err(Refusal::new(Code::NotAllowed, who).hint("its list and its log are for everybody who may see the grant"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{brought_to, person};
    use super::*;
    use std::sync::Arc;

    /// The rule's readers replace all others; without any they are those who watch the grant. The requester is none of them.
    #[test]
    fn readers_of_recordings_are_those_of_the_rule() {
        let overseers = ["auditors".to_owned()];
        let may =
            |grant: &Grant, name: &str, groups: &[&str]| may_play(grant, &person(name, groups), &overseers).is_ok();
        let mut grant = brought_to("live");
        assert!(may(&grant, "bob", &["leads"]) && may(&grant, "erin", &["auditors"]));
        assert!(!may(&grant, "alice", &["oncall"]) && !may(&grant, "dave", &["security"]));
        let mut with = |readers: &[&str]| {
            let readers = Some(readers.iter().map(ToString::to_string).collect());
            grant.terms = Arc::new(Terms { readers, ..(*grant.terms).clone() });
            grant.clone()
        };
        let narrow = with(&["security"]);
        assert!(may(&narrow, "dave", &["security"]));
        assert!(!may(&narrow, "bob", &["leads"]) && !may(&narrow, "erin", &["auditors"]));
        assert!(narrow.terms.watchers().contains(&"security"), "who may play it has to see it");
        let refused = may_play(&narrow, &person("bob", &["leads"]), &overseers).unwrap_err();
        assert_eq!(refused.why, "only members of security may play the recordings of this grant");
        assert!(!may(&with(&[]), "erin", &["auditors"]));
    }
}
