//! The trail by itself. `append`: what is stored together, and what is refused alone. `find`: what is asked, and how it is
//! found. `file`: what a file may be when it is opened. `whole`: that what is opened is what the facts make, whatever their
//! order.

mod append;
mod file;
mod find;
#[path = "../../../tests/support/requested.rs"]
mod requested;
mod whole;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::chain::parse;
use super::*;
use crate::grant::request::{Person, PersonName};
use crate::grant::{Author, Event, Filter, Requested};

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("jitd-trail-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn trail(&self) -> PathBuf {
        self.0.join("trail.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn id(number: u8) -> GrantId {
    GrantId::from_random([number; 10])
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn person(name: &str) -> Option<PersonName> {
    Some(name.parse().unwrap())
}

fn fact(grant: Option<u8>, by: Option<&str>, second: i64, event: Event) -> Fact {
    let author = by.and_then(person).map_or(Author::Daemon, |name| Author::Person { name, login: None });
    author.fact(at(second), grant.map(id), event)
}

pub(crate) fn requested(number: u8) -> Fact {
    let usual = requested::requested(at(0));
    let review = serde_json::json!({ "steps": [{ "groups": ["x"], "count": 2 }], "within": "1h" });
    let terms = serde_json::json!({ "rule": "payments", "steps": [{ "groups": ["payments-leads"], "count": 2 }],
        "maxTotal": "1h", "narrow": false, "drift": "revoke", "breakGlass": { "maxDuration": "1m", "review": review } });
    let event = Requested { terms: serde_json::from_value(terms).unwrap(), ..usual };
    fact(Some(number), Some("alice"), 0, Event::Requested(Box::new(event)))
}

pub(crate) fn refused(number: u8) -> Fact {
    let event = Event::Refused { action: "approve".to_owned(), code: "not-allowed".to_owned() };
    fact(Some(number), Some("dave"), 1, event)
}

pub(crate) fn withdrawn(number: u8) -> Fact {
    fact(Some(number), Some("alice"), 2, Event::Withdrawn)
}

fn started(second: i64) -> Fact {
    let event = Event::Started {
        version: "1".to_owned(),
        host: "h".to_owned(),
        policy_sha256: "0".to_owned(),
        guardrails_sha256: None,
    };
    fact(None, None, second, event)
}

/// A trail that waits for nothing.
fn simulated(folder: &Folder) -> Trail {
    let (before, after) = (|| std::future::ready(Ok(())), || std::future::ready(Ok(())));
    Trail::simulated(&folder.trail(), before, after).unwrap().trail
}

/// All lines about a grant, oldest first.
async fn lines(trail: &Trail, id: &GrantId) -> Vec<String> {
    trail.lines_of(id, None, usize::MAX).await.unwrap().0
}

/// Appends facts about several grants, each after the last one about its grant.
async fn append_each(trail: &Trail, facts: &[Fact]) {
    for together in facts.chunk_by(|one, next| one.grant == next.grant) {
        let mut after = None;
        if let Some(grant) = &together[0].grant {
            after = lines(trail, grant).await.last().map(|line| parse(line).unwrap().seq);
        }
        trail.append(together.to_vec(), after).await.unwrap();
    }
}
