//! Guardrails, which no rule can override: a separate file, with defaults that apply even without the file.
//!
//! Guardrails can only refuse a request or add steps to it: they never allow what the rules deny. The decision in
//! `mod.rs` applies them after it has found a rule.

use std::sync::Arc;

use super::pattern::Glob;
use super::step::Step;
use super::without_repeats;
use crate::grant::request::{Access, AccessRequest, Namespace, RoleRef, Window};
use crate::grant::{Keep, Record, Restriction, SessionTerms};
use crate::rbac::risk::{Assessment, Classified, RiskId, Severity};

/// The guardrails in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guardrails {
    pub(super) max_duration: Window,
    pub(super) max_total: Window,
    pub(super) never_roles: Vec<Glob>,
    pub(super) never_namespaces: Vec<Glob>,
    pub(super) max_risk: Severity,
    pub(super) cluster_wide_approvers: u32,
    pub(super) risks: Vec<RiskStep>,
    pub(super) classified: Arc<[Classified]>,
    pub(super) record: Record,
    pub(super) risks_recorded: Vec<(RiskClass, Record)>,
    pub(super) refuse: Vec<Restriction>,
    pub(super) keep_sessions: Option<Keep>,
}

/// A stricter step for a class of risks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RiskStep {
    pub(super) of: RiskClass,
    pub(super) step: Step,
}

/// Which requests a [`RiskStep`] is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RiskClass {
    /// Requests with a risk of at least this severity.
    Severity(Severity),
    /// Requests with any of these risks.
    Ids(Vec<RiskId>),
}

impl Default for Guardrails {
    /// The value of every key that the file does not have:
    /// - `maxDuration: 24h`, `maxTotal: 24h`: the longest possible window, so the rules decide.
    /// - `never.roles: [cluster-admin]`: it allows everything, including the removal of this program's own guard.
    /// - `never.namespaces: [kube-system, kube-public, kube-node-lease]`: whoever may write there can act as the
    ///   control plane.
    /// - `maxRisk: critical`: unclassified access is refused, because approvers could not know what they approve.
    /// - `clusterWide.approvers: 2`: one mistake or one stolen account does not open the whole cluster.
    /// - `risks: []`: the rules define the steps.
    /// - `classify: []`: what the catalogue does not know is unclassified.
    /// - `record: off`, `refuse: []`: the rules define what is recorded and what is refused.
    fn default() -> Self {
        let globs = |words: &[&str]| words.iter().filter_map(|word| word.parse().ok()).collect();
        Self {
            max_duration: Window::DAY,
            max_total: Window::DAY,
            never_roles: globs(&["cluster-admin"]),
            never_namespaces: globs(&["kube-system", "kube-public", "kube-node-lease"]),
            max_risk: Severity::Critical,
            cluster_wide_approvers: 2,
            risks: Vec::new(),
            classified: Arc::default(),
            record: Record::Off,
            risks_recorded: Vec::new(),
            refuse: Vec::new(),
            keep_sessions: None,
        }
    }
}

impl Guardrails {
    /// The pattern that forbids this role. A name applies to both a ClusterRole and a Role.
    pub(super) fn forbids_role(&self, role: &RoleRef) -> Option<&Glob> {
        let written = role.to_string();
        self.never_roles.iter().find(|glob| glob.is_match(role.name().as_str()) || glob.is_match(&written))
    }

    /// The pattern that forbids this namespace.
    pub(super) fn forbids_namespace(&self, namespace: &Namespace) -> Option<&Glob> {
        self.never_namespaces.iter().find(|glob| glob.is_match(namespace.as_str()))
    }

