//! A generated cluster, as kubectl prints it: roles, bindings, subjects and service accounts in given numbers, and a given
//! share of roles that are dangerous. The same numbers always give the same text.

use std::io::{Result, Write};

use serde_json::{Value, json};

/// How much there is.
#[derive(Clone, Copy)]
pub(crate) struct Estate {
    pub(crate) roles: usize,
    /// Dangerous roles in a hundred.
    pub(crate) risky: usize,
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

impl Estate {
    /// 5,000 roles, 20,000 bindings, 50,000 subjects and 10,000 service accounts.
    pub(crate) const LARGE: Self = Self { roles: 5000, risky: 0 };

    /// Writes a `List` of everything.
    pub(crate) fn write(self, out: &mut impl Write) -> Result<()> {
        out.write_all(b"{\n\"apiVersion\": \"v1\",\n\"items\": [\n")?;
        let mut is_first = true;
        let mut item = |value: Value| -> Result<()> {
            out.write_all(if is_first { b"" } else { b",\n" })?;
            is_first = false;
            serde_json::to_writer_pretty(&mut *out, &value)?;
            Ok(())
        };
        for number in 0..self.spaces() {
            item(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": meta(&space(number), None) }))?;
        }
        for number in 0..self.accounts() {
            let home = space(number % self.spaces());
            let metadata = meta(&account(number), Some(&home));
            item(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }))?;
        }
        for number in 0..self.roles {
            let home = self.home(number);
            let kind = if home.is_some() { "Role" } else { "ClusterRole" };
            let metadata = meta(&role(number), home.as_deref());
            item(json!({ "apiVersion": RBAC, "kind": kind, "metadata": metadata, "rules": self.rules(number) }))?;
        }
        for number in 0..self.roles * 4 {
            let bound = number % self.roles;
            // A Role is bound where it is; a ClusterRole in a namespace, and every tenth in the whole cluster.
            let home = match self.home(bound) {
                Some(home) => Some(home),
                None if number % 10 == 0 => None,
                None => Some(space(number * 7 % self.spaces())),
            };
            let kind = if home.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
            let bound_kind = if self.home(bound).is_some() { "Role" } else { "ClusterRole" };
            let subjects: Vec<Value> = (0..2 + number % 2).map(|place| self.subject(number, place)).collect();
            item(json!({
                "apiVersion": RBAC, "kind": kind, "metadata": meta(&format!("binding-{number}"), home.as_deref()),
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": bound_kind, "name": role(bound) },
                "subjects": subjects,
            }))?;
        }
        out.write_all(b"\n],\n\"kind\": \"List\",\n\"metadata\": {\"resourceVersion\": \"\"}\n}\n")
    }

    fn spaces(self) -> usize {
        self.roles / 10
    }

    fn accounts(self) -> usize {
        self.roles * 2
    }

    /// Half of the roles are of a namespace.
    fn home(self, role: usize) -> Option<String> {
        role.is_multiple_of(2).then(|| space(role % self.spaces()))
    }

    /// Each a different one: a third are service accounts, some are groups.
    fn subject(self, binding: usize, place: usize) -> Value {
        let group = "rbac.authorization.k8s.io";
        match (binding + place) % 3 {
            0 => {
                let number = (binding * 3 + place) % self.accounts();
                json!({ "kind": "ServiceAccount", "name": account(number), "namespace": space(number % self.spaces()) })
            }
            _ if binding % 10 == 3 => {
                json!({ "apiGroup": group, "kind": "Group", "name": format!("team-{binding}-{place}") })
            }
            _ => json!({ "apiGroup": group, "kind": "User", "name": format!("person-{binding}-{place}@example.com") }),
        }
    }

    fn rules(self, number: usize) -> Value {
        if number % 100 < self.risky {
            let rule = |group: &str, resource: &str, verbs: &[&str]| json!([{ "apiGroups": [group], "resources": [resource], "verbs": verbs }]);
            return match number / 100 % 8 {
                0 => rule("", "secrets", &["get", "list"]),
                1 => rule("", "pods", &["create"]),
                2 => rule("apps", "deployments", &["patch"]),
                3 => rule("", "pods/exec", &["create"]),
                4 => rule("", "serviceaccounts/token", &["create"]),
                5 => rule("rbac.authorization.k8s.io", "rolebindings", &["create"]),
                6 => rule("", "serviceaccounts", &["impersonate"]),
                _ => rule("*", "*", &["*"]),
            };
        }
        json!([
            { "apiGroups": [""], "resources": ["pods", "services", "configmaps"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": [format!("web-{number}")], "verbs": ["get"] },
        ])
    }
}

fn space(number: usize) -> String {
    format!("space-{number}")
}

fn account(number: usize) -> String {
    format!("account-{number}")
}

fn role(number: usize) -> String {
    format!("role-{number}")
}

fn meta(name: &str, home: Option<&str>) -> Value {
    let mut meta = json!({
        "creationTimestamp": "2026-01-02T03:04:05Z", "name": name, "resourceVersion": "1234567",
        "uid": "0e4c1d2a-7a54-4a1e-9f50-0d8d0c1a2b3c", "labels": { "app.kubernetes.io/managed-by": "Helm" },
    });
    if let Some(home) = home {
        meta["namespace"] = json!(home);
    }
    meta
}
