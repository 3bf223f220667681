//! What goes over the socket, shared by the daemon and its client: bodies as they are written, and the
//! views that are answered. JSON, camelCase; an unknown field in a body is refused.
//!
//! A word of a known set, such as a phase, has its type on both sides: who does not know a word refuses it. Only
//! [`Problem::code`] is text, so that every refusal reaches its reader.
//!
//! Nothing here decides anything; of the core it knows the vocabulary, [`grant`](jit_core::grant) and
//! [`rbac`](jit_core::rbac). The daemon's `api` and [`client`] are the callers.

mod about;
mod answer;
mod ask;
pub mod client;
mod code;
mod entitlement;
mod explain;
mod filter;
mod grant;
mod operate;
mod problem;

pub use self::about::{CertificateView, ClusterList, ClusterView, WhoamiView};
pub use self::answer::{ApproveBody, ExtendBody, LessBody, ReasonBody, ReviewBody};
pub use self::ask::{AskBody, CertificateBody, RequestBody};
pub use self::code::{ErrorCode, Exit};
pub use self::entitlement::{ClosedView, EntitlementList, EntitlementView, GlassTermsView, NeedView};
pub use self::explain::{DecisionView, TriedView};
pub use self::filter::FilterQuery;
pub use self::grant::{
    BreakGlassView, CameInView, DeniedBeforeView, EventList, EventPage, ExtensionView, FindingView, GrantList,
    GrantView, LinePage, LostPartView, OtherGrantView, ReviewView, RisksView, StepView,
};
pub use self::operate::{DrainBody, DrainingView, OperationsView, Proof, RevocationView, RevokeBody, RevokedView};
pub use self::problem::Problem;