    /// The guardrail that refuses the request, and why. Without an assessment, the risk is not checked.
    pub(super) fn refuses(
        &self,
        ask: &AccessRequest,
        assessment: Option<&Assessment>,
    ) -> Option<(&'static str, String)> {
        if let Access::Role(role) = &ask.access
            && let Some(glob) = self.forbids_role(role)
        {
            return Some(("never.roles", format!("role `{role}` is never granted (`{glob}`)")));
        }
        for namespace in ask.scope.namespaces() {
            if let Some(glob) = self.forbids_namespace(namespace) {
                return Some((
                    "never.namespaces",
                    format!("no access is granted in namespace `{namespace}` (`{glob}`)"),
                ));
            }
        }
        if ask.window > self.max_duration {
            return Some(("maxDuration", format!("the maximum is {}, not {}", self.max_duration, ask.window)));
        }
        let worst = assessment.and_then(Assessment::worst)?;
        (worst > self.max_risk).then(|| {
            let sentence = format!("its risk is {}, but the maximum is {}", worst.as_str(), self.max_risk.as_str());
            ("maxRisk", sentence)
        })
    }

    /// The least that is recorded of what is done with access of these risks. Without an assessment, the risk does not count.
    fn record_of(&self, assessment: Option<&Assessment>) -> Record {
        let of_risks = self.risks_recorded.iter().filter(|(of, _)| assessment.is_some_and(|found| of.is_about(found)));
        of_risks.map(|(_, record)| *record).fold(self.record, Record::max)
    }

    /// The most that a rule can have recorded and refused: access of each risk that the guardrails name may be requested.
    pub(super) fn strictest_sessions(&self, of_rule: &SessionTerms) -> SessionTerms {
        let terms = self.sessions(of_rule, None);
        let record = self.risks_recorded.iter().map(|(_, record)| *record).fold(terms.record, Record::max);
        SessionTerms { record, ..terms }
    }

    /// What a rule has recorded and refused, together with what the guardrails require for access of these risks.
    pub(super) fn sessions(&self, of_rule: &SessionTerms, assessment: Option<&Assessment>) -> SessionTerms {
        SessionTerms {
            record: of_rule.record.max(self.record_of(assessment)),
            refuse: self.refuse.iter().chain(&of_rule.refuse).cloned().collect(),
            ..of_rule.clone()
        }
    }

    /// Adds the steps that the risks and the scope require, unless the request already has such a step.
    pub(super) fn tighten(&self, steps: &mut Vec<Step>, ask: &AccessRequest, assessment: Option<&Assessment>) {
        for RiskStep { of, step } in &self.risks {
            let applies = assessment.is_some_and(|assessment| of.is_about(assessment));
            if applies && !steps.iter().any(|there| is_as_strict(there, step)) {
                steps.push(step.clone());
            }
        }
        self.tighten_scope(steps, ask.scope.namespaces().is_empty());
    }

    /// The steps that [`tighten`](Self::tighten) may add to these, depending on the risks.
    pub(super) fn by_risk(&self, steps: &[Step]) -> Vec<Step> {
        let added = self.risks.iter().map(|risk| &risk.step);
        added.filter(|step| !steps.iter().any(|there| is_as_strict(there, step))).cloned().collect()
    }

    /// Adds the step that the whole cluster requires, unless the steps already need enough approvers.
    pub(super) fn tighten_scope(&self, steps: &mut Vec<Step>, whole_cluster: bool) {
        let people = steps.iter().fold(0_u32, |people, step| people.saturating_add(step.count));
        if whole_cluster && people < self.cluster_wide_approvers {
            let groups = without_repeats(steps.iter()).into_iter().map(str::to_owned).collect();
            steps.push(Step {
                groups,
                count: self.cluster_wide_approvers.saturating_sub(people),
                hours: None,
                guardrail: Some(format!("cluster-wide access needs {} approvers", self.cluster_wide_approvers)),
            });
        }
    }
}

impl RiskClass {
    fn is_about(&self, assessment: &Assessment) -> bool {
        match self {
            Self::Severity(severity) => assessment.worst().is_some_and(|worst| worst >= *severity),
            Self::Ids(ids) => assessment.findings().iter().any(|finding| ids.contains(&finding.id)),
        }
    }

    /// The name of the guardrail, for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Severity(severity) => format!("risk {} and worse", severity.as_str()),
            Self::Ids(ids) => format!("risk {}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Whether approvals that satisfy `there` also satisfy `wanted`.
fn is_as_strict(there: &Step, wanted: &Step) -> bool {
    there.groups.iter().all(|group| wanted.groups.contains(group))
        && there.count >= wanted.count
        && (wanted.hours.is_none() || wanted.hours == there.hours)
}
