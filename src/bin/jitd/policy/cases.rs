//! The cases that a policy is tested by, asked, and the line of one that fails.
//!
//! Prints nothing. Called by `jitd policy test`, `check`, `doctor` and `init`.

use std::path::Path;

use jitd::grant::policy::{Case, Policy, Tested};

/// Every case of a policy, asked.
pub(crate) fn tested(policy: &Policy) -> Vec<Tested> {
    policy.cases().iter().map(|case: &Case| case.test(policy)).collect()
}

/// The line of a case that is not as expected.
pub(crate) fn failed_line(path: &Path, Tested { name, line, expected, came, .. }: &Tested) -> String {
    format!("FAILED {}:{line}: {name}: expected {expected}; came {came}", path.display())
}
