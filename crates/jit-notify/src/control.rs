//! The socket of the running program, for `jit-notify status`, `test` and `replay`: one question, one answer, in JSON.
//!
//! It is in the folder of the states, which only the account of the program and root may enter. So a test is one of the real
//! channel, with its credentials and in its confinement.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jit_wire::feed::{self, Documents};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::feeds::Order;
use crate::outcome::Outcome;
use crate::status::Status;

/// The socket, in the folder of the states.
const NAME: &str = "control.sock";

/// The longest question and the longest answer, in bytes.
const LONGEST: usize = 1 << 20;

/// How long an answer may take: a receiver has 30 s for a test.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// How are the channels?
    Status,
    /// Sends a made-up fact through a channel.
    Test {
        /// The channel.
        channel: String,
    },
    /// Sends everything again since a time.
    Replay {
        /// The channel.
        channel: String,
        /// The time.
        since: Timestamp,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// How the channels are.
    Status {
        /// Each of them, in the order of the configuration.
        channels: Vec<Status>,
    },
    /// It is done.
    Done,
    /// It is not.
    Failed {
        /// Why.
        why: String,
    },
}

/// The channels that run.
#[derive(Default)]
pub struct Channels {
    statuses: Vec<Arc<Mutex<Status>>>,
    orders: BTreeMap<String, mpsc::Sender<Order>>,
}

impl Channels {
    /// Adds a channel.
    pub fn add(&mut self, name: String, status: Arc<Mutex<Status>>, orders: mpsc::Sender<Order>) {
        self.statuses.push(status);
        self.orders.insert(name, orders);
    }

    /// How the channels are, in the order of the configuration.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        self.statuses.iter().map(|status| status.lock().clone()).collect()
    }

    async fn answer(&self, question: Question) -> Reply {
        let (channel, order, answered) = match question {
            Question::Status => {
                return Reply::Status { channels: self.statuses() };
            }
            Question::Test { channel } => {
                let (answer, answered) = oneshot::channel();
                (channel, Order::Test(answer), Answered::Test(answered))
            }
            Question::Replay { channel, since } => {
                let (answer, answered) = oneshot::channel();
                (channel, Order::Replay(since, answer), Answered::Replay(answered))
            }
        };
        let Some(orders) = self.orders.get(&channel) else {
            let known: Vec<&str> = self.orders.keys().map(String::as_str).collect();
            return Reply::Failed { why: format!("there is no channel `{channel}`, only {}", known.join(", ")) };
        };
        if orders.send(order).await.is_err() {
            return Reply::Failed { why: format!("channel `{channel}` has stopped") };
        }
        match answered {
            Answered::Test(outcome) => match outcome.await {
                Ok(Outcome::Delivered { .. }) => Reply::Done,
                Ok(Outcome::Later { why, .. } | Outcome::Refused { why } | Outcome::Off { why }) => {
                    Reply::Failed { why }
                }
                Err(_) => Reply::Failed { why: format!("channel `{channel}` has stopped") },
            },
            Answered::Replay(begun) => match begun.await {
                Ok(()) => Reply::Done,
                Err(_) => Reply::Failed { why: "jitd does not answer; `jit-notify status` says more".to_owned() },
            },
        }
    }
}

enum Answered {
    Test(oneshot::Receiver<Outcome>),
    Replay(oneshot::Receiver<()>),
}

/// Opens the socket in the folder of the states; one of a killed program is replaced.
///
/// # Errors
/// It cannot be opened, or another program answers on it.
pub async fn open(state: &Path) -> Result<UnixListener, Error> {
    let path = socket(state);
    if UnixStream::connect(&path).await.is_ok() {
        let why = format!("another jit-notify runs with the states in `{}`", state.display());
        return Err(Error::new(ErrorKind::AddrInUse, why));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers questions. Never returns.
pub async fn serve(listener: UnixListener, channels: Arc<Channels>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let channels = Arc::clone(&channels);
        tokio::spawn(async move {
            let (reader, mut writer) = stream.into_split();
            let answered = async {
                if let Some(question) = Documents::new(reader, LONGEST).next().await? {
                    feed::write(&mut writer, &channels.answer(question).await).await?;
                }
                Ok::<(), Error>(())
            };
            // Who asked is told by the end of the connection.
            if let Ok(Err(error)) = timeout(ANSWERED_WITHIN, answered).await {
                tracing::debug!(%error, "a question was not answered");
            }
        });
    }
}

/// Asks the running program.
///
/// # Errors
/// It does not run, or does not answer.
pub async fn ask(state: &Path, question: &Question) -> Result<Reply, Error> {
    let path = socket(state);
    let away = |error: Error| {
        Error::new(error.kind(), format!("jit-notify does not run, or not with `{}`: {error}", path.display()))
    };
    let (reader, mut writer) = UnixStream::connect(&path).await.map_err(away)?.into_split();
    feed::write(&mut writer, question).await?;
    let silent = || Error::new(ErrorKind::TimedOut, "jit-notify does not answer");
    timeout(ANSWERED_WITHIN, Documents::new(reader, LONGEST).next()).await.map_err(|_| silent())??.ok_or_else(silent)
}

fn socket(state: &Path) -> PathBuf {
    state.join(NAME)
}
