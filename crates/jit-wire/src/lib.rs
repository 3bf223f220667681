//! The data that the daemon and its client exchange over the socket: bodies and views. JSON, camelCase; an unknown field in
//! a body is refused.
//!
//! A word of a closed set, such as a phase, is typed on both sides, and an unknown word is refused. Only [`Problem::code`]
//! is text, so that every refusal can be shown.
//!
//! Nothing is decided here; it uses only the vocabulary of the core, [`grant`](jit_core::grant) and
//! [`rbac`](jit_core::rbac). The daemon's `api` and [`client`] call it.

mod about;
mod answer;
mod ask;
pub mod client;
mod code;
mod entitlement;
mod explain;
pub mod feed;
mod filter;
pub mod frontend;
mod grant;
pub mod kept;
pub mod notice;
mod operate;
mod problem;
mod scan;
pub mod session;

pub use self::about::{CertificateView, ClusterList, ClusterView, LinkBody, LinkView, WhoamiView};
pub use self::answer::{ApproveBody, ExtendBody, LessBody, ReasonBody, ReviewBody};
pub use self::ask::{AskBody, CertificateBody, RequestBody};
pub use self::code::{ErrorCode, Exit};
pub use self::entitlement::{ClosedView, EntitlementList, EntitlementView, GlassTermsView, NeedView};
pub use self::explain::{DecisionView, TriedView};
pub use self::filter::FilterQuery;
pub use self::grant::{
    BreakGlassView, CameInView, ChangesView, DeniedBeforeView, EventList, EventPage, ExtensionView, FindingView,
    GrantList, GrantView, LinePage, LostPartView, OtherGrantView, RestrictionView, ReviewView, RisksView, SessionsView,
    StepView,
};
pub use self::operate::{DrainBody, DrainingView, OperationsView, Proof, RevocationView, RevokeBody, RevokedView};
pub use self::problem::{FailureView, Problem};
pub use self::scan::{ScanBody, ScanNumbers};
