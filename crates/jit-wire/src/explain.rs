//! How the policy would decide a request, and how the cluster would answer for its objects, without making the request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::entitlement::NeedView;
use super::grant::{FindingView, RisksView, SessionsView, StepView, end_streams};
use jit_core::grant::policy::Outcome;

/// `POST /v1/explain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DecisionView {
    /// `ask` if it would need approvals, `preApproved` if it would need none, `deny` if it would be denied.
    pub outcome: Outcome,
    /// The rule that decided, or the nearest one; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Who would have to approve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepView>,
    /// What the request still lacks; without `dryRun` this is not a reason to deny.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<NeedView>,
    /// Why it would be denied, one sentence each.
    pub missing: Vec<String>,
    /// What would be recorded of what is done with it; absent if it would be denied, and where people reach the cluster
    /// directly, because nothing records there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsView>,
    /// What it would allow; absent if it was denied before the cluster was queried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risks: Option<RisksView>,
    /// Findings that would arise only together with what the requester has, was approved for or has requested in that
    /// cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<FindingView>,
    /// How the API server would answer for the objects; only with `dryRun=true`, and if the request is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<TriedView>,
}

impl DecisionView {
    /// The view of a request in a cluster that people reach through the gateway: nothing runs on after the window.
    #[must_use]
    pub fn behind_the_gateway(mut self) -> Self {
        end_streams(self.risks.as_mut(), &mut self.together);
        self
    }
}

/// The result of a dry run for one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriedView {
    /// `RoleBinding`, `ClusterRoleBinding`, or `Role` if one would be created.
    #[schema(pattern = "^(Role|RoleBinding|ClusterRoleBinding)$")]
    pub kind: String,
    /// The namespace; absent for the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Why the API server would refuse it; absent if it would accept it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}
