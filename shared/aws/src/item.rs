//! Items, read and built.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use posthaste_mail::Timestamp;
use posthaste_pipeline::stores::StoreError;

use crate::schema;

/// An item as the SDK has it.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A primary key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl Key {
    pub(crate) fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }

    /// As an item of nothing but its key.
    pub(crate) fn item(&self) -> Item {
        HashMap::from([text(schema::PK, &self.pk), text(schema::SK, &self.sk)])
    }

    /// Of an item.
    pub(crate) fn of(item: &Item) -> Result<Self, StoreError> {
        Ok(Self { pk: string(item, schema::PK)?.to_owned(), sk: string(item, schema::SK)?.to_owned() })
    }
}

pub(crate) fn text(name: &str, value: impl Into<String>) -> (String, AttributeValue) {
    (name.to_owned(), AttributeValue::S(value.into()))
}

pub(crate) fn number(name: &str, value: impl ToString) -> (String, AttributeValue) {
    (name.to_owned(), AttributeValue::N(value.to_string()))
}

pub(crate) fn octets(name: &str, value: Vec<u8>) -> (String, AttributeValue) {
    (name.to_owned(), AttributeValue::B(Blob::new(value)))
}

/// When an item goes by itself.
pub(crate) fn gone_at(at: Timestamp) -> (String, AttributeValue) {
    number(schema::GONE_AT, at.0 / 1_000)
}

fn lacks(item: &Item, name: &str) -> StoreError {
    let at = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).map_or("?", String::as_str);
    StoreError::Corrupt(format!("the item {} {} lacks `{name}`", at(schema::PK), at(schema::SK)))
}

pub(crate) fn string<'a>(item: &'a Item, name: &str) -> Result<&'a str, StoreError> {
    item.get(name).and_then(|value| value.as_s().ok()).map(String::as_str).ok_or_else(|| lacks(item, name))
}

pub(crate) fn blob<'a>(item: &'a Item, name: &str) -> Result<&'a [u8], StoreError> {
    item.get(name).and_then(|value| value.as_b().ok()).map(AsRef::as_ref).ok_or_else(|| lacks(item, name))
}

pub(crate) fn integer<T: std::str::FromStr>(item: &Item, name: &str) -> Result<T, StoreError> {
    let found = item.get(name).and_then(|value| value.as_n().ok());
    found.and_then(|text| text.parse().ok()).ok_or_else(|| lacks(item, name))
}
