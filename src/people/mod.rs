//! The person behind a uid or an identity at a provider, and the groups of a person: the people that the configuration
//! declares, then the host's name service or the provider.
//!
//! The name service is queried for each call, so that leaving a group takes effect at once, on threads that nothing else
//! uses, and never for the groups of a declared person unless `hostGroups` is set. Root is not a person, and neither is a
//! uid without a mapping in this user namespace. Where a provider has a directory, what that says counts instead of what the
//! provider said before. The API calls this for a caller, and the broker for the approvers of a
//! grant that is collected.

mod directory;
pub mod host;
mod names;
mod provider;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use jiff::Timestamp;
use jit_directory::{DirectoryError, Found};

use self::directory::Asked as AskedDirectory;
pub use self::directory::{DirectoryRule, Stale};
use self::host::{Account, Failed, GroupNames};
use self::names::Appearance;
use self::provider::Guests;
pub use self::provider::{Guest, Identity, Provider};
use crate::dependency::{Dependency, NoAnswer, Watched};
use crate::grant::request::{Person, PersonName, Window};
use crate::hint::Hint;

/// What the kernel reports for a uid without a mapping (`/proc/sys/kernel/overflowuid`).
const UNMAPPED: u32 = 65534;

/// A person that the configuration declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The name.
    pub name: PersonName,
    /// Every account of the person.
    pub uids: Vec<u32>,
    /// Every identity of the person at a provider.
    pub identities: Vec<Identity>,
    /// The person's groups, instead of the host's.
    pub groups: BTreeSet<String>,
    /// Whether the groups that the host lists for the accounts count too.
    pub host_groups: bool,
}

/// All people that this host knows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct People {
    declared: Arc<[Declared]>,
    /// Whether only declared people are known.
    strict: bool,
    host: Dependency<Asked>,
    group_names: Arc<GroupNames>,
    providers: Arc<[Provider]>,
    directories: Arc<[Arc<AskedDirectory>]>,
    guests: Arc<Guests>,
}

/// A person of a provider who comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The person is declared, or has come under this name before.
    Known(Person),
    /// The person comes under this name for the first time; [`People::admit`] takes that down, once the trail has it.
    New(Person),
}

/// A query of the name service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Uid(u32),
    Name(PersonName),
    /// Every account that a reader may take this name for.
    Like(PersonName),
    Group(String),
}

/// The number of concurrent queries; a name service that hangs blocks this many threads at most.
const AT_ONCE: usize = 32;

