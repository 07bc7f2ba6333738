//! Sender domains on a bad day.

use async_trait::async_trait;
use posthaste_mail::{Domain, Tenant};
use posthaste_pipeline::identity::{Identities, Identity};
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
