//! What the policy would say to a request that nobody makes, and what the cluster would say to its objects.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::entitlement::NeedView;
use super::grant::{FindingView, RisksView, StepView};
use jit_core::grant::policy::Outcome;

/// `POST /v1/explain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionView {
    /// `ask` when people would be asked, `preApproved` when nobody would, `deny` when it may not be asked.
    #[schema(value_type = String)]
    pub outcome: Outcome,
    /// The rule that decided, or that came nearest; absent when no rule decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who would have to agree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepView>,
    /// What the request has to say still; without `dryRun` it is no reason to deny.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<NeedView>,
    /// What keeps it from being allowed, a sentence each.
    pub missing: Vec<String>,
    /// What it would reach; absent when it was denied before the cluster was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risks: Option<RisksView>,
    /// What would arise only together with what the requester has, was approved for or asked for in that cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<FindingView>,
    /// What the API server would say to the bindings; only with `dryRun=true`, and when it may be asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<TriedView>,
}

/// An object that was tried without being stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriedView {
    /// `RoleBinding`, `ClusterRoleBinding`, or `Role` where one would be made.
    pub kind: String,
    /// Where; absent for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Why the API server would refuse it; absent when it would take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
