//! What a cluster's bindings say about its service accounts: which of them have access outside their own namespace.
//!
//! Whoever acts as a pod of such a namespace, or reads its token, has that access too. The roles are not examined,
//! because the daemon may not read them: a role that is bound elsewhere counts, whatever it allows.

use std::collections::BTreeMap;

use crate::rbac::Namespace;

/// The namespaces whose service accounts have access outside them, each with the first binding that grants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountReach {
    everywhere: Option<String>,
    by_namespace: BTreeMap<String, String>,
}

/// The subject of a binding, as in `rbac.authorization.k8s.io/v1`.
#[derive(Clone, Copy, Debug)]
pub struct BindingSubject<'a> {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The namespace of a ServiceAccount.
    pub namespace: Option<&'a str>,
}

impl AccountReach {
    /// Adds a binding of `role` to `subject` in namespace `home`, or in the whole cluster if `home` is `None`. `shown`
    /// describes the binding to people.
    pub fn add(&mut self, home: Option<&str>, role: &str, subject: BindingSubject<'_>, shown: impl FnOnce() -> String) {
        if home.is_none() && OF_EVERYBODY.contains(&role) {
            return;
        }
        match accounts(subject) {
            Accounts::Of(namespace) if home != Some(namespace) => {
                self.by_namespace.entry(namespace.to_owned()).or_insert_with(shown);
            }
            Accounts::All if self.everywhere.is_none() => self.everywhere = Some(shown()),
            _ => {}
        }
    }

    /// The binding through which a service account of the namespace has access outside it, if one exists.
    pub(super) fn beyond(&self, namespace: &Namespace) -> Option<&str> {
        self.by_namespace.get(namespace.as_str()).or(self.everywhere.as_ref()).map(String::as_str)
    }
}

enum Accounts<'a> {
    None,
    Of(&'a str),
    All,
}

/// Which service accounts a subject stands for; the names are those of
/// `k8s.io/apiserver/pkg/authentication/serviceaccount`. Every person is in `system:authenticated` as well, so acting as
/// a pod adds nothing there.
fn accounts(subject: BindingSubject<'_>) -> Accounts<'_> {
    match subject.kind {
        "ServiceAccount" => subject.namespace.map_or(Accounts::None, Accounts::Of),
        "User" => match subject.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
            Some((namespace, _)) => Accounts::Of(namespace),
            None => Accounts::None,
        },
        "Group" if subject.name == "system:serviceaccounts" => Accounts::All,
        "Group" => subject.name.strip_prefix("system:serviceaccounts:").map_or(Accounts::None, Accounts::Of),
        _ => Accounts::None,
    }
}

/// ClusterRoles that every cluster binds to all service accounts or to all users; they allow only what everybody may
/// know (<https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings>).
const OF_EVERYBODY: &[&str] =
    &["system:basic-user", "system:discovery", "system:public-info-viewer", "system:service-account-issuer-discovery"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_accounts_bound_elsewhere_reach_beyond_their_namespace() {
        let of = |kind, name, namespace| BindingSubject { kind, name, namespace };
        let account = of("ServiceAccount", "web", Some("shop"));
        let table: &[(Option<&str>, &str, BindingSubject<'_>, bool)] = &[
            (None, "cluster-admin", account, true),
            (None, "view", account, true),
            (Some("payments"), "edit", account, true),
            (Some("shop"), "admin", account, false),
            (None, "system:discovery", account, false),
            (Some("payments"), "system:discovery", account, true),
            (None, "view", of("User", "system:serviceaccount:shop:web", None), true),
            (None, "view", of("User", "alice", None), false),
            (None, "view", of("Group", "system:serviceaccounts:shop", None), true),
            (None, "view", of("Group", "system:serviceaccounts:other", None), false),
            (None, "view", of("Group", "system:serviceaccounts", None), true),
            (None, "system:service-account-issuer-discovery", of("Group", "system:serviceaccounts", None), false),
            (None, "view", of("Group", "system:authenticated", None), false),
        ];
        for (home, role, subject, beyond) in table {
            let mut reach = AccountReach::default();
            reach.add(*home, role, *subject, || "shown".to_owned());
            let shop: Namespace = "shop".parse().unwrap();
            assert_eq!(reach.beyond(&shop).is_some(), *beyond, "{home:?} {role} {subject:?}");
        }
    }
}
