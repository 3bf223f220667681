//! Boards and their services: those that run on a test's machine are real (Alertmanager, an SMTP server), the others are played
//! by a small server with the documented requests and answers, because they exist only on the internet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails loudly, and reads the clock"
)]

mod played;
mod real;
mod service;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use jit_notify::board::{Board, Manner, Service};
use jit_notify::http::{Deadlines, Http};
use jit_notify::outcome::Outcome;
use jit_notify::present::{Present, Shown};
use jit_wire::notice::Audience;
use serde_json::{Value, json};

/// A client that trusts one authority of this test.
fn http() -> Http {
    let authority = rcgen::generate_simple_self_signed(["test.example".to_owned()]).unwrap();
    Http::new(vec![authority.cert.der().clone()], Deadlines::USUAL)
}

fn board(service: Service) -> Board {
    telling(service, &[])
}

/// A board that knows these people.
fn telling(service: Service, people: &[(&str, &str)]) -> Board {
    let people = people.iter().map(|(name, address)| ((*name).to_owned(), Some((*address).to_owned()))).collect();
    Board::new(service, "Europe/Berlin".parse().unwrap(), Manner { people, ..Manner::default() })
}

/// A request of alice, now, with `more`.
fn present(id: &str, now: Timestamp, more: &Value) -> Present {
    let minutes = |minutes: i64| now + SignedDuration::from_mins(minutes);
    let mut grant = json!({
        "id": id, "phase": "pending", "requester": "alice", "cluster": "prod", "namespaces": ["payments"],
        "role": "view", "access": "role view", "duration": "15m", "reason": "<!channel> queue is stuck", "rule": "oncall",
        "steps": [{"groups": ["leads"], "count": 1, "missing": 1}], "agreed": [], "digest": "d", "key": "k",
        "requestedAt": minutes(0), "deadline": minutes(30), "certificates": 0, "answers": 0, "risk": "high"
    });
    for (key, value) in more.as_object().unwrap() {
        grant[key] = value.clone();
    }
    let grant = serde_json::from_value(grant).unwrap();
    Present { host: "bastion-1".to_owned(), number: 7, at: now, says: None, grant, audience: Audience::default() }
}

fn approved() -> Value {
    json!({ "phase": "approved", "agreed": ["bob"], "steps": [{"groups": ["leads"], "count": 1, "missing": 0}] })
}

/// A board and what it shows, as the program keeps it.
struct Kept {
    http: Http,
    board: Board,
    shown: BTreeMap<String, Shown>,
}

impl Kept {
    fn new(board: Board) -> Self {
        Self { http: http(), board, shown: BTreeMap::new() }
    }

    /// Shows a request once.
    async fn show(&mut self, present: &Present, now: Timestamp) -> Option<Outcome> {
        let id = &present.grant.id;
        let (outcome, shown) = self.board.show(&self.http, true, present, self.shown.get(id), now).await?;
        if let Outcome::Delivered { .. } = outcome {
            self.shown.insert(id.clone(), shown);
        }
        Some(outcome)
    }

    /// Shows it, and expects that the service takes it.
    async fn shows(&mut self, present: &Present, now: Timestamp) {
        let outcome = self.show(present, now).await;
        assert!(matches!(outcome, Some(Outcome::Delivered { .. })), "{outcome:?}");
        assert_eq!(self.show(present, now).await, None, "there is nothing more to do");
    }
}
