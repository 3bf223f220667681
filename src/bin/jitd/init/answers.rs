//! The answers that the files are written from: the flags, and on a terminal also the user's answers.
//!
//! The type that later reads a value from the file also parses it here. This module writes nothing, and at most queries the
//! cluster's version, without a credential. `init` calls it.

use std::io::stdin;
use std::path::Path;
use std::str::FromStr;

use jitd::cluster::{Cluster, ClusterError, Credential, Endpoint, EndpointError};
use jitd::config::HostName;
use jitd::grant::policy::{Policy, Source};
use jitd::grant::request::{ClusterName, Namespace, RoleRef};

use clap::ValueEnum;

use super::distribution::Distribution;
use super::{Wanted, on_terminal};
use crate::print::{self, say};
use crate::{Failure, runtime};

/// Everything that the files are written from.
pub(super) struct Answers {
    pub(super) cluster: ClusterName,
    pub(super) server: String,
    pub(super) ca_pem: String,
    pub(super) host: HostName,
    /// None if a policy exists already.
    pub(super) policy: Option<PolicyAnswers>,
    pub(super) state: Option<String>,
    pub(super) socket: Option<String>,
    pub(super) distribution: Distribution,
}

/// The content of the first rule.
pub(super) struct PolicyAnswers {
    pub(super) requesters: String,
    pub(super) approvers: String,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) roles: Vec<RoleRef>,
}

impl Answers {
    /// Reads the flags. On a terminal it asks for missing values; otherwise it reports all of them at once.
    pub(super) fn collect(path: &Path, wanted: &Wanted) -> Result<Self, Failure> {
        let policy_is_there = path.with_file_name(Source::Policy.file_name()).symlink_metadata().is_ok();
        if !on_terminal() {
            nothing_is_missing(wanted, policy_is_there)?;
        }
        if on_terminal() {
            say!(
                "{} does not exist; it will be written from these answers. Nothing is written until you have given all of them.",
                path.display()
            );
        }
        let cluster = answer(wanted.cluster.as_deref(), "the cluster's name, as people will type it", None, parsed)?;
        let endpoint = endpoint(&cluster, wanted)?;
        let server = endpoint.server();
        if ["https://127.", "https://localhost", "https://[::1]"].iter().any(|here| server.starts_with(here)) {
            say!("note: {server} is this host itself; a kubeconfig from another host would be wrong here");
        }
        let version = match wanted.distribution {
            Some(_) => None,
            None => version(&endpoint),
        };
        let found = Distribution::found_in(version.as_deref(), endpoint.server());
        let distribution = distribution(wanted, found)?;
        let host_name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
        let first_label = host_name.split('.').next().unwrap_or_default().to_lowercase();
        let host = match (&wanted.host, on_terminal()) {
            (None, false) => parsed(&first_label)
                .map_err(|why: String| Failure::usage(why).with_hint("name this bastion with --host"))?,
            (given, _) => answer(given.as_deref(), "this bastion's name", Some(&first_label), parsed)?,
        };
        Ok(Self {
            server: endpoint.server().to_owned(),
            ca_pem: endpoint.ca_pem().to_owned(),
            policy: if policy_is_there { None } else { Some(PolicyAnswers::collect(wanted)?) },
            state: absolute(wanted.state.as_deref())?,
            socket: absolute(wanted.socket.as_deref())?,
            cluster,
            host,
            distribution,
        })
    }
}

impl PolicyAnswers {
    fn collect(wanted: &Wanted) -> Result<Self, Failure> {
        let requesters = answer(
            wanted.requesters.as_deref(),
            "the group of this host whose members may request access",
            None,
            group,
        )?;
        let approvers =
            answer(wanted.approvers.as_deref(), "the group of this host whose members approve requests", None, group)?;
        let namespaces = answers(&wanted.namespace, "the namespaces that may be requested, separated by spaces", None)?;
        let roles = answers(&wanted.role, "the ClusterRoles that may be requested, separated by spaces", Some("view"))?;
        Ok(Self { requesters, approvers, namespaces, roles })
    }
}

/// Reports all required flags that are missing, in one sentence.
fn nothing_is_missing(wanted: &Wanted, policy_is_there: bool) -> Result<(), Failure> {
    let from_kubeconfig = wanted.kubeconfig.is_some();
    let needed = [
        ("--cluster", wanted.cluster.is_some()),
        ("--server", wanted.server.is_some() || from_kubeconfig),
        ("--server-ca", wanted.server_ca.is_some() || from_kubeconfig),
        ("--requesters", wanted.requesters.is_some() || policy_is_there),
        ("--approvers", wanted.approvers.is_some() || policy_is_there),
        ("--namespace", !wanted.namespace.is_empty() || policy_is_there),
        ("--role", !wanted.role.is_empty() || policy_is_there),
    ];
    let missing: Vec<&str> = needed.iter().filter(|(_, given)| !given).map(|(flag, _)| *flag).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let instead = if missing.contains(&"--server") || missing.contains(&"--server-ca") {
        "; --kubeconfig FILE provides the server and its CA"
    } else {
        ""
    };
    Err(Failure::usage(format!("missing: {}; nothing was written", missing.join(", ")))
        .with_hint(format!("on a terminal `jitd init` asks for them{instead}")))
}