/// How long to wait for an answer of the name service. A healthy directory answers in a fraction of a second.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Why a uid or a name is not a known person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// Several people can act as root.
    #[error("root is not a person: several people can act as root")]
    Root,
    /// The kernel has no mapping for the caller's uid.
    #[error("uid {UNMAPPED} stands for every account that has no uid in this user namespace")]
    Unmapped,
    /// The name service does not know the account.
    #[error("uid {0} is not an account of this host")]
    NoAccount(u32),
    /// The name service does not know the name.
    #[error("`{0}` is not an account of this host")]
    NoSuchName(String),
    /// The account exists, but only declared people count.
    #[error("`{0}` is not declared")]
    NotDeclared(String),
    /// The account has the name of a declared person, but its uid is not declared.
    #[error("`{name}` is declared, but without the uid {uid}")]
    Unlisted {
        /// The name.
        name: String,
        /// The account.
        uid: u32,
    },
    /// A group of the person has no name, so it is unknown whether the policy denies it.
    #[error(
        "the host's name service has no name for the group {group} of `{person}`, and the policy denies some groups"
    )]
    NamelessGroup {
        /// The person.
        person: String,
        /// `#` and its number.
        group: String,
    },
    /// Another account has the same name, so one of them could be taken for the other.
    #[error("`{name}` is the name of uid {uid} and of uid {other}, so it does not identify a person")]
    SameName {
        /// The name.
        name: PersonName,
        /// The account.
        uid: u32,
        /// The account that the name service finds by the name.
        other: u32,
    },
    /// The caller came from an identity provider that the configuration does not have.
    #[error("`{0}` is not a provider of this daemon's configuration")]
    NoProvider(String),
    /// The directory says that the account is disabled.
    #[error("the directory of {0} says that this account is disabled")]
    Disabled(String),
    /// The directory does not have the account.
    #[error("the directory of {0} no longer has this account")]
    Gone(String),
    /// Another person has the name of a provider's person, or one that a reader may take for it.
    #[error("the name `{0}` is another person's, or looks like another person's")]
    NameTaken(PersonName),
    /// A provider's person came under other names before.
    #[error("the name `{0}` is new, and the provider has called this person by too many others")]
    TooManyNames(PersonName),
    /// The account's name cannot be a person's name.
    #[error("the account name `{0}` cannot be used: it is root's, or does not have 1 to 255 bytes")]
    OddName(String),
    /// A provider has said nothing about its person since the daemon started.
    #[error("`{0}` has not come from the identity provider since the daemon started, so the groups there are unknown")]
    NotSaid(PersonName),
    /// The name service finds none of the groups that somebody is said to have left.
    #[error("the host's name service does not find {}, so it is unknown whether `{person}` left", groups.join(" or "))]
    NoSuchGroup {
        /// The person.
        person: PersonName,
        /// The groups.
        groups: Vec<String>,
    },
    /// The name service failed.
    #[error(transparent)]
    NameService(#[from] Failed),
    /// The name service does not answer.
    #[error(transparent)]
    Silent(#[from] NoAnswer),
}

impl Hint for Unknown {
    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Root => "use your own account, without sudo",
            Self::Unmapped => "run the daemon without PrivateUsers=yes, and the client outside of user namespaces",
            Self::Unlisted { .. } => "an administrator can add the uid under `people` in config.yaml",
            Self::SameName { .. } => {
                "rename one of the accounts; if both belong to one person, an administrator can declare both uids under `people` in config.yaml"
            }
            Self::NamelessGroup { .. } => {
                "`getent group GID` shows whether it has a name; give it one, or remove the account from the group"
            }
            Self::NoAccount(_) | Self::NoSuchName(_) | Self::OddName(_) => {
                "an administrator can declare the person under `people` in config.yaml"
            }
            Self::NotDeclared(_) => {
                "`strictPeople` is on; an administrator can declare the person under `people` in config.yaml"
            }
            Self::Disabled(_) | Self::Gone(_) => "ask those who administer the accounts there",
            Self::NoProvider(_) => "an administrator can add it under `providers` in config.yaml",
            Self::NameTaken(_) | Self::TooManyNames(_) => {
                "an administrator can declare the person, with the identity, under `people` in config.yaml"
            }
            Self::NotSaid(_) => "the next login of the person, or the next call in their session, tells it",
            Self::NoSuchGroup { .. } => "`getent group NAME` shows whether the name service has the group",
            Self::NameService(error) => return error.hint(),
            Self::Silent(_) => "try again; `getent passwd` shows whether the name service works",
        };
        Some(hint.into())
    }
}

impl Unknown {
    /// Whether it could not be found out who somebody is; otherwise they are nobody.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::NotSaid(_) | Self::NoSuchGroup { .. } | Self::NameService(_) | Self::Silent(_))
    }
}

/// The person that was found, or none. A failure remains an error.
///
/// # Errors
/// [`Unknown::is_failure`].
pub fn or_nobody(found: Result<Person, Unknown>) -> Result<Option<Person>, Unknown> {
    match found {
        Ok(person) => Ok(Some(person)),
        Err(failed) if failed.is_failure() => Err(failed),
        Err(_) => Ok(None),
    }
}

impl People {
    /// The people of a configuration.
    #[must_use]
    pub fn new(declared: Vec<Declared>, strict: bool) -> Self {
        Self {
            declared: declared.into(),
            strict,
            host: Dependency::new("host's name service", AT_ONCE, ANSWERS_WITHIN),
            group_names: Arc::default(),
            providers: Arc::default(),
            directories: Arc::default(),
            guests: Arc::default(),
        }
    }

    /// The same people, and those of these identity providers.
    #[must_use]
    pub fn with_providers(self, providers: Vec<Provider>) -> Self {
        let directory =
            |provider: &Provider| Some(Arc::new(AskedDirectory::new(&provider.issuer, provider.directory.clone()?)));
        let directories = providers.iter().filter_map(directory).collect();
        Self { providers: providers.into(), directories, ..self }
    }

