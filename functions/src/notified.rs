//! What a bucket tells of new objects. Pure.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The bucket.
    pub bucket: String,
    /// Its key, as it was given.
    pub key: String,
    /// Its version, where the bucket has versions.
    pub version: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

/// One new object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Where it is.
    pub place: Place,
    /// What its octets are known by.
    pub tag: Option<String>,
}

#[derive(Deserialize)]
struct Notified {
    s3: NotifiedOf,
}

#[derive(Deserialize)]
struct NotifiedOf {
    bucket: NotifiedBucket,
    object: NotifiedObject,
}

#[derive(Deserialize)]
struct NotifiedBucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NotifiedObject {
    key: String,
    version_id: Option<String>,
    e_tag: Option<String>,
}

/// What the records of a notification tell, in order; or why they cannot be read.
pub(crate) fn read(records: &RawValue) -> Result<Vec<Notice>, String> {
    let notified: Vec<Notified> = serde_json::from_str(records.get())
        .map_err(|error| format!("the notification cannot be read: {error}"))?;
    let notice = |Notified { s3: NotifiedOf { bucket, object } }| {
        let place = Place { bucket: bucket.name, key: decoded(&object.key), version: object.version_id };
        Notice { place, tag: object.e_tag }
    };
    Ok(notified.into_iter().map(notice).collect())
}

/// Keys stand in notifications as in a form: a plus sign is a space.
fn decoded(key: &str) -> String {
    percent_encoding::percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}
