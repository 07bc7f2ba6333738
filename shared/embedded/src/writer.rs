//! The one thread that writes. It takes whatever has queued, does it in one transaction, syncs once, and only then
//! answers each operation. There is no window to wait for more: while one group is synced the next one queues.
//!
//! An operation that fails takes its group back; then each of the group is done again alone, so that only the one
//! that cannot be done is refused. That costs nothing while all goes well, as a savepoint for each would.
//! The thread outlives a full disk, a corrupt page and a panic in an operation; it ends when it is told to.

use std::collections::HashMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use posthaste_mail::PartKey;
use posthaste_pipeline::row::{Job, Row};
use posthaste_pipeline::stores::StoreError;
use rusqlite::{CachedStatement, Connection};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::Shared;
use crate::cache::Slot;
use crate::checkpoint::Checkpoints;
use crate::fault::{Fault, closed};
use crate::keys::{Entry, Written};
use crate::queue::{Place, Refilled};

/// Operations of one transaction at most: past some dozens there is nothing left to share, and all of them wait.
const GROUP_OPERATIONS_MAX: usize = 512;
/// Octets of one transaction at most, the last operation apart: bounds how long a group takes and what the WAL
/// grows by.
const GROUP_OCTETS_MAX: usize = 8 * 1024 * 1024;
/// Operations that wait for the writer; who comes then waits outside.
const WAITING_OPERATIONS_MAX: usize = 1_024;

/// What an operation does, and what it is answered.
pub(crate) trait Work: Send {
    /// Does it; may be done again after a rollback.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Fault>;
    /// Tells whoever asked; nobody may be there any more.
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// An operation whose result goes back over a channel.
struct Asked<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> Result<T, Fault> + Send> Work for Asked<T, F> {
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Fault> {
        self.value = Some((self.work)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        // Whoever asked may have gone: the work is done all the same.
        let _ = reply.send(outcome.and_then(|()| value.ok_or_else(closed)));
    }
}

enum Message {
    /// Do this.
    Do(Box<dyn Work>, usize),
    /// Acknowledgements wait.
    Nudge,
    /// Stop after what has queued.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// Something that becomes true in memory with a commit.
pub(crate) type Consequence = Box<dyn FnOnce(&Shared) + Send>;

/// One transaction: the connection, and what becomes true in memory when it is committed.
pub(crate) struct Tx<'a> {
    connection: &'a Connection,
    /// What is true in memory now.
    pub(crate) shared: &'a Shared,
    /// Rows this transaction wrote; none: removed.
    pub(crate) rows: HashMap<PartKey, Option<Slot>>,
    /// Hashes of the rows it put.
    pub(crate) keys: Vec<Entry>,
    /// Hashes it wrote.
    pub(crate) written: Vec<Written>,
    /// Messages it spooled, each with its row.
    pub(crate) bodies: Vec<(Arc<Row>, Bytes)>,
    /// Jobs it put, for the queue.
    pub(crate) jobs: Vec<(Place, Job)>,
    /// Jobs it took out of flight.
    pub(crate) landed: Vec<i64>,
    /// Parts of the queue it read.
    pub(crate) refilled: Vec<Refilled>,
    /// Anything else, seldom.
    pub(crate) then: Vec<Consequence>,
}

impl<'a> Tx<'a> {
    fn new(connection: &'a Connection, shared: &'a Shared) -> Self {
        Self {
            connection,
            shared,
            rows: HashMap::new(),
            keys: Vec::new(),
            written: Vec::new(),
            bodies: Vec::new(),
            jobs: Vec::new(),
            landed: Vec::new(),
            refilled: Vec::new(),
            then: Vec::new(),
        }
    }

    /// A prepared statement, prepared once.
    pub(crate) fn statement(&self, sql: &'static str) -> Result<CachedStatement<'a>, Fault> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// The connection, for what reads as readers do.
    pub(crate) fn connection(&self) -> &'a Connection {
        self.connection
    }

    /// Makes true in memory what was committed.
    fn publish(self) {
        self.shared.keys.publish(self.keys, self.written);
        self.shared.wakes.publish(&self.rows);
        self.shared.rows.publish(self.rows.into_iter());
        for (row, body) in &self.bodies {
            self.shared.bodies.offer(&row.facts.spool, body);
        }
        self.shared.queue.publish(self.refilled, self.jobs, &self.landed);
        for then in self.then {
            then(self.shared);
        }
    }
}

/// The way to the writer thread.
pub(crate) struct Writer {
    sender: mpsc::Sender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread; `lock` is held until it has ended.
    pub(crate) fn start(
        mut connection: Connection,
        checkpoints: Checkpoints,
        shared: Arc<Shared>,
        lock: File,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel(WAITING_OPERATIONS_MAX);
        let pages = Arc::new(AtomicU32::new(0));
        let counted = pages.clone();
        connection
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, in_wal: std::ffi::c_int| {
                counted.store(u32::try_from(in_wal).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(std::io::Error::other)?;
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            let mut desk = Desk { connection, checkpoints, shared, pages };
            let closing = desk.serve(receiver);
            let closed = desk.close();
            drop(lock);
            if let Some(reply) = closing {
                let _ = reply.send(closed);
            }
        })?;
        Ok(Self { sender, thread: Mutex::new(Some(thread)) })
    }

