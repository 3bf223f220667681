//! The life of a grant: a fold over its events, and the only place that defines which event may follow which.
//!
//! ```text
//!  pending ──► approved ──► collecting ──► live ──► ending ──► ended(expired | released | revoked | drifted | failed)
//!     ├─► denied   └─► lapsed     └────────────────────┘
//!     │   (also from approved, after break-glass)
//!     ├─► ended(revoked), only by an operator
//!     ├─► withdrawn (also from approved)
//!     └─► lapsed
//! ```
//! Each of several namespaces is a separate part, which may end while the others continue; the last one ends with the
//! grant. The daemon's state and the auditor's are computed by this same fold, so they cannot disagree. It reads no
//! clock: the time of a change is that of the fact.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extension::Extension;
use super::glass::{self, AfterReview, BreakGlassRecord};
use super::policy::{Terms, Yes};
use super::request::{AccessRequest, KeyHash, Login, Namespace, Namespaces, PersonName, Scope, Window, after};
use super::{
    ActingGateway, Binding, Clock, EndCause, EndProof, Event, Fact, GatewayUser, GrantId, Impersonation, Shown,
    bindings, gateway_bindings, narrow,
};
use crate::rbac::risk::{Assessment, Finding, Severity};

/// The phase of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waits for approvers.
    Pending,
    /// Approved; waits until the requester collects it.
    Approved,
    /// Between the first effect and live access.
    Collecting,
    /// The access works.
    Live,
    /// The binding is being deleted.
    Ending,
    /// An approver denied it.
    Denied,
    /// The requester withdrew it.
    Withdrawn,
    /// A time limit passed before the access began.
    Lapsed,
    /// The access is over.
    Ended,
}

impl Phase {
    /// Whether a grant in this phase is not over.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved | Self::Collecting | Self::Live | Self::Ending)
    }

    /// The name, as in JSON.
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

/// A grant in the state that its events determine. The role's rules stay in the trail, because they are large and only
/// readers need them. Each event produces a new value, so fields that rarely change are shared. The trail keeps it
/// as JSON when it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Grant {
    /// The id.
    pub id: GrantId,
    /// The requester.
    pub requester: PersonName,
    /// The requester's login at the request.
    pub requester_login: Option<Login>,
    /// What is requested, after any narrowing.
    pub ask: Arc<AccessRequest>,
    /// What was requested originally, if approvers narrowed it or break-glass allows less.
    pub narrowed_from: Option<Arc<AccessRequest>>,
    /// The key for the certificate.
    pub key: KeyHash,
    /// The uid of the role at the request.
    pub role_uid: Arc<str>,
    /// The hash of the role's rules at the request.
    pub rules_sha256: Arc<str>,
    /// The uids of the namespaces at the request; empty in earlier trails.
    pub namespace_uids: Arc<BTreeMap<Namespace, String>>,
    /// The worst severity, alone or together with the requester's other access.
    pub risk: Option<Severity>,
    /// The risks that arise only together with the requester's other access; mostly none.
    pub together: Option<Arc<[Finding]>>,
    /// The pending extension.
    pub extension: Option<Box<Extension>>,
    /// The use of break-glass, with the reviews so far.
    pub glass: Option<Box<BreakGlassRecord>>,
    /// The number of requests and answers of all kinds.
    pub answers: u32,
    /// Why the cluster refused it at the last attempt to collect.
    pub collection_failed: Option<String>,
    /// The namespaces in which it ended while it continues in others, in that order.
    pub lost: Vec<LostPart>,
    /// How its role changed while it was live, if its terms only warn.
    pub role_changed: Option<String>,
    /// The policy's rule that allows the request, and who has to approve it.
    pub terms: Arc<Terms>,
    /// The digest that an approval refers to.
    pub digest: Arc<str>,
    /// When it was requested.
    pub requested_at: Timestamp,
    /// The phase.
    pub phase: Phase,
    /// The approvals, in order.
    pub agreed: Arc<Vec<Yes>>,
    /// The end of the current time limit: to answer, to collect, or of the window.
    pub deadline: Option<Timestamp>,
    /// When the access became live.
    pub live_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether a binding may exist.
    pub bind_intended: bool,
    /// The gateway's user, if the gateway may act as the holder while the grant is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewayUser>,
    /// How the gateway gets that right.
    #[serde(default, skip_serializing_if = "Impersonation::is_constrained")]
    pub impersonation: Impersonation,
    /// The uids of its bindings, once all of them exist; those of the gateway's bindings are not recorded.
    pub binding_uids: Arc<[String]>,
    /// How many certificates were signed.
    pub certificates: u32,
    /// Why it ends or ended.
    pub end_cause: Option<EndCause>,
    /// What proves its end.
    pub end_proof: Option<EndProof>,
    /// Who denied, withdrew or ended it; `None` for the daemon itself.
    pub closed_by: Option<PersonName>,
    /// The words with which it was denied or revoked.
    pub closing_words: Option<String>,
}

