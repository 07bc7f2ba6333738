//! Documents: JSON in a blob; and the stable hashes under which things are found.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

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

/// A 64-bit hash that is the same in every version of the program. Other parts may share it: who finds by it
/// looks at what was found.
pub(crate) fn key(parts: &[&str]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    i64::from_be_bytes(first)
}
