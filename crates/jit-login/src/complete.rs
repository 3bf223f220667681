//! Candidates for completion from the daemon: clusters, namespaces and roles that the caller may request, and grants.
//!
//! It changes nothing and prints no errors: if the daemon does not answer within [`PATIENCE`], there are no candidates. The
//! definitions in `arguments.rs` say which argument gets which candidates; clap's completion engine calls it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::{ArgValueCandidates, CompletionCandidate};
use jit_wire::{EntitlementView, FilterQuery, GrantView};

use crate::daemon::{Daemon, runtime};
use crate::failure::Failure;
use crate::text::safe;
use crate::view::sentence;

/// The completion scripts set it to the name of the shell.
pub(crate) const COMPLETE_VARIABLE: &str = "JIT_LOGIN_COMPLETE";

/// How long a completion may take, and whatever else nobody asked for.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);

/// The maximum number of grants; nobody reads more.
const MOST_GRANTS: u32 = 50;

/// The kind of an argument.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Clusters.
    Clusters,
    /// Namespaces that are listed by name; only the cluster knows those of a glob.
    Namespaces,
    /// Roles.
    Roles,
    /// Open grants that the caller may see.
    Grants,
    /// All grants, because a repeated request is usually over.
    EarlierGrants,
}

/// The candidates for an argument.
pub(crate) fn offers(kind: Kind) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let words: Vec<OsString> = std::env::args_os().collect();
        found(kind, &words).unwrap_or_default()
    })
}

/// The candidates of a kind; none if the daemon does not answer in time.
fn found(kind: Kind, words: &[OsString]) -> Option<Vec<CompletionCandidate>> {
    let server_user = option(words, "--server-user").and_then(OsStr::to_str);
    let daemon = Daemon::new(option(words, "--socket").map(PathBuf::from), server_user).ok()?;
    let asked = runtime().ok()?.block_on(async { tokio::time::timeout(PATIENCE, ask(kind, &daemon, words)).await });
    asked.ok()?.ok()
}

async fn ask(kind: Kind, daemon: &Daemon, words: &[OsString]) -> Result<Vec<CompletionCandidate>, Failure> {
    let mut client = daemon.connect().await?;
    if let Kind::Grants | Kind::EarlierGrants = kind {
        let list = client.list(matches!(kind, Kind::EarlierGrants), MOST_GRANTS, &FilterQuery::default()).await?;
        let described = |grant: &GrantView| format!("{}: {}", safe(&grant.requester), sentence(grant));
        return Ok(list.grants.iter().filter_map(|grant| candidate(&grant.id, Some(described(grant)))).collect());
    }
    let entitlements = client.entitlements().await?.entitlements;
    // If the line already names a cluster, candidates of other clusters are left out.
    let names = |word: &OsString, name: &str| word.to_str().and_then(|word| word.rsplit('=').next()) == Some(name);
    let named = |one: &EntitlementView| words.iter().any(|word| one.clusters.iter().any(|name| names(word, name)));
    let is_named = entitlements.iter().any(named);
    let mut all: Vec<&String> = Vec::new();
    for one in entitlements.iter().filter(|one| matches!(kind, Kind::Clusters) || !is_named || named(one)) {
        all.extend(match kind {
            Kind::Clusters => &one.clusters,
            Kind::Namespaces => &one.namespaces,
            _ => &one.roles,
        });
    }
    all.sort_unstable();
    all.dedup();
    Ok(all.into_iter().filter_map(|word| candidate(word, None)).collect())
}

/// A candidate, if a shell reads it as one plain word; globs and selectors are left out.
fn candidate(word: &str, help: Option<String>) -> Option<CompletionCandidate> {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-._/:".contains(c));
    plain.then(|| CompletionCandidate::new(word).help(help.map(Into::into)))
}

/// The value of an option on the line: `--name VALUE`, or `--name=VALUE`, which bash gives us as three words.
fn option<'a>(words: &'a [OsString], name: &str) -> Option<&'a OsStr> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_bytes().strip_prefix(name.as_bytes()) {
            Some([]) => return words.find(|word| *word != "=").map(OsString::as_os_str),
            Some([b'=', value @ ..]) => return Some(OsStr::from_bytes(value)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_has_its_value_behind_a_blank_or_an_equals_sign() {
        for (line, value) in [
            ("jit-login --socket /run/a.sock ls", Some("/run/a.sock")),
            ("jit-login --socket=/run/a.sock ls", Some("/run/a.sock")),
            ("jit-login --socket = /run/a.sock ls", Some("/run/a.sock")),
            ("jit-login --socket-of=/run/b.sock --socket=/run/a=b", Some("/run/a=b")),
            ("jit-login --socket=", Some("")),
            ("jit-login ls --socket", None),
            ("jit-login ls", None),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(option(&words, "--socket").and_then(OsStr::to_str), value, "{line}");
        }
    }
}
