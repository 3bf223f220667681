//! A small pool of read-only connections.
//!
//! A call that waits for a connection waits in the runtime and blocks no thread. A trail has one pool for short queries and
//! one for lists, so that a long list delays only other lists.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Fault;
use super::sqlite::open_for_reading;

/// The connections, and the same number of turns.
#[derive(Clone)]
pub(super) struct Readers {
    connections: Arc<[Mutex<Connection>]>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(path: &Path, count: usize) -> Result<Self, Fault> {
        let connections = (0..count).map(|_| open_for_reading(path).map(Mutex::new)).collect::<Result<_, _>>()?;
        Ok(Self { connections, turns: Arc::new(Semaphore::new(count)) })
    }

    /// Returns when a connection is free. The caller keeps the turn until it has read.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Reads on a free connection; the caller must have a turn.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let free = self.connections.iter().find_map(Mutex::try_lock);
        work(&*free.ok_or_else(|| Fault::System("all its connections are in use".to_owned()))?)
    }
}
