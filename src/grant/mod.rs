//! The life of a grant: what can happen to it, and which event may follow which.
//!
//! ```text
//!  pending ──► approved ──► collecting ──► live ──► ending ──► ended(expired | released | revoked | drifted | failed)
//!     ├─► denied   └─► lapsed     └────────────────────┘
//!     │   (from approved too, where the glass was broken)
//!     ├─► ended(revoked), by an operator only
//!     ├─► withdrawn (also from approved)
//!     └─► lapsed
//! ```
//! Pure: no I/O, no clock, nothing of the crate. A [`Grant`] is a fold over its events, so what the
//! daemon holds in memory and what an auditor rebuilds from the trail are the same by construction.

pub mod approval;
pub mod drain;
pub mod extension;
pub mod glass;
pub mod narrow;
pub mod policy;
pub mod refusal;
pub mod request;
pub mod risk;
pub mod role;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::extension::Extension;
use self::glass::{Glass, Verdict};
use self::policy::{Labels, Terms, Usage, Yes};
use self::request::{
    Access, Ask, ExactRules, KeyHash, Login, Malformed, Namespace, PersonName, Reason, RoleName, RoleRef, Scope, Window,
};
use self::risk::{Assessment, Severity};
use self::role::ResolvedRole;

/// A grant's identity: 80 random bits as 16 characters of Crockford's base 32 in lower case.
/// Its group and its binding are named after it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct GrantId(Arc<str>);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl GrantId {
    /// Number of characters in an id.
    pub const LENGTH: usize = 16;

    /// The id that ten random bytes make.
    #[must_use]
    pub fn from_random(bytes: [u8; 10]) -> Self {
        let mut bits: u128 = 0;
        for byte in bytes {
            bits = bits << 8 | u128::from(byte);
        }
        let text: String = (0..Self::LENGTH)
            .rev()
            .filter_map(|place| ALPHABET.get((bits >> (5 * place) & 31) as usize))
            .map(|byte| char::from(*byte))
            .collect();
        Self(text.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The group only this grant's certificates carry.
    #[must_use]
    pub fn group(&self) -> String {
        format!("jit:{}", self.0)
    }

    /// The name of this grant's binding.
    #[must_use]
    pub fn binding_name(&self) -> String {
        format!("jit-{}", self.0)
    }
}

impl FromStr for GrantId {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.len() == Self::LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte)) {
            Ok(Self(text.into()))
        } else {
            Err(Malformed {
                field: "grant",
                value: format!("`{}`", text.chars().take(60).flat_map(char::escape_default).collect::<String>()),
                why: "an id is 16 of 0-9 a-z without i l o u".to_owned(),
            })
        }
    }
}

