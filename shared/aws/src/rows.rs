//! Rows of the ledger as items.

use posthaste_mail::Timestamp;
use posthaste_pipeline::ambient::Ambient;
use posthaste_pipeline::row::{Row, RowKey, State};
use posthaste_pipeline::stores::{Applied, StoreError};

use crate::item::{self, Item, Key};
use crate::table::{If, Put, Table};
use crate::{document, schema};

/// Octets of a document: an item has 400 KB with its keys (DynamoDB's limit).
const DOCUMENT_OCTETS_MAX: usize = 380_000;
/// Attempts of each recipient in a document that would be too large, fewer and fewer; each is under 2 KB.
const ATTEMPTS_KEPT: [usize; 3] = [8, 3, 1];

/// Where a row stands.
pub(crate) fn key(row: &RowKey) -> Key {
    Key::new(schema::message(&row.tenant, &row.part.message), schema::part(&row.part))
}

/// A mark of a held row outlives it by so long.
const HELD_KEPT: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Where the mark of a row stands that is parked under a hold.
pub(crate) fn held_key(hold: &str, row: &RowKey) -> Result<Key, StoreError> {
    let name = serde_json::to_string(row).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    Ok(Key::new(schema::held(hold), name))
}

/// The row of a mark.
pub(crate) fn of_mark(mark: &Item) -> Result<RowKey, StoreError> {
    let name = item::string(mark, schema::SK)?;
    serde_json::from_str(name).map_err(|error| StoreError::Corrupt(format!("a held row: {error}")))
}

/// The item of a row.
pub(crate) fn item(row: &Row, ambient: &Ambient, found: Option<u64>) -> Result<Item, StoreError> {
    let mut item = key(&row.row_key()).item();
    item.extend([item::number(schema::VERSION, row.version), item::octets(schema::DOC, fitting(row)?)]);
    item.extend(found.map(|place| item::number(schema::FOUND, place)));
    if let Some(wake) = row.wake {
        item.extend([
            item::text(schema::WAKE_SHARD, schema::wake_shard(&row.key)),
            item::number(schema::WAKE, wake.0),
        ]);
    }
    item.extend(gone_at(row, ambient).map(item::gone_at));
    Ok(item)
}

/// The document of a row, with fewer of its attempts where all of them would not fit: a hundred recipients of a host
/// that talks much. The first of each recipient stays, and the latest.
fn fitting(row: &Row) -> Result<Vec<u8>, StoreError> {
    let whole = document::write(row)?;
    if whole.len() <= DOCUMENT_OCTETS_MAX {
        return Ok(whole);
    }
    let mut shorter = row.clone();
    for kept in ATTEMPTS_KEPT {
        for recipient in &mut shorter.recipients {
            let attempts = &mut recipient.attempts;
            if attempts.len() > kept {
                let latest = attempts.split_off(attempts.len() + 1 - kept);
                attempts.truncate(1);
                attempts.extend(latest);
            }
        }
        let document = document::write(&shorter)?;
        if document.len() <= DOCUMENT_OCTETS_MAX {
            return Ok(document);
        }
    }
    document::write(&shorter)
}

/// When a row goes: only what is final does. A head goes by its parts' longest life, and one more that a caller may
/// have given them.
fn gone_at(row: &Row, ambient: &Ambient) -> Option<Timestamp> {
    let keep = ambient.policy.get().retention.ledger;
    match row.state {
        State::Done => Some(ambient.now().plus(keep)),
        State::Split => {
            let life = std::time::Duration::from_millis(row.facts.lifetime_ms);
            Some(row.expires.max(ambient.now()).plus(life).plus(keep))
        }
        State::Queued | State::Waiting | State::Sending => None,
    }
}

/// Reads a row back.
pub(crate) fn read(found: &Item) -> Result<Row, StoreError> {
    document::read("a row", item::blob(found, schema::DOC)?)
}

/// Writes a row over the version it was made from; 0: where none is.
pub(crate) async fn write(table: Table<'_>, expect: u64, mut row: Row) -> Result<Applied, StoreError> {
    row.version = expect + 1;
    if let Some(hold) = &row.hold {
        // First: a mark without its row is passed over, a row without its mark would not be found.
        let mut mark = held_key(hold, &row.row_key())?.item();
        mark.extend([item::gone_at(row.expires.plus(HELD_KEPT))]);
        table.put(mark, If::Anything).await?;
    }
    let condition = if expect == 0 { If::Absent } else { If::Version(expect) };
    match table.put(item(&row, table.ambient, None)?, condition).await? {
        Put::Done => Ok(Applied::Yes),
        Put::Instead(_) => Ok(Applied::Stale),
    }
}