    /// Does `work` in the next group and returns its result once it is synced. `octets`: about how much it writes.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        octets: usize,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Asked { work, value: None, reply });
        self.sender.send(Message::Do(work, octets)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Says that acknowledgements wait. When the way is full there are groups to come that will take them along.
    pub(crate) fn nudge(&self) {
        let _ = self.sender.try_send(Message::Nudge);
    }

    /// Stops the thread after what has queued; everything asked later is refused.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        if self.sender.send(Message::Close(reply)).await.is_err() {
            return Ok(());
        }
        // Somebody else's closing may have come first.
        answer.await.unwrap_or(Ok(()))
    }

    /// Stops the thread and waits for it: afterwards the directory is free.
    pub(crate) fn join(&mut self) {
        let (sender, _) = mpsc::channel(1);
        self.sender = sender;
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            error!("the store's writer thread panicked while closing");
        }
    }
}

/// What the thread has.
struct Desk {
    connection: Connection,
    checkpoints: Checkpoints,
    shared: Arc<Shared>,
    /// Pages in the WAL after the latest commit.
    pages: Arc<AtomicU32>,
}

impl Desk {
    /// Until told to stop, or until nobody is left who could ask.
    fn serve(
        &mut self,
        mut receiver: mpsc::Receiver<Message>,
    ) -> Option<oneshot::Sender<Result<(), StoreError>>> {
        let mut closing = None;
        while let Some(first) = receiver.blocking_recv() {
            // Those just answered may be about to ask again: let them run, if anybody is waiting for a processor.
            std::thread::yield_now();
            let mut group = Vec::new();
            let mut octets = 0;
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Do(work, weight) => {
                        group.push(work);
                        octets += weight;
                    }
                    Message::Nudge => {}
                    Message::Close(reply) => {
                        // What queued before it is done; what comes now is refused.
                        receiver.close();
                        closing = Some(reply);
                    }
                }
                let full = group.len() >= GROUP_OPERATIONS_MAX || octets >= GROUP_OCTETS_MAX;
                next = if full { None } else { receiver.try_recv().ok() };
            }
            self.commit(group);
            self.checkpoints.after_commit(&self.connection, self.pages.load(Ordering::Relaxed));
        }
        closing
    }

    /// One transaction for the group, or else one for each of it.
    fn commit(&mut self, mut group: Vec<Box<dyn Work>>) {
        let acked = self.shared.queue.take_acked();
        if group.is_empty() && acked.is_empty() {
            return;
        }
        match self.attempt(&mut group, &acked) {
            Ok(()) => {
                for work in group {
                    work.answer(Ok(()));
                }
            }
            Err(fault) if group.len() == 1 && acked.is_empty() => {
                warn!(%fault, "the store could not do an operation");
                for work in group {
                    work.answer(Err(fault.told()));
                }
            }
            Err(fault) => {
                warn!(%fault, operations = group.len(), "a group failed in the store: each is done alone");
                if let Err(fault) = self.attempt(&mut [], &acked) {
                    warn!(%fault, jobs = acked.len(), "acknowledgements could not be written: again with the next group");
                    self.shared.queue.put_back_acked(acked);
                }
                for mut work in group {
                    let outcome = self.attempt(std::slice::from_mut(&mut work), &[]);
                    work.answer(outcome.map_err(|fault| fault.told()));
                }
            }
        }
    }

    fn attempt(&self, group: &mut [Box<dyn Work>], acked: &[Place]) -> Result<(), Fault> {
        if group.is_empty() && acked.is_empty() {
            return Ok(());
        }
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            let mut tx = Tx::new(&self.connection, &self.shared);
            for work in group {
                work.run(&mut tx)?;
            }
            crate::queue::delete(&mut tx, acked)?;
            crate::keys::write_some(&mut tx)?;
            // From its commit on a row is in the table and not yet in memory: nobody may find the old one there.
            self.shared.rows.withdraw(tx.rows.keys());
            self.connection.prepare_cached("COMMIT")?.execute([])?;
            tx.publish();
            Ok(())
        }));
        let done = done.unwrap_or(Err(Fault::Panicked));
        if done.is_err()
            && !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            error!(%error, "a transaction could not be taken back");
        }
        done
    }

    /// Everything into the one file, and no WAL left behind.
    fn close(self) -> Result<(), StoreError> {
        self.checkpoints.stop();
        let truncated = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
            .map_err(Fault::from);
        if let Err(fault) = &truncated {
            warn!(%fault, "the last checkpoint failed: the next opening does it");
        }
        let closed = self.connection.close().map_err(|(_, error)| Fault::from(error));
        truncated.and(closed).map_err(|fault| fault.told())
    }
}
