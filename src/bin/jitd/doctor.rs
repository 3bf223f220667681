//! `jitd doctor`: finds common mistakes on this host and in its clusters, each with its fix.
//!
//! ```text
//!  caller, clock ─► configuration, policy ─► files ─► state, disk, trail ─► groups ─► authorities ─► directories ─► daemon
//!  ─► clusters
//! ```
//! It changes nothing and needs no daemon. After a mistake it continues where it can, and names the checks that it
//! skipped. Its call over the socket starts the daemon if systemd listens for it, as any call does. `main.rs` calls it;
//! `check.rs` checks the clusters.

mod daemon;
mod host;
mod unit;

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use jit_directory::DirectoryError;
use jitd::ca::store;
use jitd::check::{self, Verdict};
use jitd::config::{ClusterConfig, Config, Fault, Faults};
use jitd::grant::request::ClusterName;
use jitd::hint::Hint;
use jitd::secret::SecretError;
use nix::unistd::{Uid, User};
use serde::Serialize;
use utoipa::ToSchema;

use crate::check::{Extent, examine};
use crate::init::Account;
use crate::policy::cases;
use crate::print::{self, Output, counted};
use crate::{CLOCK, Failure, runtime};

/// The result of one check.
#[derive(Serialize, ToSchema)]
pub(crate) struct Diagnosis {
    /// The name of the check.
    check: String,
    state: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Diagnosis {
    /// One line, and a second one with the fix; the check's name is padded to `width`.
    fn lines(&self, width: usize) -> String {
        let mark = match self.state {
            Verdict::Ok => "ok",
            Verdict::Warning => "warn",
            Verdict::Fault => "fail",
            Verdict::Skipped => "skip",
        };
        let line = format!("{mark:<5} {:<width$} {}", self.check, self.found);
        match &self.fix {
            Some(fix) => format!("{line}\n{:1$}hint: {fix}", "", width.saturating_add(7)),
            None => line,
        }
    }
}

pub(crate) fn doctor(path: &Path, output: Output) -> Result<(), Failure> {
    let (config, faults) = match Config::read(path) {
        Ok(config) => (Some(config), Vec::new()),
        Err(Faults(faults)) => (Config::read_without_policy(path).ok(), faults),
    };
    let mut report = Report { output, width: width(config.as_ref()), diagnoses: Vec::new() };
    report.examine(path, config, &faults)?;
    let Report { diagnoses, .. } = report;
    if matches!(output, Output::Json) {
        print::json(&diagnoses)?;
    }
    match diagnoses.iter().filter(|diagnosis| matches!(diagnosis.state, Verdict::Warning | Verdict::Fault)).count() {
        0 => Ok(()),
        problems => Err(Failure::ours(format!("{} found", counted(problems, "problem")))),
    }
}

/// The results so far. Each one is printed at once, because a cluster that does not answer takes seconds.
struct Report {
    output: Output,
    /// The width of the names of the checks.
    width: usize,
    diagnoses: Vec<Diagnosis>,
}

impl Report {
    fn examine(&mut self, path: &Path, config: Option<Config>, faults: &[Fault]) -> Result<(), Failure> {
        self.caller();
        self.clock();
        let policy = self.configuration(path, config.as_ref(), faults);
        self.files(path, config.as_ref());
        let Some(config) = config else {
            for check in ["state", "trail", "groups", "authority", "daemon", "cluster"] {
                self.skipped(check, "needs the configuration");
            }
            return Ok(());
        };
        let held = self.state(&config);
        self.sessions(&config);
        self.units(&config);
        match policy {
            Policy::Read => {
                self.groups(&config);
                self.subordinates(&config);
            }
            Policy::Wrong => self.skipped("groups", "needs the policy"),
        }
        let signs: Vec<Signs> = config.clusters.iter().map(|(name, cluster)| self.authority(name, cluster)).collect();
        self.directories(&config)?;
        self.daemon(&config, held)?;
        self.operations(&config.admin_socket)?;
        for ((name, cluster), signs) in config.clusters.iter().zip(signs) {
            match signs {
                Signs::Yes => self.cluster(&config, policy, name, cluster)?,
                Signs::No => self.skipped(&format!("cluster {name}"), "needs its authority"),
            }
        }
        Ok(())
    }

