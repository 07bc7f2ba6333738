//! Large bodies on their way in: put by their sender at a signed URL under the tenant's own prefix, once, with the
//! octets that were announced.

use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::presigning::PresigningConfig;
use bytes::Bytes;
use posthaste_mail::{Tenant, UploadId};
use posthaste_pipeline::stores::{StoreError, Uploads};
use posthaste_pipeline::upload::{UploadOffer, UploadWay};

use crate::{Aws, schema, unavailable};

#[async_trait::async_trait]
impl Uploads for Aws {
    async fn offer(&self, offer: &UploadOffer) -> Result<UploadWay, StoreError> {
        let unsigned =
            |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("signing an upload: {error}"));
        let open: Duration = offer.closes_at.since(offer.opened_at);
        let signing = PresigningConfig::expires_in(open).map_err(|error| unsigned(&error))?;
        let signed = self
            .clients()
            .s3
            .put_object()
            .bucket(&self.names().bucket)
            .key(schema::uploaded(&offer.tenant, &offer.id))
            .content_length(i64::try_from(offer.octets).unwrap_or(i64::MAX))
            // Both are signed: it is put once, and has the octets that were announced.
            .if_none_match("*")
            .presigned(signing)
            .await
            .map_err(|error| unavailable("signing an upload", error))?;
        let headers = signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(UploadWay::Url { url: signed.uri().to_owned(), headers })
    }

    async fn size(&self, tenant: &Tenant, id: &UploadId) -> Result<Option<u64>, StoreError> {
        let head = self
            .clients()
            .s3
            .head_object()
            .bucket(&self.names().bucket)
            .key(schema::uploaded(tenant, id))
            .send()
            .await;
        match head {
            Ok(head) => Ok(Some(head.content_length.and_then(|length| length.try_into().ok()).unwrap_or(0))),
            Err(error) if matches!(error.as_service_error(), Some(HeadObjectError::NotFound(_))) => Ok(None),
            Err(error) => Err(unavailable("looking at an upload", error)),
        }
    }

    async fn open(&self, tenant: &Tenant, id: &UploadId) -> Result<Option<Bytes>, StoreError> {
        let got = self
            .clients()
            .s3
            .get_object()
            .bucket(&self.names().bucket)
            .key(schema::uploaded(tenant, id))
            .send()
            .await;
        let got = match got {
            Ok(got) => got,
            Err(error) if matches!(error.as_service_error(), Some(GetObjectError::NoSuchKey(_))) => {
                return Ok(None);
            }
            Err(error) => return Err(unavailable("reading an upload", error)),
        };
        let read = got.body.collect().await;
        Ok(Some(
            read.map_err(|error| StoreError::Unavailable(format!("reading an upload: {error}")))?
                .into_bytes(),
        ))
    }
}