impl TryFrom<String> for GrantId {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

impl std::borrow::Borrow<str> for GrantId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One fact, as the trail keeps it. `*Intended` stands before an effect, the past participle after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// The daemon began to serve.
    Started {
        /// The program's version.
        version: String,
        /// The host name in the daemon's own credential.
        host: String,
        /// SHA-256 of the policy file in force, hex.
        policy_sha256: String,
        /// SHA-256 of the guardrails' file, hex; none where their defaults are in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        guardrails_sha256: Option<String>,
    },
    /// Another policy is in force from here on.
    PolicyLoaded {
        /// SHA-256 of the policy file, hex.
        policy_sha256: String,
        /// SHA-256 of the guardrails' file, hex; none where their defaults are in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        guardrails_sha256: Option<String>,
    },
    /// The daemon ended in good order.
    Stopped,
    /// From here on nothing is given until an operator says otherwise, across restarts; what is live goes on.
    Drained {
        /// Why, in the operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// From here on things are given again.
    Resumed,
    /// Somebody asked and was refused before a grant came to be.
    RequestRefused {
        /// What was asked.
        ask: Ask,
        /// The stable code of the refusal.
        code: String,
        /// The sentence that was answered.
        why: String,
    },
    /// A request stands and waits for approvers.
    Requested(Box<Requested>),
    /// One approver of several said yes.
    Agreed {
        /// The digest that was answered.
        digest: String,
        /// Which of the asked groups the approver was in.
        groups: BTreeSet<String>,
    },
    /// An approver cut the request down before agreeing to it.
    Narrowed(Box<Narrowed>),
    /// Enough approvers said yes; without an author, the policy asks for nobody.
    Approved {
        /// The digest that was answered.
        digest: String,
        /// Which of the asked groups the approver was in.
        groups: BTreeSet<String>,
        /// Until when the access can be collected.
        collect_until: Timestamp,
    },
    /// An approver said no.
    Denied {
        /// Why, in the approver's words.
        reason: String,
    },
    /// The requester took it back before it was collected.
    Withdrawn,
    /// Nobody answered, or nobody collected, in time.
    Lapsed {
        /// Which clock ran out.
        clock: Clock,
    },
    /// Somebody tried something that is not theirs to do; the grant is as it was.
    Refused {
        /// What was tried, as the API names it.
        action: String,
        /// The stable code of the refusal.
        code: String,
    },
    /// A certificate is about to be signed.
    IssueIntended {
        /// Serial number, hex.
        serial: String,
        /// SHA-256 of the bytes to be signed, hex.
        tbs_sha256: String,
        /// First second of validity.
        not_before: Timestamp,
        /// Last second of validity.
        not_after: Timestamp,
    },
    /// It was signed.
    Issued {
        /// Serial number, hex.
        serial: String,
        /// SHA-256 of the certificate in DER, hex: the credential id in the API server's audit log.
        leaf_sha256: String,
    },
    /// The bindings are about to be created, one in each namespace.
    BindIntended {
        /// Their name.
        binding: String,
    },
    /// The API server stored the bindings.
    Bound {
        /// The uids they were given, in the order of the namespaces.
        uids: Vec<String>,
    },
    /// The API server answers "allowed": the access clock runs from here.
    Live {
        /// The end of the window.
        until: Timestamp,
    },
    /// In the cluster a binding of the grant is not as it was made, or another one names its group.
    BindingAltered {
        /// What is there.
        found: String,
    },
    /// The role of a live grant is not the one that was approved, and its terms let it go on.
    RoleChanged {
        /// What is there now.
        found: String,
    },
    /// Who has the access asked for more time.
    ExtensionAsked {
        /// How much more.
        window: Window,
        /// Why.
        reason: Reason,
        /// What an approval answers.
        digest: String,
        /// Until when an answer is waited for.
        pending_until: Timestamp,
    },
    /// One approver of several said yes to more time.
    ExtensionAgreed {
        /// The digest that was answered.
        digest: String,
        /// Which of the asked groups the approver was in.
        groups: BTreeSet<String>,
    },
    /// Enough approvers said yes to more time; without an author, the policy asks for nobody.
    Extended {
        /// The digest that was answered.
        digest: String,
        /// Which of the asked groups the approver was in.
        groups: BTreeSet<String>,
        /// The new end of the window.
        until: Timestamp,
    },
    /// An approver said no to more time; the access goes on to its end.
    ExtensionDenied {
        /// Why, in the approver's words.
        reason: String,
    },
    /// Nobody answered, and who asked takes the access at once; people look at it afterwards.
    GlassBroken {
        /// Why nobody could be waited for.
        reason: Reason,
        /// How long the access lasts: what was asked, and at most what the rule gives this way.
        window: Window,
        /// What a review answers.
        digest: String,
        /// Until when the access can be collected.
        collect_until: Timestamp,
        /// Until when it has to be reviewed.
        review_until: Timestamp,
    },
    /// Somebody looked at access that nobody had agreed to.
    Reviewed {
        /// The digest that was answered.
        digest: String,
        /// Which of the asked groups the reviewer was in.
        groups: BTreeSet<String>,
        /// What they found.
        verdict: Verdict,
        /// In their words.
        words: Reason,
        /// Whether nothing is owed any more.
        closes: bool,
    },
    /// The binding is about to be deleted.
    UnbindIntended {
        /// Why the grant ends.
        why: EndCause,
        /// What the person who ended it said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The grant is over, and this is how we know.
    Ended {
        /// Why it ended.
        why: EndCause,
        /// What proves it.
        proof: EndProof,
        /// What the person said who ended it before anything was bound; after that, `UnbindIntended` has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

impl Event {
    /// The same yes to what has this digest; any other event as it is.
    #[must_use]
    pub fn to(self, to: &str) -> Self {
        match self {
            Self::Agreed { groups, .. } => Self::Agreed { digest: to.to_owned(), groups },
            Self::Approved { groups, collect_until, .. } => {
                Self::Approved { digest: to.to_owned(), groups, collect_until }
            }
            other => other,
        }
    }

    /// The event's name in the trail, as in its `kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::PolicyLoaded { .. } => "policy_loaded",
            Self::Stopped => "stopped",
            Self::Drained { .. } => "drained",
            Self::Resumed => "resumed",
            Self::RequestRefused { .. } => "request_refused",
            Self::Requested(_) => "requested",
            Self::Agreed { .. } => "agreed",
            Self::Narrowed(_) => "narrowed",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed { .. } => "lapsed",
            Self::Refused { .. } => "refused",
            Self::IssueIntended { .. } => "issue_intended",
            Self::Issued { .. } => "issued",
            Self::BindIntended { .. } => "bind_intended",
            Self::Bound { .. } => "bound",
            Self::Live { .. } => "live",
            Self::BindingAltered { .. } => "binding_altered",
            Self::RoleChanged { .. } => "role_changed",
            Self::ExtensionAsked { .. } => "extension_asked",
            Self::ExtensionAgreed { .. } => "extension_agreed",
            Self::Extended { .. } => "extended",
            Self::ExtensionDenied { .. } => "extension_denied",
            Self::GlassBroken { .. } => "glass_broken",
            Self::Reviewed { .. } => "reviewed",
            Self::UnbindIntended { .. } => "unbind_intended",
            Self::Ended { .. } => "ended",
        }
    }
}

/// All that a request fixes for the rest of its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requested {
    /// What is asked.
    pub ask: Ask,
    /// The key the certificate will be for.
    pub key: KeyHash,
    /// What approvers are shown beside it.
    pub shown: Shown,
    /// What the policy looked at besides, so that its answer can be had again from this.
    pub decided_on: DecidedOn,
    /// The rule of the policy that let it be asked, and who has to agree.
    pub terms: Terms,
    /// What an approval answers; see [`approval::digest`].
    pub digest: String,
    /// Until when an answer is waited for.
    pub pending_until: Timestamp,
}

/// What a decision was made on besides the ask, the requester's name, the moment and what was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecidedOn {
    /// The groups that the requester was in.
    pub groups: BTreeSet<String>,
    /// The labels of the asked namespaces.
    pub labels: Labels,
    /// What the requester had open.
    pub usage: Usage,
}