    fn tell(&mut self, state: Verdict, check: &str, found: impl Into<String>, fix: Option<String>) {
        let diagnosis = Diagnosis { check: check.to_owned(), state, found: found.into(), fix };
        if matches!(self.output, Output::Text) {
            // A result that cannot be printed still counts for the exit code.
            let _ = print::result(diagnosis.lines(self.width));
        }
        self.diagnoses.push(diagnosis);
    }

    fn ok(&mut self, check: &str, found: impl Into<String>) {
        self.tell(Verdict::Ok, check, found, None);
    }

    fn warning(&mut self, check: &str, found: impl Into<String>, fix: impl Into<String>) {
        self.tell(Verdict::Warning, check, found, Some(fix.into()));
    }

    fn fault(&mut self, check: &str, found: impl Into<String>, fix: impl Into<String>) {
        self.tell(Verdict::Fault, check, found, Some(fix.into()));
    }

    /// A fault from an error, which may have its own hint.
    fn failed(&mut self, check: &str, error: &impl Hint, otherwise: &'static str) {
        self.fault(check, error.to_string(), error.hint().unwrap_or(otherwise.into()));
    }

    fn skipped(&mut self, check: &str, why: impl Into<String>) {
        self.tell(Verdict::Skipped, check, format!("skipped: {}", why.into()), None);
    }

    fn caller(&mut self) {
        let uid = Uid::effective();
        let is_service = || User::from_name(Account::NAME).ok().flatten().is_some_and(|account| account.uid == uid);
        if uid.is_root() {
            self.ok("caller", "root, which can check everything");
        } else if is_service() {
            self.ok("caller", format!("{}, the daemon's account", Account::NAME));
        } else {
            self.warning(
                "caller",
                format!("uid {uid}, which cannot check everything"),
                "run it as root: `sudo jitd doctor`",
            );
        }
    }

    /// Says what is wrong with the configuration and the policy, and whether the policy could be read.
    fn configuration(&mut self, path: &Path, config: Option<&Config>, faults: &[Fault]) -> Policy {
        if let Some(config) = config {
            self.ok("configuration", path.display().to_string());
            if faults.is_empty() {
                self.policy(config);
                return Policy::Read;
            }
        } else if let Err(error) = std::fs::metadata(path)
            && error.kind() == std::io::ErrorKind::NotFound
        {
            self.fault("configuration", format!("{} does not exist", path.display()), "`jitd init` writes it");
            return Policy::Wrong;
        }
        let check = if config.is_some() { "policy" } else { "configuration" };
        for fault in faults {
            let fix =
                if is_forbidden(&fault.why) { "run it as root" } else { "correct the file, then run `jitd check`" };
            self.failed(check, fault, fix);
        }
        Policy::Wrong
    }

    fn policy(&mut self, config: &Config) {
        let tested = cases::tested(&config.policy);
        let failed: Vec<_> = tested.iter().filter(|case| !case.passed).collect();
        for case in &failed {
            self.fault(
                "policy",
                cases::failed_line(&config.policy_files.policy, case),
                "correct the rule or the case, then run `jitd policy test`",
            );
        }
        if config.policy.is_empty() {
            self.warning("policy", "it has no rule, so nobody can get access", "add one, see jitd-policy(5)");
        } else if failed.is_empty() {
            self.ok(
                "policy",
                format!("{}, {}", counted(config.policy.len(), "rule"), counted(tested.len(), "passing case")),
            );
        }
    }

