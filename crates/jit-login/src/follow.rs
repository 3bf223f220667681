//! `ls --watch`: the list, then each grant again when it has changed, as `kubectl get --watch` prints it.
//!
//! ```text
//!  list ─► rows ─► wait for a change ─► list ─► rows that are new or different, and those that are over ─► wait …
//! ```
//! The daemon holds one call until there is something to see. It ends with Ctrl-C, with its reader, or if the daemon stays
//! unreachable. `main` calls it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jit_wire::client::{ClientError, LONGEST_WAIT};
use jit_wire::{DrainingView, ErrorCode, FilterQuery, GrantList, GrantView};

use crate::cache::tidy;
use crate::failure::Failure;
use crate::output::{Format, csv_rows, ring, say, written, yaml};
use crate::terminal;
use crate::verbs::{Caller, includes_ended, searched};
use crate::view::{GRANT_COLUMNS, Rows, draining_line, grant_cells};
use crate::wait::{RECONNECT, passes};
use crate::waiting::lacks;

/// The least time between two lists: whoever sees every grant must not use up their calls per minute in a busy hour.
const BETWEEN: Duration = Duration::from_millis(500);

/// The pause between attempts to reach the daemon.
const PAUSE: Duration = Duration::from_secs(2);

impl Caller {
    /// `ls --watch`; `bell` rings the terminal's bell when a grant begins to wait for the caller's answer.
    pub(crate) async fn follow(
        &mut self,
        all: bool,
        limit: u32,
        filter: &FilterQuery,
        bell: bool,
    ) -> Result<(), Failure> {
        let (all, who) = (includes_ended(all, filter), self.client.whoami().await?);
        searched(filter).iter().for_each(|line| say(line));
        let mut rows = Rows::default();
        let mut known: Option<BTreeMap<String, GrantView>> = None;
        let mut drain: Option<DrainingView> = None;
        let mut number = None;
        loop {
            let (last, list) = self.next(number, all, limit, filter).await?;
            number = Some(last);
            if list.draining != drain {
                say(&list.draining.as_ref().map_or("new access is granted again".to_owned(), draining_line));
                drain.clone_from(&list.draining);
            }
            let is_first = known.is_none();
            let before = known.take().unwrap_or_default();
            let mut news: Vec<GrantView> =
                list.grants.iter().filter(|grant| before.get(&grant.id) != Some(grant)).cloned().collect();
            let mut seen: BTreeMap<String, GrantView> =
                list.grants.into_iter().map(|grant| (grant.id.clone(), grant)).collect();
            for (id, grant) in before.iter().filter(|(id, _)| !seen.contains_key(*id)).collect::<Vec<_>>() {
                match self.client.show(id).await {
                    // It is further down in a list that is longer than the limit.
                    Ok(now) if now.phase == grant.phase => drop(seen.insert(id.clone(), grant.clone())),
                    Ok(now) => news.push(now),
                    Err(ClientError::Problem(problem)) if problem.known() == Some(ErrorCode::NoSuchGrant) => {}
                    // It is looked at again when the daemon is back.
                    Err(error) if passes(&error) => drop(seen.insert(id.clone(), grant.clone())),
                    Err(error) => return Err(error.into()),
                }
            }
            if is_first {
                if list.more {
                    say(&format!("showing the newest {} only; use --limit for more", news.len()));
                }
                if news.is_empty() && self.format == Format::Table {
                    say("nothing to list yet; changes are shown as they happen");
                }
            } else {
                // The newest at the bottom.
                news.reverse();
            }
            tidy(&mut self.client, &news).await;
            if !self.print(&mut rows, &news, is_first)? {
                return Ok(());
            }
            let begins = |grant: &GrantView| {
                lacks(grant, &who).is_some() && before.get(&grant.id).is_none_or(|before| lacks(before, &who).is_none())
            };
            if bell && !is_first && news.iter().any(begins) {
                ring();
            }
            known = Some(seen);
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// The list after the next change, and the number of that change. If the daemon restarts, it waits for it.
    async fn next(
        &mut self,
        mut number: Option<u64>,
        all: bool,
        limit: u32,
        filter: &FilterQuery,
    ) -> Result<(u64, GrantList), Failure> {
        let mut lost: Option<Instant> = None;
        loop {
            let asked = match self.client.changes(number, LONGEST_WAIT).await {
                Ok(last) => self.client.list(all, limit, filter).await.map(|list| (last, list)),
                Err(error) => Err(error),
            };
            match asked {
                Ok(next) => {
                    if lost.is_some() {
                        say("jitd is back");
                    }
                    return Ok(next);
                }
                Err(error) if passes(&error) => {
                    let since = *lost.get_or_insert_with(|| {
                        say(&format!("lost the connection to jitd, trying again for {} s", RECONNECT.as_secs()));
                        Instant::now()
                    });
                    if since.elapsed() > RECONNECT {
                        return Err(error.into());
                    }
                    // The numbers of another daemon begin again.
                    number = None;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Prints grants, each as one document or row; whether the reader wants more.
    fn print(&self, rows: &mut Rows, grants: &[GrantView], is_first: bool) -> Result<bool, Failure> {
        let each = |text: &dyn Fn(&GrantView) -> Result<String, Failure>| -> Result<String, Failure> {
            grants.iter().map(text).collect()
        };
        let text = match self.format {
            Format::Table => rows.of(grants, terminal::width()),
            Format::Name => each(&|grant| Ok(format!("{}\n", grant.id)))?,
            Format::Json => each(&|grant| {
                serde_json::to_string(grant)
                    .map(|line| line + "\n")
                    .map_err(|error| Failure::own(format!("cannot write the result: {error}"), ""))
            })?,
            Format::Yaml => each(&|grant| Ok(format!("---\n{}", yaml(grant)?)))?,
            Format::Csv => csv_rows(is_first.then_some(&GRANT_COLUMNS), grants.iter().map(grant_cells))?,
        };
        written(&text)
    }
}
