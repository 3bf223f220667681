//! The standing access of a Kubernetes cluster: who can do what, how severe that is, and through which bindings.
//!
//! ```text
//!  cluster, dump, manifests ──► Snapshot ──► Access ──► findings ──► Report ──► Document ──► table, JSON, SARIF, page
//!                                              └──► suggest ──► policy rules, roles, and a plan that removes bindings
//! ```
//! A [`Reader`] makes a [`Snapshot`], which holds what was read, and which lists could not be read. [`Access`] is its index:
//! who holds which rules where, and what the authorizer of the API server would answer. Everything after the snapshot is a
//! function of it: the same snapshot gives the same report. There is one catalogue of risks, [`jit_core::rbac::risk`], the policy's own.

mod access;
mod aggregate;
pub mod audit;
mod authorize;
mod baseline;
mod bootstrap;
pub mod credentials;
mod exceptions;
mod finding;
mod findings;
mod fingerprint;
mod held;
mod paths;
mod read;
pub mod report;
mod resources;
mod snapshot;
pub mod suggest;

pub use self::access::{Access, Allowed, Holding, MASTERS, implied_groups, is_master};
pub use self::authorize::{Action, ResourceAction, rule_allows};
pub use self::baseline::{Baseline, Difference, Kept, KeptSubject, NotABaseline};
pub use self::bootstrap::bootstrap_table;
pub use self::exceptions::{Exception, Exceptions, NotExceptions};
pub use self::finding::{Finding, Hop, Kind, NotEvaluated, Report, Subject};
pub use self::findings::findings;
pub use self::fingerprint::Fingerprint;
pub use self::read::{CredentialList, Listed, ReadError, Reader, missing_from_snapshot};
pub use self::resources::{Resource, UnknownResource};
pub use self::snapshot::{
    Account, Binding, ClientCertificate, Created, Identity, KubeconfigUser, Meta, Name, Operator, Place, Requirement,
    Role, RoleKind, RoleRef, Secret, Selector, SigningRequest, Snapshot, StandingCredential, StaticToken, Workload,
};
