//! Kubernetes roles, and what they allow their holder to do.
//!
//! ```text
//!  Rule ──► ResolvedRole (canonical, hashed)        covers: does a ceiling allow a requested rule?
//!    └───── with a Scope ──► risk: what the holder can reach, and how severe that is
//! ```
//! A leaf: it does no I/O, and it knows nothing of grants, policies or people. `grant` bases its decisions on it,
//! `cluster` reads and creates roles, `manifest` and `check` compare them.

mod covers;
pub mod digest;
pub mod risk;
pub mod role;
mod scope;
pub(crate) mod word;

pub use self::covers::covers;
pub use self::role::{ResolvedRole, Rule, canonical};
pub use self::scope::{Namespace, Namespaces, Scope};
pub use self::word::Malformed;
