//! The user that the daemon is to an API server that does not trust our authority.
//!
//! It must never be one of our own names: another bastion's daemon, or a person, would then be fenced in its place.

use super::gateway::{service_account, user_of_a_cluster};
use crate::rbac::word::word;

word!(
    /// The user name that an API server knows the daemon by, where that is not the name in the daemon's own certificate:
    /// `system:serviceaccount:NAMESPACE:NAME`, the ARN of a session, an e-mail address, an object id. 1 to 253 characters,
    /// without spaces and control characters. It begins neither with `jit:` nor with `system:`, except as a service
    /// account.
    DaemonUser,
    |text| user_of_a_cluster("daemon user", text)
);

impl DaemonUser {
    /// The namespace and the name, if it is a service account. RBAC knows such a user by two kinds of subjects.
    #[must_use]
    pub fn service_account(&self) -> Option<(&str, &str)> {
        service_account(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_any_user_of_a_cluster_but_none_of_ours() {
        for (name, account) in [
            ("system:serviceaccount:jitd:daemon", Some(("jitd", "daemon"))),
            ("arn:aws:sts::111122223333:assumed-role/jitd/i-0a1b2c3d4e5f", None),
            ("jitd@project.iam.gserviceaccount.com", None),
            ("0c1f2e3d-1111-2222-3333-444455556666", None),
        ] {
            let user = name.parse::<DaemonUser>().unwrap();
            assert_eq!((user.as_str(), user.service_account()), (name, account));
        }
        for name in ["", "a b", "jit:daemon:h", "jit:alice", "system:masters", "System:node:a", "system:anonymous"] {
            assert!(name.parse::<DaemonUser>().is_err(), "{name}");
        }
    }
}
