//! What tenants have submitted in the present windows: one item a tenant, one write a request. The write counts under
//! the condition that the windows are the present ones and have room; where it fails, what stands there says why.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity, ReturnValuesOnConditionCheckFailure};
use posthaste_mail::{Tenant, Timestamp};
use posthaste_pipeline::access::Taken;
use posthaste_pipeline::stores::{Quotas, StoreError};
use posthaste_policy::QuotaLimits;
use posthaste_policy::quota::{Counted, Grant};

use crate::item::{self, Item, Key};
use crate::patience::Patience;
use crate::{Aws, schema, unavailable};

/// More than anybody submits: a limit where there is none, so that one condition serves both.
const UNLIMITED: u64 = 1 << 60;

#[async_trait::async_trait]
impl Quotas for Aws {
    async fn take(
        &self,
        tenant: &Tenant,
        recipients: u64,
        now: Timestamp,
        limits: &QuotaLimits,
    ) -> Result<Taken, StoreError> {
        let key = Key::new(schema::quota(tenant), "now");
        let mut patience = Patience::new(self.ambient(), "counting what a tenant submits");
        // What would stand there if these were the first in their windows says which windows are the present ones.
        let mut known = match Counted::default().grant(0, now, &QuotaLimits::default()) {
            Grant::Granted(windows) => windows,
            Grant::Until(_) => Counted::default(),
        };
        loop {
            let Some(there) = self.count(&key, &known, recipients, limits).await? else {
                return Ok(Taken::Granted);
            };
            let stands = there.as_ref().map_or(Ok(Counted::default()), read)?;
            let next = match stands.grant(recipients, now, limits) {
                Grant::Until(until) => return Ok(Taken::Until(until)),
                Grant::Granted(next) => next,
            };
            if (next.minute, next.day) == (stands.minute, stands.day) && there.is_some() {
                // Another clock is ahead, or others counted meanwhile: there is room in its windows.
                known = stands;
            } else if self.begin(&key, there.is_some().then_some(&stands), &next).await? {
                return Ok(Taken::Granted);
            }
            patience.pause(1).await?;
        }
    }
}

fn read(found: &Item) -> Result<Counted, StoreError> {
    Ok(Counted {
        minute: item::integer(found, schema::MINUTE)?,
        in_minute: item::integer(found, schema::IN_MINUTE)?,
        day: item::integer(found, schema::DAY)?,
        in_day: item::integer(found, schema::IN_DAY)?,
    })
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

impl Aws {
    /// Counts in the windows of `known`, if they have room; else what stands there.
    async fn count(
        &self,
        key: &Key,
        known: &Counted,
        recipients: u64,
        limits: &QuotaLimits,
    ) -> Result<Option<Option<Item>>, StoreError> {
        let room = |limit: Option<u64>| limit.unwrap_or(UNLIMITED).checked_sub(recipients);
        let (Some(minute), Some(day)) = (room(limits.per_minute), room(limits.per_day)) else {
            // More than ever fits: what stands there says until when.
            return Ok(Some(self.table().get(key, crate::table::Consistency::Strong).await?));
        };
        let counted = self
            .clients()
            .dynamodb
            .update_item()
            .table_name(&self.names().table)
            .set_key(Some(key.item()))
            .update_expression("SET #im = #im + :n, #id = #id + :n")
            .condition_expression("#m = :m AND #d = :d AND #im <= :im AND #id <= :id")
            .expression_attribute_names("#m", schema::MINUTE)
            .expression_attribute_names("#im", schema::IN_MINUTE)
            .expression_attribute_names("#d", schema::DAY)
            .expression_attribute_names("#id", schema::IN_DAY)
            .expression_attribute_values(":n", number(recipients))
            .expression_attribute_values(":m", number(known.minute))
            .expression_attribute_values(":d", number(known.day))
            .expression_attribute_values(":im", number(minute))
            .expression_attribute_values(":id", number(day))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let Err(error) = counted else { return Ok(None) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => Ok(Some(failed.item.clone())),
            _ => Err(unavailable("counting what a tenant submits", error)),
        }
    }

    /// Begins new windows in the place of what stands there; whether nobody was faster.
    async fn begin(&self, key: &Key, stands: Option<&Counted>, next: &Counted) -> Result<bool, StoreError> {
        let mut item = key.item();
        item.extend([
            item::number(schema::MINUTE, next.minute),
            item::number(schema::IN_MINUTE, next.in_minute),
            item::number(schema::DAY, next.day),
            item::number(schema::IN_DAY, next.in_day),
        ]);
        let put = self
            .clients()
            .dynamodb
            .put_item()
            .table_name(&self.names().table)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .set_item(Some(item));
        let put = match stands {
            None => put
                .condition_expression("attribute_not_exists(#k)")
                .expression_attribute_names("#k", schema::PK),
            Some(stands) => put
                .condition_expression("#m = :m AND #d = :d AND #im = :im AND #id = :id")
                .expression_attribute_names("#m", schema::MINUTE)
                .expression_attribute_names("#im", schema::IN_MINUTE)
                .expression_attribute_names("#d", schema::DAY)
                .expression_attribute_names("#id", schema::IN_DAY)
                .expression_attribute_values(":m", number(stands.minute))
                .expression_attribute_values(":d", number(stands.day))
                .expression_attribute_values(":im", number(stands.in_minute))
                .expression_attribute_values(":id", number(stands.in_day)),
        };
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) =>
            {
                Ok(false)
            }
            Err(error) => Err(unavailable("counting what a tenant submits", error)),
        }
    }
}
