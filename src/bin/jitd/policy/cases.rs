//! Runs the policy's test cases, and formats a failed one.
//!
//! It prints nothing. `jitd policy test`, `check`, `doctor` and `init` call it.

use std::path::Path;

use jitd::grant::policy::{Case, Policy, Tested};

/// Runs every case of a policy.
pub(crate) fn tested(policy: &Policy) -> Vec<Tested> {
    policy.cases().iter().map(|case: &Case| case.test(policy)).collect()
}

/// The line for a failed case.
pub(crate) fn failed_line(path: &Path, Tested { name, line, expected, came, .. }: &Tested) -> String {
    format!("FAILED {}:{line}: {name}: expected {expected}; got {came}", path.display())
}
