//! How sender domains fare: the latest look at each, and what receivers report of it.

use aws_sdk_dynamodb::types::AttributeValue;
use posthaste_mail::{Domain, Tenant, Timestamp};
use posthaste_pipeline::identity::{DomainReport, REPORTS_KEPT_FOR, Watched, Watches};
use posthaste_pipeline::stores::StoreError;

use crate::item::{self, Item, Key};
use crate::table::{Consistency, If, Put, Range};
use crate::{Aws, document, schema};

fn read(found: &Item) -> Result<Watched, StoreError> {
    document::read("an audit", item::blob(found, schema::DOC)?)
}

#[async_trait::async_trait]
impl Watches for Aws {
    async fn proved(
        &self,
        after: Option<&Domain>,
        limit: usize,
    ) -> Result<Vec<(Domain, Option<Tenant>)>, StoreError> {
        let after = after.map(|after| ("#s > :s", vec![(":s", AttributeValue::S(after.to_string()))]));
        let range = Range {
            index: false,
            partition: schema::OWNERS.to_owned(),
            condition: after,
            backwards: false,
            limit,
            consistency: Consistency::Eventual,
        };
        let proved = |found: &Item| {
            let domain = Domain::parse(found.get(schema::SK)?.as_s().ok()?).ok()?;
            let tenant = found.get(schema::TENANT).and_then(|name| Tenant::parse(name.as_s().ok()?));
            Some((domain, tenant))
        };
        Ok(self.table().query(&range).await?.iter().filter_map(proved).collect())
    }

    async fn watched(&self, tenant: &Tenant, domains: &[Domain]) -> Result<Vec<Option<Watched>>, StoreError> {
        let keys: Vec<Key> =
            domains.iter().map(|domain| Key::new(schema::audits(tenant), domain.as_str())).collect();
        let found = self.table().get_all(&keys, Consistency::Strong).await?;
        found.iter().map(|found| found.as_ref().map(read).transpose()).collect()
    }

    async fn keep(&self, watched: &Watched) -> Result<(), StoreError> {
        let mut item = Key::new(schema::audits(&watched.tenant), watched.domain.as_str()).item();
        item.extend([item::octets(schema::DOC, document::write(watched)?)]);
        self.table().put(item, If::Anything).await.map(|_| ())
    }

    async fn report(&self, report: &DomainReport) -> Result<bool, StoreError> {
        let partition = schema::domain_reports(&report.tenant, &report.identity);
        let mut item = Key::new(partition, schema::report_at(report.summary.begin, &report.id)).item();
        item.extend([
            item::octets(schema::DOC, document::write(report)?),
            item::gone_at(report.at.plus(REPORTS_KEPT_FOR)),
        ]);
        Ok(!matches!(self.table().put(item, If::Absent).await?, Put::Instead(_)))
    }

    async fn reports(
        &self,
        tenant: &Tenant,
        domain: &Domain,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<DomainReport>, StoreError> {
        let from = schema::report_at(since, "");
        let range = Range {
            index: false,
            partition: schema::domain_reports(tenant, domain),
            condition: Some(("#s >= :s", vec![(":s", AttributeValue::S(from))])),
            backwards: true,
            limit,
            consistency: Consistency::Eventual,
        };
        let found = self.table().query(&range).await?;
        found.iter().map(|found| document::read("a report", item::blob(found, schema::DOC)?)).collect()
    }
}
