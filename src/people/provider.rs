//! People of identity providers: which person an identity is, and which of its groups count.
//!
//! An identity is a provider's issuer and subject, byte by byte; names change hands, and everybody may choose theirs at some
//! providers. A declared identity is that declared person. Any other one is named `NAME.TAG`: the tag is a digest of the
//! identity, so two people have two names, whatever their provider calls them. A reader looks at NAME, so nobody is let in
//! whose NAME another person has, or one that looks like it. Only groups that the configuration lists for the provider count.
//! The rest of `people` calls this.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::Unknown;
use super::directory::DirectoryRule;
use super::names::Appearance;
use crate::grant::digest::sha256_hex;
use crate::grant::request::{PersonName, ProviderLogin, Window};

/// An identity provider of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The issuer, exactly as in its tokens.
    pub issuer: String,
    /// The groups that its people can be in, by their exact names.
    pub groups: BTreeSet<String>,
    /// How old an ID token may be for a certificate.
    pub fresh: Window,
    /// The directory that says who its people are now.
    pub directory: Option<DirectoryRule>,
}

/// A person at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The issuer.
    pub issuer: String,
    /// The subject.
    pub subject: String,
}

impl From<&ProviderLogin> for Identity {
    fn from(login: &ProviderLogin) -> Self {
        Self { issuer: login.issuer.clone(), subject: login.subject.clone() }
    }
}

/// What the front end said about a person who logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Who it is.
    pub identity: Identity,
    /// What the person is called there.
    pub name: PersonName,
    /// The groups, as the front end maps them.
    pub groups: Vec<String>,
    /// When the token was issued that said so, if it is known.
    pub issued: Option<Timestamp>,
}

impl Provider {
    /// The groups of a guest that count.
    pub(super) fn groups_of(&self, guest: &Guest) -> BTreeSet<String> {
        guest.groups.iter().filter(|group| self.groups.contains(*group)).cloned().collect()
    }
}

impl Guest {
    /// The name of a person whom the configuration does not declare.
    ///
    /// # Errors
    /// [`Unknown::OddName`].
    pub(super) fn undeclared_name(&self) -> Result<PersonName, Unknown> {
        let Identity { issuer, subject } = &self.identity;
        let digest = sha256_hex(format!("{issuer}\0{subject}").as_bytes());
        let tag = digest.get(..TAG).unwrap_or_default();
        let odd = |_| Unknown::OddName(self.name.as_str().chars().take(LONGEST_SHOWN).collect());
        format!("{}.{tag}", self.name).parse().map_err(odd)
    }
}

/// Hex digits of the tag: 40 bits. Nobody chooses a subject, so a second one with the same tag is not found by trying.
const TAG: usize = 10;

/// How much of a name an error shows, in characters.
const LONGEST_SHOWN: usize = 64;

/// Of how many people is remembered what their providers said; who is forgotten is asked for at the next login.
const REMEMBERED: usize = 10_000;

/// Under how many names one identity may come: the trail keeps each for ever.
const NAMES: usize = 16;

/// The people of providers who have come in. A request's approvers are looked up here when it is collected: of whom nothing
/// was said since the daemon started is no approver.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// What the provider said last, since the daemon started.
    said: BTreeMap<Identity, Guest>,
    /// As whom each person came last.
    came: BTreeMap<PersonName, Identity>,
    /// What providers ever called each identity, and the names that the person got for it.
    called: BTreeMap<Identity, BTreeMap<PersonName, PersonName>>,
    /// Whose each identity is that was linked to an account.
    links: BTreeMap<Identity, PersonName>,
    /// Whose name it is, for each form that a reader may take for it.
    looks: BTreeMap<String, Identity>,
}

impl Guests {
    /// Remembers what was said, instead of what was said before.
    pub(super) fn remember(&self, name: &PersonName, guest: Guest) {
        let mut known = self.0.lock();
        if known.came.len() >= REMEMBERED && !known.came.contains_key(name) {
            known.came.pop_first();
        }
        if known.said.len() >= REMEMBERED && !known.said.contains_key(&guest.identity) {
            known.said.pop_first();
        }
        known.came.insert(name.clone(), guest.identity.clone());
        known.said.insert(guest.identity.clone(), guest);
    }