/// What is left of a request that was cut down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Narrowed {
    /// What is asked now; see [`narrow`].
    pub ask: Ask,
    /// What approvers are shown beside it.
    pub shown: Shown,
    /// What an approval answers from now on.
    pub digest: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What is known of a request when it is made: what approvers look at beside what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shown {
    /// The role as the cluster had it.
    pub role: ResolvedRole,
    /// What it lets its holder reach.
    pub assessment: Assessment,
    /// The access that the requester had at that moment in the same cluster, the newest.
    pub holds: Vec<Held>,
    /// How much more they had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holds_more: usize,
}

/// Another grant of the same person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Held {
    /// Its identity.
    pub grant: GrantId,
    /// Where it holds.
    pub scope: Scope,
    /// What it allows.
    pub access: Access,
}

/// The two clocks that run before the access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// No approver answered.
    Pending,
    /// The requester did not collect.
    Collect,
}

/// Why a grant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// The window ran out.
    Expired,
    /// The requester gave it back.
    Released,
    /// An approver, an admin or an operator took it away.
    Revoked,
    /// The role, or the binding, is no longer what was approved.
    Drifted,
    /// The steps between approval and access did not finish.
    Failed,
}

impl EndCause {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Revoked => "revoked",
            Self::Drifted => "drifted",
            Self::Failed => "failed",
        }
    }
}

/// How the end was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndProof {
    /// The binding is gone and the API server answered "denied".
    Denied,
    /// No binding was ever intended.
    NeverBound,
}

/// Where a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waiting for approvers.
    Pending,
    /// Agreed to; waiting for the requester to collect.
    Approved,
    /// Between the first effect and access that works.
    Collecting,
    /// The access works.
    Live,
    /// The binding is being taken away.
    Ending,
    /// An approver said no.
    Denied,
    /// The requester took it back.
    Withdrawn,
    /// A clock ran out before the access began.
    Lapsed,
    /// Over.
    Ended,
}

