//! `jitd scan --suggest DIR`: writes what replaces standing grants by requests, and the plan that removes the bindings.
//!
//! It reads what the suggestion depends on, lets `jit_scan` decide, and writes the files into a folder of their own. It changes
//! nothing in the cluster.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use jitd::escape::escaped;
use jitd::grant::request::ClusterName;

use jit_scan::audit::Uses;
use jit_scan::suggest::{Grant, NewRole, NoSuggestion, Suggestion, Terms, suggest};
use jit_scan::{Access, Kind, Snapshot};

use super::live;
use super::{Input, shown};
use crate::print::{self, counted, say};
use crate::{AND, Failure};

/// What is suggested, and on which terms.
#[derive(Args)]
pub(crate) struct Options {
    /// Instead of a report, write policy rules, roles and tests that replace standing grants by requests, and a plan that
    /// removes the bindings, into this new folder.
    ///
    /// A request is as narrow as `--audit-log` says; without a log, it is as wide as the role. Nothing is changed.
    #[arg(long, value_name = "DIR", requires_all = ["cluster", "approvers"],
        conflicts_with_all = ["output", "fail_on", "baseline", "exceptions", "homes"])]
    pub(super) suggest: Option<PathBuf>,
    /// The cluster's name in the configuration of `jitd`, for --suggest.
    #[arg(long, value_name = "NAME", requires = "suggest", value_parser = cluster)]
    cluster: Option<ClusterName>,
    /// A group whose members approve the suggested requests; can be repeated.
    #[arg(long, value_name = "GROUP", requires = "suggest")]
    approvers: Vec<String>,
    /// The guardrails in force, for --suggest [default: those without a file].
    #[arg(long, value_name = "FILE", requires = "suggest")]
    guardrails: Option<PathBuf>,
}

fn cluster(text: &str) -> Result<ClusterName, String> {
    text.parse().map_err(|wrong: jitd::rbac::Malformed| wrong.why)
}

impl Options {
    /// Whether and where anything is suggested; clap lets no folder pass without a cluster.
    pub(super) fn folder(&self) -> Option<(&Path, &ClusterName)> {
        self.suggest.as_deref().zip(self.cluster.as_ref())
    }

    /// Writes the files, and prints what becomes of each grant.
    pub(super) fn write(
        &self,
        folder: &Path,
        cluster: &ClusterName,
        input: &Input,
        snapshot: &Snapshot,
        uses: Option<&Uses>,
    ) -> Result<(), Failure> {
        is_new(folder)?;
        let guardrails = self.guardrails.as_ref().map(|path| {
            std::fs::read_to_string(path).map_err(|why| Failure::usage(format!("{}: {why}", path.display())))
        });
        let terms = Terms {
            cluster: cluster.clone(),
            approvers: self.approvers.clone(),
            guardrails: guardrails.transpose()?,
            runner: if input.files.is_empty() { Some(live::Session::open(&input.live)?.runner()?) } else { None },
        };
        let access = Access::of(snapshot);
        let found = suggest(&access, uses, &terms).map_err(|why| match why {
            NoSuggestion::Guardrails { faults } => {
                let name = self.guardrails.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
                Failure::usage(faults.iter().map(|fault| fault.at(&name)).collect::<Vec<_>>().join(AND))
            }
            NoSuggestion::Contradiction { .. } => Failure::ours(why.to_string()),
        })?;
        let files = write(folder, &found)?;
        print::result(told(&found, folder, &files))?;
        if let Some(days) = uses.and_then(Uses::days).filter(|days| *days < ENOUGH_DAYS) {
            let covered = counted(u64::try_from(days).unwrap_or_default(), "day");
            print::notice(
                &format!("the logs cover {covered}; what is done less often is not in the roles"),
                "give `--audit-log` every log of the last three months",
            );
        }
        super::say_not_evaluated(snapshot.not_evaluated.iter().chain(access.not_evaluated()));
        if !found.plan.steps.is_empty() {
            let folder = shown(&folder.to_string_lossy());
            say!(
                "next: read {folder}/plan.yaml; `jitd scan apply-plan {folder} --dry-run` asks the API server about it"
            );
        }
        Ok(())
    }
}

