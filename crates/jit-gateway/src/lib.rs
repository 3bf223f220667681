//! `jit-gateway`: a TLS proxy in front of kube-apiserver that knows which grants are live, acts for their holders with
//! its own credential, and ends every stream the instant a grant ends.
//!
//! ```text
//!  jitd ══ feed ══► grants (what is live)
//!                     │ admit, cut
//!  kubectl ══ TLS ══► listener ─► caller ─► request ─► headers ─► upstream ══► kube-apiserver
//!          (certificate)          (whose    (what it   (identity           └─► tunnel (exec, port-forward)
//!                                  grant)    means)     added last)
//! ```
//! - [`config`]: the gateway's own file
//! - [`feed`]: the connection to `jitd`; [`grants`]: what is live, and cutting it
//! - [`listener`]: connections, from the handshake to the cut; `newcomers`: those whose caller is not known yet
//! - [`caller`]: the person and the grant in a client certificate
//! - [`request`]: what a path means, as Kubernetes reads it; [`headers`]: which headers pass
//! - [`upstream`]: connections to one API server for one client; `settling`: asks again while a grant is new; `proof`: asks
//!   whether a grant works, before `jitd` says that it is live
//! - [`tunnel`]: upgraded connections, byte by byte; `frames`: the frames of a WebSocket as they pass; [`socket`]: a stream
//!   that can be reset while it is in use
//! - `restrict`: what is refused because the terms of the grant say so; `ports`: the ports of a port-forward in its streams
//! - [`record`]: what is kept of what is done: a log for each grant, and recordings of exec and attach
//! - [`answer`]: the gateway's own answers; `unread`: those to requests whose head cannot be read
//!
//! It signs nothing. Who does not hold a certificate of a live grant gets nothing through.

pub mod answer;
pub mod caller;
pub mod config;
pub mod feed;
mod frames;
pub mod grants;
pub mod headers;
pub mod listener;
mod newcomers;
mod ports;
mod proof;
pub mod record;
pub mod request;
mod restrict;
mod settling;
pub mod socket;
pub mod tunnel;
mod unread;
pub mod upstream;
