//! The decisions of `jitd`, as functions: they do no I/O and read no clock, so that a decision of the past can be replayed
//! from the trail.

pub mod grant;
pub mod rbac;
