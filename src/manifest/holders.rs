//! The admission policy that keeps the holders of grants from making a key that outlives their grants, and where people
//! go through the gateway also from passing it by.
//!
//! It must never concern anybody who is not a holder. What it cannot stop is what a holder reads: a command in a pod
//! prints the token of the pod's service account, and the risk catalogue tells approvers so.

use super::fence::Policy;
use super::place::quoted;
use crate::grant::names::{DAEMON, SUBJECT};

/// The policy for a host's manifest.
pub(super) fn policy(host: &str, is_behind_gateway: bool) -> Policy {
    let (ours, daemon) = (quoted(SUBJECT), quoted(DAEMON));
    let mut validations = vec![
        (
            // The only subresource below: others of service accounts are not matched.
            r#"request.resource.resource != "serviceaccounts""#.to_owned(),
            "no grant allows tokens of service accounts; hint: a token would outlive the grant".to_owned(),
        ),
        (
            // An update counts too: the controller issues a token for what a changed annotation names, and anew for what
            // was removed from the data (kubernetes `pkg/controller/serviceaccount/tokens_controller.go`).
            format!(r#"request.resource.resource != "secrets" || object.?type.orValue("") != "{TOKEN_TYPE}""#),
            format!(
                "no grant allows secrets of the type `{TOKEN_TYPE}`; hint: the token in it would outlive the grant"
            ),
        ),
    ];
    if is_behind_gateway {
        validations.push((
            r#"request.resource.resource != "nodes""#.to_owned(),
            "no grant allows requests to a node in this cluster; hint: they would pass by the gateway".to_owned(),
        ));
    }
    Policy {
        name: name(host),
        why: "keeps holders of grants from making what would outlive their grants, whatever their roles contain: tokens of \
              service accounts, requested or made as a secret",
        // A holder has both, and either is enough.
        who: format!(
            "request.userInfo.username.startsWith({ours}) && !request.userInfo.username.startsWith({daemon}) \
             || request.userInfo.?groups.orValue([]).exists(group, group.startsWith({ours}))"
        ),
        operations: if is_behind_gateway { &["CREATE", "UPDATE", "CONNECT"] } else { &["CREATE", "UPDATE"] },
        groups: &[""],
        resources: if is_behind_gateway {
            &["serviceaccounts/token", "secrets", "nodes/proxy"]
        } else {
            &["serviceaccounts/token", "secrets"]
        },
        validations,
        ..Policy::default()
    }
}

/// Its name.
fn name(host: &str) -> String {
    format!("jitd-{host}-holders")
}

/// The type of a secret that gets a token without an end
/// (<https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets>).
const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
