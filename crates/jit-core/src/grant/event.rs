//! What can happen: the events of the trail and what they carry, in the words of its JSON.
//!
//! Old trails have to stay readable: a field that is added has a default, and none is renamed or removed. Which event may
//! follow which is in [`super::life`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::digest::sha256_hex;
use super::glass::Verdict;
use super::login::ProviderLogout;
use super::policy::{Labels, Terms, Usage};
use super::request::{Access, AccessRequest, ClusterName, KeyHash, Namespace, PersonName, Reason, Scope, Window};
use super::{DeniedBefore, GatewayUser, GrantId, Impersonation, LogHead, Phase, Reading, SentText};
use crate::rbac::risk::{Assessment, Finding, Severity};
use crate::rbac::role::ResolvedRole;

/// One event, as the trail stores it. `*Intended` is stored before an effect, the past participle after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Event {
    /// The daemon started.
    Started {
        /// The program's version.
        version: String,
        /// The host name in the daemon's own credential.
        host: String,
        /// SHA-256 of the policy file in force, hex.
        policy_sha256: String,
        /// SHA-256 of the guardrails file, hex; absent where the defaults are in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        guardrails_sha256: Option<String>,
    },
    /// A changed policy is in force from here on.
    PolicyLoaded {
        /// SHA-256 of the policy file, hex.
        policy_sha256: String,
        /// SHA-256 of the guardrails file, hex; absent where the defaults are in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        guardrails_sha256: Option<String>,
    },
    /// The daemon stopped in good order.
    Stopped,
    /// A drain begins: no new access until an operator resumes, also across restarts; live grants continue.
    Drained {
        /// Why, in the operator's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// The drain is over.
    Resumed,
    /// A scan of a cluster's standing access finished. The report stays where the scan ran.
    ScanFinished(Box<ScanFinished>),
    /// A scan of a cluster's standing access failed: what stands there today is unknown.
    ScanFailed {
        /// The cluster.
        cluster: ClusterName,
        /// Why, in the words of the scan.
        why: Reason,
    },
    /// A request was refused before a grant was created.
    RequestRefused(Box<RequestRefused>),
    /// Further refusals of one person, which were counted instead of stored one by one.
    RefusalsCounted {
        /// The time since which they were counted.
        since: Timestamp,
        /// Their number, by stable code.
        codes: BTreeMap<String, u64>,
    },
    /// A person of an identity provider came for the first time, or under another name there.
    Introduced {
        /// What the provider calls the person. No other person is let in under this name, or under one that looks like it.
        called: PersonName,
    },
    /// A person accepted that an identity at a provider is theirs: whoever logs in with it is this person from here on.
    Linked {
        /// The provider.
        issuer: String,
        /// The person there.
        subject: String,
        /// The name of the identity's person until then.
        was: PersonName,
    },
    /// A provider ended a person's login, or all of them; what they requested with a login there ends.
    LoggedOut(Box<ProviderLogout>),
    /// What `jit-notify` reports that people were told since its last report.
    Notified {
        /// The texts, in the order in which their receivers took them.
        texts: Vec<SentText>,
    },
    /// A request was made and waits for approval.
    Requested(Box<Requested>),
    /// One of several approvers approved.
    Agreed {
        /// The digest that was answered.
        digest: String,
        /// Which of the step's groups the approver was in.
        groups: BTreeSet<String>,
    },
    /// An approver narrowed the request before approving it.
    Narrowed(Box<Narrowed>),
    /// Later requests of the requester made the risk higher than approvers were shown: earlier approvals no longer count.
    Reassessed(Box<Reassessed>),
    /// Enough approvers approved; without an author, the rule is pre-approved.
    Approved {
        /// The digest that was answered.
        digest: String,
        /// Which of the step's groups the approver was in.
        groups: BTreeSet<String>,
        /// The time until which the access can be collected.
        collect_until: Timestamp,
    },
    /// An approver denied the request.
    Denied {
        /// Why, in the approver's words.
        reason: String,
    },
    /// The requester withdrew the request before it was collected.
    Withdrawn,
    /// The request was not answered, or not collected, in time.
    Lapsed {
        /// Which time limit was exceeded.
        clock: Clock,
    },
    /// A person tried an action on the grant that they may not do; the grant is unchanged.
    Refused {
        /// The action, by its name in the API.
        action: String,
        /// The stable code of the refusal.
        code: String,
    },
    /// The cluster refused the access when it was to be collected; the approval remains valid.
    CollectionFailed {
        /// Why, in the words of the API server where it gave some.
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
    /// The certificate was signed.
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
        /// The gateway's user, if it gets the right to act as the holder.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<GatewayUser>,
        /// `unconstrained` if the gateway gets that right by the verb `impersonate`, as before Kubernetes 1.36.
        #[serde(default, skip_serializing_if = "Impersonation::is_constrained")]
        impersonation: Impersonation,
    },
    /// The API server stored the bindings.
    Bound {
        /// Their uids, in the order of the namespaces in which the grant has not ended yet.
        uids: Vec<String>,
    },
    /// The API server answers "allowed": the window begins.
    Live {
        /// The end of the window.
        until: Timestamp,
    },
    /// A binding of the grant was changed in the cluster, or another binding names its group.
    BindingAltered {
        /// What was found.
        found: String,
    },
    /// The binding in one of several namespaces is about to be deleted; the others remain.
    PartUnbindIntended {
        /// The namespace.
        namespace: Namespace,
        /// Why.
        why: String,
    },
    /// The access in one of several namespaces ended, or never began; the others remain.
    PartEnded {
        /// The namespace.
        namespace: Namespace,
        /// Why.
        why: String,
        /// What proves it.
        proof: EndProof,
    },
    /// The gateway's log of what is done with the grant has grown; a gateway that was away reports it after the end.
    Logged {
        /// How many lines the log had.
        lines: u64,
        /// SHA-256 of the last one, hex; each line contains that of the line before.
        sha256: String,
    },
    /// The gateway's log contradicts an earlier head: lines that it had are missing or changed.
    LogContradicted {
        /// How many lines the log has, as the gateway says.
        lines: u64,
        /// SHA-256 of the last one, hex.
        sha256: String,
        /// Where it stood before.
        before: LogHead,
    },
    /// Somebody reads what the gateway kept; recorded before it is handed out. The same again is recorded after a minute.
    SessionsRead {
        /// `list` for the sessions, `log` for every request, `recording` for what a session printed.
        what: Reading,
        /// The session, if it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
    },
    /// What the gateway kept of a grant that is over is about to be deleted.
    SessionsDeletionIntended {
        /// How long the guardrails keep it after the end (`keepSessions`).
        keep: String,
    },
    /// The gateway deleted what it kept of the grant.
    SessionsDeleted {
        /// How many files, as the gateway says.
        files: u64,
        /// How many bytes they had.
        bytes: u64,
        /// Where the log stood, as in `logged`; absent if there was none that could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<LogHead>,
    },
    /// The role of a live grant changed since it was approved, and the rule has `drift: warn`.
    RoleChanged {
        /// What was found.
        found: String,
    },
    /// The holder of the access requested an extension.
    ExtensionAsked {
        /// How much longer.
        window: Window,
        /// Why.
        reason: Reason,
        /// The digest that an approval answers.
        digest: String,
        /// The time until which it can be answered.
        pending_until: Timestamp,
    },
    /// One of several approvers approved the extension.
    ExtensionAgreed {
        /// The digest that was answered.
        digest: String,
        /// Which of the step's groups the approver was in.
        groups: BTreeSet<String>,
    },
    /// The extension is approved; without an author, the rule is pre-approved.
    Extended {
        /// The digest that was answered.
        digest: String,
        /// Which of the step's groups the approver was in.
        groups: BTreeSet<String>,
        /// The new end of the window.
        until: Timestamp,
    },
    /// An approver denied the extension; the access continues to its end.
    ExtensionDenied {
        /// Why, in the approver's words.
        reason: String,
    },
    /// The requester used break-glass: access without an approval, reviewed afterwards.
    GlassBroken {
        /// Why it could not wait.
        reason: Reason,
        /// How long the access lasts: as requested, but at most the rule's limit for break-glass.
        window: Window,
        /// The digest that a review answers.
        digest: String,
        /// The time until which the access can be collected.
        collect_until: Timestamp,
        /// The time until which the review is due.
        review_until: Timestamp,
    },
    /// A person reviewed break-glass access.
    Reviewed {
        /// The digest that was answered.
        digest: String,
        /// Which of the asked groups the reviewer was in; of a decision, which of `admins`.
        groups: BTreeSet<String>,
        /// What they found.
        verdict: Verdict,
        /// In their words.
        words: Reason,
        /// Whether the review is complete. An earlier jitd also completed one whose reviewers disagreed.
        closes: bool,
        /// Whether an administrator decided, because the reviewers disagreed; absent otherwise.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        decides: bool,
    },
    /// The binding is about to be deleted.
    UnbindIntended {
        /// Why the grant ends.
        why: EndCause,
        /// The reason given by the person who ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The grant ended, with the proof.
    Ended {
        /// Why it ended.
        why: EndCause,
        /// What proves it.
        proof: EndProof,
        /// The reason given by the person who ended it before anything was bound; after that, `unbind_intended` has it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// How many requests were running in the gateway when it cut them; absent where people reach the cluster directly,
        /// and where the gateway did not answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cut: Option<u32>,
        /// Where the gateway's log stood then, as in `logged`; absent if `cut` is, and if nothing was recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        log: Option<LogHead>,
    },
}

impl Event {
    /// Whether it says where the gateway's log of the grant stands.
    #[must_use]
    pub fn is_about_its_log(&self) -> bool {
        matches!(self, Self::Logged { .. } | Self::LogContradicted { .. })
    }

    /// Whether it may also follow the end of a grant that was live.
    #[must_use]
    pub fn may_follow_the_end(&self) -> bool {
        self.is_about_its_log() || self.is_a_deletion() || matches!(self, Self::SessionsRead { .. })
    }

    /// Whether it is about the deletion of what the gateway kept, which follows the end only.
    pub(super) fn is_a_deletion(&self) -> bool {
        matches!(self, Self::SessionsDeletionIntended { .. } | Self::SessionsDeleted { .. })
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
            Self::ScanFinished(_) => "scan_finished",
            Self::ScanFailed { .. } => "scan_failed",
            Self::RequestRefused(_) => "request_refused",
            Self::RefusalsCounted { .. } => "refusals_counted",
            Self::Introduced { .. } => "introduced",
            Self::Linked { .. } => "linked",
            Self::LoggedOut(_) => "logged_out",
            Self::Notified { .. } => "notified",
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
            Self::Logged { .. } => "logged",
            Self::LogContradicted { .. } => "log_contradicted",
            Self::SessionsRead { .. } => "sessions_read",
            Self::SessionsDeletionIntended { .. } => "sessions_deletion_intended",
            Self::SessionsDeleted { .. } => "sessions_deleted",
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

/// What a scan found, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScanFinished {
    /// The cluster.
    pub cluster: ClusterName,
    /// How many findings are open, by severity. What Kubernetes itself ships, and what an exception accepts, is not counted.
    pub open: BTreeMap<Severity, u64>,
    /// How many of them the last report did not have; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<u64>,
    /// How many findings of the last report are gone; absent if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<u64>,
    /// How many lists and objects could not be evaluated.
    pub not_evaluated: u64,
    /// SHA-256 of the report as JSON, hex.
    pub report_sha256: String,
}

/// A request that was refused. It is kept short: a long request costs the caller nothing, and the trail is kept permanently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestRefused {
    /// The request, if it is at most 1 KiB; in older trails always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<AccessRequest>,
    /// The beginning of the request as JSON, if it is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_begins: Option<String>,
    /// SHA-256 of the request as JSON, hex; absent in older trails.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ask_sha256: String,
    /// The stable code of the refusal.
    pub code: String,
    /// The sentence of the refusal, or its beginning.
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
    /// The request.
    pub ask: AccessRequest,
    /// SHA-256 of the public key that the certificate will be for.
    pub key: KeyHash,
    /// What approvers are shown in addition.
    pub shown: Shown,
    /// The other inputs of the policy's decision, so that it can be repeated from this event.
    pub decided_on: DecidedOn,
    /// The rule that allowed the request, and who has to approve.
    pub terms: Terms,
    /// The digest that an approval answers; see [`super::digest::of_request`].
    pub digest: String,
    /// The time until which it can be answered.
    pub pending_until: Timestamp,
}

/// The other inputs of the policy's decision, besides the ask, the requester's name, the moment and what was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DecidedOn {
    /// The groups that the requester was in.
    pub groups: BTreeSet<String>,
    /// The labels of the requested namespaces.
    pub labels: Labels,
    /// The requester's open requests and grants.
    pub usage: Usage,
}

