//! The files of the policy, read at the start and for each reload.
//!
//! `grant::policy` parses them. The mains call this, and `read.rs` for the whole configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};
use crate::grant::digest::sha256_hex;
use crate::grant::policy::{self, Loaded, Policy, Source, Way};
use crate::grant::request::ClusterName;
use crate::hint::Hint;

use super::{ClusterConfig, Fault, Faults};

/// The policy's files. They are read at the start and for each reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFiles {
    /// The policy's file.
    pub policy: PathBuf,
    /// The guardrails' file, which must exist if it is named; otherwise `guardrails.yaml` next to the policy, if it exists.
    pub guardrails: Option<PathBuf>,
}

impl PolicyFiles {
    /// Reads both files without checking who could have written them, because the result grants nobody access.
    ///
    /// # Errors
    /// All faults of both files, in their order.
    pub fn read(&self) -> Result<Loaded, Faults> {
        self.read_by(|path| std::fs::read_to_string(path).map_err(Unread::System), Policy::read)
    }

    fn read_by(
        &self,
        read: fn(&Path) -> Result<String, Unread>,
        parse: impl FnOnce(&str, Option<&str>) -> Result<Policy, Vec<policy::Fault>>,
    ) -> Result<Loaded, Faults> {
        let mut faults = Vec::new();
        let guardrails_path = match &self.guardrails {
            Some(named) => named.clone(),
            None => self.policy.with_file_name(Source::Guardrails.file_name()),
        };
        let policy = read(&self.policy).map_err(|error| faults.push(error.at(&self.policy))).ok();
        let guardrails = match read(&guardrails_path) {
            Err(error) if self.guardrails.is_none() && error.is_absence() => None,
            other => other.map_err(|error| faults.push(error.at(&guardrails_path))).ok(),
        };
        let meant = policy.map(|text| (parse(&text, guardrails.as_deref()), sha256_hex(text.as_bytes())));
        match meant {
            Some((Ok(policy), policy_sha256)) if faults.is_empty() => Ok(Loaded {
                policy,
                policy_sha256,
                guardrails_sha256: guardrails.map(|text| sha256_hex(text.as_bytes())),
            }),
            Some((Err(wrong), _)) => {
                faults.extend(wrong.iter().map(|fault| match fault.file {
                    Source::Policy => Fault::of_policy(fault, &self.policy),
                    Source::Guardrails => Fault::of_policy(fault, &guardrails_path),
                }));
                Err(Faults(faults))
            }
            _ => Err(Faults(faults)),
        }
    }

    /// Reads both files for a daemon that serves these clusters; without clusters if an entry of the configuration has a
    /// fault. A file that somebody else could have written is a fault, and so is a rule for another cluster.
    ///
    /// # Errors
    /// As [`PolicyFiles::read`].
    pub(super) fn read_for(&self, clusters: Option<&BTreeMap<ClusterName, ClusterConfig>>) -> Result<Loaded, Faults> {
        let way = |(name, cluster): (&ClusterName, &ClusterConfig)| match cluster.gateway {
            Some(_) => (name.clone(), Way::ThroughGateway),
            None => (name.clone(), Way::Directly),
        };
        let ways: Option<BTreeMap<ClusterName, Way>> = clusters.map(|known| known.iter().map(way).collect());
        self.read_by(strictly, |policy, guardrails| match &ways {
            Some(ways) => Policy::read_for(policy, guardrails, ways),
            None => Policy::read(policy, guardrails),
        })
    }
}

/// Why a file was not read.
pub(super) enum Unread {
    System(std::io::Error),
    NotTrusted(FileError),
}

impl Unread {
    pub(super) fn at(&self, path: &Path) -> Fault {
        match self {
            Self::System(error) if self.is_absence() => {
                Fault { why: format!("`{}` does not exist", path.display()), hint: None }
            }
            Self::System(error) => Fault { why: format!("`{}`: {error}", path.display()), hint: None },
            Self::NotTrusted(error) => Fault { why: error.to_string(), hint: error.hint() },
        }
    }

    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::System(error) if error.kind() == std::io::ErrorKind::NotFound)
    }
}

pub(super) fn strictly(path: &Path) -> Result<String, Unread> {
    files::read_configuration(path).map_err(|error| match error {
        FileError::Io { source, .. } => Unread::System(source),
        other => Unread::NotTrusted(other),
    })
}
