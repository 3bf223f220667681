//! The names of grants, people and hosts in a cluster, created and parsed in one place.
//!
//! ```text
//!  grant  ──► group `jit:<grant>`, binding (and a role of its own) `jit-<grant>`,
//!             for the gateway a role and binding `jit-<grant>-gateway` and bindings `jit-<grant>-gateway-on`
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

/// The suffix of the role that lets the gateway act as a grant's holder, and of the role's binding.
pub const GATEWAY: &str = "-gateway";

/// The suffix of the bindings that let the gateway act as a grant's holder in the places of the grant.
pub const GATEWAY_ON: &str = "-gateway-on";

/// The key under which the gateway names the grant when it acts as its holder.
pub const GRANT_EXTRA: &str = "jitd.dev/grant";

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

/// The ClusterRole that lets the gateway act as somebody in a place; the same for all grants of a host.
#[must_use]
pub fn gateway_on_role(host: &str) -> String {
    format!("jitd-{host}{GATEWAY_ON}")
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

    /// The grant whose group this is; `None` for any other name.
    #[must_use]
    pub fn of_group(name: &str) -> Option<Self> {
        name.strip_prefix(SUBJECT)?.parse().ok()
    }

    /// The name of this grant's binding.
    #[must_use]
    pub fn binding_name(&self) -> String {
        format!("{OBJECT}{self}")
    }

    /// The name of the role that lets the gateway act as this grant's holder, and of the role's binding.
    #[must_use]
    pub fn gateway_name(&self) -> String {
        format!("{OBJECT}{self}{GATEWAY}")
    }

    /// The name of the bindings that let the gateway act as this grant's holder in the places of the grant.
    #[must_use]
    pub fn gateway_on_name(&self) -> String {
        format!("{OBJECT}{self}{GATEWAY_ON}")
    }

    /// The grant to which a binding or role of this name belongs, its own or the gateway's; `None` for any other name.
    #[must_use]
    pub fn of_object(name: &str) -> Option<Self> {
        let name = name.strip_prefix(OBJECT)?;
        let grant = name.strip_suffix(GATEWAY_ON).or_else(|| name.strip_suffix(GATEWAY)).unwrap_or(name);
        grant.parse().ok()
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
        for name in [grant.binding_name(), grant.gateway_name(), grant.gateway_on_name()] {
            assert_eq!(GrantId::of_object(&name), Some(grant.clone()), "{name}");
        }
        assert_eq!(GrantId::of_group(&grant.group()), Some(grant.clone()));
        assert_eq!(PersonName::of_user(&alice.user()), Some(alice.clone()));
        assert!([grant.group(), alice.user(), daemon("h"), probe("h")].iter().all(|name| is_ours(name)));
        assert!(!is_ours(&grant.binding_name()) && !is_ours("jit") && !is_ours("xjit:a"));
    }

    #[test]
    fn other_names_are_not_parsed() {
        let grant = GrantId::from_random([7; 10]);
        let twice = format!("{}{GATEWAY}", grant.gateway_name());
        let role = gateway_on_role("h");
        for name in ["", "jit-", "jit-x", "jit-jit-0000000000000000", &grant.group(), grant.as_str(), &twice, &role] {
            assert_eq!(GrantId::of_object(name), None, "{name}");
            assert_eq!(GrantId::of_group(name).filter(|_| name != grant.group()), None, "{name}");
        }
        for name in ["", "jit:", "alice", "jit-alice", &daemon("h"), &probe("h"), "jit:jit:alice"] {
            assert_eq!(PersonName::of_user(name), None, "{name}");
        }
    }
}
