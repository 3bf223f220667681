//! The standing access of a Kubernetes cluster: who can do what, how severe that is, and through which bindings.
//!
//! ```text
//!  cluster, dump, manifests ──► Snapshot ──► findings ──► Report ──► table, JSON, SARIF, page
//! ```
//! A [`Snapshot`] holds what was read, and which lists could not be read. Everything after it is a function of it: the same
//! snapshot gives the same report. There is one catalogue of risks, [`jit_core::rbac::risk`], the policy's own.

mod finding;
mod snapshot;

pub use self::finding::{Finding, Hop, Kind, NotEvaluated, Report, Subject};
pub use self::snapshot::{Account, Binding, Created, Meta, Name, Role, RoleKind, RoleRef, Snapshot};
