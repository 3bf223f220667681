//! An approval-gated certificate authority for Kubernetes: access that lasts minutes, for one person, one role and one
//! scope, with every step in an audit trail.
//!
//! # The flow
//! ```text
//!  jit-login ──► client ══ Unix socket ══► api ──► broker ──► grant      decides (no I/O)
//!  (engineer,                             (who      │  │  └──► trail     records, before and after
//!   approver)                             may call) │  └─────► ca        signs for an Approved
//!                                                   └────────► cluster   binds, unbinds, asks
//!  people elsewhere ══ TLS ══► jit-frontend (crates/jit-frontend) ══ who calls, who was logged out ══► api
//!  deadlines, start ──► sweep ──► broker (ends only)
//!  live grants ──► gateway ══ feed ══► jit-gateway (crates/jit-gateway): lets them through, cuts them at the end
//!  trail ──► notices ══► jit-notify (crates/jit-notify): tells people what happens
//!  jitd drain, revoke ─► client ══ admin socket ══► api ──► broker (drains and ends only)
//!
//!  requested ──► approved ──► live ──► ended(expired | released | revoked | drifted | failed)
//!     │  (or break-glass,  └─► lapsed
//!     │  reviewed afterwards)
//!     ├─► denied
//!     ├─► withdrawn
//!     └─► lapsed
//! ```
//!
//! # The map
//! `grant` and `rbac` are the crate `jit-core`, `wire` and `client` are `jit-wire`, so that their dependency lists prove what
//! the map promises. `files`, `configuration`, `hint`, `escape`, `placeholder`, `places` and `secret` are `jit-host`, which every
//! program on a bastion can use. `crates/jit-seal` seals recordings to recipients of age, for the gateway, and opens them.
//! `crates/jit-service` writes the log of every program that systemd runs, and takes its socket. `crates/jit-serving` makes
//! the certificates with which the gateway and the front end serve. `crates/jit-sessions`
//! ([`sessions`]) reads and verifies what the gateway kept of requests and sessions, and plays recordings: the daemon reads
//! for people, and its client plays. `crates/jit-scan` finds the standing access of a cluster, without a daemon.
//! `crates/jit-dial` connects to an API server as a kubeconfig says, and to any other server for `crates/jit-notify`, which
//! tells people what happens. `crates/jit-identity` verifies the tokens of identity providers, and `crates/jit-directory`
//! asks their directories about people. `crates/jit-frontend` lets their people call the daemon over TLS, and introduces each
//! of them on a socket of its own, where it also says whose login a provider has ended. `crates/jit-login` is the client, and
//! `crates/jit-manual` generates both programs' manual pages and completions from the definitions of command lines and files.
//! Everything else is in this crate.
//!
//! - [`grant`]: what can happen to a grant, and who may request and approve it; it imports only `rbac`.
//!   [`policy`](grant::policy) decides on which terms a request may be made; [`approval`](grant::approval),
//!   [`narrow`](grant::narrow) and [`extension`](grant::extension) who approved what; [`glass`](grant::glass) break-glass
//!   and its review; [`login`](grant::login) what a login at a provider must have; [`drain`](grant::drain) whether new
//!   access is granted at all; [`reconcile`](grant::reconcile) whether a cluster matches the grants
//! - [`rbac`]: roles, whether one rule covers another, and the risks of a role ([`risk`](rbac::risk)); it imports nothing
//! - [`broker`]: the only module that orders the steps of a grant, one file per chapter
//! - [`gateway`]: the link to `jit-gateway`, which lets live grants through and cuts them
//! - [`notices`]: the facts for `jit-notify`, with whom each one concerns
//! - [`ledger`]: the open grants in memory, consistent with the trail
//! - [`ca`]: keys, the certificate profile, signing for an approval
//! - [`cluster`]: bindings and access reviews on one API server
//! - [`trail`]: append, query, verify; the only store
//! - [`sweep`]: the reconcile loop: ends grants that are due, removes late bindings, reports unknown ones
//! - [`api`]: the route table (who may call, on which socket), and the identity of the caller
//! - [`wire`]: the JSON of the API; it imports only `grant` and `rbac`
//! - [`client`]: the client side of the same routes
//! - [`dependency`]: calls that may never be answered, isolated from each other; [`locks`]: locks by name
//! - [`people`]: the person behind a uid or an identity at a provider, the groups of a person, what a directory says, and
//!   whether a name can be taken for another's
//! - [`files`]: reads files that only trusted accounts could have written, and writes files whole
//! - [`config`]: parses `config.yaml` and the policy files into a valid configuration; the policy files can be reloaded
//! - [`daemon`]: assembles all of this, for `jitd serve` and for the simulation
//! - [`manifest`]: the objects that an administrator applies to a cluster: the daemon's rights, the ceilings for roles of
//!   grants, and the admission policies
//! - [`check`]: whether a cluster trusts the authority, matches the manifest, and gives the daemon no excess permissions
//! - [`configuration`]: reads a program's own file, and says on one line where a mistake is
//! - [`hint`]: what to do about an error, separate from what is wrong; [`escape`]: text of others on a terminal;
//!   [`placeholder`]: what an administrator has to fill in; [`places`]: how many connections there may be;
//!   [`secret`]: texts that no log shows
//! - [`kept`]: reads for people what the gateway keeps, on threads of its own
//! - [`metrics`], [`service`]: Prometheus metrics, systemd
//!
//! # The arrows
//! Which module may import which, from the leaves up. A new import changes this list first; `tests/it/architecture.rs`
//! compares it with the `use` lines. `ca`, `cluster` and `trail` never import each other.
//! ```text
//! rbac     → nothing
//! hint     → nothing
//! configuration → files, hint
//! escape   → nothing
//! placeholder → nothing
//! places   → nothing
//! secret   → files
//! locks    → nothing
//! dependency → hint, locks
//! grant    → rbac
//! files    → hint
//! service  → hint
//! wire     → grant, rbac
//! client   → wire
//! trail    → grant, hint, rbac
//! people   → dependency, grant, hint, secret
//! cluster  → dependency, grant, hint, rbac
//! ca       → files, grant, hint
//! config   → ca, configuration, files, grant, hint, people, placeholder, secret
//! manifest → cluster, grant, rbac
//! check    → cluster, grant, hint, manifest, rbac
//! ledger   → grant, hint, locks, rbac, trail
//! kept     → dependency, grant, hint, wire
//! gateway  → grant, ledger, wire
//! broker   → ca, cluster, dependency, gateway, grant, hint, ledger, people, rbac, trail
//! notices  → broker, grant, hint, ledger, wire
//! sweep    → broker, cluster, grant, hint, ledger, rbac
//! metrics  → broker, grant, rbac, sweep
//! api      → broker, gateway, grant, hint, kept, ledger, metrics, people, places, wire
//! daemon   → api, broker, ca, cluster, config, gateway, grant, hint, kept, ledger, metrics, notices, sweep, trail
//! ```
//!
//! # Invariants
//! 1. `grant` and `rbac` do no I/O and read no clock, so past decisions can be replayed from the trail.
//! 2. Nothing is signed for a person without an [`Approved`](grant::approval::Approved). Only `grant` creates one, from
//!    enough approvals or from break-glass that the rule allows. The binding of a grant is intended at most once, even
//!    across restarts (a unique index). What the host signs for itself is always for its own name and in no group.
//! 3. There is no state outside the trail. Events are never updated or deleted. The other tables are projections, which
//!    `jitd audit verify` rebuilds from the trail and compares.
//! 4. If an intent cannot be recorded, its effect does not happen; removing access is the one exception. If an outcome
//!    cannot be recorded, the sweep settles it.
//! 5. The daemon never has a user's private key: it uses only the public key of a certificate request, after
//!    checking the signature.
//! 6. No type can hold a name, user or group that begins with `system:`, except [`GatewayUser`](grant::GatewayUser) and
//!    [`DaemonUser`](grant::DaemonUser), which may be service accounts.
//! 7. The kernel identifies the caller, or `jit-frontend`, which the kernel identifies, introduces one before its first
//!    request; a request never does.
//! 8. The sweep only removes, and only objects that the trail knows, by uid. It never signs and never binds.
//! 9. Everything unknown is refused: an unknown field, state, caller, rule or answer.
//! 10. What a caller reads and what the log keeps are separate strings.

pub mod api;
pub mod broker;
pub mod ca;
pub mod check;
pub mod cluster;
pub mod config;
pub mod daemon;
pub mod dependency;
pub mod gateway;
pub mod kept;
pub mod ledger;
pub mod locks;
pub mod manifest;
pub mod metrics;
pub mod notices;
pub mod people;
pub mod service;
pub mod sweep;
pub mod trail;

pub use jit_core::{grant, rbac};
pub use jit_host::{configuration, escape, files, hint, placeholder, places, secret};
pub use jit_sessions as sessions;
pub use jit_wire::{self as wire, client};
