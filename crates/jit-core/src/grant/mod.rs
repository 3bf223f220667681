//! What can happen to a grant, and who decides it.
//!
//! ```text
//!  policy, approval, glass, extension ── decide ──► Event ── with author and time ──► Fact ──► trail
//!                                                                                      │
//!  the daemon's state, the auditor's reconstruction ◄── Grant ◄──── life: a fold ◄─────┘
//! ```
//! It does no I/O, reads no clock, and imports only `rbac`. A [`Grant`] is a fold over its events, so the daemon's
//! state in memory and what an auditor rebuilds from the trail are the same by construction.

pub mod approval;
mod binding;
mod daemon;
mod denial;
pub mod digest;
pub mod drain;
pub mod end;
mod event;
pub mod extension;
mod fact;
mod filter;
mod found;
mod four_eyes;
mod gateway;
pub mod glass;
mod id;
mod life;
pub mod login;
pub mod names;
pub mod narrow;
pub mod policy;
pub mod reading;
pub mod reconcile;
mod recording;
pub mod refusal;
pub mod request;
pub mod restriction;
pub mod scope;
mod sent;
pub mod times;

pub use self::binding::{ACT_AS, ACT_AS_GROUP, Binding, IMPERSONATE, acting_on, bindings, gateway_bindings, on};
pub use self::daemon::DaemonUser;
pub use self::denial::DeniedBefore;
pub use self::event::{
    Clock, DecidedOn, EndCause, EndProof, Event, Narrowed, OtherGrant, Reassessed, RequestRefused, Requested,
    ScanFinished, Shown,
};
pub use self::fact::{Author, Fact, Operator};
pub use self::filter::Filter;
pub use self::found::{Found, FoundNamespace, FoundRole, Subject};
pub use self::gateway::{ActingGateway, GatewayUser, Impersonation};
pub use self::id::GrantId;
pub use self::life::{Grant, InvalidTransition, LostPart, Phase};
pub use self::reading::Reading;
pub use self::recording::{Keep, LogHead, LogHistory, NotLogged, Record, SessionTerms};
pub use self::restriction::{CommandPattern, Restricted, Restriction};
pub use self::sent::{About, LONGEST_CHANNEL, SentText, is_channel};

#[cfg(test)]
mod tests;