impl Phase {
    /// Whether anything can still happen to a grant in this phase.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved | Self::Collecting | Self::Live | Self::Ending)
    }

    /// The word for it, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Collecting => "collecting",
            Self::Live => "live",
            Self::Ending => "ending",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed => "lapsed",
            Self::Ended => "ended",
        }
    }
}

/// An event with its time and its author, before it has a place in the trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// When, by the daemon's clock.
    pub at: Timestamp,
    /// The grant it is about; none for the daemon's own life and for refused requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// The person who did it, `root` for root at the operators' door; none for the daemon itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PersonName>,
    /// How that person came to the host; none where the kernel does not know, and in trails of before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// That it was done through the operators' door, and by which account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<Operator>,
    /// What happened.
    pub event: Event,
}

/// Who operates the daemon: root, who is no person and may only take away, or a person of `admins`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operator {
    /// The person, or `root`; no person is called so.
    pub name: PersonName,
    /// The account.
    pub uid: u32,
    /// Who became root, or how the person came to the host; none where there was no login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

impl Fact {
    /// Whether it may stand in a trail without a grant, as it is.
    #[must_use]
    pub fn is_of_the_daemon(&self) -> bool {
        match self.event {
            Event::Started { .. } | Event::PolicyLoaded { .. } | Event::Stopped | Event::RequestRefused { .. } => true,
            Event::Drained { .. } | Event::Resumed => {
                self.operator.as_ref().is_some_and(|operator| self.by.as_ref() == Some(&operator.name))
            }
            _ => false,
        }
    }
}

/// A grant as its events have made it. The role's rules are left in the trail: they are large and only
/// a reader needs them. Each event makes another one of it, so what seldom changes is shared by all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its identity.
    pub id: GrantId,
    /// Who asked.
    pub requester: PersonName,
    /// How they came to the host when they asked.
    pub requester_login: Option<Login>,
    /// What was asked, or what approvers left of it.
    pub ask: Arc<Ask>,
    /// What was asked at first, where approvers cut it down or broken glass gives less.
    pub narrowed_from: Option<Arc<Ask>>,
    /// The key it is for.
    pub key: KeyHash,
    /// Uid of the role when it was asked for.
    pub role_uid: Arc<str>,
    /// Hash of its rules when it was asked for.
    pub rules_sha256: Arc<str>,
    /// The worst of what it lets its holder reach.
    pub risk: Option<Severity>,
    /// More time that was asked for and not answered yet.
    pub extension: Option<Box<Extension>>,
    /// That nobody had agreed when the access was taken, and who looked at it since.
    pub glass: Option<Box<Glass>>,
    /// How many questions and answers there were, of all kinds.
    pub answers: u32,
    /// What became of its role while it was live, where its terms only warn.
    pub role_changed: Option<String>,
    /// The policy's rule that let it be asked, and who has to agree.
    pub terms: Arc<Terms>,
    /// What an approval answers.
    pub digest: Arc<str>,
    /// When it was asked.
    pub requested_at: Timestamp,
    /// Where it stands.
    pub phase: Phase,
    /// Who agreed, in order.
    pub agreed: Arc<Vec<Yes>>,
    /// The end of the clock that runs now: to answer, to collect, or of the window.
    pub deadline: Option<Timestamp>,
    /// When the access began to work.
    pub live_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// Whether a binding may exist.
    pub bind_intended: bool,
    /// The uids of its bindings, once all of them are there.
    pub binding_uids: Arc<[String]>,
    /// How many certificates were signed.
    pub certificates: u32,
    /// Why it ends or ended.
    pub end_cause: Option<EndCause>,
    /// Who denied, withdrew or ended it; none for the daemon itself.
    pub closed_by: Option<PersonName>,
    /// What was said when it was denied or revoked.
    pub closing_words: Option<String>,
}

fn yes(by: PersonName, fact: &Fact, groups: &BTreeSet<String>) -> Yes {
    Yes { by, login: fact.login.clone(), groups: groups.iter().cloned().collect(), at: fact.at }
}

