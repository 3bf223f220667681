//! Roles of Kubernetes and what they let their holder do.
//!
//! ```text
//!  Rule ──► ResolvedRole (canonical, hashed)        covers: is an asked rule below a ceiling?
//!    └───── with a Scope ──► risk: what its holder reaches, and how bad that is
//! ```
//! A leaf: pure, and it knows nothing of grants, policies or people. `grant` decides on what stands here, `cluster`
//! reads and makes the roles, `manifest` and `check` compare them.

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
