//! One channel's connection to `jitd`: a place in the trail, and everything that follows it.
//!
//! Each channel has its own, so that one that is behind holds up no other.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;

use jit_core::grant::SentText;
use jit_wire::feed::{self, Documents};
use jit_wire::notice::{FromDaemon, FromNotify, HEARTBEAT_SECONDS, LONGEST_OF_DAEMON, Start, VERSION};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// How long `jitd` may be silent. It sends something every two seconds; a disk that is slow delays it.
const SILENT_FOR: Duration = Duration::from_secs(15 * HEARTBEAT_SECONDS);

/// How long `jitd` may take to read a report.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);

/// A connection that has its snapshot.
pub struct Reading {
    documents: Documents<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// The host of the daemon.
    pub host: String,
    /// The number of the last fact when the connection began.
    pub number: u64,
    /// The number of the fact that the first notice follows.
    pub after: u64,
}

impl Reading {
    /// Connects to the socket of `jitd`.
    ///
    /// # Errors
    /// That of the socket, or why the daemon refuses.
    pub async fn begin(socket: &Path, from: Start, open: bool) -> Result<Self, Error> {
        let (reader, mut writer) = UnixStream::connect(socket).await?.into_split();
        let mut documents = Documents::new(reader, LONGEST_OF_DAEMON);
        feed::write(&mut writer, &FromNotify::Hello { version: VERSION, from, open }).await?;
        match next(&mut documents).await? {
            FromDaemon::Snapshot { version: VERSION, host, number, after, draining: _ } => {
                Ok(Self { documents, writer, host, number, after })
            }
            FromDaemon::Refused { why } => Err(gone(&format!("jitd refuses this channel: {why}"))),
            _ => Err(gone("jitd speaks another version of the notices")),
        }
    }

    /// Reports what receivers took. It does not wait for the answer, which is [`FromDaemon::Recorded`].
    ///
    /// # Errors
    /// The daemon is gone, or does not read.
    pub async fn report(&mut self, texts: Vec<SentText>) -> Result<(), Error> {
        let stuck = |_| gone("jitd does not read");
        timeout(TAKEN_WITHIN, feed::write(&mut self.writer, &FromNotify::Sent { texts })).await.map_err(stuck)?
    }

    /// The next document: an open grant, a notice, or that there is nothing more. If this is cancelled, nothing is lost.
    ///
    /// # Errors
    /// The daemon is gone or silent, or said something that does not belong there.
    pub async fn next(&mut self) -> Result<FromDaemon, Error> {
        match next(&mut self.documents).await? {
            FromDaemon::Snapshot { .. } | FromDaemon::Refused { .. } => {
                Err(gone("jitd said something that does not belong there"))
            }
            said => Ok(said),
        }
    }
}

/// The next document of a connection; never one if there is no connection.
pub(crate) async fn next_of(reading: &mut Option<Reading>) -> Result<FromDaemon, Error> {
    match reading {
        Some(reading) => reading.next().await,
        None => std::future::pending().await,
    }
}

async fn next(documents: &mut Documents<OwnedReadHalf>) -> Result<FromDaemon, Error> {
    let silent = |_| gone("jitd is silent");
    timeout(SILENT_FOR, documents.next()).await.map_err(silent)??.ok_or_else(|| gone("jitd closed the connection"))
}

fn gone(why: &str) -> Error {
    Error::new(ErrorKind::ConnectionAborted, why)
}
