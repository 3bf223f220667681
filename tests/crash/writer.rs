//! What is recorded: a process that appends to a trail as the daemon does, and says of each fact when it was acknowledged.
//!
//! `main.rs` starts this program again as such a process. What it says goes into the recorded folder too, and so stands in the
//! log between what was written before and after.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use jitd::grant::{Author, Event, Fact, GrantId};
use jitd::trail::{Position, Trail};

/// Where the trail lies.
pub(crate) const TRAIL: &str = "trail.db";

/// Where it says what was acknowledged: the number of an event and the hash of its line.
pub(crate) const ACKNOWLEDGED: &str = "acknowledged";

/// So many append side by side.
const WRITERS: u8 = 8;

/// Appends, ends in good order, goes on with as many, and is cut off.
pub(crate) fn write(folder: &Path, facts: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let acknowledged = File::create(folder.join(ACKNOWLEDGED)).unwrap();
    for life in [1, 2] {
        let trail = Trail::open(&folder.join(TRAIL)).unwrap().trail;
        let each = |writer| append(&trail, &acknowledged, 16 * life + writer, facts / usize::from(2 * WRITERS));
        runtime.block_on(futures::future::join_all((0..WRITERS).map(each)));
        if life == 1 {
            trail.close();
        }
    }
    std::process::abort();
}

/// A request, and what was refused about it.
async fn append(trail: &Trail, acknowledged: &File, grant: u8, facts: usize) {
    let mut last = None;
    for number in 0..facts {
        let fact = if number == 0 { requested(grant) } else { refused(grant) };
        let position = trail.append(vec![fact], last).await.unwrap();
        last = Some(position.seq);
        acknowledge(acknowledged, &position);
    }
}

fn acknowledge(mut file: &File, Position { seq, hash }: &Position) {
    // In one piece, so that it is one record.
    file.write_all(format!("{seq} {hash}\n").as_bytes()).unwrap();
}

fn fact(grant: u8, event: Event) -> Fact {
    let author = Author::Person { name: "alice".parse().unwrap(), login: None };
    author.fact(at(), Some(GrantId::from_random([grant; 10])), event)
}

pub(crate) fn refused(grant: u8) -> Fact {
    fact(grant, Event::Refused { action: "approve".to_owned(), code: "not-allowed".to_owned() })
}

pub(crate) fn requested(grant: u8) -> Fact {
    fact(grant, Event::Requested(Box::new(crate::requested::requested(at()))))
}

fn at() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}
