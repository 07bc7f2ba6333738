//! Moves pages from the WAL into the database without standing in the writer's way.
//!
//! A checkpoint of a busy WAL takes a tenth of a second and more, and all of it would be waited for. So a thread of
//! its own does it, beside the writer, as far as the WAL goes at that time. What was written meanwhile is left, and a
//! WAL begins anew only when nothing is left: once the rest is small, the writer moves it between two groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tracing::{error, warn};

/// Pages in the WAL before anything is moved: 32 MB; the longer the wait, the more often a page moves only once.
const BEGIN_PAGES: u32 = 4_096;
/// Pages the writer moves itself: 4 MB, some milliseconds.
const REST_PAGES: u32 = 512;
/// Pages at which the writer moves all there is, whatever it takes: 256 MB. The disk is too slow for what comes in.
const HARD_PAGES: u32 = 32_768;

/// The writer's side of it.
pub(crate) struct Checkpoints {
    ask: SyncSender<()>,
    thread: JoinHandle<()>,
    progress: Arc<Progress>,
    stage: Stage,
}

#[derive(Default)]
struct Progress {
    /// A pass is under way or asked for.
    busy: AtomicBool,
    /// Pages of the WAL that the latest pass found moved.
    moved: AtomicU32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The WAL is short.
    Idle,
    /// The thread was asked.
    Passing,
}

impl Checkpoints {
    /// Starts the thread, which has `connection` to itself.
    pub(crate) fn start(connection: Connection) -> std::io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let progress = Arc::new(Progress::default());
        let reported = progress.clone();
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || serve(&connection, &asked, &reported))?;
        Ok(Self { ask, thread, progress, stage: Stage::Idle })
    }

    /// Looks how long the WAL has become.
    pub(crate) fn after_commit(&mut self, connection: &Connection, pages: u32) {
        if pages < BEGIN_PAGES {
            self.stage = Stage::Idle;
            return;
        }
        let busy = self.progress.busy.load(Ordering::Acquire);
        if pages >= HARD_PAGES {
            self.move_rest(connection);
        } else if busy {
            // It is being moved.
        } else if self.stage == Stage::Passing
            && pages.saturating_sub(self.progress.moved.load(Ordering::Relaxed)) <= REST_PAGES
        {
            self.move_rest(connection);
        } else {
            self.stage = Stage::Passing;
            self.progress.busy.store(true, Ordering::Release);
            if self.ask.try_send(()).is_err() {
                self.progress.busy.store(false, Ordering::Release);
            }
        }
    }

    fn move_rest(&mut self, connection: &Connection) {
        self.stage = Stage::Idle;
        if let Err(error) = pass(connection) {
            warn!(%error, "the writer's checkpoint failed: the WAL grows on");
        }
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(self) {
        drop(self.ask);
        if self.thread.join().is_err() {
            error!("the store's checkpoint thread panicked");
        }
    }
}

fn serve(connection: &Connection, asked: &Receiver<()>, progress: &Progress) {
    while asked.recv().is_ok() {
        match pass(connection) {
            Ok(moved) => progress.moved.store(moved, Ordering::Relaxed),
            Err(error) => {
                progress.moved.store(0, Ordering::Relaxed);
                warn!(%error, "a checkpoint failed: the WAL grows until one succeeds");
            }
        }
        progress.busy.store(false, Ordering::Release);
    }
}

/// Moves what can be moved without waiting for anybody; how many pages of the WAL are moved now.
fn pass(connection: &Connection) -> Result<u32, rusqlite::Error> {
    connection
        .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?
        .query_row([], |row| row.get::<_, i64>(2))
        .map(|moved| u32::try_from(moved).unwrap_or(0))
}