/// An event that may not follow the ones before it: the trail is damaged, or the daemon has a fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event `{event}` may not follow phase `{phase}` of grant {grant}")]
pub struct OutOfOrder {
    /// The grant.
    pub grant: GrantId,
    /// Its phase, or `none` before the request.
    pub phase: &'static str,
    /// The event's kind.
    pub event: &'static str,
}

impl Grant {
    /// The grant that a `requested` fact begins.
    ///
    /// # Errors
    /// [`OutOfOrder`] when the fact is any other, or has no grant or no author.
    pub fn begin(fact: &Fact) -> Result<Self, OutOfOrder> {
        let (Some(id), Some(requester), Event::Requested(requested)) = (&fact.grant, &fact.by, &fact.event) else {
            return Err(OutOfOrder {
                grant: fact.grant.clone().unwrap_or_else(|| GrantId::from_random([0; 10])),
                phase: "none",
                event: fact.event.kind(),
            });
        };
        Ok(Self {
            id: id.clone(),
            requester: requester.clone(),
            requester_login: fact.login.clone(),
            ask: Arc::new(requested.ask.clone()),
            narrowed_from: None,
            key: requested.key.clone(),
            role_uid: requested.shown.role.uid.as_str().into(),
            rules_sha256: requested.shown.role.rules_sha256().into(),
            risk: requested.shown.assessment.worst(),
            extension: None,
            glass: None,
            answers: 0,
            role_changed: None,
            terms: Arc::new(requested.terms.clone()),
            digest: requested.digest.as_str().into(),
            requested_at: fact.at,
            phase: Phase::Pending,
            agreed: Arc::default(),
            deadline: Some(requested.pending_until),
            live_at: None,
            ended_at: None,
            bind_intended: false,
            binding_uids: Arc::default(),
            certificates: 0,
            end_cause: None,
            closed_by: None,
            closing_words: None,
        })
    }

