//! The pipeline's stores on SQLite: one machine, one process, durable, no services.
//!
//! What is absent: no decision about delivery (a row is written if its version is the expected one, and that is
//! all), no clock (times are arguments), no network. Nothing is acknowledged before it is synced, and nothing is
//! lost by `kill -9` at any moment.
//!
//! - One thread writes, in groups (module `writer`); reads go to memory or to a few reading connections.
//! - A directory has one owner: a lock file keeps a second process out.
//! - A step is one transaction here, row and effects together. Callers must not lean on that: other stores stop
//!   in between.
//! - Memory is bounded: rows and messages by octets, jobs by number, whatever waits on disk.

mod cache;
mod checkpoint;
mod controls;
mod dead_letters;
mod directory;
mod document;
mod fault;
mod feed;
mod identities;
mod intake;
mod keys;
mod ledger;
mod pacer;
mod queue;
mod quotas;
mod readers;
mod reports;
mod retention;
mod rows;
mod schema;
mod suppressions;
mod takeover;
#[cfg(test)]
mod tests;
mod uploads;
mod wakes;
mod watches;
mod writer;

use std::fs::{DirBuilder, File, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use posthaste_pipeline::identity::Signers;
use posthaste_pipeline::stores::{StoreError, Stores};
use rusqlite::{Connection, OpenFlags};

pub use fault::OpenError;
pub use queue::{Receipt, Received};
pub use retention::Purged;

/// The database's file in its directory; SQLite puts `-wal` and `-shm` beside it.
const DATABASE_FILE: &str = "posthaste.sqlite";
/// The file whose lock says who owns the directory.
const LOCK_FILE: &str = "lock";

/// How much memory a store may use for speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Octets of rows kept in memory: about 3 KB each, so this is some thousand of the latest.
    pub rows_octets: usize,
    /// Octets of messages kept in memory from acceptance to delivery.
    pub bodies_octets: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { rows_octets: 8 * 1024 * 1024, bodies_octets: 16 * 1024 * 1024 }
    }
}

/// What both the writer and those who ask it have in memory.
pub(crate) struct Shared {
    pub(crate) rows: cache::Rows,
    pub(crate) bodies: cache::Bodies,
    pub(crate) keys: keys::Keys,
    pub(crate) wakes: wakes::Wakes,
    pub(crate) queue: queue::Queue,
    pub(crate) suspects: suppressions::Suspects,
    pub(crate) holds: controls::Holds,
    pub(crate) paces: pacer::Paces,
    pub(crate) identity_key: [u8; 32],
    /// The numbers given out last; only the writer counts. A transaction that is taken back leaves a gap.
    pub(crate) last_row: AtomicI64,
    pub(crate) last_event: AtomicI64,
    pub(crate) last_job: AtomicI64,
}

/// A handle to the store; cheap to clone. When the last one is gone, what has queued is written and the directory
/// is free.
#[derive(Clone)]
pub struct Embedded(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    writer: writer::Writer,
    readers: readers::Readers,
    signers: Arc<Signers>,
}

impl Embedded {
    /// Opens the store in a directory, and makes it where there is none. Rows that a dead process was sending have
    /// their lease released and their jobs made visible: see the module `takeover`. Blocks while it reads.
    pub fn open(path: &Path, options: Options) -> Result<Self, OpenError> {
        let lock = lock(path)?;
        let database = path.join(DATABASE_FILE);
        let mut connection = connect(&database)?;
        schema::prepare_writer(&connection)?;
        schema::migrate(&mut connection)?;
        takeover::release(&mut connection)?;
        let shared = Arc::new(Shared {
            rows: cache::Rows::new(options.rows_octets),
            bodies: cache::Bodies::new(options.bodies_octets),
            keys: keys::Keys::load(&connection)?,
            wakes: wakes::Wakes::new(),
            queue: queue::Queue::new(),
            suspects: suppressions::Suspects::load(&connection)?,
            holds: controls::Holds::load(&connection)?,
            paces: pacer::Paces::load(&connection)?,
            identity_key: identities::key_of(path)?,
            last_row: AtomicI64::new(rows::last_seq(&connection)?),
            last_event: AtomicI64::new(feed::last_cursor(&connection)?),
            last_job: AtomicI64::new(queue::last_seq(&connection)?),
        });
        let checkpointer = connect(&database)?;
        schema::prepare_checkpointer(&checkpointer)?;
        let threads = |error| OpenError::Directory { path: path.to_owned(), error };
        let checkpoints = checkpoint::Checkpoints::start(checkpointer).map_err(threads)?;
        let readers = readers::Readers::new(&database, shared.clone());
        let writer = writer::Writer::start(connection, checkpoints, shared.clone(), lock).map_err(threads)?;
        Ok(Self(Arc::new(Inner { shared, writer, readers, signers: Arc::default() })))
    }

    /// The store as the use cases take it.
    pub fn stores(&self) -> Stores {
        let all = Arc::new(self.clone());
        Stores {
            intake: all.clone(),
            spool: all.clone(),
            ledger: all.clone(),
            later: all.clone(),
            suppressions: all.clone(),
            feed: all.clone(),
            dead_letters: all.clone(),
            controls: all.clone(),
            directory: all.clone(),
            quotas: all.clone(),
            uploads: all.clone(),
            pacer: all.clone(),
            reports: all.clone(),
            identities: all.clone(),
            watches: all.clone(),
            sealer: all,
            signers: self.0.signers.clone(),
        }
    }

    /// Returns when everything that was asked before, acknowledgements too, is synced.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.writer().ask(0, |_| Ok(())).await
    }

    /// Writes what has queued, moves the WAL into the database and frees the directory. Every handle is of no use
    /// afterwards: all it is asked is refused as unavailable.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.readers().close();
        self.writer().close().await
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(crate) fn writer(&self) -> &writer::Writer {
        &self.0.writer
    }

    pub(crate) fn readers(&self) -> &readers::Readers {
        &self.0.readers
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.readers.close();
        self.writer.join();
    }
}

/// Makes the directory, for its owner only since it holds people's mail, and takes its lock.
fn lock(path: &Path) -> Result<File, OpenError> {
    let failed = |error| OpenError::Directory { path: path.to_owned(), error };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join(LOCK_FILE))
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Opens the file as a file, whatever its name looks like.
pub(crate) fn connect(database: &Path) -> Result<Connection, rusqlite::Error> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(database, flags)
}
