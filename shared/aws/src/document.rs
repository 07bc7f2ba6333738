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

#[cfg(test)]
mod tests {
    use super::*;

    /// A row as it is most often: delivered at the first try.
    const ROW: &str = r#"{"key":{"message":"msg_jrkfghr3z6c5pks60n0vssngfw","part":0},"tenant":"acme","version":3,"facts":{"request_hash":"d62008e7c72b2349885cc73394830121","spool":"acme/msg_jrkfghr3z6c5pks60n0vssngfw-d62008e7c72b2349885cc73394830121","size":10385,"from":"Acme Billing <billing@acme.example>","subject":"Your receipt for November, number 2026-11-9182","reverse_path":"billing@acme.example","lane":"transactional","tags":{"release":"v42","template":"receipt"},"accepted_at":1795647406275,"send_at":null,"lifetime_ms":345600000,"guarantee":"at-least-once","tls":null,"content":"sevenbit","header":"ascii","realm":"world"},"domain":"customer.example","state":"done","seq":1,"claim":1,"by":null,"lease":0,"due":1795647406275,"promise":"job","wake":null,"expires":1795993006275,"crashes":0,"hold":null,"cancel":"no","dot":"before","site":"google.com","settlements":[{"job":"job_g86wpn34epvxhq1cbveytzjz8c","claim":1,"seq":1,"at":1795647406288,"teller":"job_g86wpn34epvxhq1cbveytzjz8c"}],"recipients":[{"address":"somebody.else@customer.example","outcome":{"is":"final","end":"delivered","by":"job_g86wpn34epvxhq1cbveytzjz8c","at":1795647406288,"copies":0},"due":1795647406275,"tries":0,"throttles":0,"reconnects":0,"attempts":[{"n":1,"job":"job_g86wpn34epvxhq1cbveytzjz8c","at":1795647406288,"stage":"dot","host":"aspmx.l.google.com","ip":"142.250.102.27","tls":"TLSv1.3 verified","reply":{"code":250,"enhanced":"2.0.0","text":"OK  1795647406 5b1f17b1804b1-4779dc7a3d2si123456785e9.123 - gsmtp"},"verdict":{"action":"deliver","category":"other","scope":"message","suppress":"no","rule":"accepted"}}]}]}"#;

    #[test]
    fn documents_are_read_as_they_were_written_and_a_row_is_small() {
        let value: serde_json::Value = serde_json::from_str(ROW).unwrap();
        let document = write(&value).unwrap();
        assert_eq!(read::<serde_json::Value>("a row", &document).unwrap(), value);
        // With its keys the item stays under the kilobyte that a write is paid by.
        assert!(document.len() <= 700, "{} octets", document.len());
    }

    #[test]
    fn what_is_no_document_is_corrupt_and_nothing_worse() {
        for octets in
            [&b""[..], b"\x01", b"\x02{}", b"\x01{}", b"\x01\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff\xff"]
        {
            let read = read::<serde_json::Value>("it", octets);
            assert!(matches!(read, Err(StoreError::Corrupt(_))), "{octets:?}: {read:?}");
        }
    }
}
