//! The files of the first run: they are written as drafts, read as the daemon reads them, then linked into place.
//!
//! ```text
//!  answers ─► /etc/jitd/.init-…/{config,policy,guardrails}.yaml ─► read, tests of the policy ─► linked, config.yaml last
//!             (for a provider's cluster also two kubeconfigs, and the gateway's configuration)
//! ```
//! It never replaces a file, because a link fails if the name exists. `config.yaml` comes last, because the service starts
//! only if it exists. `init` calls it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, fchown};
use std::path::{Path, PathBuf};

use jitd::config::Config;
use jitd::grant::digest::hex;
use jitd::grant::policy::Source;
use jitd::hint::page;
use serde::Serialize;
use utoipa::ToSchema;

use super::Account;
use super::answers::{Answers, PolicyAnswers, word};
use super::managed::{self, Program, Provider};
use crate::policy::cases;
use crate::print::say;
use crate::{AND, Failure};

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fate {
    /// It was written.
    Written,
    /// It existed and is unchanged.
    Left,
}

/// A file, and what happened to it.
#[derive(Serialize, ToSchema)]
pub(super) struct FileOutcome {
    #[schema(value_type = String)]
    path: PathBuf,
    fate: Fate,
}

impl FileOutcome {
    pub(super) fn left(path: &Path) -> Self {
        Self { path: path.to_owned(), fate: Fate::Left }
    }
}

/// Writes all missing files, or none.
pub(super) fn write(path: &Path, answers: &Answers, account: Option<&Account>) -> Result<Vec<FileOutcome>, Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| no_name(path))?;
    let authority = format!("{}-ca.crt", answers.cluster);
    let kubeconfig = format!("{}.kubeconfig", answers.cluster);
    let [gateway_config, gateway_kubeconfig] = managed::gateway_files(answers.cluster.as_str());
    let mut taken = vec![Source::Policy.file_name(), Source::Guardrails.file_name(), authority.as_str()];
    let provider = Provider::of(answers.distribution);
    if provider.is_some() {
        taken.extend([kubeconfig.as_str(), &gateway_config, &gateway_kubeconfig]);
    }
    if taken.contains(&name) {
        return Err(no_name(path));
    }
    let made_folder = make_folder(folder, account)?;
    let staged = Staged::new(folder)?;
    let mut texts = vec![(authority.as_str(), answers.ca_pem.clone())];
    if let Some(policy) = &answers.policy {
        texts.push((Source::Guardrails.file_name(), filled(GUARDRAILS_TEXT, &of_policy(answers, policy))));
        texts.push((Source::Policy.file_name(), filled(POLICY_TEXT, &of_policy(answers, policy))));
    }
    if let Some(provider) = provider {
        texts.push((&kubeconfig, provider.kubeconfig(Program::Daemon, answers)));
        texts.push((&gateway_kubeconfig, provider.kubeconfig(Program::Gateway, answers)));
        texts.push((&gateway_config, managed::gateway_config(answers)));
    }
    let access = if provider.is_some() { MANAGED_TEXT } else { OWN_TEXT };
    texts.push((name, filled(&format!("{CONFIG_TEXT}{access}"), &of_config(answers, folder, &authority))));

    let written = stage(&staged, folder, &texts, account)
        .and_then(|fates| check(&staged.0, folder, name).map(|()| fates))
        .and_then(|fates| link(&staged, folder, &texts, &fates));
    let outcomes = match written {
        Ok(outcomes) => outcomes,
        Err(failure) => {
            drop(staged);
            if made_folder {
                // This fails if somebody else's file is in it.
                let _ = fs::remove_dir(folder);
            }
            return Err(failure);
        }
    };
    for file in &outcomes {
        match file.fate {
            Fate::Written => say!("wrote {}", file.path.display()),
            Fate::Left => say!("{} exists and is unchanged", file.path.display()),
        }
    }
    Ok(outcomes)
}

