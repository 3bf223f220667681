//! The bodies for changing a grant: approve, deny, extend, break-glass, review, revoke.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ask::namespaces;
use jit_core::grant::glass::Verdict;
use jit_core::grant::narrow::Narrowing;
use jit_core::grant::request::{ExactRules, Malformed, Reason, Window};
use jit_core::rbac::role::Rule;

/// `POST /v1/grants/{id}/approve`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApproveBody {
    /// The digest of what was shown.
    pub digest: String,
    /// What the request is narrowed to; absent to approve all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub less: Option<LessBody>,
}

/// What an approver narrows a request to; absent fields stay as requested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LessBody {
    /// A shorter window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Some of the namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Some of the role's rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

impl LessBody {
    /// Parses the body.
    ///
    /// # Errors
    /// All malformed words at once.
    pub fn parse(&self) -> Result<Narrowing, Vec<Malformed>> {
        let mut wrong = Vec::new();
        let mut keep = |error: Malformed| wrong.push(error);
        let window = self.duration.as_ref().and_then(|text| text.parse().map_err(&mut keep).ok());
        let namespaces = (!self.namespaces.is_empty()).then(|| namespaces(&self.namespaces, &mut keep)).flatten();
        let rules = (!self.rules.is_empty())
            .then(|| ExactRules::try_from(self.rules.clone()).map_err(&mut keep).ok())
            .flatten();
        if wrong.is_empty() { Ok(Narrowing { window, namespaces, rules }) } else { Err(wrong) }
    }
}

/// `POST /v1/grants/{id}/extend`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtendBody {
    /// The additional time, such as `10m`.
    pub duration: String,
    /// Why.
    pub reason: String,
}

impl ExtendBody {
    /// Parses the body.
    ///
    /// # Errors
    /// All malformed words at once.
    pub fn parse(&self) -> Result<(Window, Reason), Vec<Malformed>> {
        match (self.duration.parse(), self.reason.parse()) {
            (Ok(window), Ok(reason)) => Ok((window, reason)),
            (window, reason) => Err([window.err(), reason.err()].into_iter().flatten().collect()),
        }
    }
}

/// `POST /v1/grants/{id}/review`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReviewBody {
    /// The digest of what was shown.
    pub digest: String,
    /// `justified` or `not-justified`.
    pub verdict: Verdict,
    /// The reviewer's comment.
    pub words: String,
}

/// `POST /v1/grants/{id}/deny`, `…/revoke` and `…/break-glass`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReasonBody {
    /// The reason; the requester, approvers and reviewers can read it.
    pub reason: String,
}