    /// The grant after `fact`. What may follow what is said here and nowhere else.
    ///
    /// # Errors
    /// [`OutOfOrder`] when the fact may not follow.
    pub fn follow(mut self, fact: &Fact) -> Result<Self, OutOfOrder> {
        use Event as E;
        use Phase as P;
        match (self.phase, &fact.event) {
            (_, E::Refused { .. }) if !self.is_over() => {}
            (P::Pending, E::GlassBroken { reason, window, digest, collect_until, review_until })
                if *window <= self.ask.window
                    && self.terms.break_glass.is_some()
                    && fact.by.as_ref() == Some(&self.requester) =>
            {
                if *window < self.ask.window {
                    self.narrowed_from.get_or_insert(Arc::clone(&self.ask));
                    Arc::make_mut(&mut self.ask).window = *window;
                }
                let (reason, digest) = (reason.clone(), digest.clone());
                let (broken_at, review_until) = (fact.at, *review_until);
                let reviews = Vec::new();
                self.glass = Some(Box::new(Glass { reason, broken_at, review_until, digest, reviews, owed: true }));
                self.answers = self.answers.saturating_add(1);
                self.phase = P::Approved;
                self.deadline = Some(*collect_until);
            }
            (_, E::Reviewed { digest, groups, verdict, words, closes }) if self.owes_review() => {
                let by = fact.by.clone().filter(|by| *by != self.requester);
                let by = by.map(|by| yes(by, fact, groups));
                let is_last = by.clone().is_some_and(|by| glass::closes(&self, by));
                match (by, &mut self.glass) {
                    (Some(by), Some(glass)) if glass.digest == *digest && is_last == *closes => {
                        glass.reviews.push(glass::Reviewed { by, verdict: *verdict, words: words.clone() });
                        glass.owed = !closes;
                    }
                    _ => return Err(self.out_of_order(&fact.event)),
                }
                self.answers = self.answers.saturating_add(1);
            }
            (P::Pending, E::Agreed { groups, .. }) => self.agree(fact, groups),
            (P::Pending, E::Narrowed(narrowed)) if narrow::is_no_wider(&narrowed.ask, &self.ask) => {
                let before = std::mem::replace(&mut self.ask, Arc::new(narrowed.ask.clone()));
                self.narrowed_from.get_or_insert(before);
                self.role_uid = narrowed.shown.role.uid.as_str().into();
                self.rules_sha256 = narrowed.shown.role.rules_sha256().into();
                self.risk = narrowed.shown.assessment.worst();
                self.digest = narrowed.digest.as_str().into();
            }
            (P::Pending, E::Approved { groups, collect_until, .. }) => {
                self.agree(fact, groups);
                self.phase = P::Approved;
                self.deadline = Some(*collect_until);
            }
            (phase, E::Denied { reason }) if phase == P::Pending || phase == P::Approved && self.glass.is_some() => {
                self.closing_words = Some(reason.clone());
                self.close(P::Denied, fact);
            }
            (P::Pending | P::Approved, E::Withdrawn) => self.close(P::Withdrawn, fact),
            (P::Pending, E::Lapsed { clock: Clock::Pending }) | (P::Approved, E::Lapsed { clock: Clock::Collect }) => {
                self.close(P::Lapsed, fact);
            }
            (P::Approved, E::IssueIntended { .. }) => {
                self.phase = P::Collecting;
                self.deadline = None;
            }
            (P::Live, E::IssueIntended { .. } | E::BindingAltered { .. }) => {}
            (P::Live, E::ExtensionAsked { window, reason, digest, pending_until }) => {
                let (reason, digest) = (reason.clone(), digest.clone());
                let (window, pending_until) = (*window, *pending_until);
                let agreed = Vec::new();
                self.extension = Some(Box::new(Extension { window, reason, digest, pending_until, agreed }));
                self.answers = self.answers.saturating_add(1);
            }
            (P::Live, E::ExtensionAgreed { digest, groups }) if self.is_asked_for(digest) => {
                if let (Some(extension), Some(by)) = (&mut self.extension, &fact.by) {
                    extension.agreed.push(yes(by.clone(), fact, groups));
                }
                self.answers = self.answers.saturating_add(1);
            }
            (P::Live, E::Extended { digest, until, .. })
                if self.is_asked_for(digest) && self.deadline.is_some_and(|deadline| deadline < *until) =>
            {
                self.deadline = Some(*until);
                self.extension = None;
                self.answers = self.answers.saturating_add(1);
            }
            (P::Live, E::ExtensionDenied { .. }) if self.extension.is_some() => {
                self.extension = None;
                self.answers = self.answers.saturating_add(1);
            }
            (P::Live, E::RoleChanged { found }) => self.role_changed = Some(found.clone()),
            (P::Collecting | P::Live, E::Issued { .. }) => self.certificates = self.certificates.saturating_add(1),
            (P::Collecting, E::BindIntended { .. }) if !self.bind_intended => self.bind_intended = true,
            (P::Collecting, E::Bound { uids })
                if self.bind_intended && self.binding_uids.is_empty() && uids.len() == self.places() =>
            {
                self.binding_uids = uids.as_slice().into();
            }
            (P::Collecting, E::Live { until }) if !self.binding_uids.is_empty() => {
                self.phase = P::Live;
                self.live_at = Some(fact.at);
                self.deadline = Some(*until);
            }
            (P::Collecting | P::Live, E::UnbindIntended { why, reason }) => {
                self.phase = P::Ending;
                self.deadline = None;
                self.end_cause = Some(*why);
                self.closed_by = fact.by.clone();
                self.closing_words = reason.clone();
            }
            (P::Ending, E::Ended { why, proof: EndProof::Denied, reason: None }) if self.end_cause == Some(*why) => {
                let closed_by = self.closed_by.take();
                self.close(P::Ended, fact);
                self.closed_by = closed_by;
            }
            (P::Approved | P::Collecting, E::Ended { why, proof: EndProof::NeverBound, reason })
                if !self.bind_intended =>
            {
                self.end_cause = Some(*why);
                self.closing_words = reason.clone();
                self.close(P::Ended, fact);
            }
            // Nobody had agreed, so no approver could take it away; who operates the host can.
            (P::Pending, E::Ended { why: why @ EndCause::Revoked, proof: EndProof::NeverBound, reason })
                if fact.operator.is_some() =>
            {
                self.end_cause = Some(*why);
                self.closing_words = reason.clone();
                self.close(P::Ended, fact);
            }
            (_, event) => return Err(self.out_of_order(event)),
        }
        Ok(self)
    }

