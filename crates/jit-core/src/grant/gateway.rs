//! The user that the gateway is to an API server, and the right by which it acts as holders.
//!
//! The user is the one name here that may belong to the cluster itself, because a gateway inside the cluster is a service
//! account. It must never be one of ours: then the gateway could be taken for a person, or a person for the gateway.

use serde::{Deserialize, Serialize};

use super::names::is_ours;
use crate::rbac::Malformed;
use crate::rbac::word::word;

word!(
    /// The user name that an API server knows the gateway by: the CN of its certificate, or
    /// `system:serviceaccount:NAMESPACE:NAME`. 1 to 253 characters, without spaces and control characters. It begins
    /// neither with `jit:` nor with `system:`, except as a service account.
    GatewayUser,
    |text| user_of_a_cluster("gateway user", text)
);

/// The gateway in one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActingGateway {
    /// Its user.
    pub user: GatewayUser,
    /// How it gets the right to act as the holder of a grant.
    pub impersonation: Impersonation,
}

/// The right by which the gateway acts as the holder of a grant
/// (<https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/>).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Impersonation {
    /// As exactly this user, in the places of the grant only: constrained impersonation, since Kubernetes 1.36.
    #[default]
    Constrained,
    /// As exactly this user, anywhere: the verb `impersonate`. What the grant's group may do is still the limit.
    Unconstrained,
}

impl TryFrom<String> for Impersonation {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        match text.as_str() {
            "constrained" => Ok(Self::Constrained),
            "unconstrained" => Ok(Self::Unconstrained),
            _ => Err(Malformed::new("impersonation", &text, "must be constrained or unconstrained")),
        }
    }
}

impl Impersonation {
    /// Whether it is the default.
    #[must_use]
    pub fn is_constrained(&self) -> bool {
        *self == Self::Constrained
    }
}

impl GatewayUser {
    /// The groups that the API server puts such a user into by itself
    /// (<https://kubernetes.io/docs/reference/access-authn-authz/authentication/#service-account-tokens>).
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let everybody = "system:authenticated".to_owned();
        match service_account(self.as_str()) {
            Some((namespace, _)) => {
                vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}"), everybody]
            }
            None => vec![everybody],
        }
    }
}

/// Checks that `text` can be the name of a user whom we did not name: none of ours, and none of the system's own but a
/// service account.
///
/// # Errors
/// [`Malformed`] for the field `field`.
pub(super) fn user_of_a_cluster(field: &'static str, text: &str) -> Result<(), Malformed> {
    let refused = |why: &str| Err(Malformed::new(field, text, why));
    if text.is_empty() || text.len() > 253 || text.chars().any(|c| !c.is_ascii_graphic()) {
        return refused("must be 1 to 253 characters of ASCII, without spaces and control characters");
    }
    if is_ours(text) {
        return refused("names that begin with `jit:` belong to people, grants and daemons");
    }
    if text.to_ascii_lowercase().starts_with("system:") && service_account(text).is_none() {
        return refused(
            "of the users of the system itself only service accounts are allowed, as \
             system:serviceaccount:NAMESPACE:NAME",
        );
    }
    Ok(())
}

/// The namespace and the name of the service account with this user name; `None` for any other name.
pub(super) fn service_account(user: &str) -> Option<(&str, &str)> {
    let legal = |name: &str| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
    };
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (legal(namespace) && legal(name)).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_nobody_of_ours_and_nobody_of_the_system_but_a_service_account() {
        for name in ["gw", "gateway@example.com", "system:serviceaccount:jitd:gateway", "arn:aws:iam::1:role/gw"] {
            assert_eq!(name.parse::<GatewayUser>().map(|user| user.to_string()).as_deref(), Ok(name));
        }
        let long = "x".repeat(254);
        for name in [
            "",
            "a b",
            "a\n",
            "g\u{fc}",
            &long,
            "jit:alice",
            "jit:daemon:h",
            "system:admin",
            "System:admin",
            "system:serviceaccount:",
            "system:serviceaccount:jitd",
            "system:serviceaccount:jitd:",
            "system:serviceaccount::gateway",
            "system:serviceaccount:a:b:c",
            "system:kube-controller-manager",
        ] {
            assert!(name.parse::<GatewayUser>().is_err(), "{name}");
        }
    }

    #[test]
    fn impersonation_is_written_as_it_is_read() {
        for (impersonation, text) in
            [(Impersonation::Constrained, "\"constrained\""), (Impersonation::Unconstrained, "\"unconstrained\"")]
        {
            assert_eq!(serde_json::to_string(&impersonation).unwrap(), text);
            assert_eq!(serde_json::from_str::<Impersonation>(text).unwrap(), impersonation);
        }
        assert!(serde_json::from_str::<Impersonation>("\"legacy\"").is_err());
    }
}
