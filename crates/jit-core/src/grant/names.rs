//! The names of grants, people and hosts in a cluster, created and parsed in one place.
//!
//! ```text
//!  grant  ──► group `jit:<grant>`, binding (and a role of its own) `jit-<grant>`
//!  person ──► user `jit:<person>`
//!  host   ──► users `jit:daemon:<host>`, `jit:probe:<host>`
//! ```
//! Neither a grant nor a person has a colon in it, so none of them can be taken for a host. `ca` writes these names
//! into certificates, `cluster` into bindings, and `manifest` fences them.

use super::GrantId;
use super::request::PersonName;

/// The prefix of all our users and groups. Nobody else may grant rights to such a name.
pub const SUBJECT: &str = "jit:";

/// The prefix of the bindings and roles of grants.
pub const OBJECT: &str = "jit-";

/// The prefix of the users of daemons.
pub const DAEMON: &str = "jit:daemon:";

/// Whether the subject of a binding has one of our names.
#[must_use]
pub fn is_ours(subject: &str) -> bool {
    subject.starts_with(SUBJECT)
}

/// The user name of the daemon's own certificate.
#[must_use]
pub fn daemon(host: &str) -> String {
    format!("{DAEMON}{host}")
}

/// The name of a user without any rights, for checking whether a cluster trusts the authority.
#[must_use]
pub fn probe(host: &str) -> String {
    format!("{SUBJECT}probe:{host}")
}

impl GrantId {
    /// The group in this grant's certificates, and in no others.
    #[must_use]
    pub fn group(&self) -> String {
        format!("{SUBJECT}{self}")
    }

    /// The name of this grant's binding.
    #[must_use]
    pub fn binding_name(&self) -> String {
        format!("{OBJECT}{self}")
    }

    /// The grant whose binding has this name; `None` for any other name.
    #[must_use]
    pub fn of_binding(name: &str) -> Option<Self> {
        name.strip_prefix(OBJECT)?.parse().ok()
    }
}

impl PersonName {
    /// The user name in the certificate. It is never the bare name: RBAC matches user names too, so the person's
    /// permanent bindings would apply as well.
    #[must_use]
    pub fn user(&self) -> String {
        format!("{SUBJECT}{self}")
    }

    /// The person with this user name; `None` for any other name, including a host's.
    #[must_use]
    pub fn of_user(name: &str) -> Option<Self> {
        name.strip_prefix(SUBJECT)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip() {
        let (grant, alice) = (GrantId::from_random([7; 10]), "alice@example.com".parse::<PersonName>().unwrap());
        assert_eq!(GrantId::of_binding(&grant.binding_name()), Some(grant.clone()));
        assert_eq!(PersonName::of_user(&alice.user()), Some(alice.clone()));
        assert!([grant.group(), alice.user(), daemon("h"), probe("h")].iter().all(|name| is_ours(name)));
        assert!(!is_ours(&grant.binding_name()) && !is_ours("jit") && !is_ours("xjit:a"));
    }

    #[test]
    fn other_names_are_not_parsed() {
        let grant = GrantId::from_random([7; 10]);
        for name in ["", "jit-", "jit-x", "jit-jit-0000000000000000", &grant.group(), grant.as_str()] {
            assert_eq!(GrantId::of_binding(name), None, "{name}");
        }
        for name in ["", "jit:", "alice", "jit-alice", &daemon("h"), &probe("h"), "jit:jit:alice"] {
            assert_eq!(PersonName::of_user(name), None, "{name}");
        }
    }
}
