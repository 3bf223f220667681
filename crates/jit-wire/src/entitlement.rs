//! What the caller may request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::grant::{SessionsView, StepView};
use super::operate::DrainingView;
use jit_core::grant::policy::{Closed, Entitlement, Need};
use jit_core::rbac::role::Rule;

/// `GET /v1/entitlements`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntitlementList {
    /// What the rules allow the caller to request, in the order of the rules.
    pub entitlements: Vec<EntitlementView>,
    /// Rules for the caller that allow nothing, because denials or guardrails close them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<ClosedView>,
    /// The caller's groups, by which the rules are selected.
    pub groups: Vec<String>,
    /// The drain in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<DrainingView>,
}

/// What one rule allows the caller to request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntitlementView {
    /// The rule.
    pub rule: String,
    /// The clusters.
    pub clusters: Vec<String>,
    /// Names, globs, or `labels` and a selector; absent for the whole cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// ClusterRoles, and Roles as `role/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The ceiling for exact rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// The longest window, such as `15m`.
    pub max_duration: String,
    /// The longest window with extensions.
    pub max_total: String,
    /// How far in the future it may begin; absent if it begins when it is collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within: Option<String>,
    /// Who has to approve; absent if no approval is needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepView>,
    /// Who has to approve in addition, if the role has the risk that the guardrail names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_risk: Vec<StepView>,
    /// The fields that a request must or may have.
    pub needs: Vec<NeedView>,
    /// What is recorded of what is done; absent for `metadata`, which is recorded only where people go through the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsView>,
    /// The terms of break-glass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<GlassTermsView>,
    /// What denials and guardrails exclude, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// A rule for the caller that allows nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClosedView {
    /// The rule.
    pub rule: String,
    /// What closes it, one sentence each.
    pub by: Vec<String>,
}

/// A field that a request must or may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NeedView {
    /// The name of the field; absent for the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Whether it is required.
    pub required: bool,
    /// The form of its value.
    pub says: String,
}

/// The terms of break-glass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GlassTermsView {
    /// How long the request has to wait for an answer first; absent if it need not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The longest window of break-glass.
    pub max_duration: String,
}

impl From<&Need> for NeedView {
    fn from(Need { field, required, says }: &Need) -> Self {
        Self { field: field.as_ref().map(ToString::to_string), required: *required, says: says.clone() }
    }
}

impl From<Closed> for ClosedView {
    fn from(Closed { rule, by }: Closed) -> Self {
        Self { rule, by }
    }
}

impl From<Entitlement> for EntitlementView {
    fn from(found: Entitlement) -> Self {
        fn words<T: ToString>(all: &[T]) -> Vec<String> {
            all.iter().map(ToString::to_string).collect()
        }
        Self {
            clusters: words(&found.clusters),
            namespaces: words(&found.namespaces),
            roles: words(&found.roles),
            max_duration: found.max_duration.to_string(),
            max_total: found.max_total.to_string(),
            start_within: found.start_within.map(|within| within.to_string()),
            steps: StepView::all(&found.steps, &[]),
            by_risk: StepView::all(&found.by_risk, &[]),
            needs: found.needs.iter().map(Into::into).collect(),
            sessions: (!found.sessions.is_usual()).then(|| SessionsView::of(&found.sessions, found.readers.as_deref())),
            break_glass: found.break_glass.map(|glass| GlassTermsView {
                after: glass.after.map(|after| after.to_string()),
                max_duration: glass.max_duration.to_string(),
            }),
            rule: found.rule,
            rules: found.rules,
            except: found.except,
        }
    }
}