/// A namespace in which a grant ended while it continues in others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LostPart {
    /// The namespace.
    pub namespace: Namespace,
    /// Why.
    pub why: String,
    /// Whether the end is proved; until then the binding is being deleted.
    pub is_over: bool,
}

fn together(shown: &Shown) -> Option<Arc<[Finding]>> {
    (!shown.together.is_empty()).then(|| shown.together.as_slice().into())
}

fn yes(by: PersonName, fact: &Fact, groups: &BTreeSet<String>) -> Yes {
    Yes { by, login: fact.login().cloned(), groups: groups.iter().cloned().collect(), at: fact.at }
}

/// An event that may not follow the previous ones: the trail is damaged, or the daemon has a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event `{event}` may not follow phase `{phase}` of grant {grant}")]
pub struct InvalidTransition {
    /// The grant.
    pub grant: GrantId,
    /// Its phase, or `none` before the request.
    pub phase: &'static str,
    /// The event's kind.
    pub event: &'static str,
}

impl Grant {
    /// The grant that begins with a `requested` fact.
    ///
    /// # Errors
    /// [`InvalidTransition`] if the fact is not one, or has no grant or no author.
    pub fn begin(fact: &Fact) -> Result<Self, InvalidTransition> {
        let (Some(id), Some(requester), Event::Requested(requested)) = (&fact.grant, fact.by(), &fact.event) else {
            return Err(InvalidTransition {
                grant: fact.grant.clone().unwrap_or_else(|| GrantId::from_random([0; 10])),
                phase: "none",
                event: fact.event.kind(),
            });
        };
        Ok(Self {
            id: id.clone(),
            requester: requester.clone(),
            requester_login: fact.login().cloned(),
            ask: Arc::new(requested.ask.clone()),
            narrowed_from: None,
            key: requested.key.clone(),
            role_uid: requested.shown.role.uid.as_str().into(),
            rules_sha256: requested.shown.role.rules_sha256().into(),
            namespace_uids: Arc::new(requested.shown.namespaces.clone()),
            risk: requested.shown.worst(),
            together: together(&requested.shown),
            extension: None,
            glass: None,
            answers: 0,
            collection_failed: None,
            lost: Vec::new(),
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
            gateway: None,
            impersonation: Impersonation::default(),
            binding_uids: Arc::default(),
            certificates: 0,
            end_cause: None,
            end_proof: None,
            closed_by: None,
            closing_words: None,
        })
    }

