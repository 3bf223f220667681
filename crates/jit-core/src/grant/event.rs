//! What can happen: the events of the trail and what they carry, in the words of its JSON.
//!
//! Old trails have to stay readable: a field that is added has a default, and none is renamed or removed. Which event may
//! follow which is in [`super::life`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::sha256_hex;
use super::glass::Verdict;
use super::policy::{Labels, Terms, Usage};
use super::request::{Access, AccessRequest, KeyHash, Namespace, Reason, Scope, Window};
use super::{DeniedBefore, GrantId, Phase};
use crate::rbac::risk::{Assessment, Finding, Severity};
use crate::rbac::role::ResolvedRole;

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
    RequestRefused(Box<RequestRefused>),
    /// So many further refusals of one person were not written one by one.
    RefusalsCounted {
        /// Since when they were counted.
        since: Timestamp,
        /// How many there were, by the stable code.
        codes: BTreeMap<String, u64>,
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
    /// What the requester asked for since makes more of it than approvers were shown: who agreed before has to look again.
    Reassessed(Box<Reassessed>),
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
    /// An approval was to be collected and the cluster would not have it; the approval stands.
    CollectionFailed {
        /// Why, in the words of the API server where it said something.
        why: String,
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
        /// The uids they were given, in the order of the namespaces that are not over by then.
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
    /// The binding in one of several namespaces is about to be deleted; the others go on.
    PartUnbindIntended {
        /// The namespace.
        namespace: Namespace,
        /// Why.
        why: String,
    },
    /// The access in one of several namespaces is over, or never came to be; the others go on.
    PartEnded {
        /// The namespace.
        namespace: Namespace,
        /// Why.
        why: String,
        /// What proves it.
        proof: EndProof,
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
    /// The event's name in the trail, as in its `kind`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::PolicyLoaded { .. } => "policy_loaded",
            Self::Stopped => "stopped",
            Self::Drained { .. } => "drained",
            Self::Resumed => "resumed",
            Self::RequestRefused(_) => "request_refused",
            Self::RefusalsCounted { .. } => "refusals_counted",
            Self::Requested(_) => "requested",
            Self::Agreed { .. } => "agreed",
            Self::Narrowed(_) => "narrowed",
            Self::Reassessed(_) => "reassessed",
            Self::Approved { .. } => "approved",
            Self::Denied { .. } => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Lapsed { .. } => "lapsed",
            Self::Refused { .. } => "refused",
            Self::CollectionFailed { .. } => "collection_failed",
            Self::IssueIntended { .. } => "issue_intended",
            Self::Issued { .. } => "issued",
            Self::BindIntended { .. } => "bind_intended",
            Self::Bound { .. } => "bound",
            Self::Live { .. } => "live",
            Self::BindingAltered { .. } => "binding_altered",
            Self::PartUnbindIntended { .. } => "part_unbind_intended",
            Self::PartEnded { .. } => "part_ended",
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

/// A request that was refused. It is kept short: a long one costs who asks nothing, and the trail is kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestRefused {
    /// What was asked, where that is not long; in trails of before always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<AccessRequest>,
    /// The beginning of what was asked, as JSON, where it is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_begins: Option<String>,
    /// SHA-256 of what was asked, as JSON, hex; empty in trails of before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ask_sha256: String,
    /// The stable code of the refusal.
    pub code: String,
    /// The sentence that was answered, or its beginning.
    pub why: String,
}

/// So many bytes of what was asked, and of the sentence that was answered, are kept of a request that was refused.
const KEPT_OF_REFUSED: usize = 1024;

impl RequestRefused {
    /// What is kept of it.
    #[must_use]
    pub fn new(ask: AccessRequest, code: &str, why: &str) -> Self {
        // Words, numbers and lists of them always serialise.
        let json = serde_json::to_string(&ask).unwrap_or_default();
        let begins = |text: &str| text.get(..text.floor_char_boundary(KEPT_OF_REFUSED)).unwrap_or_default().to_owned();
        let is_long = json.len() > KEPT_OF_REFUSED;
        Self {
            ask: (!is_long).then_some(ask),
            ask_begins: is_long.then(|| begins(&json)),
            ask_sha256: sha256_hex(json.as_bytes()),
            code: code.to_owned(),
            why: begins(why),
        }
    }
}

/// All that a request fixes for the rest of its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requested {
    /// What is asked.
    pub ask: AccessRequest,
    /// The key the certificate will be for.
    pub key: KeyHash,
    /// What approvers are shown beside it.
    pub shown: Shown,
    /// What the policy looked at besides, so that its answer can be had again from this.
    pub decided_on: DecidedOn,
    /// The rule of the policy that let it be asked, and who has to agree.
    pub terms: Terms,
    /// What an approval answers; see [`super::digest::of_request`].
    pub digest: String,
    /// Until when an answer is waited for.
    pub pending_until: Timestamp,
}

/// The other inputs of the policy's decision, besides the ask, the requester's name, the moment and what was shown.
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
    /// What is asked now; see [`super::narrow`].
    pub ask: AccessRequest,
    /// What approvers are shown beside it.
    pub shown: Shown,
    /// What an approval answers from now on.
    pub digest: String,
}

/// What approvers are shown from now on, where more arises by what the requester asked for since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reassessed {
    /// What approvers are shown beside the ask.
    pub shown: Shown,
    /// What an approval answers from now on.
    pub digest: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// What approvers are shown beside the request itself, as it was when the request was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shown {
    /// The role as the cluster had it.
    pub role: ResolvedRole,
    /// What it lets its holder reach.
    pub assessment: Assessment,
    /// What arises only from it together with all that the requester had, was approved for or asked for in that cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<Finding>,
    /// What the requester had, was approved for or asked for at that moment in the same cluster; what works first, then
    /// the newest.
    pub holds: Vec<Held>,
    /// How much more they had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holds_more: usize,
    /// The uid of each asked namespace: one that is deleted and made anew is another. Empty in trails of before it was
    /// kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<Namespace, String>,
    /// That the same, or less, was denied to the requester a short while before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<DeniedBefore>,
}

impl Shown {
    /// The worst of what it comes to, alone or together with the rest.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.assessment.worst().max(self.together.iter().map(|finding| finding.severity).max())
    }
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
    /// How far it has come. Earlier trails tell only of what works.
    #[serde(default = "live", skip_serializing_if = "is_live")]
    pub phase: Phase,
}

fn live() -> Phase {
    Phase::Live
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_live(phase: &Phase) -> bool {
    *phase == Phase::Live
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
    /// The binding is gone and the API server answered "denied" to the grant's group alone: somebody gives what it gave
    /// to the person's own user name, which is no grant's to end.
    GroupDenied,
    /// No binding was ever intended.
    NeverBound,
}
