//! Objects that others put into the bucket, read within bounds: each within its limit, all together within another.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_smithy_types::error::display::DisplayErrorContext;
use bytes::Bytes;
use posthaste_aws::Aws;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::notified::Place;

/// Kilobytes of objects read and worked on at once: the largest message there can be, and with its copies a half of the
/// function's 256 MB.
const ROOM_KILOBYTES: u32 = 41_000;

/// Room for objects in memory.
pub(crate) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ROOM_KILOBYTES as usize)))
    }
}

/// An object.
pub(crate) struct Got {
    /// Its octets.
    pub octets: Bytes,
    /// What it is said to be.
    pub content_type: Option<String>,
    /// What else is said of it: `x-amz-meta-…`.
    pub metadata: HashMap<String, String>,
}

/// Why there is no object.
pub(crate) enum Ungot {
    /// It may be there later.
    Unavailable(String),
    /// It is in another bucket than ours.
    Foreign(String),
    /// It was there once.
    Gone,
    /// It is too large.
    TooLarge {
        /// How large.
        octets: u64,
    },
}

/// Reads an object of at most so many octets, when there is room for it.
pub(crate) async fn get(
    aws: &Aws,
    place: &Place,
    room: &Room,
    octets_max: u64,
) -> Result<(Got, OwnedSemaphorePermit), Ungot> {
    if place.bucket != aws.names().bucket {
        return Err(Ungot::Foreign(format!("{} is not the bucket that mail is taken from", place.bucket)));
    }
    let get = aws.clients().s3.get_object().bucket(&place.bucket).key(&place.key);
    let got = match get.set_version_id(place.version.clone()).send().await {
        Ok(got) => got,
        Err(error) if matches!(error.as_service_error(), Some(GetObjectError::NoSuchKey(_))) => {
            return Err(Ungot::Gone);
        }
        Err(error) => return Err(Ungot::Unavailable(DisplayErrorContext(error).to_string())),
    };
    let octets = u64::try_from(got.content_length.unwrap_or(0)).unwrap_or(0);
    if octets > octets_max {
        return Err(Ungot::TooLarge { octets });
    }
    let kilobytes = u32::try_from(octets / 1_000 + 1).unwrap_or(u32::MAX).min(ROOM_KILOBYTES);
    let taken = room.0.clone().acquire_many_owned(kilobytes).await;
    let taken = taken.map_err(|error| Ungot::Unavailable(error.to_string()))?;
    let (content_type, metadata) = (got.content_type, got.metadata.unwrap_or_default());
    let read = got.body.collect().await.map_err(|error| Ungot::Unavailable(error.to_string()))?;
    Ok((Got { octets: read.into_bytes(), content_type, metadata }, taken))
}
