//! What access this account has at this moment, in one short line for a prompt or a login banner.
//!
//! From this account's own files alone: it asks nobody, so it can't know of an end that came early unless something
//! here noticed it, and it gives nobody access. It never fails and never says why it is silent: a prompt has to come.
//! `main` calls it before anything else, for it is run at each prompt.

use std::ffi::OsString;

use jiff::Timestamp;
use serde::Serialize;

use crate::cache::{Kept, credential_file, local_grants};
use crate::failure::Failure;
use crate::folder::Folder;
use crate::now;
use crate::output::{Format, show};
use crate::text::{length, safe};

/// Names the one grant that a shell is for.
pub(crate) const GRANT_VARIABLE: &str = "JIT_GRANT";

/// Access that has not reached the end of its window.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Live {
    grant: String,
    /// `prod/payments view`
    what: String,
    until: Timestamp,
    seconds_left: i64,
}

/// Whether the arguments are the ones that a prompt has; anything else is left to the full parser.
pub(crate) fn is_all_of(arguments: &[OsString]) -> bool {
    arguments == ["status", "--short"]
}

/// Writes the line; nothing when there is no access.
pub(crate) fn run(format: Format) -> Result<(), Failure> {
    let only = std::env::var(GRANT_VARIABLE).ok();
    let mut live = found(now());
    live.retain(|live| only.as_ref().is_none_or(|only| live.grant == *only));
    let names = || live.iter().map(|live| live.grant.as_str()).collect::<Vec<_>>().join("\n");
    // A terminal that has gone away is no reason to fail either.
    let _ = show(format, &live, || line(&live), names);
    Ok(())
}

/// What is live, the first to end first.
fn found(now: Timestamp) -> Vec<Live> {
    let mut live: Vec<Live> = local_grants()
        .into_iter()
        .filter_map(|grant| {
            let folder = Folder::holding(&credential_file(&grant)).ok()??;
            let kept = Kept::find(&folder, &grant).ok()??;
            let seconds_left = kept.until.duration_since(now).as_secs();
            (kept.until > now).then_some(Live { grant, what: kept.what, until: kept.until, seconds_left })
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
    fn the_line_is_of_what_ends_first() {
        let live = |what: &str, seconds_left| Live {
            grant: String::new(),
            what: what.to_owned(),
            until: Timestamp::UNIX_EPOCH,
            seconds_left,
        };
        assert_eq!(line(&[]), "");
        assert_eq!(line(&[live("prod/payments view", 423)]), "prod/payments view 7m03s");
        assert_eq!(line(&[live("prod/\u{1b}[2J view", 42), live("b", 60)]), "prod/\\u{001b}[2J view 42s, 1 more");
    }
}