    /// Gives the person of this identity the names that they came under.
    pub(super) fn give(&self, identity: &Identity, called: &PersonName, name: &PersonName) {
        let known = &mut *self.0.lock();
        known.called.entry(identity.clone()).or_default().insert(called.clone(), name.clone());
        for form in [called, name].map(Appearance::of).iter().flat_map(Appearance::forms) {
            known.looks.entry(form.to_owned()).or_insert_with(|| identity.clone());
        }
    }

    /// Whether the person has come under this name before.
    ///
    /// # Errors
    /// [`Unknown::TooManyNames`] if the person came under too many others.
    pub(super) fn has(&self, guest: &Guest) -> Result<bool, Unknown> {
        match self.0.lock().called.get(&guest.identity) {
            Some(called) if called.contains_key(&guest.name) => Ok(true),
            Some(called) if called.len() >= NAMES => Err(Unknown::TooManyNames(guest.name.clone())),
            _ => Ok(false),
        }
    }

    /// The names that the person of this identity had as nobody who is declared.
    pub(super) fn names_of(&self, identity: &Identity) -> Vec<PersonName> {
        self.0.lock().called.get(identity).map(|called| called.values().cloned().collect()).unwrap_or_default()
    }

    /// Makes the identity this person's.
    pub(super) fn link(&self, identity: Identity, person: PersonName) {
        self.0.lock().links.insert(identity, person);
    }

    /// Whose identity it is, if it was linked.
    pub(super) fn linked_to(&self, identity: &Identity) -> Option<PersonName> {
        self.0.lock().links.get(identity).cloned()
    }

    /// The identities that were linked to this person.
    pub(super) fn linked_with(&self, person: &PersonName) -> Vec<Identity> {
        let known = self.0.lock();
        known.links.iter().filter(|(_, linked)| *linked == person).map(|(identity, _)| identity.clone()).collect()
    }

    /// Another identity whose name a reader may take for one that looks like this.
    pub(super) fn another(&self, looks: &Appearance, identity: &Identity) -> Option<Identity> {
        let known = self.0.lock();
        looks.forms().find_map(|form| known.looks.get(form).filter(|other| *other != identity)).cloned()
    }

    /// What the provider called the person of this identity who came under this name.
    pub(super) fn called(&self, identity: &Identity, name: &PersonName) -> Option<PersonName> {
        let known = self.0.lock();
        let (called, _) = known.called.get(identity)?.iter().find(|(_, given)| *given == name)?;
        Some(called.clone())
    }

    /// What was said last about the person of this identity.
    pub(super) fn of_identity(&self, identity: &Identity) -> Option<Guest> {
        self.0.lock().said.get(identity).cloned()
    }

    /// What was said last about the person of this name.
    pub(super) fn of(&self, name: &PersonName) -> Option<Guest> {
        let known = self.0.lock();
        known.said.get(known.came.get(name)?).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(subject: &str, name: &str, groups: &[&str]) -> Guest {
        let identity = Identity { issuer: "https://id.example".to_owned(), subject: subject.to_owned() };
        let groups = groups.iter().map(ToString::to_string).collect();
        Guest { identity, name: name.parse().unwrap(), groups, issued: None }
    }

    #[test]
    fn only_groups_that_are_listed_for_the_provider_count() {
        let corp = Provider {
            issuer: "https://id.example".to_owned(),
            groups: ["payments-leads".to_owned()].into(),
            fresh: Window::TEN_MINUTES,
            directory: None,
        };
        let groups = ["payments-leads", "payments-leads ", "Payments-Leads", "admins", "auditors", ""];
        assert_eq!(corp.groups_of(&guest("1", "alice", &groups)), corp.groups);
    }

    #[test]
    fn two_people_have_two_names_whatever_their_provider_calls_them() {
        let name = |subject, called| guest(subject, called, &[]).undeclared_name().unwrap().to_string();
        let alice = name("1", "alice@corp");
        assert!(alice.starts_with("alice@corp.") && alice.len() == 21, "{alice}");
        assert_ne!(alice, name("2", "alice@corp"));
        assert_eq!(alice, name("1", "alice@corp"));
        let long = guest("1", &"x".repeat(250), &[]).undeclared_name();
        assert!(matches!(long, Err(Unknown::OddName(_))), "{long:?}");
    }
}
