//! Documents: JSON in a blob.

use serde::Serialize;
use serde::de::DeserializeOwned;

use posthaste_pipeline::stores::StoreError;

use crate::fault::Fault;

/// What is put into a `doc` column.
pub(crate) fn write<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value)
        .map_err(|error| StoreError::Unavailable(format!("cannot be written down: {error}")))
}

/// What stands in a `doc` column.
pub(crate) fn read<T: DeserializeOwned>(what: &str, octets: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(octets).map_err(|error| Fault::Unreadable(format!("{what}: {error}")))
}

/// What stands in the `n`th column of a result.
pub(crate) fn blob<T: DeserializeOwned>(what: &str, row: &rusqlite::Row<'_>, n: usize) -> Result<T, Fault> {
    let octets = row.get_ref(n)?.as_blob().map_err(|error| Fault::Unreadable(format!("{what}: {error}")))?;
    read(what, octets)
}
