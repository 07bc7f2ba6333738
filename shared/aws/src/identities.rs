//! Sender domains, and who has proved which. Private keys are sealed by KMS, under one key of the stack, each for its tenant,
//! domain and selector; where there is no such key (`posthaste dev` on an endpoint) by a secret of the table.

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_kms::primitives::Blob;
use posthaste_mail::{Domain, Tenant};
use posthaste_pipeline::identity::{Identities, Identity, Sealer};
use posthaste_pipeline::seal;
use posthaste_pipeline::stores::{Controls, StoreError};

use crate::item::{self, Item, Key};
use crate::table::{Consistency, If, Put, Range, Update};
use crate::{Aws, document, schema, unavailable};

/// The name under which KMS is told what is sealed, so that it stands in its log.
const CONTEXT: &str = "posthaste";
/// The secret that seals without KMS.
const SECRET: &str = "identities";

fn key_of(tenant: &Tenant, domain: &Domain) -> Key {
    Key::new(schema::identities(tenant), domain.as_str())
}

fn owner_key(domain: &Domain) -> Key {
    Key::new(schema::OWNERS, domain.as_str())
}

fn read(found: &Item) -> Result<Identity, StoreError> {
    document::read("an identity", item::blob(found, schema::DOC)?)
}

#[async_trait::async_trait]
impl Sealer for Aws {
    async fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let Some(key) = &self.names().key else {
            let sealed = seal::seal(&self.own_secret().await?, purpose.as_bytes(), plain);
            return sealed.ok_or_else(|| StoreError::Unavailable("a key could not be sealed".to_owned()));
        };
        let sealed = self.clients().kms.encrypt().key_id(key).plaintext(Blob::new(plain));
        let sealed = sealed.encryption_context(CONTEXT, purpose).send().await;
        let sealed = sealed.map_err(|error| unavailable("sealing a key", error))?;
        let sealed = sealed.ciphertext_blob.map(Blob::into_inner);
        sealed.ok_or_else(|| StoreError::Unavailable("KMS sealed nothing".to_owned()))
    }

    async fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let Some(key) = &self.names().key else {
            let opened = seal::open(&self.own_secret().await?, purpose.as_bytes(), sealed);
            return opened
                .ok_or_else(|| StoreError::Corrupt("a key was sealed by another secret".to_owned()));
        };
        let opened = self.clients().kms.decrypt().key_id(key).ciphertext_blob(Blob::new(sealed));
        let opened = opened.encryption_context(CONTEXT, purpose).send().await;
        let opened = opened.map_err(|error| unavailable("opening a key", error))?;
        let opened = opened.plaintext.map(Blob::into_inner);
        opened.ok_or_else(|| StoreError::Unavailable("KMS opened nothing".to_owned()))
    }
}

impl Aws {
    async fn own_secret(&self) -> Result<[u8; 32], StoreError> {
        let mut fresh = [0; 32];
        fresh[..16].copy_from_slice(&self.ambient().chance.octets());
        fresh[16..].copy_from_slice(&self.ambient().chance.octets());
        self.secret(SECRET, fresh).await
    }
}

#[async_trait::async_trait]
impl Identities for Aws {
    async fn get(&self, tenant: &Tenant, domain: &Domain) -> Result<Option<Identity>, StoreError> {
        let found = self.table().get(&key_of(tenant, domain), Consistency::Strong).await?;
        found.as_ref().map(read).transpose()
    }

    async fn put(&self, identity: &Identity) -> Result<bool, StoreError> {
        let mut item = key_of(&identity.tenant, &identity.domain).item();
        item.extend([
            item::number(schema::VERSION, identity.version),
            item::octets(schema::DOC, document::write(identity)?),
        ]);
        let condition = if identity.version <= 1 { If::Absent } else { If::Version(identity.version - 1) };
        Ok(!matches!(self.table().put(item, condition).await?, Put::Instead(_)))
    }

    async fn remove(&self, tenant: &Tenant, domain: &Domain) -> Result<bool, StoreError> {
        // The claim first: one without an identity would keep others out.
        let update = Update::new("SET #g = :g REMOVE #t")
            .when("#t = :t")
            .name("#g", schema::GONE_AT)
            .name("#t", schema::TENANT)
            .value(":g", AttributeValue::N((self.ambient().now().0 / 1_000).to_string()))
            .value(":t", AttributeValue::S(tenant.as_str().to_owned()));
        self.table().update(&owner_key(domain), update, "giving a domain up").await?.ok();
        self.table().delete(&Key::new(schema::audits(tenant), domain.as_str())).await?;
        Ok(self.table().delete(&key_of(tenant, domain)).await?.is_some())
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<Identity>, StoreError> {
        let after = after.map(|after| ("#s > :s", vec![(":s", AttributeValue::S(after.to_string()))]));
        let range = Range {
            index: false,
            partition: schema::identities(tenant),
            condition: after,
            backwards: false,
            limit,
            consistency: Consistency::Strong,
        };
        self.table().query(&range).await?.iter().map(read).collect()
    }

    async fn owners(&self, domains: &[Domain]) -> Result<Vec<Option<Tenant>>, StoreError> {
        let keys: Vec<Key> = domains.iter().map(owner_key).collect();
        let found = self.table().get_all(&keys, Consistency::Strong).await?;
        let owner = |item: &Option<Item>| {
            let name = item.as_ref()?.get(schema::TENANT)?.as_s().ok()?;
            Tenant::parse(name)
        };
        Ok(found.iter().map(owner).collect())
    }

    async fn claim(
        &self,
        domain: &Domain,
        tenant: &Tenant,
        before: Option<&Tenant>,
    ) -> Result<bool, StoreError> {
        let update = Update::new("SET #t = :t REMOVE #g")
            .name("#t", schema::TENANT)
            .name("#g", schema::GONE_AT)
            .value(":t", AttributeValue::S(tenant.as_str().to_owned()));
        let update = match before {
            // The same again, whose answer was lost, is done.
            None => update.when("attribute_not_exists(#t) OR #t = :t"),
            Some(before) => {
                update.when("#t = :b OR #t = :t").value(":b", AttributeValue::S(before.as_str().to_owned()))
            }
        };
        Ok(self.table().update(&owner_key(domain), update, "claiming a domain").await?.is_ok())
    }
}