    fn authority(&mut self, name: &ClusterName, cluster: &ClusterConfig) -> Signs {
        let check = format!("authority {name}");
        let shown = match store::show(&cluster.authority, &cluster.key, CLOCK()) {
            Ok(shown) => shown,
            Err(_) if !cluster.authority.join(cluster.key.certificates()).exists() && Uid::effective().is_root() => {
                let folder = cluster.authority.display();
                self.fault(&check, format!("there is none in {folder}"), "`jitd init` creates it");
                return Signs::No;
            }
            Err(error) => {
                let is_forbidden = is_forbidden(&error.to_string());
                let fix = if is_forbidden { "run it as root" } else { "restore it from a backup" };
                self.failed(&check, &error, fix);
                return Signs::No;
            }
        };
        let issuing = &shown.issuing;
        let end = moment(issuing.not_after);
        // At most a third of its life, so that a certificate of one day does not cause a warning all day.
        let soon = SignedDuration::from_hours(72).min(issuing.not_after.duration_since(issuing.not_before) / 3);
        let renew = format!("`jitd ca renew {name}`, with --root-key FILE if the root key is elsewhere");
        if shown.rest <= SignedDuration::ZERO {
            self.fault(&check, format!("its issuing certificate expired {end}, so nobody gets access"), renew);
        } else if shown.rest < soon {
            self.warning(&check, format!("its issuing certificate expires {end}"), renew);
        } else {
            self.ok(&check, format!("its issuing certificate is valid until {end}"));
        }
        if shown.root_key_is_here {
            let key = cluster.authority.join(store::ROOT_KEY);
            self.warning(
                &check,
                format!("its root key is on this host, in {}", key.display()),
                format!("move it to an offline place; `jitd ca renew {name} --root-key FILE` needs it again"),
            );
        }
        if shown.plain_key_is_here {
            self.warning(
                &check,
                format!(
                    "a plain issuing key is on this host too, in {}",
                    cluster.authority.join(store::ISSUING).display()
                ),
                format!(
                    "`jitd ca seal {name}` removes it if it was sealed; if you moved the key to a token, remove it yourself"
                ),
            );
        }
        if !shown.root_file_is_current {
            self.fault(
                &check,
                "`root.crt` is not the root of the issuing certificate",
                "run `jitd ca import` again with the whole chain",
            );
        }
        if shown.rest > SignedDuration::ZERO { Signs::Yes } else { Signs::No }
    }

    /// Asks the directories of the providers, as the daemon does.
    fn directories(&mut self, config: &Config) -> Result<(), Failure> {
        for (issuer, tried) in runtime()?.block_on(config.people.try_directories()) {
            let check = format!("directory {issuer}");
            match tried {
                Ok(()) => self.ok(&check, "it answers"),
                Err(DirectoryError::Secret(SecretError::NoCredentials(name))) => {
                    self.skipped(
                        &check,
                        format!("its secret is the credential `{name}`, which systemd passes only to the daemon"),
                    );
                }
                Err(error) => {
                    self.failed(&check, &error, "`directory` of the provider in config.yaml says where it is")
                }
            }
        }
        Ok(())
    }

    fn cluster(
        &mut self,
        config: &Config,
        policy: Policy,
        name: &ClusterName,
        settings: &ClusterConfig,
    ) -> Result<(), Failure> {
        let check = format!("cluster {name}");
        let extent = match policy {
            Policy::Read => Extent::Whole,
            Policy::Wrong => Extent::Proof,
        };
        let found = examine(config, name, settings, extent)?;
        let (mut right, mut wrong) = (0_u32, 0_u32);
        for check::CheckResult { check: part, verdict, found, hint, .. } in found {
            let sentence = format!("{part}: {found}");
            match verdict {
                Verdict::Ok => right += 1,
                worse => {
                    wrong += u32::from(worse == Verdict::Fault);
                    self.tell(worse, &check, sentence, hint);
                }
            }
        }
        if right > 0 {
            self.ok(&check, format!("{} passed at {}", counted(right, "check"), settings.server));
        }
        match policy {
            Policy::Wrong => self.skipped(&check, "checking the daemon's rights needs the policy"),
            Policy::Read if right == 0 && wrong > 0 => {
                self.skipped(&check, "checking the daemon's rights needs access to the cluster");
            }
            Policy::Read => {}
        }
        Ok(())
    }
}

/// The length of the longest name of a check. A directory's name is a URL, so it does not count.
fn width(config: Option<&Config>) -> usize {
    let names = config.iter().flat_map(|config| config.clusters.keys());
    names.map(|name| format!("authority {name}").len()).max().unwrap_or(0).max("configuration ".len())
}

/// Whether the policy could be read.
#[derive(Clone, Copy)]
enum Policy {
    Read,
    Wrong,
}

/// Whether an authority can be used.
#[derive(Clone, Copy)]
enum Signs {
    Yes,
    No,
}

fn is_forbidden(why: &str) -> bool {
    why.contains("Permission denied")
}

/// A time for people to read.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
