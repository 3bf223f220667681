//! The name that a bastion has in its clusters.
//!
//! It asks no host for its name; `read.rs` does. Called by it, and by `jitd init` for what is answered.

use std::fmt;
use std::str::FromStr;

use crate::grant::request::{ClusterName, Malformed};

/// `jit:daemon:` and the host fit into a common name (RFC 5280 appendix A.1, `ub-common-name`: 64).
const LONGEST: usize = 53;

/// This host's name in the daemon's own certificate and on its bindings: a label like a cluster's name, and short enough
/// for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(ClusterName);

/// Why a text is no host's name.
#[derive(Debug, thiserror::Error)]
pub enum NoHostName {
    /// It is no label.
    #[error(transparent)]
    Label(#[from] Malformed),
    /// It is too long.
    #[error("`host` has at most {LONGEST} characters, for it stands in a certificate's name")]
    Long,
}

impl HostName {
    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for HostName {
    type Err = NoHostName;

    fn from_str(text: &str) -> Result<Self, NoHostName> {
        let label: ClusterName = text.parse()?;
        if label.as_str().len() > LONGEST { Err(NoHostName::Long) } else { Ok(Self(label)) }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
