//! The verbs of the catalogue, one bit each, and their names.
//!
//! A verb that no row names is `OTHER`. The rows and `reach` read this.

/// A set of verbs, one bit each; all verbs that no row names share [`OTHER`].
pub(in crate::rbac::risk) type Verbs = u32;

pub(in crate::rbac::risk) const GET: Verbs = 1;
pub(in crate::rbac::risk) const LIST: Verbs = 1 << 1;
pub(in crate::rbac::risk) const WATCH: Verbs = 1 << 2;
pub(in crate::rbac::risk) const CREATE: Verbs = 1 << 3;
pub(in crate::rbac::risk) const UPDATE: Verbs = 1 << 4;
pub(in crate::rbac::risk) const PATCH: Verbs = 1 << 5;
pub(in crate::rbac::risk) const DELETE: Verbs = 1 << 6;
pub(in crate::rbac::risk) const DELETE_ALL: Verbs = 1 << 7;
pub(in crate::rbac::risk) const BIND: Verbs = 1 << 8;
pub(in crate::rbac::risk) const ESCALATE: Verbs = 1 << 9;
pub(super) const IMPERSONATE: Verbs = 1 << 10;
pub(super) const APPROVE: Verbs = 1 << 11;
pub(super) const SIGN: Verbs = 1 << 12;
pub(super) const AS_USER: Verbs = 1 << 13;
pub(super) const AS_ACCOUNT: Verbs = 1 << 14;
pub(super) const AS_ANY_NODE: Verbs = 1 << 15;
pub(super) const AS_OWN_NODE: Verbs = 1 << 16;
pub(super) const ON_USER: Verbs = 1 << 17;
pub(super) const ON_ACCOUNT: Verbs = 1 << 18;
pub(super) const ON_ANY_NODE: Verbs = 1 << 19;
pub(super) const ON_OWN_NODE: Verbs = 1 << 20;
/// The verb is `*`, which also grants every verb that Kubernetes adds later.
pub(in crate::rbac::risk) const STAR: Verbs = 1 << 21;
pub(in crate::rbac::risk) const OTHER: Verbs = 1 << 22;
pub(super) const ATTEST: Verbs = 1 << 23;
pub(super) const ON_DRIVER: Verbs = 1 << 24;
pub(in crate::rbac::risk) const ALL: Verbs = (1 << 25) - 1;

pub(in crate::rbac::risk) const READ: Verbs = GET | LIST | WATCH;
pub(in crate::rbac::risk) const WRITE: Verbs = CREATE | UPDATE | PATCH;
/// Verbs that act as somebody else, or give somebody an identity or rights: they lead to a credential.
pub(in crate::rbac::risk) const IDENTITY: Verbs =
    BIND | ESCALATE | IMPERSONATE | APPROVE | SIGN | ATTEST | AS_USER | AS_ACCOUNT | AS_ANY_NODE | AS_OWN_NODE;
pub(in crate::rbac::risk) const CHANGE: Verbs = UPDATE | PATCH;
pub(in crate::rbac::risk) const REMOVE: Verbs = DELETE | DELETE_ALL;
/// Verbs whose request names no object: RBAC compares the empty name with `resourceNames`, so a rule with names
/// never allows them. A list or watch can name an object with a field selector, deletecollection cannot (measured
/// on 1.36). When a role is created, the server checks escalate with the empty name.
pub(in crate::rbac::risk) const NAMELESS: Verbs = LIST | WATCH | CREATE | DELETE_ALL | ESCALATE;
/// The verbs that `proxy` forwards.
pub(super) const PASS: Verbs = GET | CREATE | UPDATE | PATCH | DELETE;

/// The verbs by name, in the order in which people expect them.
pub(in crate::rbac::risk) const WORDS: &[(&str, Verbs)] = &[
    ("get", GET),
    ("list", LIST),
    ("watch", WATCH),
    ("create", CREATE),
    ("update", UPDATE),
    ("patch", PATCH),
    ("delete", DELETE),
    ("deletecollection", DELETE_ALL),
    ("bind", BIND),
    ("escalate", ESCALATE),
    ("impersonate", IMPERSONATE),
    ("approve", APPROVE),
    ("sign", SIGN),
    ("attest", ATTEST),
    ("impersonate:user-info", AS_USER),
    ("impersonate:serviceaccount", AS_ACCOUNT),
    ("impersonate:arbitrary-node", AS_ANY_NODE),
    ("impersonate:associated-node", AS_OWN_NODE),
];

/// Verbs by prefix. Constrained impersonation checks `impersonate-on:MODE:VERB` for each verb that is used while
/// impersonating; a device driver's updates are checked in the same way, as `arbitrary-node:VERB`.
pub(in crate::rbac::risk) const ON_WORDS: &[(&str, Verbs)] = &[
    ("impersonate-on:user-info:", ON_USER),
    ("impersonate-on:serviceaccount:", ON_ACCOUNT),
    ("impersonate-on:arbitrary-node:", ON_ANY_NODE),
    ("impersonate-on:associated-node:", ON_OWN_NODE),
    ("associated-node:", ON_DRIVER),
    ("arbitrary-node:", ON_DRIVER),
];
