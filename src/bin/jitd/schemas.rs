//! The schemas in `docs/schemas` of what `jitd` prints with `-o json`.

#[path = "../../../tests/support/shapes.rs"]
mod shapes;

use jitd::check::CheckResult;
use jitd::grant::policy::{Answer, Difference, Tested};
use jitd::trail::Report;
use jitd::wire::{FailureView, RevocationView};

use self::shapes::{are_golden, schema};
use crate::{audit, doctor, init, policy, scan};

#[test]
fn the_schemas_are_those_of_the_types() {
    are_golden(&[
        ("failure", schema::<FailureView>("Why a program failed, on stderr")),
        ("cluster-check", schema::<Vec<CheckResult>>("jitd check --cluster")),
        ("host-check", schema::<Vec<doctor::Diagnosis>>("jitd doctor")),
        ("setup", schema::<init::Made>("jitd init")),
        ("policy-test", schema::<Vec<Tested>>("jitd policy test")),
        ("policy-answer", schema::<Answer>("jitd policy explain")),
        ("policy-holders", schema::<Vec<policy::Listed<'_>>>("jitd policy who-can")),
        ("policy-difference", schema::<Difference>("jitd policy diff")),
        ("revocation", schema::<RevocationView>("jitd revoke")),
        ("verification", schema::<Report>("jitd audit verify")),
        ("notices", schema::<audit::notices::Listed>("jitd audit notices")),
        ("scan-who-can", schema::<scan::who::WhoCan<'_>>("jitd scan who-can")),
        ("scan-what-can", schema::<scan::who::WhatCan<'_>>("jitd scan what-can")),
        ("scan-difference", schema::<jit_scan::Difference>("jitd scan diff")),
    ]);
}