fn endpoint(cluster: &ClusterName, wanted: &Wanted) -> Result<Endpoint, Failure> {
    let usage = |error: EndpointError| Failure::usage(error.why);
    if let Some(kubeconfig) = &wanted.kubeconfig {
        return Endpoint::from_context(cluster.clone(), kubeconfig, wanted.context.as_deref()).map_err(usage);
    }
    let read = |file: &str| {
        let text = std::fs::read_to_string(file).map_err(|error| format!("`{file}`: {error}"))?;
        let probe = Endpoint::new(cluster.clone(), "https://localhost", &text);
        probe.map(|_| text).map_err(|error| format!("`{file}`: {}", error.why))
    };
    let is_url = |text: &str| {
        // Checks only the URL; the CA is the next question.
        Endpoint::new(cluster.clone(), text, ANY_PEM).map(|_| text.to_owned()).map_err(|error| error.why)
    };
    let server =
        answer(wanted.server.as_deref(), "the URL of its API server, such as https://10.0.0.1:6443", None, is_url)?;
    let given = wanted.server_ca.as_deref().map(Path::to_string_lossy);
    let ca = answer(given.as_deref(), "the file with the CA certificate of the API server, in PEM", None, read)?;
    Endpoint::new(cluster.clone(), &server, &ca).map_err(usage)
}

/// A placeholder for a CA, if only the URL is checked.
const ANY_PEM: &str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";

/// The API server's version, which it usually shows to everybody; none if it does not answer, which is not an error yet.
fn version(endpoint: &Endpoint) -> Option<String> {
    let asked = runtime().ok()?.block_on(async {
        let cluster = Cluster::connect(endpoint.clone(), "init", &Credential::Nobody).ok()?;
        Some(cluster.about().await)
    })?;
    match asked {
        Ok(about) => Some(about.version),
        Err(error @ (ClusterError::Unreachable { .. } | ClusterError::TimedOut { .. })) => {
            let sentence = error.to_string();
            say!("note: {}", sentence.lines().next().unwrap_or_default());
            None
        }
        // A server that does not show its version to anonymous users.
        Err(_) => None,
    }
}

fn distribution(wanted: &Wanted, found: Option<Distribution>) -> Result<Distribution, Failure> {
    match (wanted.distribution, found) {
        (Some(given), _) => Ok(given),
        // A recognized distribution needs no question.
        (None, Some(found)) => {
            say!("note: the cluster looks like {}; use --distribution to change that", found.word());
            Ok(found)
        }
        (None, None) if on_terminal() => {
            let words: Vec<&str> = Distribution::value_variants().iter().map(|one| one.word()).collect();
            let question = format!("the cluster's distribution: {}", words.join(", "));
            answer(None, &question, Some("other"), |text| {
                <Distribution as ValueEnum>::from_str(text, true).map_err(|_| format!("`{text}` is not one of them"))
            })
        }
        (None, None) => Ok(Distribution::Other),
    }
}

/// The flag's value, or the answer; the question is repeated until the answer is valid.
fn answer<T>(
    given: Option<&str>,
    question: &str,
    usual: Option<&str>,
    meant: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    if let Some(text) = given {
        return meant(text).map_err(Failure::usage);
    }
    loop {
        let choice = usual.map_or_else(String::new, |usual| format!(" [{usual}]"));
        print::words(format_args!("{question}{choice}: "));
        let mut line = String::new();
        if stdin().read_line(&mut line)? == 0 {
            return Err(Failure::ours("the input ended before all questions were answered; nothing was written"));
        }
        let text = line.trim();
        let text = if text.is_empty() { usual.unwrap_or_default() } else { text };
        match meant(text) {
            Ok(value) => return Ok(value),
            Err(_) if text.is_empty() => {}
            Err(why) => say!("  {why}"),
        }
    }
}

/// The same for several values.
fn answers<T: FromStr<Err: std::fmt::Display>>(
    given: &[String],
    question: &str,
    usual: Option<&str>,
) -> Result<Vec<T>, Failure> {
    let joined = (!given.is_empty()).then(|| given.join(" "));
    answer(joined.as_deref(), question, usual, |text| {
        let words: Result<Vec<T>, String> =
            text.split([' ', ',']).filter(|word| !word.is_empty()).map(parsed).collect();
        words.and_then(|words| if words.is_empty() { Err("at least one is needed".to_owned()) } else { Ok(words) })
    })
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

/// A group's name that is valid in the policy. `jitd doctor` checks whether the host knows it.
fn group(text: &str) -> Result<String, String> {
    let name = word(text);
    let policy = format!(
        "rules: [{{name: a, who: [{name}], clusters: [a], namespaces: [a], roles: [a], maxDuration: 1m, preApproved: true}}]"
    );
    match Policy::read(&policy, None) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("`{}` is not a valid group name", text.escape_default())),
    }
}

/// An absolute path, because a path in the file is relative to the file's folder.
fn absolute(path: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let whole = std::path::absolute(path)?;
    match whole.into_os_string().into_string() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Failure::usage(format!("`{}` is not UTF-8", path.display()))),
    }
}

/// A word in YAML: plain if no parser can read it as another type, otherwise quoted as in JSON.
pub(super) fn word(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ':'))
        && !text.ends_with(':')
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_back_unchanged() {
        for text in [
            "payments",
            "no",
            "1",
            "0x1f",
            "a: b",
            "DOMAIN\\ops team",
            "#a",
            "ä",
            "https://k:6443",
            "x:",
            "",
            "-",
            "\"",
            "{a}",
        ] {
            let read: Vec<String> = serde_saphyr::from_str(&format!("[{}]", word(text))).unwrap();
            assert_eq!(read, [text]);
        }
    }
}
