//! Sender domains on a bad day.

use async_trait::async_trait;
use posthaste_mail::{Domain, Tenant, Timestamp};
use posthaste_pipeline::identity::{DomainReport, Identities, Identity, Watched, Watches};
use posthaste_pipeline::stores::StoreError;

use super::Shim;

#[async_trait]
impl Identities for Shim {
    async fn get(&self, tenant: &Tenant, domain: &Domain) -> Result<Option<Identity>, StoreError> {
        self.whole(self.inner.identities.get(tenant, domain)).await
    }

    async fn put(&self, identity: &Identity) -> Result<bool, StoreError> {
        self.whole(self.inner.identities.put(identity)).await
    }

    async fn remove(&self, tenant: &Tenant, domain: &Domain) -> Result<bool, StoreError> {
        self.whole(self.inner.identities.remove(tenant, domain)).await
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<Identity>, StoreError> {
        self.whole(self.inner.identities.list(tenant, after, limit)).await
    }

    async fn owners(&self, domains: &[Domain]) -> Result<Vec<Option<Tenant>>, StoreError> {
        self.whole(self.inner.identities.owners(domains)).await
    }

    async fn claim(
        &self,
        domain: &Domain,
        tenant: &Tenant,
        before: Option<&Tenant>,
    ) -> Result<bool, StoreError> {
        self.whole(self.inner.identities.claim(domain, tenant, before)).await
    }
}

#[async_trait]
impl Watches for Shim {
    async fn proved(
        &self,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<(Domain, Option<Tenant>)>, StoreError> {
        self.whole(self.inner.watches.proved(after, limit)).await
    }

    async fn watched(&self, tenant: &Tenant, domains: &[Domain]) -> Result<Vec<Option<Watched>>, StoreError> {
        self.whole(self.inner.watches.watched(tenant, domains)).await
    }

    async fn keep(&self, watched: &Watched) -> Result<(), StoreError> {
        self.whole(self.inner.watches.keep(watched)).await
    }

    async fn report(&self, report: &DomainReport) -> Result<bool, StoreError> {
        self.whole(self.inner.watches.report(report)).await
    }

    async fn reports(
        &self,
        tenant: &Tenant,
        domain: &Domain,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<DomainReport>, StoreError> {
        self.whole(self.inner.watches.reports(tenant, domain, since, limit)).await
    }
}
