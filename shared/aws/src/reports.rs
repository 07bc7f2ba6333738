//! Reports about mail that changed nothing.

use aws_sdk_dynamodb::types::AttributeValue;
use posthaste_pipeline::feedback::{KEPT_FOR, KeptReport, Reports};
use posthaste_pipeline::stores::StoreError;

use crate::item::{self, Item, Key};
use crate::table::{Consistency, If, Range};
use crate::{Aws, document, schema};

#[async_trait::async_trait]
impl Reports for Aws {
    async fn keep(&self, report: &KeptReport) -> Result<(), StoreError> {
        let mut item = Key::new(schema::REPORTS, report.id.as_str()).item();
        item.extend([
            item::text(schema::WAKE_SHARD, schema::REPORTS),
            item::number(schema::WAKE, self.tick()),
            item::octets(schema::DOC, document::write(report)?),
            item::gone_at(report.at.plus(KEPT_FOR)),
        ]);
        self.table().put(item, If::Absent).await.map(|_| ())
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<Vec<KeptReport>, StoreError> {
        let before = match after {
            None => u64::MAX,
            Some(after) => {
                match self.table().get(&Key::new(schema::REPORTS, after), Consistency::Strong).await? {
                    Some(there) => item::integer(&there, schema::WAKE)?,
                    None => return Ok(Vec::new()),
                }
            }
        };
        let range = Range {
            index: true,
            partition: schema::REPORTS.to_owned(),
            condition: Some(("#s < :s", vec![(":s", AttributeValue::N(before.to_string()))])),
            backwards: true,
            limit,
            consistency: Consistency::Eventual,
        };
        let entries = self.table().query(&range).await?;
        let keys = entries.iter().map(Key::of).collect::<Result<Vec<_>, _>>()?;
        let items = self.table().get_all(&keys, Consistency::Strong).await?;
        items.iter().flatten().map(read).collect()
    }
}

fn read(found: &Item) -> Result<KeptReport, StoreError> {
    document::read("a report", item::blob(found, schema::DOC)?)
}