/// What is left of a request that was cut down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Narrowed {
    /// The narrowed request; see [`super::narrow`].
    pub ask: AccessRequest,
    /// What approvers are shown in addition.
    pub shown: Shown,
    /// The digest that an approval answers from now on.
    pub digest: String,
}

/// What approvers are shown from now on, where more arises by what the requester asked for since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reassessed {
    /// What approvers are shown from now on.
    pub shown: Shown,
    /// The digest that an approval answers from now on.
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
    /// What it lets its holder reach: the findings of the risk catalogue.
    pub assessment: Assessment,
    /// Findings that arise only together with what the requester already had, was approved for or had requested in that
    /// cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<Finding>,
    /// What the requester had, was approved for or had requested in the same cluster at that time; live grants first, then the
    /// newest.
    pub holds: Vec<OtherGrant>,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holds_more: usize,
    /// The uid of each requested namespace: a namespace that is deleted and created again is another one. Absent in older
    /// trails.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub namespaces: BTreeMap<Namespace, String>,
    /// A recent denial of the same or lesser access.
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
pub struct OtherGrant {
    /// Its id.
    pub grant: GrantId,
    /// Where it holds.
    pub scope: Scope,
    /// What it allows.
    pub access: Access,
    /// Its phase; absent if it is live.
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
    /// Nobody answered the request.
    Pending,
    /// The requester did not collect.
    Collect,
}

/// Why a grant ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// The window ran out.
    Expired,
    /// The requester released it.
    Released,
    /// An approver, an admin or an operator revoked it.
    Revoked,
    /// The role, or the binding, is no longer what was approved, or the holder is in none of the groups that may request it.
    Drifted,
    /// The steps between approval and access did not complete.
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
    /// The binding is gone and the API server answered "denied" for the grant's group alone: another binding grants the
    /// same to the person's own user name, which no grant can end.
    GroupDenied,
    /// No binding was ever intended.
    NeverBound,
}
