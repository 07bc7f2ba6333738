//! The suppression list: a mailbox is one item with all its entries, so that one read of a known key answers for it.

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;
use posthaste_mail::{Address, Tenant, Timestamp};
use posthaste_pipeline::effect::Suppression;
use posthaste_pipeline::row::Realm;
use posthaste_pipeline::stores::{StoreError, Suppressions};

use crate::item::{self, Item, Key};
use crate::patience::Patience;
use crate::table::{Consistency, If, Put, Range};
use crate::{Aws, document, schema};

/// Mailboxes looked at in one go when the sandbox's entries are removed.
const PAGE: usize = 500;
/// How long an entry outlives its end: clocks differ.
const GRACE: std::time::Duration = std::time::Duration::from_secs(86_400);

#[async_trait::async_trait]
impl Suppressions for Aws {
    async fn check(
        &self,
        tenant: &Tenant,
        addresses: &[Address],
    ) -> Result<Vec<Vec<Suppression>>, StoreError> {
        let keys: Vec<Key> = addresses.iter().map(|address| key(tenant, &address.folded())).collect();
        let items = self.table().get_all(&keys, Consistency::Strong).await?;
        items.iter().map(|item| item.as_ref().map_or(Ok(Vec::new()), entries)).collect()
    }

    async fn put(&self, entry: Suppression) -> Result<(), StoreError> {
        let key = key(&entry.tenant, &entry.address.folded());
        self.change(&key, |entries| {
            entries.retain(|there| !same_place(there, &entry));
            entries.push(entry.clone());
            1
        })
        .await
        .map(|_| ())
    }

    async fn remove(&self, tenant: &Tenant, address: &Address) -> Result<u64, StoreError> {
        self.change(&key(tenant, &address.folded()), |entries| {
            let count = entries.len();
            entries.clear();
            count
        })
        .await
    }

    async fn clear_sandbox(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let (mut removed, mut after) = (0, None);
        loop {
            let page = self.mailboxes(tenant, after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(removed) };
            after = Some(last.clone());
            for (folded, entries) in page {
                if entries.iter().any(|entry| entry.realm == Realm::Sandbox) {
                    removed += self
                        .change(&key(tenant, &folded), |entries| {
                            let count = entries.len();
                            entries.retain(|entry| entry.realm != Realm::Sandbox);
                            count - entries.len()
                        })
                        .await?;
                }
            }
        }
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Suppression>, StoreError> {
        let mut page = Vec::new();
        for (_, entries) in self.mailboxes(tenant, after, limit).await? {
            if page.len() >= limit {
                break;
            }
            page.extend(entries);
        }
        Ok(page)
    }
}

fn key(tenant: &Tenant, folded: &str) -> Key {
    Key::new(schema::suppressed(tenant, folded), folded)
}

fn same_place(one: &Suppression, other: &Suppression) -> bool {
    one.realm == other.realm && one.lane == other.lane
}

fn entries(found: &Item) -> Result<Vec<Suppression>, StoreError> {
    document::read("a suppressed mailbox", item::blob(found, schema::DOC)?)
}

/// When the last entry ends; none: never.
fn end(entries: &[Suppression]) -> Option<Timestamp> {
    entries
        .iter()
        .map(|entry| entry.expires_at)
        .try_fold(Timestamp::default(), |latest, end| Some(latest.max(end?)))
}

impl Aws {
    /// Suppresses; an entry that lasts longer stays.
    pub(crate) async fn suppress_unless_longer(&self, entry: Suppression) -> Result<(), StoreError> {
        let lasts = |entry: &Suppression| entry.expires_at.unwrap_or(Timestamp::NEVER);
        let key = key(&entry.tenant, &entry.address.folded());
        self.change(&key, |entries| {
            if entries.iter().any(|there| same_place(there, &entry) && lasts(there) >= lasts(&entry)) {
                return 0;
            }
            entries.retain(|there| !same_place(there, &entry));
            entries.push(entry.clone());
            1
        })
        .await
        .map(|_| ())
    }

    /// Changes the entries of a mailbox under its version; what `change` says it did. 0: nothing is written.
    async fn change(
        &self,
        key: &Key,
        mut change: impl FnMut(&mut Vec<Suppression>) -> usize,
    ) -> Result<u64, StoreError> {
        let mut patience = Patience::new(self.ambient(), "changing a suppressed mailbox");
        loop {
            let there = self.table().get(key, Consistency::Strong).await?;
            let version: u64 = there.as_ref().map_or(Ok(0), |item| item::integer(item, schema::VERSION))?;
            let mut kept = there.as_ref().map_or(Ok(Vec::new()), entries)?;
            let done = change(&mut kept);
            if done == 0 {
                return Ok(0);
            }
            let condition = if version == 0 { If::Absent } else { If::Version(version) };
            let put = if kept.is_empty() {
                self.table().delete_if(key, condition).await?
            } else {
                let mut item = key.item();
                item.extend([
                    // No version comes twice, also when the mailbox was removed in between.
                    item::number(schema::VERSION, self.tick()),
                    item::octets(schema::DOC, document::write(&kept)?),
                ]);
                item.extend(end(&kept).map(|end| item::gone_at(end.max(self.ambient().now()).plus(GRACE))));
                self.table().put(item, condition).await?
            };
            match put {
                Put::Done => return Ok(u64::try_from(done).unwrap_or(u64::MAX)),
                Put::Instead(_) => patience.pause(1).await?,
            }
        }
    }

    /// Mailboxes with entries in the order of addresses, after a folded address.
    async fn mailboxes(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<Suppression>)>, StoreError> {
        let shards = (0..schema::SUPPRESSED_SHARDS).map(|number| {
            let range = Range {
                index: false,
                partition: schema::suppressed_of(tenant, number),
                condition: after.map(|after| ("#s > :s", vec![(":s", AttributeValue::S(after.to_owned()))])),
                backwards: false,
                limit: limit.max(1),
                consistency: Consistency::Strong,
            };
            async move { self.table().query(&range).await }
        });
        let mut mailboxes = Vec::new();
        for found in try_join_all(shards).await?.iter().flatten() {
            mailboxes.push((item::string(found, schema::SK)?.to_owned(), entries(found)?));
        }
        mailboxes.sort_by(|a, b| a.0.cmp(&b.0));
        mailboxes.truncate(limit.max(1));
        Ok(mailboxes)
    }
}
