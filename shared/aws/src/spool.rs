//! Messages in the bucket: written once, read whole or by range, never changed.

use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use bytes::Bytes;
use posthaste_pipeline::spool::place;
use posthaste_pipeline::stores::{Spool, StoreError};

use crate::patience::Patience;
use crate::{Aws, schema, unavailable};

/// The object is there: whoever wrote it wrote the same submission.
const THERE: &str = "PreconditionFailed";
/// Another write of the same object is under way.
const UNDER_WAY: &str = "ConditionalRequestConflict";

#[async_trait::async_trait]
impl Spool for Aws {
    async fn open(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let place = place(name);
        let wanted = place
            .range
            .as_ref()
            .map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let got = self
            .clients()
            .s3
            .get_object()
            .bucket(&self.names().bucket)
            .key(schema::spooled(place.object))
            .set_range(wanted)
            .send()
            .await;
        let got = match got {
            Ok(got) => got,
            Err(error) if matches!(error.as_service_error(), Some(GetObjectError::NoSuchKey(_))) => {
                return Ok(None);
            }
            Err(error) => return Err(unavailable("reading a message", error)),
        };
        let read = got.body.collect().await;
        let octets = read
            .map_err(|error| StoreError::Unavailable(format!("reading a message: {error}")))?
            .into_bytes();
        match place.range {
            Some(range) if octets.len() != range.len() => {
                Err(StoreError::Corrupt(format!("the message {name} has {} octets there", octets.len())))
            }
            _ => Ok(Some(octets)),
        }
    }
}

impl Aws {
    /// Writes an object unless it is there.
    pub(crate) async fn spool(&self, object: &str, octets: Bytes) -> Result<(), StoreError> {
        let mut patience = Patience::new(self.ambient(), "writing a message");
        loop {
            let put = self
                .clients()
                .s3
                .put_object()
                .bucket(&self.names().bucket)
                .key(schema::spooled(object))
                .content_type("message/rfc822")
                .if_none_match("*")
                .body(ByteStream::from(octets.clone()))
                .send()
                .await;
            match put {
                Ok(_) => return Ok(()),
                Err(error) if error.code() == Some(THERE) => return Ok(()),
                Err(error) if error.code() == Some(UNDER_WAY) => patience.pause(1).await?,
                Err(error) => return Err(unavailable("writing a message", error)),
            }
        }
    }
}
