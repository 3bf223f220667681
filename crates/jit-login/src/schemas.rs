//! The schemas in `docs/schemas` of what `jit-login` prints with `-o json`.

#[path = "../../../tests/support/shapes.rs"]
mod shapes;

use jit_wire::frontend::SessionView;
use jit_wire::kept::LogList;
use jit_wire::{DecisionView, EntitlementList, EventList, GrantList, GrantView, LinkView};

use self::shapes::{are_golden, schema};
use crate::{doctor, status, verbs, waiting};

#[test]
fn the_schemas_are_those_of_the_types() {
    are_golden(&[
        ("entitlements", schema::<EntitlementList>("What may be requested")),
        ("decision", schema::<DecisionView>("How the policy answers a request")),
        ("grant", schema::<GrantView>("A grant")),
        ("ready-grant", schema::<verbs::Ready<'_>>("A grant that kubectl can use: a grant with two more keys")),
        ("grants", schema::<GrantList>("Grants")),
        ("events", schema::<EventList>("Events of the audit trail; docs/trail.md describes each")),
        ("sessions", schema::<LogList>("What the gateway kept of grants")),
        ("live", schema::<Vec<status::Live>>("Live access, by this account's own files")),
        ("waiting", schema::<waiting::Waiting>("The ids of grants that wait for an answer")),
        ("whoami", schema::<verbs::Calling<'_>>("Who is calling, and where the session is kept")),
        ("login", schema::<SessionView>("A session at a bastion")),
        ("link", schema::<LinkView>("A login at a provider that waits to be linked to an account, or was linked")),
        ("login-check", schema::<Vec<doctor::Diagnosis>>("jit-login doctor")),
    ]);
}
