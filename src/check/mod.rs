//! What `jitd check --cluster` finds in one cluster: whether the authority is trusted there, whether the daemon has the
//! rights that it needs and no others, and whether the admission policies around it are in place and refuse.
//!
//! ```text
//!  proof (a certificate without rights) ─► version, clock ─► trust ─► rights ─► roles ─► objects ─► admission ─► grants
//! ```
//! It must never change a cluster: it reads, asks, and tries in dry runs. `jitd check` and `jitd doctor` print the
//! findings.

mod admission;
mod clock;
mod difference;
mod grants;
mod objects;
mod proof;
mod rights;
mod roles;

use jiff::Timestamp;
use serde::Serialize;
use std::borrow::Cow;

use crate::cluster::{Cluster, ClusterError, UserInfo};
use crate::grant::names;
use crate::grant::policy::Policy;
use crate::grant::request::ClusterName;
use crate::hint::Hint;
use crate::manifest;

pub use self::proof::prove;

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// What was looked at, a word or an object's kind and name.
    pub check: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// It does not work, or not safely.
    Fault,
    /// It could not be looked at.
    Skipped,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
            Self::Skipped => "skipped",
        })
    }
}

impl Finding {
    /// Other programs on this host reach the cluster by a proxy, whose `variable` this is.
    #[must_use]
    pub fn proxy(cluster: &ClusterName, variable: &str) -> Self {
        Self {
            cluster: cluster.to_string(),
            check: "connection".to_owned(),
            verdict: Verdict::Warning,
            found: format!("`{variable}` is set, and jitd connects without a proxy"),
            hint: Some("this host needs a direct way to `server`".to_owned()),
        }
    }

    /// Something that is wrong with this cluster on this host.
    #[must_use]
    pub fn fault(cluster: &ClusterName, check: &str, error: &impl Hint) -> Self {
        let (found, hint) = (error.to_string(), error.hint().map(Cow::into_owned));
        Self { cluster: cluster.to_string(), check: check.to_owned(), verdict: Verdict::Fault, found, hint }
    }

    /// The daemon can't even try to reach this cluster.
    #[must_use]
    pub fn unusable(cluster: &ClusterName, error: &impl Hint) -> Self {
        let finding = Self::fault(cluster, "credential", error);
        let hint = finding.hint.or_else(|| Some("`jitd doctor` tells what is missing on this host".to_owned()));
        Self { hint, ..finding }
    }
}

impl std::fmt::Display for Finding {
    /// One line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<8}{} {}: {}", self.verdict, self.cluster, self.check, self.found)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; hint: {hint}"))
    }
}

/// Asks `cluster` everything, as the daemon of `host` under `policy`. `clock` is the host's.
///
/// A question that can't be answered is a fault, and after one about the connection the rest is not asked.
pub async fn check(cluster: &Cluster, policy: &Policy, host: &str, clock: fn() -> Timestamp) -> Vec<Finding> {
    let mut check = Check { cluster, findings: Vec::new() };
    match check.all(policy, host, clock).await {
        // It is one of the daemon's own rights: whatever can't be asked without it is not.
        Err(error @ ClusterError::Forbidden { .. }) => check.failed(RIGHTS, &error),
        Err(error) => check.failed("connection", &error),
        Ok(()) => {}
    }
    check.findings
}

/// The finding about the daemon's rights.
const RIGHTS: &str = "rights";

const OBJECTS: &str =
    "an admission policy, a webhook or a quota of the cluster objects: make room there for what jitd makes";
const APPLY: &str = "apply what `jitd manifest` prints for this cluster";

struct Check<'a> {
    cluster: &'a Cluster,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn tell(&mut self, verdict: Verdict, check: impl Into<String>, found: impl Into<String>, hint: Option<&str>) {
        self.findings.push(Finding {
            cluster: self.cluster.name().to_string(),
            check: check.into(),
            verdict,
            found: found.into(),
            hint: hint.map(str::to_owned),
        });
    }

    fn ok(&mut self, check: impl Into<String>, found: impl Into<String>) {
        self.tell(Verdict::Ok, check, found, None);
    }

    fn fault(&mut self, check: impl Into<String>, found: impl Into<String>, hint: &str) {
        self.tell(Verdict::Fault, check, found, Some(hint));
    }

    fn failed(&mut self, check: &str, error: &ClusterError) {
        let hint = match error {
            // Where all rights are there it is none that is missing.
            ClusterError::Forbidden { .. } if self.lacks_rights() => Some(APPLY.into()),
            ClusterError::Forbidden { .. } => Some(OBJECTS.into()),
            _ => error.hint(),
        };
        self.tell(Verdict::Fault, check, error.to_string(), hint.as_deref());
    }

    /// Whether a right of the manifest is missing, or none was asked about yet.
    fn lacks_rights(&self) -> bool {
        let mut asked = self.findings.iter().filter(|finding| finding.check == RIGHTS).peekable();
        asked.peek().is_none() || asked.any(|finding| finding.verdict != Verdict::Ok)
    }

    async fn all(&mut self, policy: &Policy, host: &str, clock: fn() -> Timestamp) -> Result<(), ClusterError> {
        let before = clock();
        let told = match self.cluster.about().await {
            Ok(about) => {
                self.ok("version", format!("{} at {}", about.version, self.cluster.endpoint().server()));
                about.clock
            }
            // Where an administrator took away what everybody has.
            Err(ClusterError::Forbidden { .. }) => {
                self.fault("version", "the API server does not tell the daemon its version", APPLY);
                self.cluster.clock().await?
            }
            Err(error) => return Err(error),
        };
        self.clock(told, before, clock());
        self.trust(host).await?;

        let reaches = manifest::reaches(policy, self.cluster.name());
        let objects = manifest::objects(policy, self.cluster.name(), host);
        self.needed_permissions(&objects).await?;
        self.excess_permissions(policy).await?;
        self.roles(&reaches).await?;
        for object in &objects {
            self.object(object, APPLY).await;
        }
        self.daemon_bindings(policy, host, &objects).await?;
        self.admission(&reaches, host, &objects).await?;
        self.grants(policy).await
    }

    async fn trust(&mut self, host: &str) -> Result<(), ClusterError> {
        let (UserInfo { name, .. }, expected) = (self.cluster.identity().await?, names::daemon(host));
        if name == expected {
            self.ok("trust", format!("our credential is accepted as `{name}`"));
        } else {
            self.fault(
                "trust",
                format!("we are `{}` there, and the manifest is for `{expected}`", name.escape_default()),
                "leave `kubeconfig` out of the cluster's entry, so that the daemon makes its own credential",
            );
        }
        Ok(())
    }
}
