//! An approval-gated certificate authority for Kubernetes: access that lives minutes, for one person, one
//! role and one scope, with every step in a trail.
//!
//! # The flow
//! ```text
//!  jit-login ──► client ══ Unix socket ══► api ──► broker ──► grant      decides (pure)
//!  (engineer,                             (who      │  │  └──► trail     records, before and after
//!   approver)                             may call) │  └─────► ca        signs for an Approved
//!                                                   └────────► cluster   binds, unbinds, asks
//!  deadlines, start ──► sweep ──► broker (ends only)
//!  jitd drain, revoke ─► client ══ the operators' socket ══► api ──► broker (stops and ends only)
//!
//!  requested ──► approved ──► live ──► ended(expired | released | revoked | drifted | failed)
//!     │  (or glass broken, └─► lapsed
//!     │  reviewed afterwards)
//!     ├─► denied
//!     ├─► withdrawn
//!     └─► lapsed
//! ```
//!
//! # The map
//! `grant` and `rbac` are the crate `jit-core`, `wire` and `client` are `jit-wire`, so that their lists of dependencies prove what
//! the map promises; `crates/jit-login` is the client, and `crates/jit-manual` writes both programs' manual pages and
//! completions out of the definitions of command lines and files. Everything else is here.
//!
//! - [`grant`]: what can happen to a grant, who may ask and agree; of all this it imports `rbac` only.
//!   [`policy`](grant::policy) says on which terms, [`approval`](grant::approval), [`narrow`](grant::narrow) and [`extension`](grant::extension) who agreed to what,
//!   [`glass`](grant::glass) what was taken when nobody answered, [`drain`](grant::drain) that nothing is given,
//!   [`reconcile`](grant::reconcile) whether a cluster has what the grants say
//! - [`rbac`]: roles, which rule lies below which, and what a role lets its holder reach ([`risk`](rbac::risk));
//!   imports nothing of all this
//! - [`broker`]: the story, the only room that orders the steps, a chapter a file
//! - [`ledger`]: the grants that are not over, in memory, in step with the trail
//! - [`ca`]: keys, the certificate profile, signing for an approval
//! - [`cluster`]: bindings and questions on one API server
//! - [`trail`]: append, query, verify; the only store
//! - [`sweep`]: what is due is ended, what came late is taken away, what is unknown is told; at start and at each deadline
//! - [`api`]: the route table (who may call, and by which door), who is calling
//! - [`wire`]: the JSON on the wire; of all this it imports `grant` and `rbac` only
//! - [`client`]: the same routes from the other side of the socket
//! - [`dependency`]: asking what may never answer, so that nothing else waits for it; [`locks`]: one at a time, by name
//! - [`people`]: who is behind a uid, and which groups a name has
//! - [`files`]: reading what only the right people could have written
//! - [`config`]: as written, as meant; of it, the policy's files are read again while the daemon serves
//! - [`daemon`]: all of it put together, for `jitd serve` and for the simulation
//! - [`manifest`]: what an administrator applies to a cluster: rights, the ceilings of what a role of a grant may be
//!   made of, and the admission policies around them
//! - [`check`]: whether a cluster trusts the authority, is as the manifest has it, and gives the daemon no more
//! - [`hint`]: what to do about an error, apart from what is wrong
//! - [`metrics`], [`service`]: numbers, systemd
//!
//! # The arrows
//! Who may name whom, from the leaves up. A new arrow changes this list first; `tests/it/architecture.rs` reads it and
//! holds it to the `use` lines. `ca`, `cluster` and `trail` never import each other.
//! ```text
//! rbac     → nothing
//! hint     → nothing
//! locks    → nothing
//! dependency → hint, locks
//! grant    → rbac
//! files    → hint
//! service  → hint
//! wire     → grant, rbac
//! client   → wire
//! trail    → grant, hint, rbac
//! people   → dependency, grant, hint
//! cluster  → dependency, grant, hint, rbac
//! ca       → files, grant, hint
//! config   → ca, files, grant, hint, people
//! manifest → cluster, grant, rbac
//! check    → cluster, grant, hint, manifest, rbac
//! ledger   → grant, hint, locks, rbac, trail
//! broker   → ca, cluster, dependency, grant, hint, ledger, people, rbac, trail
//! sweep    → broker, cluster, grant, hint, rbac
//! metrics  → broker, sweep
//! api      → broker, grant, hint, ledger, metrics, people, wire
//! daemon   → api, broker, ca, cluster, config, grant, hint, ledger, metrics, sweep, trail
//! ```
//!
//! # Invariants, and what is absent
//! 1. `grant` and `rbac` do no I/O and read no clock: a decision of the past can be replayed from the trail.
//! 2. Nothing is signed for a person without an [`Approved`](grant::approval::Approved), which only `grant` makes, of
//!    enough agreements or of glass that the rule lets be broken; the binding of a grant is intended once, also across
//!    restarts (a unique index). What the host signs for itself can't be anybody: its own name, in no group.
//! 3. There is no state outside the trail. Events are never updated or deleted. The other tables are
//!    projections, rebuilt from the trail and compared by `jitd audit verify`.
//! 4. If the intent can't be written, the effect does not happen, except that access is still taken away.
//!    If the outcome can't be written, the sweep settles it.
//! 5. There is no private key of a user here: of a certificate request only the public key is used, after
//!    its signature was checked.
//! 6. There is no value for a name, user or group that begins `system:`.
//! 7. Who is calling comes from the kernel, never from a body.
//! 8. The sweep only removes, only what the trail knows, by uid. It never signs and never binds.
//! 9. Unknown means no: an unknown field, state, caller, rule or answer is a refusal.
//! 10. What the caller reads and what the log keeps are separate strings.

pub mod api;
pub mod broker;
pub mod ca;
pub mod check;
pub mod cluster;
pub mod config;
pub mod daemon;
pub mod dependency;
pub mod files;
pub mod hint;
pub mod ledger;
pub mod locks;
pub mod manifest;
pub mod metrics;
pub mod people;
pub mod service;
pub mod sweep;
pub mod trail;

pub use jit_core::{grant, rbac};
pub use jit_wire::{self as wire, client};