/// What happens once a month should be in the logs at least once.
const ENOUGH_DAYS: i64 = 30;

fn is_new(folder: &Path) -> Result<(), Failure> {
    match std::fs::read_dir(folder).map(|mut files| files.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::usage(format!("`{}` is not empty", folder.display())).with_hint("name a new folder")),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(Failure::ours(format!("`{}`: {why}", folder.display()))),
    }
}

/// Writes all files. What each of the main ones contains, in words.
fn write(folder: &Path, found: &Suggestion<'_>) -> Result<Vec<String>, Failure> {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let mut files: Vec<(PathBuf, String)> = vec![("policy.yaml".into(), found.policy.clone())];
    let mut told = vec![format!(
        "policy.yaml ({}, {}, all pass)",
        counted(count(found.rules.len()), "rule"),
        counted(count(found.tests), "test")
    )];
    if !found.roles.is_empty() {
        files.push(("roles.yaml".into(), found.roles.iter().map(NewRole::yaml).collect()));
        told.push(format!("roles.yaml ({})", counted(count(found.roles.len()), "role")));
    }
    if !found.plan.steps.is_empty() {
        files.push(("plan.yaml".into(), found.plan.yaml()));
        told.push(format!("plan.yaml ({})", counted(count(found.plan.steps.len()), "step")));
    }
    files.extend(found.plan.files.iter().map(|(name, text)| (name.into(), text.clone())));
    for (name, text) in files {
        let path = folder.join(name);
        let wrong = |why: std::io::Error| Failure::ours(format!("`{}`: {why}", path.display()));
        let parent = path.parent().unwrap_or(folder);
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(wrong)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(wrong)?;
        file.write_all(text.as_bytes()).map_err(wrong)?;
    }
    Ok(told)
}

fn told(found: &Suggestion<'_>, folder: &Path, files: &[String]) -> String {
    let (people, others): (Vec<&Grant<'_>>, Vec<&Grant<'_>>) =
        found.grants.iter().partition(|grant| grant.is_of_people());
    let requested = people.iter().filter(|grant| grant.stays.is_none()).count();
    let mut text = format!(
        "grants of people and groups: {}, replaced by requests: {requested}; of programs and the system: {}\n\n",
        people.len(),
        others.len(),
    );
    let row = |grant: &&Grant<'_>| {
        let becomes = if grant.becomes.is_empty() { "-".to_owned() } else { grant.becomes.join(", ") };
        [grant.object(), grant.holding.through.to_string(), becomes, grant.evidence.clone()]
            .map(|cell| shown(&cell))
            .to_vec()
    };
    if !people.is_empty() {
        let table = print::table(&["BINDING", "WHO", "RULE", "IN THE LOGS"], people.iter().map(row).collect());
        text.push_str(&format!("{table}\n\n"));
    }
    let stays: Vec<String> = found
        .grants
        .iter()
        .filter_map(|grant| Some((grant, grant.stays.as_ref()?)))
        .map(|(grant, why)| {
            format!(
                "stays: {}, {}: {}\n",
                shown(&grant.object()),
                shown(&grant.holding.through.to_string()),
                escaped(why)
            )
        })
        .collect();
    text.extend(stays);
    let users = found.groups.iter().filter(|(_, subject)| subject.kind == Kind::User);
    text.extend(users.map(|(group, user)| {
        format!("group {}: has to exist on the bastion, and contain only {}\n", shown(group), shown(&user.to_string()))
    }));
    text.push_str(&format!("{}: {}\n", shown(&folder.to_string_lossy()), files.join(", ")));
    text
}
