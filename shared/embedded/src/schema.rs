//! The tables, in one place, and how one version of them becomes the next.
//!
//! | table | holds | found by |
//! |---|---|---|
//! | `rows` | each row of the ledger as JSON, with its version | `seq`, the order of arrival |
//! | `open` | what queries need of rows that are not final or have a wake, so that they need not read any document | `seq` |
//! | `final` | when each final row became it, for retention | time |
//! | `keys` | hashes of what rows are found by (message and part, spool name, recipient, tag) → `seq`; the latest are still in memory, see the module `keys` | hash, newest first |
//! | `spool` | messages; apart from rows, so that no scan of rows reads one | `seq` of part 0 |
//! | `jobs` | the work queue | lane and the time from which each is visible |
//! | `suppressions` | one entry a mailbox, lane and realm | tenant and folded address |
//! | `events` | the feed; `cursor` is never used twice | tenant and cursor; `seq` of part 0 and id, once |
//! | `dead` | dead letters; one taken off keeps its place without its document, so that pages stay put | arrival |
//! | `holds`, `secrets` | few and small | name |
//! | `api_keys` | API keys, hashed | id |
//! | `identities` | sender domains with their keys, sealed by the key in `identity.key` | tenant and domain |
//! | `audits` | the latest look at what each sender domain publishes | tenant and domain |
//! | `domain_reports` | what receivers report of it, summed up | tenant, domain, beginning; id |
//! | `owners` | who has proved a sender domain | domain |
//! | `tenants` | tenants | the tag in their tokens |
//! | `reports` | reports about mail that changed nothing | arrival, newest first; id, once |
//! | `quotas` | what each tenant was granted in its present windows | tenant |
//! | `paces` | how each receiver stands, and up to when its time is handed out | egress, site, sending domain |
//! | `healths` | how mailboxes fare at each receiver, lately and usually | the same |
//! | `lines` | places handed out and served, of those who wait for a receiver | the same, lane and tenant |
//! | `uploads` | large bodies that wait for their submission, and offers of a place for one | id |
//! | `marks` | how far something has come: `keys`, `spool`; the highest `rows` and `events` ever removed | name |
//!
//! Documents are JSON and not a compact format: rows have tagged enums and fields left out when empty, which only
//! formats that describe themselves read back, and a field added later needs no migration.
//!
//! What a group of operations costs is the pages it touches, each written to the WAL and again to the database. So
//! everything that every message writes is put where the last one was put (`seq`, `cursor`, time), and nothing has
//! an index that scatters: those are `keys`, which are written many at a time.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::fault::OpenError;

/// Octets of a page. Larger than the default 4,096: a 10 KB message is one overflow page and a bit.
const PAGE_OCTETS: u32 = 8192;
/// KiB of pages the writer keeps in memory: what a few hundred operations touch, indexes included.
const WRITER_CACHE_KIB: u32 = 8 * 1024;
/// KiB of pages each reader keeps; the system's page cache is behind it.
const READER_CACHE_KIB: u32 = 1024;
/// Milliseconds to wait for a lock that only another connection of this process can have.
const LOCK_WAIT_MS: u64 = 5_000;

/// Each makes version n + 1 out of version n.
const MIGRATIONS: [&str; 5] = [VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5];

const VERSION_1: &str = "
CREATE TABLE rows (
    seq INTEGER PRIMARY KEY,
    message TEXT NOT NULL,
    part INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    version INTEGER NOT NULL,
    final_at INTEGER,
    doc BLOB NOT NULL
);

CREATE TABLE open (
    seq INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    standing INTEGER NOT NULL,
    domain TEXT,
    site TEXT,
    accepted INTEGER NOT NULL,
    due INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    wake INTEGER
);

CREATE TABLE final (
    at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (at, seq)
) WITHOUT ROWID;

CREATE TABLE keys (
    key INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (key, seq)
) WITHOUT ROWID;

CREATE TABLE spool (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    body BLOB NOT NULL
);

CREATE TABLE jobs (
    lane INTEGER NOT NULL,
    visible INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    message TEXT NOT NULL,
    part INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (lane, visible, seq)
) WITHOUT ROWID;

CREATE TABLE suppressions (
    tenant TEXT NOT NULL,
    address TEXT NOT NULL,
    realm TEXT NOT NULL,
    lane TEXT NOT NULL,
    expires INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (tenant, address, realm, lane)
) WITHOUT ROWID;

