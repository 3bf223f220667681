//! The name of a bastion in its clusters.
//!
//! It does not query the host's name; `read.rs` does. `read.rs` calls it, and `jitd init` for an answer.

use std::fmt;
use std::str::FromStr;

use crate::grant::request::{ClusterName, Malformed};

/// `jit:daemon:` and the host must fit into a common name (RFC 5280 appendix A.1, `ub-common-name`: 64).
const LONGEST: usize = 53;

/// This host's name in the daemon's own certificate and on its bindings: a label like a cluster's name, but short enough
/// for a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(ClusterName);

/// Why a text is not a host name.
#[derive(Debug, thiserror::Error)]
pub enum NoHostName {
    /// It is not a label.
    #[error(transparent)]
    Label(#[from] Malformed),
    /// It is too long.
    #[error("`host` must have at most {LONGEST} characters, because it is part of a certificate's name")]
    Long,
}

impl HostName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for HostName {
    type Err = NoHostName;

    fn from_str(text: &str) -> Result<Self, NoHostName> {
        let label: ClusterName = text.parse().map_err(|wrong| Malformed { field: "host", ..wrong })?;
        if label.as_str().len() > LONGEST { Err(NoHostName::Long) } else { Ok(Self(label)) }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_host_names_the_host() {
        let wrong = "bastion_1".parse::<HostName>().unwrap_err().to_string();
        assert!(wrong.starts_with("host `bastion_1`: must be "), "{wrong}");
    }
}
