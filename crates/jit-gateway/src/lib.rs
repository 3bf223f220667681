//! `jit-gateway`: a TLS proxy in front of kube-apiserver that knows which grants are live, acts for their holders with
//! its own credential, and ends every stream the instant a grant ends.
//!
//! - [`request`]: what a path means, as Kubernetes reads it; [`headers`]: which headers pass

pub mod headers;
pub mod request;