    /// The files of the directories' secrets.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.directories.iter().filter_map(|directory| directory.file())
    }

    /// Whether people of any identity provider are known.
    #[must_use]
    pub fn have_providers(&self) -> bool {
        !self.providers.is_empty()
    }

    /// Whether only declared people are known.
    #[must_use]
    pub fn are_strict(&self) -> bool {
        self.strict
    }

    /// The same people, with what `before` has: the threads for the name service, because a reload must not give more of them
    /// to one that hangs, what providers said about the people who logged in, and what directories said that stay the same.
    #[must_use]
    pub fn after(self, before: &Self) -> Self {
        let kept = |new: &Arc<AskedDirectory>| {
            let same = before.directories.iter().find(|old| old.is(new));
            Arc::clone(same.unwrap_or(new))
        };
        let directories = self.directories.iter().map(kept).collect();
        Self { host: before.host.clone(), guests: Arc::clone(&before.guests), directories, ..self }
    }

    /// The person behind `uid`.
    ///
    /// # Errors
    /// [`Unknown`], with what to do about it.
    pub async fn by_uid(&self, uid: u32) -> Result<Person, Unknown> {
        match uid {
            0 => return Err(Unknown::Root),
            UNMAPPED => return Err(Unknown::Unmapped),
            _ => {}
        }
        if let Some(declared) = self.declared.iter().find(|declared| declared.uids.contains(&uid)) {
            return self.of_declared(declared).await;
        }
        match self.ask(Asked::Uid(uid), !self.strict, move || host::account(uid)).await? {
            Some(found) => self.alone_with_its_name(uid, self.of_account(found)?).await,
            None => Err(Unknown::NoAccount(uid)),
        }
    }

    /// Checks that the account's name finds this account: two sources of the name service can use one name for two people.
    async fn alone_with_its_name(&self, uid: u32, person: Person) -> Result<Person, Unknown> {
        let account = person.name.account();
        match self.ask(Asked::Name(person.name.clone()), false, move || host::account_named(&account)).await? {
            Some((other, _)) if other.uid != uid => Err(Unknown::SameName { name: person.name, uid, other: other.uid }),
            _ => Ok(person),
        }
    }

    /// The person of this name.
    ///
    /// # Errors
    /// [`Unknown`], with what to do about it.
    pub async fn by_name(&self, name: &PersonName) -> Result<Person, Unknown> {
        // A linked person comes by the account, too, also if the provider is no longer configured.
        let is_linked = |guest: &Guest| self.guests.linked_to(&guest.identity).as_ref() == Some(name);
        let is_gone = |guest: &Guest| self.provider(&guest.identity.issuer).is_none();
        let guest = self.guests.of(name).filter(|guest| !(is_linked(guest) && is_gone(guest)));
        if let Some(declared) = self.declared.iter().find(|declared| declared.name == *name) {
            // Another identity of theirs may have been declared since, or this one no longer.
            return match guest.filter(|guest| declared.identities.contains(&guest.identity)) {
                Some(guest) => self.by_identity(&guest).await,
                None => self.of_declared(declared).await,
            };
        }
        if let Some(guest) = guest {
            let person = self.by_identity(&guest).await?;
            return if person.name == *name { Ok(person) } else { Err(Unknown::NoSuchName(name.to_string())) };
        }
        self.by_account_name(name).await
    }

    /// The person who got access under this name: by a login as this identity, or with an account of the host.
    ///
    /// # Errors
    /// [`Unknown`]; [`Unknown::NotSaid`] of somebody who logged in before the daemon started, and has not come since.
    pub async fn holder(&self, name: &PersonName, identity: Option<&Identity>) -> Result<Person, Unknown> {
        let Some(identity) = identity else { return self.by_name(name).await };
        if self.provider(&identity.issuer).is_none() {
            return Err(Unknown::NoProvider(identity.issuer.clone()));
        }
        let guest = self.guests.of_identity(identity).or_else(|| self.recalled(name, identity));
        let guest = guest.ok_or_else(|| Unknown::NotSaid(name.clone()))?;
        let person = self.by_identity(&guest).await?;
        // Somebody who was declared or linked since is still the same person.
        let is_theirs = person.name == *name || self.former_names(&person.name).contains(name);
        if is_theirs { Ok(person) } else { Err(Unknown::NoSuchName(name.to_string())) }
    }

    /// Somebody who logged in before the daemon started, of whom the directory has said since who they are now.
    fn recalled(&self, name: &PersonName, identity: &Identity) -> Option<Guest> {
        let issued = Some(self.directory(&identity.issuer)?.answer(&identity.subject)?.at);
        let called = self.guests.called(identity, name);
        let called = called.or_else(|| self.is_joined(identity).then(|| name.clone()))?;
        Some(Guest { identity: identity.clone(), name: called, groups: Vec::new(), issued })
    }

    /// Whether a person is in none of these groups.
    ///
    /// # Errors
    /// [`Unknown`] if that cannot be said for certain.
    pub async fn has_left(&self, person: &Person, groups: &[String]) -> Result<bool, Unknown> {
        if person.is_in_any(groups) {
            return Ok(false);
        }
        let declared = self.declared.iter().find(|declared| declared.name == person.name);
        let is_guest = self.guests.of(&person.name).is_some_and(|guest| !self.is_joined(&guest.identity));
        if is_guest || declared.is_some_and(|declared| !declared.host_groups) {
            return Ok(true);
        }
        // getgrouplist(3) reports no failure: it leaves out the groups of a source that does not answer. Whether the source
        // answers is seen by whether it finds the group itself.
        let of_host: Vec<String> = groups.iter().filter(|group| !self.is_of_a_provider(group)).cloned().collect();
        if of_host.is_empty() {
            return Ok(true);
        }
        for group in &of_host {
            let name = group.clone();
            if self.host.ask(Asked::Group(group.clone()), move || host::group_named(&name)).await??.is_some() {
                return Ok(true);
            }
        }
        Err(Unknown::NoSuchGroup { person: person.name.clone(), groups: of_host })
    }

    /// Whether a provider's people can be in this group.
    fn is_of_a_provider(&self, group: &str) -> bool {
        self.providers.iter().any(|provider| provider.groups.contains(group))
    }

    /// The person of the account of this name.
    async fn by_account_name(&self, name: &PersonName) -> Result<Person, Unknown> {
        let account = name.account();
        match self.ask(Asked::Name(name.clone()), !self.strict, move || host::account_named(&account)).await? {
            Some(found) => self.of_account(found),
            None => Err(Unknown::NoSuchName(name.to_string())),
        }
    }

    /// The person of an identity at a provider, with the groups that count now. `introduce` has to come first.
    ///
    /// # Errors
    /// [`Unknown`], with what to do about it.
    pub async fn by_identity(&self, guest: &Guest) -> Result<Person, Unknown> {
        let provider = self.provider(&guest.identity.issuer);
        let provider = provider.ok_or_else(|| Unknown::NoProvider(guest.identity.issuer.clone()))?;
        let groups = self.groups_now(provider, guest)?;
        if let Some(mut person) = self.joined(&guest.identity).await? {
            person.groups.extend(groups);
            return Ok(person);
        }
        let name = guest.undeclared_name()?;
        if self.strict {
            return Err(Unknown::NotDeclared(name.to_string()));
        }
        if self.declared.iter().any(|declared| declared.name == name) {
            return Err(Unknown::NameTaken(name));
        }
        Ok(Person { name, groups, login: None })
    }

    /// The groups of a provider's person that count now: those of the directory, unless a token was issued since it was asked.
    fn groups_now(&self, provider: &Provider, guest: &Guest) -> Result<BTreeSet<String>, Unknown> {
        let answered = self.directory(&provider.issuer).and_then(|it| it.answer(&guest.identity.subject));
        let answered = answered.filter(|answered| guest.issued.is_none_or(|issued| issued <= answered.at));
        match answered.map(|answered| answered.found) {
            None => Ok(provider.groups_of(guest)),
            Some(Found::Present(groups)) => Ok(groups.intersection(&provider.groups).cloned().collect()),
            Some(Found::Disabled) => Err(Unknown::Disabled(provider.issuer.clone())),
            Some(Found::Gone) => Err(Unknown::Gone(provider.issuer.clone())),
        }
    }

    fn directory(&self, issuer: &str) -> Option<&Arc<AskedDirectory>> {
        self.directories.iter().find(|directory| directory.issuer == issuer)
    }

    /// Asks the directory of this issuer about these people, and about whom it could say nothing before. It takes as long as
    /// it takes: nobody else waits for it.
    pub async fn ask_directory(
        &self,
        issuer: &str,
        mut subjects: BTreeSet<String>,
        clock: impl Fn() -> Timestamp + Sync,
    ) {
        if let Some(directory) = self.directory(issuer) {
            subjects.extend(directory.to_ask_again());
            directory.ask_all(subjects, &clock).await;
        }
    }

    /// Asks the directory about one person, unless it answered since `since`; then who the person is now, with this login.
    ///
    /// # Errors
    /// [`Unknown`]; not if the directory does not answer.
    pub async fn asked_again(
        &self,
        identity: &Identity,
        since: Timestamp,
        clock: impl Fn() -> Timestamp + Sync,
    ) -> Result<Option<Person>, Unknown> {
        let Some(directory) = self.directory(&identity.issuer) else { return Ok(None) };
        if directory.answer(&identity.subject).is_none_or(|answered| answered.at < since) {
            directory.ask(&identity.subject, &clock).await;
        }
        let Some(guest) = self.guests.of_identity(identity) else { return Ok(None) };
        self.by_identity(&guest).await.map(Some)
    }

    /// Refuses people of a provider whose directory has not answered for too long.
    ///
    /// # Errors
    /// [`Stale`], which names it.
    pub fn directory_is_fresh(&self, issuer: &str, now: Timestamp) -> Result<(), Stale> {
        self.directory(issuer).map_or(Ok(()), |directory| directory.is_fresh(now))
    }

    /// Asks each directory something that changes nothing, and says how it went, by issuer.
    pub async fn try_directories(&self) -> Vec<(&str, Result<(), DirectoryError>)> {
        let tried = self.directories.iter().map(|directory| async { (&*directory.issuer, directory.try_once().await) });
        join_all(tried).await
    }

    /// The issuers whose people a directory is asked about, and when it answered last.
    pub fn directories(&self) -> impl Iterator<Item = (&str, Option<Timestamp>)> {
        self.directories.iter().map(|directory| (directory.issuer.as_str(), directory.last()))
    }

    /// Shows whether the directories answer.
    pub fn watched_directories(&self) -> impl Iterator<Item = &dyn Watched> {
        self.directories.iter().map(|directory| &**directory as &dyn Watched)
    }

    /// When the directory was asked whose answer about this person counts last.
    #[must_use]
    pub fn directory_answered(&self, issuer: &str, subject: &str) -> Option<Timestamp> {
        self.directory(issuer)?.answer(subject).map(|answered| answered.at)
    }

    /// The person of an identity who comes in. Takes down what the provider said about a person who came under this name
    /// before; of anybody else, nothing is taken down yet.
    ///
    /// # Errors
    /// [`Unknown`]; [`Unknown::NameTaken`] if a reader may take the name for another person's, whether of this host, declared,
    /// or of a provider.
    pub async fn introduce(&self, guest: &Guest) -> Result<Arrival, Unknown> {
        let person = self.by_identity(guest).await?;
        if !self.is_joined(&guest.identity) {
            let came_before = self.guests.has(guest)?;
            if let Some(other) = self.another(guest, &person.name).await? {
                let Identity { issuer, subject } = &guest.identity;
                tracing::warn!(name = %person.name, issuer, subject, other, "refused a person: the name is another person's");
                return Err(Unknown::NameTaken(guest.name.clone()));
            }
            if !came_before {
                return Ok(Arrival::New(person));
            }
        }
        self.guests.remember(&person.name, guest.clone());
        Ok(Arrival::Known(person))
    }

    /// Takes down a person who came in for the first time under this name.
    pub fn admit(&self, person: &Person, guest: Guest) {
        self.guests.give(&guest.identity, &guest.name, &person.name);
        self.guests.remember(&person.name, guest);
    }

    /// Takes down that somebody came in before this daemon started.
    pub fn recall(&self, identity: &Identity, called: &PersonName, name: &PersonName) {
        self.guests.give(identity, called, name);
    }

    /// The person of this host whose identity it is, by declaration or else by a link, with the groups on the host.
    async fn joined(&self, identity: &Identity) -> Result<Option<Person>, Unknown> {
        if let Some(declared) = self.declared.iter().find(|declared| declared.identities.contains(identity)) {
            return self.of_declared(declared).await.map(Some);
        }
        let Some(name) = self.guests.linked_to(identity) else { return Ok(None) };
        let person = match self.declared.iter().find(|declared| declared.name == name) {
            Some(declared) => self.of_declared(declared).await,
            None => self.by_account_name(&name).await,
        };
        person.map(Some)
    }

    /// Whether the identity is a declared person's, or was linked to an account.
    #[must_use]
    pub fn is_joined(&self, identity: &Identity) -> bool {
        self.declared.iter().any(|declared| declared.identities.contains(identity))
            || self.guests.linked_to(identity).is_some()
    }

    /// Makes an identity this person's, who has an account.
    pub fn link(&self, identity: Identity, person: PersonName) {
        self.guests.link(identity, person);
    }

    /// Another person for whom a reader may take this one.
    async fn another(&self, guest: &Guest, name: &PersonName) -> Result<Option<String>, Unknown> {
        let looks = [&guest.name, name].map(Appearance::of);
        let found = looks.iter().find_map(|looks| self.guests.another(looks, &guest.identity));
        let resembles = move |other: &PersonName| {
            let other = Appearance::of(other);
            looks.iter().any(|own| own.resembles(&other))
        };
        if let Some(declared) = self.declared.iter().find(|declared| resembles(&declared.name)) {
            return Ok(Some(declared.name.to_string()));
        }
        if let Some(other) = found {
            return Ok(Some(format!("{} at {}", other.subject, other.issuer)));
        }
        let candidates = Appearance::candidates(&guest.name).into_iter().map(String::into_bytes);
        let candidates: Vec<Vec<u8>> = [guest.name.account(), name.account()].into_iter().chain(candidates).collect();
        let account = self.host.ask(Asked::Like(guest.name.clone()), move || {
            for name in candidates {
                if let Some(account) = host::account_named(&name)? {
                    return Ok(Some(account.display_name()));
                }
            }
            let names = host::names_of_accounts()?;
            let mut names = names.iter().filter_map(|name| PersonName::of_account(name).ok());
            Ok::<_, Failed>(names.find(|name| resembles(name)).map(|name| name.to_string()))
        });
        Ok(account.await??)
    }

    /// The names under which a person came from providers before they were declared, or linked.
    #[must_use]
    pub fn former_names(&self, name: &PersonName) -> BTreeSet<PersonName> {
        let identities = self.declared.iter().filter(|declared| declared.name == *name).flat_map(|one| &one.identities);
        let linked = self.guests.linked_with(name);
        identities.chain(&linked).flat_map(|identity| self.guests.names_of(identity)).collect()
    }

    /// How old an ID token of this issuer may be for a certificate; `None` if the configuration does not have the provider.
    #[must_use]
    pub fn fresh(&self, issuer: &str) -> Option<Window> {
        self.provider(issuer).map(|provider| provider.fresh)
    }

    fn provider(&self, issuer: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.issuer == issuer)
    }

    /// Shows whether the name service answers.
    #[must_use]
    pub fn host(&self) -> &dyn Watched {
        &self.host
    }

    /// The declared members of a group; the host can know more.
    pub fn declared_in(&self, group: &str) -> impl Iterator<Item = &PersonName> {
        self.declared.iter().filter(move |declared| declared.groups.contains(group)).map(|declared| &declared.name)
    }

    /// The declared people.
    #[must_use]
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// A declared person, with the groups of all their accounts if `hostGroups` is set.
    async fn of_declared(&self, declared: &Declared) -> Result<Person, Unknown> {
        let mut groups = declared.groups.clone();
        if declared.host_groups {
            let of = |uid: u32| self.ask(Asked::Uid(uid), true, move || host::account(uid));
            for found in try_join_all(declared.uids.iter().map(|uid| of(*uid))).await? {
                groups.extend(found.map(|(_, groups)| groups).unwrap_or_default());
            }
        }
        Ok(Person { name: declared.name.clone(), groups, login: None })
    }

    /// An account, and the names of its groups if they are wanted.
    async fn ask(
        &self,
        asked: Asked,
        with_groups: bool,
        account: impl FnOnce() -> Result<Option<Account>, Failed> + Send + 'static,
    ) -> Result<Option<(Account, BTreeSet<String>)>, Unknown> {
        let names = Arc::clone(&self.group_names);
        let found = self.host.ask(asked, move || {
            let Some(account) = account()? else { return Ok(None) };
            let wanted = with_groups && account.uid != 0;
            let groups = if wanted { host::groups_of(&account, &names)? } else { BTreeSet::new() };
            Ok::<_, Failed>(Some((account, groups)))
        });
        Ok(found.await??)
    }

    fn of_account(&self, (account, groups): (Account, BTreeSet<String>)) -> Result<Person, Unknown> {
        if account.uid == 0 {
            return Err(Unknown::Root);
        }
        if self.strict {
            return Err(Unknown::NotDeclared(account.display_name()));
        }
        let odd = || Unknown::OddName(account.display_name().escape_default().to_string());
        let name = PersonName::of_account(&account.name).map_err(|_| odd())?;
        if name.is_root() {
            return Err(odd());
        }
        if self.declared.iter().any(|declared| declared.name == name) {
            // All uids of a declared person are listed, so this account belongs to somebody else with the same name.
            return Err(Unknown::Unlisted { name: name.to_string(), uid: account.uid });
        }
        if self.guests.of(&name).is_some_and(|guest| self.guests.linked_to(&guest.identity).as_ref() != Some(&name)) {
            return Err(Unknown::NameTaken(name));
        }
        Ok(Person { name, groups, login: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(subject: &str) -> Identity {
        Identity { issuer: "https://id.example".to_owned(), subject: subject.to_owned() }
    }

    fn guest(subject: &str, name: &str, groups: &[&str]) -> Guest {
        let groups = groups.iter().map(ToString::to_string).collect();
        Guest { identity: identity(subject), name: name.parse().unwrap(), groups, issued: None }
    }

    /// Lets a person in as the broker does.
    async fn come(people: &People, guest: Guest) -> Result<Person, Unknown> {
        Ok(match people.introduce(&guest).await? {
            Arrival::Known(person) => person,
            Arrival::New(person) => {
                people.admit(&person, guest);
                person
            }
        })
    }

    fn people(strict: bool) -> People {
        let alice = Declared {
            name: "alice".parse().unwrap(),
            uids: vec![4001, 4002],
            identities: vec![identity("1")],
            groups: ["oncall".to_owned()].into(),
            host_groups: false,
        };
        let corp = Provider {
            issuer: "https://id.example".to_owned(),
            groups: ["payments-leads".to_owned()].into(),
            fresh: Window::TEN_MINUTES,
            directory: None,
        };
        People::new(vec![alice], strict).with_providers(vec![corp])
    }

    #[tokio::test]
    async fn a_declared_identity_is_the_declared_person() {
        let people = people(true);
        let alice = come(&people, guest("1", "mallory", &["payments-leads", "admins"])).await.unwrap();
        assert_eq!(alice.name.as_str(), "alice");
        assert_eq!(alice.groups, ["oncall".to_owned(), "payments-leads".to_owned()].into());
        assert_eq!(people.by_name(&alice.name).await.unwrap(), alice);
        let elsewhere = Identity { issuer: "https://other.example".to_owned(), subject: "1".to_owned() };
        let stranger = Guest { identity: elsewhere, ..guest("1", "alice", &[]) };
        assert!(matches!(come(&people, stranger).await, Err(Unknown::NoProvider(_))));
    }

    #[tokio::test]
    async fn an_undeclared_identity_is_nobody_elses_name() {
        let people = people(false);
        let frieda = come(&people, guest("2", "frieda", &["payments-leads"])).await.unwrap();
        assert!(frieda.name.as_str().starts_with("frieda."), "{}", frieda.name);
        assert_eq!(people.by_name(&frieda.name).await.unwrap().groups, ["payments-leads".to_owned()].into());
        // The provider says something else at the next login.
        assert!(matches!(people.introduce(&guest("2", "frieda", &[])).await, Ok(Arrival::Known(_))));
        assert_eq!(people.by_name(&frieda.name).await.unwrap().groups, BTreeSet::new());
        let strict = come(&self::people(true), guest("2", "frieda", &["payments-leads"])).await;
        assert!(matches!(strict, Err(Unknown::NotDeclared(_))));
    }

    #[tokio::test]
    async fn a_name_that_a_reader_may_take_for_anothers_is_refused() {
        let people = people(false);
        come(&people, guest("2", "frieda@corp", &[])).await.unwrap();
        for (name, of) in [
            ("alice", "a declared person"),
            ("Alice", "a declared person"),
            ("\u{430}lice", "a declared person"),
            ("oidc%3Aalice", "a declared person"),
            ("root", "an account"),
            ("Daemon", "an account"),
            ("dae\u{217f}on", "an account"),
            ("frieda@corp", "a person of a provider"),
            ("FRIEDA@corp", "a person of a provider"),
            ("frieda@c\u{43e}rp", "a person of a provider"),
        ] {
            let refused = come(&people, guest("3", name, &[])).await;
            assert!(matches!(refused, Err(Unknown::NameTaken(_))), "{name}, like that of {of}: {refused:?}");
        }
        // Nobody's record changes: each of them is still who they were.
        assert!(matches!(people.introduce(&guest("2", "frieda@corp", &[])).await, Ok(Arrival::Known(_))));
        assert!(come(&people, guest("3", "greta@corp", &[])).await.is_ok());
    }

    #[tokio::test]
    async fn a_name_stays_its_persons_also_after_a_restart_and_under_a_new_one() {
        let before = people(false);
        let frieda = come(&before, guest("2", "frieda@corp", &[])).await.unwrap();
        let people = people(false);
        people.recall(&identity("2"), &"frieda@corp".parse().unwrap(), &frieda.name);
        assert_eq!(
            come(&people, guest("3", "Frieda@corp", &[])).await,
            Err(Unknown::NameTaken("Frieda@corp".parse().unwrap()))
        );
        assert!(matches!(people.introduce(&guest("2", "fritz@corp", &[])).await, Ok(Arrival::New(_))));
        come(&people, guest("2", "fritz@corp", &[])).await.unwrap();
        assert!(matches!(come(&people, guest("3", "frieda@corp", &[])).await, Err(Unknown::NameTaken(_))));
        for number in 0..20 {
            let came = come(&people, guest("2", &format!("frieda-{number}@corp"), &[])).await;
            assert_eq!(came.is_ok(), number < 14, "{came:?}");
        }
        assert!(matches!(people.introduce(&guest("2", "frieda@corp", &[])).await, Ok(Arrival::Known(_))));
    }

    #[tokio::test]
    async fn a_reload_forgets_no_one_and_maps_anew() {
        let before = people(false);
        let frieda = come(&before, guest("2", "frieda", &["payments-leads"])).await.unwrap();
        let without = People::new(Vec::new(), false).after(&before);
        assert!(matches!(without.by_name(&frieda.name).await, Err(Unknown::NoProvider(_))));
        let after = people(false).after(&before);
        assert_eq!(after.by_name(&frieda.name).await.unwrap(), frieda);
    }

    #[tokio::test]
    async fn two_accounts_of_one_person_are_one_person() {
        let people = people(true);
        assert_eq!(people.by_uid(4001).await.unwrap(), people.by_uid(4002).await.unwrap());
        assert_eq!(people.by_name(&"alice".parse().unwrap()).await.unwrap().name.as_str(), "alice");
    }

    #[tokio::test]
    async fn root_and_the_unmapped_are_nobody() {
        assert_eq!(people(false).by_uid(0).await, Err(Unknown::Root));
        assert_eq!(people(false).by_uid(65534).await, Err(Unknown::Unmapped));
        assert_eq!(people(false).by_name(&"root".parse().unwrap()).await, Err(Unknown::Root));
    }

    #[tokio::test]
    async fn a_uid_without_an_account_is_nobody() {
        assert_eq!(people(false).by_uid(3_999_999).await, Err(Unknown::NoAccount(3_999_999)));
    }

    #[tokio::test]
    async fn a_declared_person_may_keep_the_groups_of_the_host() {
        let oncall = Declared {
            name: "alice".parse().unwrap(),
            uids: vec![1, 3_999_999],
            identities: Vec::new(),
            groups: ["oncall".to_owned()].into(),
            host_groups: true,
        };
        let people = People::new(vec![oncall], true);
        let found = people.by_uid(3_999_999).await.unwrap();
        assert_eq!(found.groups, ["daemon".to_owned(), "oncall".to_owned()].into());
        assert_eq!(people.by_name(&"alice".parse().unwrap()).await.unwrap(), found, "by uid and by name");
    }

    #[tokio::test]
    async fn an_unknown_name_is_refused_with_the_reason() {
        let nobody = people(false).by_name(&"no.such".parse().unwrap()).await.unwrap_err();
        assert_eq!(nobody, Unknown::NoSuchName("no.such".to_owned()));
        assert!(!nobody.hint().unwrap().contains("strictPeople"), "it is off");
        let strict = people(true).by_name(&"daemon".parse().unwrap()).await.unwrap_err();
        assert!(strict.hint().unwrap().contains("strictPeople"));
    }

    #[tokio::test]
    async fn strict_mode_knows_only_declared_people() {
        assert!(matches!(people(true).by_name(&"daemon".parse().unwrap()).await, Err(Unknown::NotDeclared(_))));
        assert_eq!(people(false).by_name(&"daemon".parse().unwrap()).await.unwrap().name.as_str(), "daemon");
    }
}