    /// The grant after `fact`. Only this match defines which event may follow which.
    ///
    /// # Errors
    /// [`InvalidTransition`] if the fact may not follow.
    pub fn apply(mut self, fact: &Fact) -> Result<Self, InvalidTransition> {
        use Event as E;
        use Phase as P;
        match (self.phase, &fact.event) {
            (_, E::Refused { .. }) if !self.is_over() => {}
            (P::Pending, E::GlassBroken { reason, window, digest, collect_until, review_until })
                if *window <= self.ask.window
                    && self.terms.break_glass.is_some()
                    && fact.by() == Some(&self.requester) =>
            {
                if *window < self.ask.window {
                    self.narrowed_from.get_or_insert(Arc::clone(&self.ask));
                    Arc::make_mut(&mut self.ask).window = *window;
                }
                let (reason, digest) = (reason.clone(), digest.clone());
                let (broken_at, review_until) = (fact.at, *review_until);
                let reviews = Vec::new();
                self.glass =
                    Some(Box::new(BreakGlassRecord { reason, broken_at, review_until, digest, reviews, owed: true }));
                self.answers = self.answers.saturating_add(1);
                self.phase = P::Approved;
                self.deadline = Some(*collect_until);
            }
            (_, E::Reviewed { digest, groups, verdict, words, closes, decides }) if self.owes_review() => {
                let by = fact.by().filter(|by| **by != self.requester);
                let by = by.map(|by| yes(by.clone(), fact, groups));
                let is_disputed = glass::is_disputed(&self);
                let may_follow = by.clone().is_some_and(|by| match glass::after_review(&self, by.clone(), *verdict) {
                    _ if is_disputed => *decides && *closes && !groups.is_empty() && !self.has_reviewed(&by.by),
                    _ if *decides => false,
                    AfterReview::Owed => !closes,
                    AfterReview::Complete => *closes,
                    // An earlier jitd closed it, and its trails stay valid; since then it stays owed.
                    AfterReview::Disputed => true,
                });
                match (by, &mut self.glass) {
                    (Some(by), Some(glass)) if glass.digest == *digest && may_follow => {
                        let (verdict, words, decides) = (*verdict, words.clone(), *decides);
                        glass.reviews.push(glass::Reviewed { by, verdict, words, decides });
                        glass.owed = !closes;
                    }
                    _ => return Err(self.invalid_transition(&fact.event)),
                }
                self.answers = self.answers.saturating_add(1);
            }
            (P::Pending, E::Agreed { groups, .. }) => self.agree(fact, groups),
            (P::Pending, E::Narrowed(narrowed)) if narrow::is_no_wider(&narrowed.ask, &self.ask) => {
                let before = std::mem::replace(&mut self.ask, Arc::new(narrowed.ask.clone()));
                self.narrowed_from.get_or_insert(before);
                self.role_uid = narrowed.shown.role.uid.as_str().into();
                self.rules_sha256 = narrowed.shown.role.rules_sha256().into();
                self.namespace_uids = Arc::new(narrowed.shown.namespaces.clone());
                self.risk = narrowed.shown.worst();
                self.together = together(&narrowed.shown);
                self.digest = narrowed.digest.as_str().into();
            }
            (P::Pending, E::Reassessed(reassessed)) => {
                self.risk = reassessed.shown.worst();
                self.together = together(&reassessed.shown);
                self.digest = reassessed.digest.as_str().into();
                self.agreed = Arc::default();
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
            (P::Approved, E::CollectionFailed { why }) => self.collection_failed = Some(why.clone()),
            (P::Approved, E::IssueIntended { .. }) => {
                self.phase = P::Collecting;
                self.deadline = None;
                self.collection_failed = None;
            }
            // In this namespace nothing was ever bound.
            (P::Approved | P::Collecting, E::PartEnded { namespace, why, proof: EndProof::NeverBound })
                if self.binding_uids.is_empty() && self.goes_on_without(namespace) =>
            {
                self.lost.push(LostPart { namespace: namespace.clone(), why: why.clone(), is_over: true });
            }
            (P::Live, E::PartUnbindIntended { namespace, why }) if self.goes_on_without(namespace) => {
                self.lost.push(LostPart { namespace: namespace.clone(), why: why.clone(), is_over: false });
            }
            (P::Live, E::PartEnded { namespace, proof: EndProof::Denied | EndProof::GroupDenied, .. })
                if self.lost.iter().any(|part| part.namespace == *namespace && !part.is_over) =>
            {
                let place = self.bound().position(|bound| bound == namespace);
                let uids = self.binding_uids.iter().enumerate().filter(|(number, _)| Some(*number) != place);
                self.binding_uids = uids.map(|(_, uid)| uid.clone()).collect();
                let lost = self.lost.iter_mut().filter(|part| part.namespace == *namespace);
                lost.for_each(|part| part.is_over = true);
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
                if let (Some(extension), Some(by)) = (&mut self.extension, fact.by()) {
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
            // The state of the log, and who read it, is the trail's alone; the gateway may report it late.
            (phase @ (P::Live | P::Ending | P::Ended), event)
                if event.may_follow_the_end()
                    && self.live_at.is_some()
                    && (phase == P::Ended || !event.is_a_deletion()) => {}
            (P::Live, E::RoleChanged { found }) => self.role_changed = Some(found.clone()),
            (P::Collecting | P::Live, E::Issued { .. }) => self.certificates = self.certificates.saturating_add(1),
            (P::Collecting, E::BindIntended { gateway, impersonation, .. }) if !self.bind_intended => {
                self.bind_intended = true;
                self.gateway.clone_from(gateway);
                self.impersonation = *impersonation;
            }
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
                self.closed_by = fact.by().cloned();
                self.closing_words = reason.clone();
            }
            (
                P::Ending,
                E::Ended {
                    why,
                    proof: proof @ (EndProof::Denied | EndProof::GroupDenied),
                    reason: None,
                    cut: _,
                    log: _,
                },
            ) if self.end_cause == Some(*why) => {
                self.end_proof = Some(*proof);
                let closed_by = self.closed_by.take();
                self.close(P::Ended, fact);
                self.closed_by = closed_by;
            }
            (
                P::Approved | P::Collecting,
                E::Ended { why, proof: EndProof::NeverBound, reason, cut: None, log: None },
            ) if !self.bind_intended => {
                self.end_cause = Some(*why);
                self.end_proof = Some(EndProof::NeverBound);
                self.closing_words = reason.clone();
                self.close(P::Ended, fact);
            }
            // It is not approved, so no approver can revoke it, but an operator can.
            (
                P::Pending,
                E::Ended { why: why @ EndCause::Revoked, proof: EndProof::NeverBound, reason, cut: None, log: None },
            ) if fact.is_by_operator() => {
                self.end_cause = Some(*why);
                self.end_proof = Some(EndProof::NeverBound);
                self.closing_words = reason.clone();
                self.close(P::Ended, fact);
            }
            (_, event) => return Err(self.invalid_transition(event)),
        }
        Ok(self)
    }

    fn invalid_transition(&self, event: &Event) -> InvalidTransition {
        InvalidTransition { grant: self.id.clone(), phase: self.phase.as_str(), event: event.kind() }
    }

    /// Whether nothing more can happen to it: there is no access, and no review is owed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.phase.is_open() && !self.owes_review()
    }

    /// Whether people have to answer something: the request, an extension, or a review.
    #[must_use]
    pub fn waits_for_somebody(&self) -> bool {
        self.phase == Phase::Pending || self.extension.is_some() || self.owes_review()
    }

    /// Whether break-glass was used and is not reviewed yet.
    #[must_use]
    pub fn owes_review(&self) -> bool {
        self.glass.as_ref().is_some_and(|glass| glass.owed)
    }

    fn has_reviewed(&self, person: &PersonName) -> bool {
        self.glass.iter().flat_map(|glass| &glass.reviews).any(|review| review.by.by == *person)
    }

    fn is_asked_for(&self, digest: &str) -> bool {
        self.extension.as_ref().is_some_and(|extension| extension.digest == digest)
    }

    fn agree(&mut self, fact: &Fact, groups: &BTreeSet<String>) {
        self.answers = self.answers.saturating_add(1);
        let agreed = Arc::make_mut(&mut self.agreed);
        // Thousands of grants have mostly one approval each.
        agreed.reserve_exact(1);
        agreed.extend(fact.by().map(|by| yes(by.clone(), fact, groups)));
    }

    fn close(&mut self, phase: Phase, fact: &Fact) {
        self.phase = phase;
        self.deadline = None;
        self.ended_at = Some(fact.at);
        self.closed_by = fact.by().cloned();
    }

    /// Shares equal fields with another grant, so that thousands of grants of one rule store them once.
    pub fn share(&mut self, other: &Self) {
        fn one<T: PartialEq + Clone>(mine: &mut T, others: &T) {
            if mine == others {
                mine.clone_from(others);
            }
        }
        one(&mut self.requester, &other.requester);
        one(&mut self.role_uid, &other.role_uid);
        one(&mut self.rules_sha256, &other.rules_sha256);
        one(&mut self.namespace_uids, &other.namespace_uids);
        one(&mut self.terms, &other.terms);
        one(&mut self.gateway, &other.gateway);
        let ask = Arc::make_mut(&mut self.ask);
        one(&mut ask.cluster, &other.ask.cluster);
        one(&mut ask.access, &other.ask.access);
    }

    /// `assessment` plus the risks that arise together with the requester's other access, as they were shown.
    #[must_use]
    pub fn with_others(&self, assessment: Assessment) -> Assessment {
        match &self.together {
            Some(together) => assessment.with(together),
            None => assessment,
        }
    }

    /// The original request without the namespaces in which it ended: the policy decides on this.
    #[must_use]
    pub fn asked(&self) -> Cow<'_, AccessRequest> {
        let asked = self.narrowed_from.as_deref().unwrap_or(&self.ask);
        let goes_on = asked.scope.namespaces().iter().filter(|namespace| !self.is_lost(namespace));
        match Namespaces::try_from(goes_on.cloned().collect::<Vec<_>>()) {
            Ok(left) if !self.lost.is_empty() => {
                Cow::Owned(AccessRequest { scope: Scope::Namespaces(left), ..asked.clone() })
            }
            _ => Cow::Borrowed(asked),
        }
    }

