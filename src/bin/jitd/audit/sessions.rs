//! `jitd audit sessions`: what was done through the gateway, as a table or as JSON, and what of it does not verify.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use jitd::grant::GrantId;
use jitd::sessions::{FOLDER, Found, HEADINGS, Sessions, faults, is_session, rows};
use jitd::trail;
use jitd::wire::kept::{GrantLog, ReadingBody};

use crate::print::{self, Output, counted, say};
use crate::{AND, Failure, operate, read};

/// Which requests, and from where.
#[derive(Args)]
pub(crate) struct List {
    /// Only this grant, with every request, or only this session; the beginning of its id is enough.
    #[arg(value_name = "GRANT|SESSION")]
    id: Option<String>,
    /// Also requests that only read.
    #[arg(long, requires = "id")]
    reads: bool,
    #[command(flatten)]
    folder: Folder,
    /// Output format.
    #[arg(long, short, default_value = "text", value_enum)]
    output: Output,
}

/// The folder of all logs.
#[derive(Args)]
pub(super) struct Folder {
    /// The gateway's folder of sessions, or a copy of it [default: `sessions` of the configuration].
    #[arg(long = "folder", value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// Compare the logs with this trail or backup [default: the trail of the configuration, if there is one].
    #[arg(long, value_name = "FILE")]
    trail: Option<PathBuf>,
}

impl Folder {
    /// Opens it, and reads from the trail where the logs stood.
    pub(super) fn open(&self, config: &Path) -> Result<(Sessions, Gone), Failure> {
        let configured = if config.exists() { Some(read(config)?) } else { None };
        let usual = || configured.as_ref().map_or_else(|| FOLDER.into(), |config| config.sessions.clone());
        let sessions = Sessions::open(&self.path.clone().unwrap_or_else(usual))?;
        let trail = match (&self.trail, &configured) {
            (Some(trail), _) => trail.clone(),
            (None, Some(config)) => config.trail(),
            (None, None) => {
                say!("not compared with an audit trail: there is no `{}`, and no --trail", config.display());
                return Ok((sessions, Gone::default()));
            }
        };
        let heads = trail::log_heads(&trail)?;
        let mut gone = Gone { deleted: trail::deleted_sessions(&trail)?, missing: Vec::new() };
        let missing = heads.keys().filter(|grant| !sessions.has(grant) && !gone.deleted.contains_key(*grant));
        gone.missing = missing.cloned().collect();
        Ok((sessions.with_trail(heads), gone))
    }

    /// Tells the daemon of a reading, unless it is of a copy. Root can read the files in any case, so a reading that cannot
    /// be recorded is not refused, but it is said.
    pub(super) fn tell(&self, config: &Path, reading: &ReadingBody) {
        if self.path.is_none()
            && let Err(failure) = operate::tell_reading(config, reading)
        {
            say!("this reading is not recorded in the audit trail: {failure}");
        }
    }
}

/// The grants that have no folder any more, by the trail.
#[derive(Default)]
pub(super) struct Gone {
    /// Deleted because they were kept for long enough, and when.
    deleted: BTreeMap<GrantId, Timestamp>,
    /// Not deleted by the gateway.
    missing: Vec<GrantId>,
}

impl Gone {
    /// What the trail says about an id, or the beginning of one, that no folder has.
    pub(super) fn says(&self, written: &str) -> Option<String> {
        let beginning = GrantId::as_written(written);
        let is_meant = |grant: &&GrantId| GrantId::is_beginning(&beginning) && grant.as_str().starts_with(&beginning);
        if let Some(grant) = self.deleted.keys().find(is_meant) {
            let at = self.deleted.get(grant)?;
            return Some(format!(
                "what was kept of grant {grant} was deleted at {at:.0}, by `keepSessions` of the guardrails"
            ));
        }
        let grant = self.missing.iter().find(is_meant)?;
        Some(format!("grant {grant} has a log by the audit trail, and no folder here: it was removed, or is elsewhere"))
    }
}

/// The JSON.
#[derive(Serialize)]
struct Listed<'a> {
    grants: &'a [GrantLog],
}

pub(crate) fn list(config: &Path, list: &List) -> Result<(), Failure> {
    let (mut sessions, gone) = list.folder.open(config)?;
    let logs = match &list.id {
        None => {
            let mut logs = Vec::new();
            for grant in sessions.grants()? {
                logs.push(sessions.read(&grant, |_, asked, _| is_session(asked))?);
            }
            logs
        }
        Some(id) => match sessions.find(id).map_err(|error| gone.says(id).map_or(error.into(), Failure::ours))? {
            Found::Grant(grant) => vec![sessions.read(&grant, |_, _, only_reads| list.reads || !only_reads)?],
            Found::Session(grant, session) => vec![sessions.read(&grant, |id, _, _| id == session)?],
        },
    };
    match list.output {
        Output::Json => print::json(&Listed { grants: &logs })?,
        Output::Text => text(&logs, list.id.is_some())?,
    }
    if list.id.is_none() && !gone.deleted.is_empty() {
        say!(
            "{} deleted after the time that the guardrails keep them",
            counted(gone.deleted.len() as u64, "more grant")
        );
    }
    if list.id.is_none() && !gone.missing.is_empty() {
        let one = gone.missing.first().map(ToString::to_string).unwrap_or_default();
        say!(
            "no folder here: {} with a log by the audit trail, such as {one}",
            counted(gone.missing.len() as u64, "grant")
        );
    }
    let faults: Vec<String> = logs.iter().flat_map(faults).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::ours(faults.join(AND)).with_hint("keep the files unchanged as evidence"))
}

fn text(logs: &[GrantLog], is_one: bool) -> Result<(), Failure> {
    let rows = rows(logs);
    if rows.is_empty() {
        say!("{}", if is_one { "nothing but reads" } else { "no session was recorded" });
    } else {
        print::result(print::table(&HEADINGS, rows))?;
    }
    let sum = |count: fn(&GrantLog) -> u64| logs.iter().map(count).fold(0_u64, u64::saturating_add);
    let (others, left_out) = (sum(|log| log.others), sum(|log| log.left_out));
    if others > 0 {
        let how = if is_one { "--reads" } else { "name a grant" };
        say!("{} not listed: {how}", counted(others, "other request"));
    }
    if left_out > 0 {
        say!(
            "{} left out, because there are too many for one list: name a grant or a session",
            counted(left_out, "request")
        );
    }
    Ok(())
}
