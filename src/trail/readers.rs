//! Connections that read, a few of them, used in turns.
//!
//! Whoever waits for one waits in the runtime and holds no thread. A trail has some for short questions and some for
//! lists, so that a long list holds up other lists only.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Fault;
use super::sqlite::open_for_reading;

/// The connections, and as many turns.
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

    /// Returns when one of the connections is free. Whoever reads keeps the turn until they have read.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }

    /// Reads on the connection that is free in a turn.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let free = self.connections.iter().find_map(Mutex::try_lock);
        work(&*free.ok_or_else(|| Fault::System("all that could read it is in use".to_owned()))?)
    }
}
