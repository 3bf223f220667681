//! The network between the daemon and the API server: late and lost requests and answers, an API server that is down,
//! busy or refuses. A request in flight arrives whether the daemon that sent it lives or not.
//!
//! Everything that happens later without a caller, here and among strangers, is in one agenda.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Bytes;
use kube::client::Body;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tower::BoxError;

use crate::cluster::{Answer, Kind, Target, failure};
use crate::world::{World, crossing, now, sleep, world};

/// How long the daemon waits for an answer (`Limits::USUAL` of `cluster::transport`).
const PATIENCE: i64 = 5_000;

#[derive(Default)]
pub(crate) struct Network {
    agenda: BTreeMap<(i64, u64), Entry>,
    entries: u64,
    news: Arc<Notify>,
    pub(crate) down_until: i64,
    calls: u64,
}

enum Entry {
    Request(Sent),
    Chore(Box<dyn FnOnce(&mut World)>),
}

struct Sent {
    number: u64,
    method: String,
    path: String,
    query: Vec<(String, String)>,
    body: Value,
    /// In which life of the daemon it was sent, and when.
    life: u32,
    at: i64,
    tell: oneshot::Sender<Option<Answer>>,
}

impl World {
    /// Something that happens in this many milliseconds, whether the daemon lives or not.
    pub(crate) fn later(&mut self, after: u64, chore: impl FnOnce(&mut World) + 'static) {
        self.enter(after, Entry::Chore(Box::new(chore)));
    }

    fn enter(&mut self, after: u64, entry: Entry) {
        let at = self.now() + i64::try_from(after).unwrap();
        self.network.entries += 1;
        self.network.agenda.insert((at, self.network.entries), entry);
        self.network.news.notify_one();
    }

    /// Does what is due, and returns when the next is due.
    fn proceed(&mut self) -> Option<i64> {
        loop {
            let next = self.network.agenda.first_key_value()?.0.0;
            if next > self.now() {
                return Some(next);
            }
            match self.network.agenda.pop_first().unwrap().1 {
                Entry::Chore(chore) => chore(self),
                Entry::Request(sent) => self.arrived(sent),
            }
        }
    }

    fn arrived(&mut self, sent: Sent) {
        if self.network.down_until > self.now() {
            if self.happens(500) {
                // A proxy in between keeps it until the API server is up again.
                let wait = u64::try_from(self.network.down_until - self.now()).unwrap() + self.below(3_000);
                self.enter(wait, Entry::Request(sent));
            } else {
                self.note(format!("   #{} lost: the API server is down", sent.number));
                let _ = sent.tell.send(None);
            }
            return;
        }
        let is_of_the_dead = sent.life != self.life || !self.alive;
        let is_given_up = sent.tell.is_closed() || self.now() - sent.at > PATIENCE;
        let answer = self.serve(&sent.method, &sent.path, &sent.query, &sent.body);
        let whose = if is_of_the_dead {
            ", sent by a daemon that is dead"
        } else if is_given_up {
            ", given up by the daemon"
        } else {
            ""
        };
        self.note(format!("   #{} {} {}{whose}: {}", sent.number, sent.method, sent.path, answer.0));
        if sent.method == "POST" && sent.path.ends_with("bindings") && answer.0 == 201 {
            match (is_of_the_dead, is_given_up) {
                (true, _) => self.count("late: a binding that a daemon made after its death"),
                (_, true) => self.count("late: a binding that the daemon had given up"),
                _ => {}
            }
        }
        let _ = sent.tell.send(Some(answer));
    }

    /// Everything that can fail before the request leaves: an immediate answer, or no connection.
    fn turned_away(&mut self) -> Option<Result<(Answer, Option<u64>), &'static str>> {
        if self.network.down_until > self.now() {
            return Some(Err("no route to host"));
        }
        if self.fails(15, "connection refused") {
            return Some(Err("connection refused"));
        }
        if self.fails(15, "too many requests") {
            let seconds = 1 + self.below(3);
            return Some(Ok((failure(429, "TooManyRequests"), Some(seconds))));
        }
        if self.fails(8, "the API server fails") {
            let code = self.one_of(&[500, 503]);
            return Some(Ok((failure(code, "InternalError"), None)));
        }
        if self.fails(3, "the API server forbids") {
            return Some(Ok((failure(403, "Forbidden"), None)));
        }
        None
    }
}

/// A header that counts here as a part of the query.
pub(crate) const IMPERSONATING: &str = "impersonate-user";

/// Passes a request to the API server, and its answer back.
pub(crate) async fn exchange(request: Request<Body>) -> Result<Response<Bytes>, BoxError> {
    crossing("a request").await;
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
    let (method, path) = (head.method.to_string(), head.uri.path().to_owned());
    let mut query: Vec<(String, String)> = serde_urlencoded::from_str(head.uri.query().unwrap_or(""))?;
    query.extend(head.headers.contains_key(IMPERSONATING).then(|| (IMPERSONATING.to_owned(), String::new())));
    let (turned_away, number) = world(|world| {
        world.network.calls += 1;
        world.count("API calls");
        let number = world.network.calls;
        world.note(format!("   #{number} {method} {path} is sent"));
        world.oracle_saw_sent(&method, &path, &query, &body);
        (world.turned_away(), number)
    });
    if let Some(answer) = turned_away {
        sleep(world(|world| 1 + world.below(50))).await;
        crossing("a refusal").await;
        world(|world| world.note(format!("   #{number} is turned away: {answer:?}")));
        return respond(answer?);
    }
    let (tell, told) = oneshot::channel();
    let ends_comparison = method == "GET" && matches!(Target::of(&path), Target::All(Kind::ClusterRoleBinding, _));
    let answer_is_lost = world(|world| {
        let late = world.fails(30, "a request is late");
        let travels = if late { 100 + world.below(9_000) } else { 1 + world.below(20) };
        let (life, at) = (world.life, world.now());
        let sent = Sent { number, method, path, query, body, life, at, tell };
        world.enter(travels, Entry::Request(sent));
        world.fails(30, "an answer is lost")
    });
    let answer = told.await?;
    sleep(world(|world| 1 + world.below(4))).await;
    crossing("an answer").await;
    match answer {
        Some(_) if answer_is_lost => {
            let is_told = world(|world| world.happens(300));
            world(|world| world.note(format!("   #{number} its answer is lost")));
            // From a proxy, or from nobody.
            if is_told { respond((failure(504, "Timeout"), None)) } else { Err("connection reset".into()) }
        }
        Some(answer) => {
            if ends_comparison && answer.0 == 200 && answer.1["metadata"]["continue"] == "" {
                world(World::oracle_saw_compared);
            }
            respond((answer, None))
        }
        None => Err("connection reset".into()),
    }
}

fn respond(((code, body), retry_after): (Answer, Option<u64>)) -> Result<Response<Bytes>, BoxError> {
    let mut response = Response::builder().status(code);
    if let Some(seconds) = retry_after {
        response = response.header("retry-after", seconds);
    }
    Ok(response.body(Bytes::from(body.to_string()))?)
}

/// Time passes, whether the daemon lives or not.
pub(crate) async fn go_on() {
    let news = world(|world| Arc::clone(&world.network.news));
    loop {
        let next = world(World::proceed);
        let wait = next.map_or(Duration::from_secs(3600), |next| {
            Duration::from_millis(u64::try_from(next - now()).unwrap().max(1))
        });
        tokio::select! {
            biased;
            () = news.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
