//! The names that grants, people and hosts have in a cluster, made and read back in one place.
//!
//! ```text
//!  grant  ──► group `jit:<grant>`, binding (and a role of its own) `jit-<grant>`
//!  person ──► user `jit:<person>`
//!  host   ──► users `jit:daemon:<host>`, `jit:probe:<host>`
//! ```
//! Neither a grant nor a person has a colon in it, so none of them can be taken for a host. `ca` writes these names into
//! certificates, `cluster` into bindings, and `manifest` fences them.

use super::GrantId;
use super::request::PersonName;

/// What every user and every group of ours begins with. Nobody else gives rights to such a name.
pub const SUBJECT: &str = "jit:";

/// What the bindings and roles of grants begin with.
pub const OBJECT: &str = "jit-";

/// What the users of daemons begin with.
pub const DAEMON: &str = "jit:daemon:";

/// Whether a subject of a binding is one that only we give rights to.
#[must_use]
pub fn is_ours(subject: &str) -> bool {
    subject.starts_with(SUBJECT)
}

/// The user name of the daemon's own certificate.
#[must_use]
pub fn daemon(host: &str) -> String {
    format!("{DAEMON}{host}")
}

/// The user name of somebody without any right, by which is asked whether a cluster trusts the authority.
#[must_use]
pub fn probe(host: &str) -> String {
    format!("{SUBJECT}probe:{host}")
}

impl GrantId {
    /// The group only this grant's certificates carry.
    #[must_use]
    pub fn group(&self) -> String {
        format!("{SUBJECT}{self}")
    }

    /// The name of this grant's binding.
    #[must_use]
    pub fn binding_name(&self) -> String {
        format!("{OBJECT}{self}")
    }

    /// The grant whose binding has this name; none for any other name.
    #[must_use]
    pub fn of_binding(name: &str) -> Option<Self> {
        name.strip_prefix(OBJECT)?.parse().ok()
    }
}

impl PersonName {
    /// The user name in the certificate. Never the bare name: RBAC matches user names too, and
    /// the person's standing bindings would come along.
    #[must_use]
    pub fn user(&self) -> String {
        format!("{SUBJECT}{self}")
    }

    /// The person with this user name; none for any other name, also a host's.
    #[must_use]
    pub fn of_user(name: &str) -> Option<Self> {
        name.strip_prefix(SUBJECT)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_what_it_names() {
        let (grant, alice) = (GrantId::from_random([7; 10]), "alice@example.com".parse::<PersonName>().unwrap());
        assert_eq!(GrantId::of_binding(&grant.binding_name()), Some(grant.clone()));
        assert_eq!(PersonName::of_user(&alice.user()), Some(alice.clone()));
        assert!([grant.group(), alice.user(), daemon("h"), probe("h")].iter().all(|name| is_ours(name)));
        assert!(!is_ours(&grant.binding_name()) && !is_ours("jit") && !is_ours("xjit:a"));
    }

    #[test]
    fn nothing_else_reads_as_one() {
        let grant = GrantId::from_random([7; 10]);
        for name in ["", "jit-", "jit-x", "jit-jit-0000000000000000", &grant.group(), grant.as_str()] {
            assert_eq!(GrantId::of_binding(name), None, "{name}");
        }
        for name in ["", "jit:", "alice", "jit-alice", &daemon("h"), &probe("h"), "jit:jit:alice"] {
            assert_eq!(PersonName::of_user(name), None, "{name}");
        }
    }
}
