//! Whose keys open the API: hashes of them in the table.

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_types::error::display::DisplayErrorContext;
use posthaste_api::{Authority, Caller, Denied, Scope};
use posthaste_aws::{Aws, schema};
use posthaste_mail::Tenant;
use sha2::{Digest, Sha256};

/// The partition of keys; the sort key is the hash of one, in hexadecimal.
const KEYS: &str = "keys";

/// Looks each key up.
pub(crate) struct KeysInTable(Aws);

impl KeysInTable {
    /// Those of this deployment.
    pub(crate) fn new(aws: &Aws) -> Self {
        Self(aws.clone())
    }
}

#[async_trait]
impl Authority for KeysInTable {
    async fn identify(&self, key: Option<&str>) -> Result<Caller, Denied> {
        let key = key.ok_or(Denied::NoKey)?;
        let hash: String =
            Sha256::digest(key.as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect();
        let get = self.0.clients().dynamodb.get_item().table_name(&self.0.names().table);
        let got = get
            .key(schema::PK, AttributeValue::S(KEYS.to_owned()))
            .key(schema::SK, AttributeValue::S(hash))
            .send()
            .await
            .map_err(|error| {
                tracing::error!(error = %DisplayErrorContext(error), "a key cannot be looked up");
                Denied::Unavailable
            })?;
        let item = got.item.ok_or(Denied::Unknown)?;
        let tenant =
            item.get("tenant").and_then(|value| value.as_s().ok()).and_then(|name| Tenant::parse(name));
        let named = item.get("scopes").and_then(|value| value.as_ss().ok());
        let known = [Scope::Send, Scope::Read, Scope::Admin];
        let has = |scope: &Scope| named.is_some_and(|named| named.iter().any(|name| name == scope.as_str()));
        Ok(Caller { tenant: tenant.ok_or(Denied::Unknown)?, scopes: known.into_iter().filter(has).collect() })
    }
}
