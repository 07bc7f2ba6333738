//! Every request to AWS, counted where the SDK sends it: by service and operation, with what it is billed by.
//!
//! Each attempt counts, retries included. What an answer costs is worked out in module `units`; prices stand elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::operation as dynamodb;
use aws_sdk_eventbridge::operation as eventbridge;
use aws_sdk_s3::operation as s3;
use aws_sdk_sqs::operation as sqs;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef, Error,
    FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, SharedInterceptor};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::Serialize;

use crate::units::Asked;

/// What was sent of one operation, and what it is billed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Count {
    /// Requests, each attempt counted.
    pub requests: u64,
    /// Of these, those that were not the first for their call.
    pub retries: u64,
    /// Answers that said: too fast.
    pub throttles: u64,
    /// DynamoDB's write request units, indexes and failed conditions included.
    pub writes: f64,
    /// DynamoDB's read request units.
    pub reads: f64,
    /// Requests as SQS counts them, events as EventBridge does: by 64 KB.
    pub pieces: u64,
    /// Of the pieces sent to SQS, those with a message group: fair queues cost more.
    pub fair: u64,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.retries += other.retries;
        self.throttles += other.throttles;
        self.writes += other.writes;
        self.reads += other.reads;
        self.pieces += other.pieces;
        self.fair += other.fair;
    }
}

/// Counts by service and operation, as the SDK names them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally(BTreeMap<(String, String), Count>);

impl Tally {
    /// Of one operation.
    pub fn of(&self, service: &str, operation: &str) -> Count {
        self.0.get(&(service.to_owned(), operation.to_owned())).copied().unwrap_or_default()
    }

    /// Each operation's count, by service and operation.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Count)> {
        self.0.iter().map(|((service, operation), count)| (service.as_str(), operation.as_str(), count))
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.0.entry(name.clone()).or_default().add(count);
        }
    }

    /// Of all operations together.
    pub fn total(&self) -> Count {
        self.0.values().fold(Count::default(), |mut total, count| {
            total.add(count);
            total
        })
    }

    /// One line of JSON: an object by service, of objects by operation.
    pub fn line(&self) -> String {
        let mut services: BTreeMap<&str, BTreeMap<&str, &Count>> = BTreeMap::new();
        for (service, operation, count) in self.iter() {
            services.entry(service).or_default().insert(operation, count);
        }
        serde_json::to_string(&services).unwrap_or_default()
    }
}

/// Where requests are counted. Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Calls(Arc<Mutex<Tally>>);

impl Calls {
    /// What was counted since the last time this was asked.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn interceptor(&self) -> SharedInterceptor {
        SharedInterceptor::new(Counting(self.clone()))
    }

    fn add(&self, bag: &ConfigBag, count: &Count) {
        if let Some(metadata) = bag.load::<Metadata>() {
            let name = (metadata.service().to_owned(), metadata.name().to_owned());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).0.entry(name).or_default().add(count);
        }
    }
}

/// Attempts that a call has sent.
#[derive(Debug, Clone, Copy, Default)]
struct Sent(u64);

impl Storable for Sent {
    type Storer = StoreReplace<Self>;
}

#[derive(Debug)]
struct Counting(Calls);

impl Intercept for Counting {
    fn name(&self) -> &'static str {
        "Calls"
    }

    fn read_before_serialization(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let asked = Asked::of(context.input());
        bag.interceptor_state().store_put(asked);
        bag.interceptor_state().store_put(Sent(0));
        Ok(())
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let before = bag.load::<Sent>().copied().unwrap_or_default().0;
        bag.interceptor_state().store_put(Sent(before + 1));
        self.0.add(bag, &Count { requests: 1, retries: u64::from(before > 0), ..Count::default() });
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = match context.output_or_error() {
            Some(Ok(output)) => Ok(output),
            Some(Err(error)) => Err(error.as_operation_error()),
            None => Err(None),
        };
        let units = bag.load::<Asked>().copied().unwrap_or_default().units(answer);
        let throttled = answer.err().flatten().and_then(code).is_some_and(|code| THROTTLES.contains(&code));
        let count = Count {
            throttles: u64::from(throttled),
            writes: units.writes,
            reads: units.reads,
            pieces: units.pieces,
            fair: units.fair,
            ..Count::default()
        };
        self.0.add(bag, &count);
        Ok(())
    }
}

/// What the services say when they are asked too fast.
const THROTTLES: [&str; 8] = [
    "Throttling",
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "TooManyRequestsException",
    "SlowDown",
    "LimitExceededException",
];

/// The code of an error of one of the operations that the stores use.
fn code(error: &Error) -> Option<&str> {
    macro_rules! first_of {
        ($($kind:ty),* $(,)?) => {
            $(if let Some(error) = error.downcast_ref::<$kind>() { return error.code(); })*
        };
    }
    first_of!(
        dynamodb::put_item::PutItemError,
        dynamodb::get_item::GetItemError,
        dynamodb::query::QueryError,
        dynamodb::batch_get_item::BatchGetItemError,
        dynamodb::update_item::UpdateItemError,
        dynamodb::delete_item::DeleteItemError,
        sqs::send_message_batch::SendMessageBatchError,
        sqs::send_message::SendMessageError,
        sqs::receive_message::ReceiveMessageError,
        sqs::delete_message_batch::DeleteMessageBatchError,
        s3::put_object::PutObjectError,
        s3::get_object::GetObjectError,
        eventbridge::put_events::PutEventsError,
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(service: &str, operation: &str) -> (String, String) {
        (service.to_owned(), operation.to_owned())
    }

    #[test]
    fn a_tally_is_one_line_of_json_by_service_and_operation() {
        let put = Count { requests: 2, retries: 1, writes: 2.0, pieces: 2, ..Count::default() };
        let send = Count { requests: 1, pieces: 1, fair: 1, ..Count::default() };
        let tally = Tally(BTreeMap::from([
            (name("DynamoDB", "PutItem"), put),
            (name("SQS", "SendMessageBatch"), send),
        ]));
        let expected = concat!(
            r#"{"DynamoDB":{"PutItem":{"requests":2,"retries":1,"throttles":0,"#,
            r#""writes":2.0,"reads":0.0,"pieces":2,"fair":0}},"#,
            r#""SQS":{"SendMessageBatch":{"requests":1,"retries":0,"throttles":0,"#,
            r#""writes":0.0,"reads":0.0,"pieces":1,"fair":1}}}"#
        );
        assert_eq!(tally.line(), expected);
        assert_eq!(tally.total().requests, 3);
    }

    #[test]
    fn a_throttle_is_known_by_its_code() {
        let throttled = aws_sdk_dynamodb::types::error::ThrottlingException::builder()
            .meta(aws_smithy_types::error::ErrorMetadata::builder().code("ThrottlingException").build())
            .build();
        let error = Error::erase(dynamodb::put_item::PutItemError::ThrottlingException(throttled));
        assert!(code(&error).is_some_and(|code| THROTTLES.contains(&code)));
    }
}
