//! Keys, quotas and uploads on a bad day.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use posthaste_mail::{KeyId, Tenant, Timestamp, UploadId};
use posthaste_pipeline::access::{KeyRecord, Taken};
use posthaste_pipeline::deliver::return_path::TenantTag;
use posthaste_pipeline::feedback::{KeptReport, Reports};
use posthaste_pipeline::stores::{Directory, Quotas, StoreError, Uploads};
use posthaste_pipeline::upload::{UploadOffer, UploadReceived, UploadWay};
use posthaste_policy::QuotaLimits;

use super::Shim;
use crate::contract::Putter;

#[async_trait]
impl Directory for Shim {
    async fn find(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        self.whole(self.inner.directory.find(id)).await
    }

    async fn put(&self, key: KeyRecord) -> Result<(), StoreError> {
        self.whole(self.inner.directory.put(key)).await
    }

    async fn list(
        &self,
        of: Option<&Tenant>,
        after: Option<&KeyId>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, StoreError> {
        self.whole(self.inner.directory.list(of, after, limit)).await
    }

    async fn revoke(&self, of: Option<&Tenant>, id: &KeyId) -> Result<bool, StoreError> {
        self.whole(self.inner.directory.revoke(of, id)).await
    }

    async fn remember(&self, tenant: &Tenant) -> Result<(), StoreError> {
        self.whole(self.inner.directory.remember(tenant)).await
    }

    async fn tenant(&self, tag: &TenantTag) -> Result<Option<Tenant>, StoreError> {
        self.whole(self.inner.directory.tenant(tag)).await
    }
}

#[async_trait]
impl Reports for Shim {
    async fn keep(&self, report: &KeptReport) -> Result<(), StoreError> {
        self.whole(self.inner.reports.keep(report)).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<KeptReport>, StoreError> {
        self.whole(self.inner.reports.list(after, limit)).await
    }
}

#[async_trait]
impl Quotas for Shim {
    async fn take(
        &self,
        tenant: &Tenant,
        recipients: u64,
        now: Timestamp,
        limits: &QuotaLimits,
    ) -> Result<Taken, StoreError> {
        self.whole(self.inner.quotas.take(tenant, recipients, now, limits)).await
    }
}

#[async_trait]
impl Uploads for Shim {
    async fn offer(&self, offer: &UploadOffer) -> Result<UploadWay, StoreError> {
        self.whole(self.inner.uploads.offer(offer)).await
    }

    async fn expected(&self, id: &UploadId, token: &str, now: Timestamp) -> Result<Option<u64>, StoreError> {
        self.whole(self.inner.uploads.expected(id, token, now)).await
    }

    async fn receive(
        &self,
        id: &UploadId,
        token: &str,
        now: Timestamp,
        body: Bytes,
    ) -> Result<UploadReceived, StoreError> {
        self.whole(self.inner.uploads.receive(id, token, now, body)).await
    }

    async fn size(&self, tenant: &Tenant, id: &UploadId) -> Result<Option<u64>, StoreError> {
        self.whole(self.inner.uploads.size(tenant, id)).await
    }

    async fn open(&self, tenant: &Tenant, id: &UploadId) -> Result<Option<Bytes>, StoreError> {
        self.whole(self.inner.uploads.open(tenant, id)).await
    }
}

/// Whoever puts a body may not hear that it arrived.
pub(super) struct Unsure {
    pub(super) shim: Arc<Shim>,
    pub(super) inner: Arc<dyn Putter>,
}

#[async_trait]
impl Putter for Unsure {
    async fn put(
        &self,
        offer: &UploadOffer,
        way: &UploadWay,
        body: Bytes,
    ) -> Result<UploadReceived, StoreError> {
        self.shim.whole(self.inner.put(offer, way, body)).await
    }
}
