//! A request as the trail has it, for tests that need some request and not a certain one; they change what matters to them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jit_core::grant::request::{Access, AccessRequest, KeyHash, Namespace, Scope};
use jit_core::grant::{DecidedOn, Requested, Shown};
use jit_core::rbac::risk::{Surroundings, assess};
use jit_core::rbac::role::ResolvedRole;

/// For the role `view` in `payments`, to be answered by one of `leads` within an hour from `at`.
pub(crate) fn requested(at: Timestamp) -> Requested {
    let terms = serde_json::json!({ "rule": "payments", "steps": [{ "groups": ["leads"], "count": 1 }], "maxTotal": "1h",
        "narrow": false, "drift": "revoke" });
    Requested {
        ask: AccessRequest {
            cluster: "play".parse().unwrap(),
            scope: "payments".parse::<Namespace>().unwrap().into(),
            access: Access::Role("view".parse().unwrap()),
            fields: BTreeMap::new(),
            start: None,
            window: "5m".parse().unwrap(),
            reason: "INC-42 the queue is stuck".parse().unwrap(),
        },
        key: KeyHash::of(b"a key"),
        shown: Shown {
            role: ResolvedRole::new("role-1".to_owned(), Vec::new()),
            assessment: assess(&[], &Scope::Cluster, &Surroundings::ordinary(None)),
            together: Vec::new(),
            holds: Vec::new(),
            holds_more: 0,
            namespaces: BTreeMap::new(),
            denied: None,
        },
        decided_on: DecidedOn::default(),
        terms: serde_json::from_value(terms).unwrap(),
        digest: "cd".repeat(32),
        pending_until: at + jiff::SignedDuration::from_hours(1),
    }
}