    fn out_of_order(&self, event: &Event) -> OutOfOrder {
        OutOfOrder { grant: self.id.clone(), phase: self.phase.as_str(), event: event.kind() }
    }

    /// Whether nothing can happen to it any more: no access, and no review that is owed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.phase.is_open() && !self.owes_review()
    }

    /// Whether its access was taken without an answer and is not reviewed yet.
    #[must_use]
    pub fn owes_review(&self) -> bool {
        self.glass.as_ref().is_some_and(|glass| glass.owed)
    }

    fn is_asked_for(&self, digest: &str) -> bool {
        self.extension.as_ref().is_some_and(|extension| extension.digest == digest)
    }

    fn agree(&mut self, fact: &Fact, groups: &BTreeSet<String>) {
        self.answers = self.answers.saturating_add(1);
        let agreed = Arc::make_mut(&mut self.agreed);
        // Mostly one, of thousands of grants.
        agreed.reserve_exact(1);
        agreed.extend(fact.by.clone().map(|by| yes(by, fact, groups)));
    }

    fn close(&mut self, phase: Phase, fact: &Fact) {
        self.phase = phase;
        self.deadline = None;
        self.ended_at = Some(fact.at);
        self.closed_by = fact.by.clone();
    }

    /// Takes from another grant what is the same in both, so that thousands of one rule have it once.
    pub fn share(&mut self, other: &Self) {
        fn one<T: PartialEq + Clone>(mine: &mut T, others: &T) {
            if mine == others {
                mine.clone_from(others);
            }
        }
        one(&mut self.requester, &other.requester);
        one(&mut self.role_uid, &other.role_uid);
        one(&mut self.rules_sha256, &other.rules_sha256);
        one(&mut self.terms, &other.terms);
        let ask = Arc::make_mut(&mut self.ask);
        one(&mut ask.cluster, &other.ask.cluster);
        one(&mut ask.access, &other.ask.access);
    }

    /// What was asked at first: what the policy decides on.
    #[must_use]
    pub fn asked(&self) -> &Ask {
        self.narrowed_from.as_deref().unwrap_or(&self.ask)
    }

    /// In how many places it is bound: its namespaces, or the whole cluster.
    fn places(&self) -> usize {
        self.ask.scope.namespaces().len().max(1)
    }

    /// The bindings that this grant may ever have: one in each of its namespaces, or one for the whole cluster.
    #[must_use]
    pub fn bindings(&self) -> Vec<Binding> {
        bindings(&self.id, &self.ask, &self.requester, self.glass.is_some())
    }
}

/// What is created in the cluster for a grant: a RoleBinding, or a ClusterRoleBinding for the whole
/// cluster, of one role to one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `jit-<grant>`.
    pub name: String,
    /// `jit:<grant>`, the only subject.
    pub group: String,
    /// `jit:<person>`, the user name that the certificate carries; no subject, but asked about.
    pub user: String,
    /// Where it holds; none for the whole cluster.
    pub namespace: Option<Namespace>,
    /// What it grants.
    pub role: RoleRef,
    /// The rules of that role where it is made for this binding and ends with it.
    pub rules: Option<ExactRules>,
    /// Whether nobody had agreed; marked in the cluster.
    pub broken_glass: bool,
}

/// The bindings that a grant of this id would have: one a namespace, or one for the whole cluster.
#[must_use]
pub fn bindings(id: &GrantId, ask: &Ask, requester: &PersonName, broken_glass: bool) -> Vec<Binding> {
    let (role, rules) = match &ask.access {
        Access::Role(role) => (role.clone(), None),
        Access::Rules(rules) => (RoleRef::Role(RoleName::owned_by(id)), Some(rules.clone())),
    };
    let binding = |namespace: Option<Namespace>| Binding {
        name: id.binding_name(),
        group: id.group(),
        user: requester.user(),
        namespace,
        role: role.clone(),
        rules: rules.clone(),
        broken_glass,
    };
    match &ask.scope {
        Scope::Namespaces(_) => ask.scope.namespaces().iter().cloned().map(Some).map(binding).collect(),
        Scope::Cluster => vec![binding(None)],
    }
}

#[cfg(test)]
mod tests;
