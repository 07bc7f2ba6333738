//! What the sandbox received, as the API looks at it: in the table, since the receivers are in other functions.

use async_trait::async_trait;
use posthaste_api::KeptMail;
use posthaste_aws::Aws;
use posthaste_mail::Tenant;
use posthaste_pipeline::stores::StoreError;
use posthaste_sandbox::Summary;

/// In this deployment's table.
pub(crate) struct InTable(pub(crate) Aws);

#[async_trait]
impl KeptMail for InTable {
    async fn page(
        &self,
        tenant: &Tenant,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Summary>, StoreError> {
        self.0.sandboxed(tenant, before, limit).await
    }

    async fn one(&self, tenant: &Tenant, id: &str) -> Result<Option<Summary>, StoreError> {
        self.0.one_sandboxed(tenant, id).await
    }

    async fn forget(&self, tenant: &Tenant, id: &str) -> Result<(), StoreError> {
        self.0.forget_sandboxed(tenant, id).await
    }
}
