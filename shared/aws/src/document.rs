//! Documents as they stand in items: JSON, compressed against a dictionary of what such documents say, because a write
//! is paid by the kilobyte. JSON names its fields, so a field added later needs no migration; a dictionary is never
//! changed, and a new one gets the next number.

use std::sync::OnceLock;

use posthaste_pipeline::stores::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zstd::dict::{DecoderDictionary, EncoderDictionary};

/// What documents of the first kind are compressed against.
const WORDS_1: &[u8] = include_bytes!("words-1.txt");
/// The first octet of documents compressed against it.
const KIND_1: u8 = 1;
/// Documents are small: a higher level costs microseconds and saves a tenth.
const LEVEL: i32 = 9;
/// An item is at most 400 KB, and text like this seldom shrinks to a fortieth.
const OCTETS_MAX: usize = 16 << 20;

fn encoder() -> &'static EncoderDictionary<'static> {
    static WORDS: OnceLock<EncoderDictionary<'static>> = OnceLock::new();
    WORDS.get_or_init(|| EncoderDictionary::copy(WORDS_1, LEVEL))
}

fn decoder() -> &'static DecoderDictionary<'static> {
    static WORDS: OnceLock<DecoderDictionary<'static>> = OnceLock::new();
    WORDS.get_or_init(|| DecoderDictionary::copy(WORDS_1))
}

/// Writes a document.
pub(crate) fn write(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let unwritable =
        |error: &dyn std::fmt::Display| StoreError::Corrupt(format!("cannot be written: {error}"));
    let json = serde_json::to_vec(value).map_err(|error| unwritable(&error))?;
    let mut compressor =
        zstd::bulk::Compressor::with_prepared_dictionary(encoder()).map_err(|error| unwritable(&error))?;
    let mut document = vec![KIND_1];
    document.extend(compressor.compress(&json).map_err(|error| unwritable(&error))?);
    Ok(document)
}

/// Reads a document back.
pub(crate) fn read<T: DeserializeOwned>(what: &str, document: &[u8]) -> Result<T, StoreError> {
    let unreadable = |error: &dyn std::fmt::Display| StoreError::Corrupt(format!("{what}: {error}"));
    let Some((&KIND_1, compressed)) = document.split_first() else {
        return Err(unreadable(&"it is of a kind that this version does not know"));
    };
    let mut decompressor =
        zstd::bulk::Decompressor::with_prepared_dictionary(decoder()).map_err(|error| unreadable(&error))?;
    let json = decompressor.decompress(compressed, OCTETS_MAX).map_err(|error| unreadable(&error))?;
    serde_json::from_slice(&json).map_err(|error| unreadable(&error))
}
