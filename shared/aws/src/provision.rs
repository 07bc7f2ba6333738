//! Makes what a store needs where it is not there: for one machine beside an emulator. A deployment has its template.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TableStatus,
};
use aws_sdk_s3::error::ProvideErrorMetadata;

use crate::names::{Names, Told};
use crate::{Clients, schema};

/// How often a new table is asked whether it is ready.
const PAUSE: Duration = Duration::from_millis(200);
/// How many times.
const LOOKS_MAX: u32 = 150;
/// Seconds that a job is hidden while somebody has it; whoever has it hides it again. Longer than a row's lease (60 s).
const HIDDEN_S: &str = "90";
/// Seconds a job is kept: SQS's most.
const KEPT_S: &str = "1209600";

/// Why something could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what} could not be made: {why}")]
pub struct ProvisionError {
    what: String,
    why: String,
}

fn failed(what: &str, why: impl std::error::Error + Send + Sync + 'static) -> ProvisionError {
    let why = aws_smithy_types::error::display::DisplayErrorContext(why).to_string();
    ProvisionError { what: what.to_owned(), why }
}

impl Names {
    /// Makes everything under a prefix, unless it is there, and says what it is called.
    pub async fn provision(clients: &Clients, prefix: &str) -> Result<Self, ProvisionError> {
        let table = prefix.to_owned();
        make_table(clients, &table).await?;
        let bucket = prefix.to_owned();
        make_bucket(clients, &bucket).await?;
        let mut queues = Vec::new();
        for lane in ["transactional", "bulk", "slow"] {
            let dead = make_queue(clients, &format!("{prefix}-{lane}-dead")).await?;
            queues.push((make_queue(clients, &format!("{prefix}-{lane}")).await?, dead));
        }
        let bus = prefix.to_owned();
        make_bus(clients, &bus).await?;
        let mut queues = queues.into_iter();
        let mut next = || queues.next().unwrap_or_default();
        let ((transactional, one), (bulk, two), (slow, three)) = (next(), next(), next());
        Ok(Self {
            table,
            bucket,
            transactional,
            bulk,
            slow,
            dead: [one, two, three],
            bus: Some(bus),
            key: None,
            delivered: Told::Yes,
        })
    }
}

async fn make_table(clients: &Clients, name: &str) -> Result<(), ProvisionError> {
    let what = format!("the table {name}");
    let unbuilt = |error| failed(&what, error);
    let attribute = |name: &str, kind| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().map_err(unbuilt)
    };
    let key = |name: &str, kind| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build().map_err(unbuilt)
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name(schema::INDEX)
        .key_schema(key(schema::WAKE_SHARD, KeyType::Hash)?)
        .key_schema(key(schema::WAKE, KeyType::Range)?)
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .map_err(unbuilt)?;
    let made = clients
        .dynamodb
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute(schema::PK, ScalarAttributeType::S)?)
        .attribute_definitions(attribute(schema::SK, ScalarAttributeType::S)?)
        .attribute_definitions(attribute(schema::WAKE_SHARD, ScalarAttributeType::S)?)
        .attribute_definitions(attribute(schema::WAKE, ScalarAttributeType::N)?)
        .key_schema(key(schema::PK, KeyType::Hash)?)
        .key_schema(key(schema::SK, KeyType::Range)?)
        .global_secondary_indexes(index)
        .send()
        .await;
    match made {
        Ok(_) => {}
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => {
            return Ok(());
        }
        Err(error) => return Err(failed(&what, error)),
    }
    for _ in 0..LOOKS_MAX {
        let described = clients.dynamodb.describe_table().table_name(name).send().await;
        let status =
            described.map_err(|error| failed(&what, error))?.table.and_then(|table| table.table_status);
        if status == Some(TableStatus::Active) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(ProvisionError { what, why: "it does not become active".to_owned() })
}

async fn make_bucket(clients: &Clients, name: &str) -> Result<(), ProvisionError> {
    let made = clients.s3.create_bucket().bucket(name).send().await;
    match made {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.code(), Some("BucketAlreadyOwnedByYou" | "BucketAlreadyExists")) => {
            Ok(())
        }
        Err(error) => Err(failed(&format!("the bucket {name}"), error)),
    }
}

async fn make_queue(clients: &Clients, name: &str) -> Result<String, ProvisionError> {
    use aws_sdk_sqs::types::QueueAttributeName;
    let what = format!("the queue {name}");
    let made = clients
        .sqs
        .create_queue()
        .queue_name(name)
        .attributes(QueueAttributeName::VisibilityTimeout, HIDDEN_S)
        .attributes(QueueAttributeName::MessageRetentionPeriod, KEPT_S)
        .send()
        .await
        .map_err(|error| failed(&what, error))?;
    made.queue_url.ok_or(ProvisionError { what, why: "it has no address".to_owned() })
}

async fn make_bus(clients: &Clients, name: &str) -> Result<(), ProvisionError> {
    let made = clients.eventbridge.create_event_bus().name(name).send().await;
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_already_exists_exception()) => {
            Ok(())
        }
        Err(error) => Err(failed(&format!("the event bus {name}"), error)),
    }
}