    /// The number of its bindings.
    fn places(&self) -> usize {
        self.bound().count().max(1)
    }

    /// The namespaces that have or get a binding, in the order of `binding_uids`.
    fn bound(&self) -> impl Iterator<Item = &Namespace> {
        let is_over =
            |namespace: &&Namespace| self.lost.iter().any(|part| part.namespace == **namespace && part.is_over);
        self.ask.scope.namespaces().iter().filter(move |namespace| !is_over(namespace))
    }

    /// The namespaces in which it continues; none for the whole cluster.
    pub fn held(&self) -> impl Iterator<Item = &Namespace> {
        self.ask.scope.namespaces().iter().filter(|namespace| !self.is_lost(namespace))
    }

    /// Whether it ended, or is ending, in this namespace while it continues in others.
    #[must_use]
    pub fn is_lost(&self, namespace: &Namespace) -> bool {
        self.lost.iter().any(|part| part.namespace == *namespace)
    }

    fn goes_on_without(&self, namespace: &Namespace) -> bool {
        self.held().any(|held| held == namespace) && self.held().any(|held| held != namespace)
    }

    /// The uid of the binding in this namespace, or in the whole cluster, if it is known.
    #[must_use]
    pub fn uid_in(&self, namespace: Option<&Namespace>) -> Option<&str> {
        let number = match namespace {
            None => 0,
            Some(namespace) => self.bound().position(|bound| bound == namespace)?,
        };
        self.binding_uids.get(number).map(String::as_str)
    }

