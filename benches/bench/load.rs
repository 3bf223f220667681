//! A closed loop of clients: each sends its next request when it has the answer to the one before.
//!
//! One thread, no timers and no parsing beyond the status line, because the load takes its CPU time from
//! the same cores as the server. The parts that measure rates and latencies call it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::http::{Connection, Target};

/// Where a client gets its next request from.
#[derive(Clone)]
pub(crate) enum Requests {
    /// The client with this number always sends this one.
    Same(Rc<Vec<Vec<u8>>>),
    /// Each is sent once, by whoever comes first.
    Once(Rc<RefCell<Vec<Vec<u8>>>>),
}

/// What a load measured.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) answers: usize,
    pub(crate) elapsed: Duration,
    /// Of each answer, sorted.
    pub(crate) latencies: Vec<Duration>,
}

impl Measured {
    pub(crate) fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn median(&self) -> Duration {
        self.latencies[self.latencies.len() / 2]
    }
}

/// Opens so many connections.
pub(crate) async fn connect(target: &Target, count: usize) -> Result<Vec<Connection>, Failure> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(target.connect().await?);
    }
    Ok(connections)
}

/// Lets every connection send one request after the other for `time`. Any answer but a success fails the
/// run, and so does a request list that is used up: what would be measured then is something else.
pub(crate) async fn load(
    connections: Vec<Connection>,
    requests: &Requests,
    time: Duration,
) -> Result<Measured, Failure> {
    let begun = Instant::now();
    let end = begun + time;
    let mut clients = Vec::with_capacity(connections.len());
    for (number, mut connection) in connections.into_iter().enumerate() {
        let requests = requests.clone();
        clients.push(tokio::task::spawn_local(async move {
            let mut latencies = Vec::new();
            loop {
                let sent = Instant::now();
                if sent >= end {
                    return Ok(latencies);
                }
                let answer = match &requests {
                    Requests::Same(each) => connection.exchange_unbounded(&each[number]).await,
                    Requests::Once(list) => {
                        let next = list
                            .borrow_mut()
                            .pop()
                            .ok_or("every prepared request was sent before the time was over")?;
                        connection.exchange_unbounded(&next).await
                    }
                }?;
                if !(200..300).contains(&answer.status) {
                    return Err(format!("answer {}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into());
                }
                latencies.push(sent.elapsed());
            }
        }));
    }
    let mut latencies = Vec::new();
    for client in clients {
        let own: Result<Vec<Duration>, Failure> = client.await?;
        latencies.append(&mut own?);
    }
    let elapsed = begun.elapsed();
    latencies.sort_unstable();
    Ok(Measured { answers: latencies.len(), elapsed, latencies })
}

/// Sends each request once over as many connections as there are, and says how long all of it took.
pub(crate) async fn drain(connections: Vec<Connection>, requests: Vec<Vec<u8>>) -> Result<Duration, Failure> {
    let list = Rc::new(RefCell::new(requests));
    let begun = Instant::now();
    let mut clients = Vec::with_capacity(connections.len());
    for mut connection in connections {
        let list = Rc::clone(&list);
        clients.push(tokio::task::spawn_local(async move {
            loop {
                let Some(next) = list.borrow_mut().pop() else { return Ok(()) };
                let answer = connection.exchange_unbounded(&next).await?;
                if !(200..300).contains(&answer.status) {
                    return Err(format!("answer {}: {}", answer.status, String::from_utf8_lossy(&answer.body)).into());
                }
            }
        }));
    }
    for client in clients {
        let done: Result<(), Failure> = client.await?;
        done?;
    }
    Ok(begun.elapsed())
}

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
