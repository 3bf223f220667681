//! Converts between the wire and the broker: the broker's answers into views, and bodies into the broker's arguments.
//!
//! Views that need only a grant are in [`wire`](crate::wire). The handlers call this.

use crate::broker::{DryRun, Explanation, GrantSelector, Offer};
use crate::grant::policy::{Decision, Denial, Outcome};
use crate::grant::request::{ClusterName, Malformed, Reason};
use crate::grant::{GrantId, ScanFinished};
use crate::wire::{DecisionView, LinkView, RevokeBody, ScanBody, ScanNumbers, SessionsView, StepView, TriedView};

impl From<Explanation> for DecisionView {
    fn from(Explanation { decision, needs, assessment, together, tried }: Explanation) -> Self {
        let (outcome, rule, steps, missing) = match &decision {
            Decision::Ask(terms) => {
                let outcome = if terms.steps.is_empty() { Outcome::PreApproved } else { Outcome::Ask };
                (outcome, Some(terms.rule.clone()), StepView::all(&terms.steps, &[]), Vec::new())
            }
            Decision::Deny(denial) => {
                let missing = match denial {
                    Denial::NoRule { missing, .. } => missing.clone(),
                    _ => vec![denial.refusal().why],
                };
                (Outcome::Deny, denial.nearest().map(str::to_owned), Vec::new(), missing)
            }
        };
        Self {
            outcome,
            rule,
            steps,
            needs: needs.iter().map(Into::into).collect(),
            missing,
            sessions: match &decision {
                Decision::Ask(terms) => Some(SessionsView::of(&terms.sessions, terms.readers.as_deref())),
                Decision::Deny(_) => None,
            },
            risks: assessment.map(Into::into),
            together: together.iter().map(Into::into).collect(),
            tried: tried.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<DryRun> for TriedView {
    fn from(DryRun { binding, refused }: DryRun) -> Self {
        let kind = match (&binding.namespace, &binding.rules) {
            (_, Some(_)) => "Role",
            (Some(_), None) => "RoleBinding",
            (None, None) => "ClusterRoleBinding",
        };
        Self { kind: kind.to_owned(), namespace: binding.namespace.map(|name| name.to_string()), refused }
    }
}

/// What a scan says.
pub(super) enum Scan {
    Finished(ScanFinished),
    Failed { cluster: ClusterName, why: Reason },
}

/// What a scan says about which cluster.
///
/// # Errors
/// The first malformed word.
pub(super) fn scan(body: ScanBody) -> Result<Scan, Malformed> {
    let ScanBody { cluster, finished, failed } = body;
    let cluster: ClusterName = cluster.parse()?;
    let wrong = |field, value, why: &str| Malformed { field, value, why: why.to_owned() };
    match (finished, failed) {
        (Some(numbers), None) => {
            let ScanNumbers { open, new, gone, not_evaluated, report_sha256 } = numbers;
            if report_sha256.len() != 64 || !report_sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
            {
                return Err(wrong("reportSha256", report_sha256, "must be 64 hexadecimal digits in lower case"));
            }
            Ok(Scan::Finished(ScanFinished { cluster, open, new, gone, not_evaluated, report_sha256 }))
        }
        (None, Some(why)) => Ok(Scan::Failed { cluster, why: why.parse()? }),
        _ => Err(wrong("finished", "or failed".to_owned(), "give exactly one of them")),
    }
}

/// Which grants to revoke, and why.
///
/// # Errors
/// All malformed words at once.
pub(super) fn whose(body: &RevokeBody) -> Result<(GrantSelector, Reason), Vec<Malformed>> {
    let mut wrong = Vec::new();
    let mut keep = |error: Malformed| wrong.push(error);
    let reason = body.reason.parse().map_err(&mut keep).ok();
    let person = body.person.as_ref().map(|name| name.parse().map_err(&mut keep).ok());
    let cluster = body.cluster.as_ref().map(|name| name.parse().map_err(&mut keep).ok());
    let whose = match (body.all, person, cluster) {
        (false, None, None) if !body.grants.is_empty() => {
            let grants = body.grants.iter().map(|id| GrantId::as_written(id));
            Some(GrantSelector::Named(grants.collect()))
        }
        _ if !body.grants.is_empty() => {
            let why = "give either ids of grants, or a person, a cluster or all".to_owned();
            keep(Malformed { field: "grants", value: "and more".to_owned(), why });
            None
        }
        (true, None, None) => Some(GrantSelector::Everybody),
        (false, Some(person), None) => person.map(GrantSelector::Person),
        (false, None, Some(cluster)) => cluster.map(GrantSelector::Cluster),
        (false, Some(person), Some(cluster)) => {
            person.zip(cluster).map(|(person, cluster)| GrantSelector::PersonIn(person, cluster))
        }
        _ => {
            let why = "give ids of grants, a person, a cluster or both, or all".to_owned();
            keep(Malformed { field: "grants", value: "to revoke".to_owned(), why });
            None
        }
    };
    match (whose, reason) {
        (Some(whose), Some(reason)) if wrong.is_empty() => Ok((whose, reason)),
        _ => Err(wrong),
    }
}

/// A login that waits to be linked, or was.
pub(super) fn link(offer: Offer) -> LinkView {
    let Offer { code, identity, name, until } = offer;
    LinkView { code, issuer: identity.issuer, subject: identity.subject, name: name.to_string(), until }
}
