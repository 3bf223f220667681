//! What may follow a word that is being typed, out of the daemon: clusters, namespaces and roles that the caller may request,
//! and grants.
//!
//! It changes nothing and says nothing: without a daemon, or one that answers within [`PATIENCE`], nothing is offered. The
//! definitions in `arguments.rs` say what goes where; clap's engine calls it at a TAB.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap_complete::{ArgValueCandidates, CompletionCandidate};
use jit_wire::{EntitlementView, FilterQuery, GrantView};

use crate::daemon::{Daemon, runtime};
use crate::failure::Failure;
use crate::text::safe;
use crate::view::sentence;

/// Set by the completion scripts, to the shell that asks.
pub(crate) const COMPLETE_VARIABLE: &str = "JIT_LOGIN_COMPLETE";

/// The longest that TAB may take.
const PATIENCE: Duration = Duration::from_millis(300);

/// So many grants are offered; nobody reads more.
const MOST_GRANTS: u32 = 50;

/// What a word names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Clusters.
    Clusters,
    /// Namespaces by name; those of a glob only the cluster knows.
    Namespaces,
    /// Roles.
    Roles,
    /// Open grants that the caller may see.
    Grants,
    /// All of them, for what is repeated is over.
    EarlierGrants,
}

/// The candidates for an argument.
pub(crate) fn offers(kind: Kind) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        let words: Vec<OsString> = std::env::args_os().collect();
        found(kind, &words).unwrap_or_default()
    })
}

/// What there is of a kind; none when it is not known, or not soon.
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
    // A cluster that is on the line already leaves out what is elsewhere.
    let named = |one: &EntitlementView| words.iter().any(|word| one.clusters.iter().any(|name| word == name.as_str()));
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

/// A word that a shell takes for one word and for nothing else. Globs and selectors are none.
fn candidate(word: &str, help: Option<String>) -> Option<CompletionCandidate> {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-._/:".contains(c));
    plain.then(|| CompletionCandidate::new(word).help(help.map(Into::into)))
}

/// The value of an option on the line.
fn option<'a>(words: &'a [OsString], name: &str) -> Option<&'a OsStr> {
    let at = words.iter().position(|word| word == name)?;
    words.get(at.checked_add(1)?).map(OsString::as_os_str)
}