fn no_name(path: &Path) -> Failure {
    Failure::usage(format!("`{}` is not allowed as the name of the configuration; nothing was written", path.display()))
}

/// Creates the folder: accessible to root and the account's group, or to the caller only.
fn make_folder(folder: &Path, account: Option<&Account>) -> Result<bool, Failure> {
    if folder.is_dir() {
        return Ok(false);
    }
    DirBuilder::new().mode(0o700).recursive(true).create(folder).map_err(|error| failed(folder, &error))?;
    if let Some(account) = account {
        chown(folder, None, Some(account.gid.as_raw())).map_err(|error| failed(folder, &error))?;
        fs::set_permissions(folder, Permissions::from_mode(0o750)).map_err(|error| failed(folder, &error))?;
    }
    Ok(true)
}

/// The folder of the drafts; dropping this removes it.
struct Staged(PathBuf);

impl Staged {
    fn new(folder: &Path) -> Result<Self, Failure> {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| Failure::ours("the host provides no random numbers"))?;
        let path = folder.join(format!(".init-{}", hex(&random)));
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| failed(folder, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // If this fails, its name shows what it was.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes each draft, or a copy of the existing file, so that all can be read together.
fn stage(
    staged: &Staged,
    folder: &Path,
    texts: &[(&str, String)],
    account: Option<&Account>,
) -> Result<Vec<Fate>, Failure> {
    let copied = |name: &str| -> Result<bool, Failure> {
        let place = folder.join(name);
        if place.symlink_metadata().is_err() {
            return Ok(false);
        }
        fs::copy(&place, staged.0.join(name)).map(|_| true).map_err(|error| failed(&place, &error))
    };
    for name in [Source::Policy.file_name(), Source::Guardrails.file_name()] {
        if !texts.iter().any(|(other, _)| *other == name) {
            copied(name)?;
        }
    }
    let mut fates = Vec::new();
    for (name, text) in texts {
        fates.push(if copied(name)? {
            Fate::Left
        } else {
            draft(&staged.0.join(name), text, account).map_err(|error| failed(&folder.join(name), &error))?;
            Fate::Written
        });
    }
    Ok(fates)
}

fn draft(place: &Path, text: &str, account: Option<&Account>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
    if let Some(account) = account {
        fchown(&file, None, Some(account.gid.as_raw()))?;
        file.set_permissions(Permissions::from_mode(0o640))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Reads the drafts as the daemon does, except for placeholders, and runs the policy's tests.
fn check(staged: &Path, folder: &Path, name: &str) -> Result<(), Failure> {
    let (from, to) = (staged.display().to_string(), folder.display().to_string());
    let invalid = |faults: Vec<String>| {
        let faults: Vec<String> = faults.iter().map(|fault| fault.replace(&from, &to)).collect();
        Failure::usage(format!("{}; nothing was written", faults.join(AND)))
    };
    let config = Config::read_with_placeholders(&staged.join(name)).map_err(|faults| invalid(faults.lines()))?;
    let failed = cases::tested(&config.policy);
    let failed = failed.iter().filter(|tested| !tested.passed);
    let faults: Vec<String> = failed.map(|tested| cases::failed_line(&config.policy_files.policy, tested)).collect();
    if faults.is_empty() { Ok(()) } else { Err(invalid(faults)) }
}

/// Links the drafts into place; if one fails, it removes those that it linked before.
fn link(staged: &Staged, folder: &Path, texts: &[(&str, String)], fates: &[Fate]) -> Result<Vec<FileOutcome>, Failure> {
    let mut outcomes: Vec<FileOutcome> = Vec::new();
    for ((name, _), fate) in texts.iter().zip(fates) {
        let place = folder.join(name);
        let fate = match fate {
            Fate::Left => Ok(Fate::Left),
            Fate::Written => fs::hard_link(staged.0.join(name), &place).map(|()| Fate::Written),
        };
        match fate {
            Ok(fate) => outcomes.push(FileOutcome { path: place, fate }),
            Err(error) => {
                for file in outcomes.iter().filter(|file| file.fate == Fate::Written) {
                    let _ = fs::remove_file(&file.path);
                }
                return Err(failed(&place, &error));
            }
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, &error))?;
    Ok(outcomes)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::ours(format!("cannot write `{}`: {error}; nothing was written", path.display()));
    match error.kind() {
        io::ErrorKind::PermissionDenied => failure.with_hint("run it as root, or name another file with --config"),
        _ => failure,
    }
}

const CONFIG_TEXT: &str = include_str!("config.yaml");
/// The end of it: the daemon's own access.
const OWN_TEXT: &str = include_str!("own.yaml");
const MANAGED_TEXT: &str = include_str!("managed.yaml");
const POLICY_TEXT: &str = include_str!("policy.yaml");
const GUARDRAILS_TEXT: &str = include_str!("guardrails.yaml");

type Words = Vec<(&'static str, String)>;

fn of_config(answers: &Answers, folder: &Path, authority: &str) -> Words {
    let state = answers.state.as_deref().unwrap_or("/var/lib/jitd");
    let socket = answers.socket.as_deref().unwrap_or("/run/jitd/api.sock");
    let unset = |given: &Option<String>| if given.is_some() { "" } else { "#" }.to_owned();
    let provider = Provider::of(answers.distribution);
    let user = |program| provider.map_or_else(String::new, |provider| provider.user(program, answers.host.as_str()));
    let requesters = answers.policy.as_ref().map_or("payments-oncall", |policy| policy.requesters.as_str());
    vec![
        ("{keys}", page("keys.md")),
        ("{host}", word(answers.host.as_str())),
        ("{cluster}", word(answers.cluster.as_str())),
        ("{server}", word(&answers.server)),
        ("{ca}", word(authority)),
        ("{daemonUser}", word(&user(Program::Daemon))),
        ("{gatewayUser}", word(&user(Program::Gateway))),
        ("{requesters}", word(requesters)),
        ("{#state}", unset(&answers.state)),
        ("{#socket}", unset(&answers.socket)),
        ("{authority}", word(&folder.join(state).join("ca").join(answers.cluster.as_str()).display().to_string())),
        ("{state}", word(state)),
        ("{socket}", word(socket)),
    ]
}

fn of_policy(answers: &Answers, policy: &PolicyAnswers) -> Words {
    let namespaces: Vec<String> = policy.namespaces.iter().map(|name| word(name.as_str())).collect();
    let roles: Vec<String> = policy.roles.iter().map(|role| word(&role.to_string())).collect();
    let first = |words: &[String]| words.first().cloned().unwrap_or_default();
    vec![
        ("{rule}", first(&namespaces)),
        ("{cluster}", word(answers.cluster.as_str())),
        ("{requesters}", word(&policy.requesters)),
        ("{approvers}", word(&policy.approvers)),
        ("{namespace}", first(&namespaces)),
        ("{namespaces}", namespaces.join(", ")),
        ("{role}", first(&roles)),
        ("{roles}", roles.join(", ")),
    ]
}

/// Replaces all placeholders in one pass, so that an answer is never read as a placeholder.
pub(super) fn filled(template: &str, words: &[(&'static str, String)]) -> String {
    let (mut text, mut rest) = (String::with_capacity(template.len()), template);
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        match words.iter().find_map(|(place, word)| Some((word, from.strip_prefix(place)?))) {
            Some((word, after)) => {
                text.push_str(word);
                rest = after;
            }
            None => {
                text.push('{');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_not_read_as_a_placeholder() {
        let words = vec![("{a}", "{b}".to_owned()), ("{b}", "x".to_owned())];
        assert_eq!(filled("{a} {b} {c: {a}} {", &words), "{b} x {c: {b}} {");
    }
}