    /// The namespace of the binding with this uid; `None` for the whole cluster, or if it is not a binding of this
    /// grant.
    #[must_use]
    pub fn namespace_of(&self, uid: &str) -> Option<&Namespace> {
        self.bound().zip(self.binding_uids.iter()).find(|(_, known)| *known == uid).map(|(namespace, _)| namespace)
    }

    /// Until when an approval at `now` can be collected: counted from the earliest start, for as long as the terms say,
    /// or else for `usual`.
    #[must_use]
    pub fn collect_until(&self, usual: SignedDuration, now: Timestamp) -> Timestamp {
        let begin = self.ask.start.map_or(now, |start| start.max(now));
        after(begin, self.terms.collect.map_or(usual, Window::duration))
    }

    /// The bindings of the namespaces in which it continues.
    #[must_use]
    pub fn held_bindings(&self) -> Vec<Binding> {
        let is_held = |binding: &Binding| binding.namespace.as_ref().is_none_or(|namespace| !self.is_lost(namespace));
        self.bindings().into_iter().filter(is_held).collect()
    }

    /// The bindings that this grant may ever have: one in each of its namespaces, or one for the whole cluster.
    #[must_use]
    pub fn bindings(&self) -> Vec<Binding> {
        bindings(&self.id, &self.ask, &self.requester, self.glass.is_some())
    }

    /// The gateway's bindings for the namespaces in which it continues; none if people do not go through the gateway.
    /// `host` is the daemon's.
    #[must_use]
    pub fn held_gateway_bindings(&self, host: &str) -> Vec<Binding> {
        self.of_gateway(&self.held_bindings(), host)
    }

    /// The gateway's bindings that this grant may ever have.
    #[must_use]
    pub fn gateway_bindings(&self, host: &str) -> Vec<Binding> {
        self.of_gateway(&self.bindings(), host)
    }

    fn of_gateway(&self, bindings: &[Binding], host: &str) -> Vec<Binding> {
        let Some(user) = self.gateway.clone() else { return Vec::new() };
        gateway_bindings(bindings, &ActingGateway { user, impersonation: self.impersonation }, host)
    }
}