CREATE TABLE events (
    tenant TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    message_seq INTEGER NOT NULL,
    message TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (tenant, cursor)
) WITHOUT ROWID;
CREATE UNIQUE INDEX events_once ON events (message_seq, id);

CREATE TABLE dead (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    doc BLOB
);

CREATE TABLE holds (id TEXT PRIMARY KEY, doc BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE secrets (name TEXT PRIMARY KEY, octets BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE marks (name TEXT PRIMARY KEY, at INTEGER NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;
";

const VERSION_2: &str = "
CREATE TABLE api_keys (id TEXT PRIMARY KEY, tenant TEXT, doc BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE quotas (tenant TEXT PRIMARY KEY, doc BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE uploads (
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    token_hash BLOB NOT NULL,
    octets INTEGER NOT NULL,
    at INTEGER NOT NULL,
    closes INTEGER NOT NULL,
    body BLOB
);
CREATE INDEX uploads_by_age ON uploads (at);
";

const VERSION_3: &str = "
CREATE TABLE paces (
    key BLOB PRIMARY KEY,
    tat INTEGER,
    epoch INTEGER NOT NULL,
    standing BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE lines (
    key BLOB PRIMARY KEY,
    tail INTEGER NOT NULL,
    served INTEGER NOT NULL,
    moved INTEGER NOT NULL
) WITHOUT ROWID;
ALTER TABLE open ADD COLUMN hold TEXT;
CREATE INDEX open_by_hold ON open (hold, seq) WHERE hold IS NOT NULL;
";

const VERSION_4: &str = "
CREATE TABLE tenants (tag TEXT PRIMARY KEY, tenant TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE reports (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    doc BLOB NOT NULL
);
CREATE TABLE identities (
    tenant TEXT NOT NULL,
    domain TEXT NOT NULL,
    version INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (tenant, domain)
) WITHOUT ROWID;
CREATE TABLE owners (domain TEXT PRIMARY KEY, tenant TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE healths (key BLOB PRIMARY KEY, version INTEGER NOT NULL, doc BLOB NOT NULL) WITHOUT ROWID;
";

const VERSION_5: &str = "
CREATE TABLE audits (
    tenant TEXT NOT NULL,
    domain TEXT NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (tenant, domain)
) WITHOUT ROWID;
CREATE TABLE domain_reports (
    tenant TEXT NOT NULL,
    domain TEXT NOT NULL,
    begin INTEGER NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (tenant, domain, begin, id)
) WITHOUT ROWID;
";

/// Makes a connection the writer's: WAL, every commit synced, checkpoints only when asked for.
pub(crate) fn prepare_writer(connection: &Connection) -> Result<(), OpenError> {
    connection.busy_timeout(std::time::Duration::from_millis(LOCK_WAIT_MS))?;
    connection.pragma_update(None, "page_size", PAGE_OCTETS)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", -i64::from(WRITER_CACHE_KIB))?;
    connection.set_prepared_statement_cache_capacity(128);
    plan_once(connection)?;
    Ok(())
}

/// Makes a connection a reader's: it cannot write, by mistake neither.
pub(crate) fn prepare_reader(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(std::time::Duration::from_millis(LOCK_WAIT_MS))?;
    connection.pragma_update(None, "query_only", "ON")?;
    connection.pragma_update(None, "cache_size", -i64::from(READER_CACHE_KIB))?;
    connection.set_prepared_statement_cache_capacity(64);
    plan_once(connection)
}

/// Keeps SQLite from planning a prepared statement anew when its parameters change: every statement here has one plan.
fn plan_once(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Makes a connection the checkpointer's: it moves pages and keeps none.
pub(crate) fn prepare_checkpointer(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.busy_timeout(std::time::Duration::from_millis(LOCK_WAIT_MS))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)
}

/// Brings the tables to the version this code knows; a newer one is refused, since what it means is unknown.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let known = MIGRATIONS.len();
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let from = usize::try_from(found).ok().filter(|version| *version <= known);
    let Some(from) = from else {
        return Err(OpenError::UnknownVersion { found, known });
    };
    for (n, migration) in MIGRATIONS.iter().enumerate().skip(from) {
        let step = connection.transaction()?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", n + 1)?;
        step.commit()?;
    }
    Ok(())
}
