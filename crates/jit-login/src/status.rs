//! This account's current access, in one short line for a prompt or a login banner.
//!
//! It reads only this account's files and calls nobody, so it does not know of an early end unless a command on this host
//! noticed it. It never fails and never prints an error, so that it cannot break a prompt. `main` calls it before anything
//! else, because it runs for each prompt.

use std::ffi::OsString;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::cache::{Kept, credential_file, local_grants};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::now;
use crate::output::{Format, show};
use crate::text::{length, safe};

/// The variable that names the grant of a shell.
pub(crate) const GRANT_VARIABLE: &str = "JIT_GRANT";

/// Access whose window has not ended.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Live {
    /// The id of the grant.
    id: String,
    /// `prod/payments view`
    what: String,
    /// The end of the window.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
    /// How long that is from now.
    seconds_left: i64,
}

/// Whether these are the arguments of a prompt; the full parser handles all others.
pub(crate) fn is_all_of(arguments: &[OsString]) -> bool {
    arguments == ["status", "--short"]
}

/// Writes the line; nothing if there is no access.
pub(crate) fn run(format: Format) -> Result<(), Failure> {
    let only = std::env::var(GRANT_VARIABLE).ok();
    let mut live = found(now());
    live.retain(|live| only.as_ref().is_none_or(|only| live.id == *only));
    let names = || live.iter().map(|live| live.id.as_str()).collect::<Vec<_>>().join("\n");
    // A closed terminal is not a failure either.
    let _ = show(format, &live, || line(&live), names);
    Ok(())
}

/// Live access, the one that ends first comes first.
fn found(now: Timestamp) -> Vec<Live> {
    let mut live: Vec<Live> = local_grants()
        .into_iter()
        .filter_map(|grant| {
            let folder = Folder::holding(&credential_file(&grant)).ok()??;
            let kept = Kept::find(&folder, &grant).ok()??;
            let seconds_left = kept.until.duration_since(now).as_secs();
            (kept.until > now).then_some(Live { id: grant, what: kept.what, until: kept.until, seconds_left })
        })
        .collect();
    live.sort_by_key(|live| live.until);
    live
}

/// `prod/payments view 7m`, `prod/payments view 7m, 1 more`
fn line(live: &[Live]) -> String {
    let Some((first, more)) = live.split_first() else { return String::new() };
    let more = if more.is_empty() { String::new() } else { format!(", {} more", more.len()) };
    format!("{} {}{more}", safe(&first.what), length(first.seconds_left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_the_access_that_ends_first() {
        let live = |what: &str, seconds_left| Live {
            id: String::new(),
            what: what.to_owned(),
            until: Timestamp::UNIX_EPOCH,
            seconds_left,
        };
        assert_eq!(line(&[]), "");
        assert_eq!(line(&[live("prod/payments view", 423)]), "prod/payments view 7m03s");
        assert_eq!(line(&[live("prod/\u{1b}[2J view", 42), live("b", 60)]), "prod/\\u{001b}[2J view 42s, 1 more");
    }
}
