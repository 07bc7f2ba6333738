//! `clock`: once a minute it wakes rows whose time has come, brings what the queues themselves gave up on to the other
//! dead letters, and says how things stand.

use std::time::Duration;

use aws_smithy_types::error::display::DisplayErrorContext;
use lambda_runtime::LambdaEvent;
use posthaste_aws::counts::Standing;
use posthaste_aws::{Aws, Received};
use posthaste_mail::Timestamp;
use posthaste_pipeline::clock::tick;
use posthaste_pipeline::row::Job;
use posthaste_pipeline::stores::StoreError;
use serde_json::Value;

use crate::environment::Environment;
use crate::invocation::Invocation;
use crate::settings::SettingsError;

/// Kept at the end of an invocation for the gauges.
const RESERVE: Duration = Duration::from_secs(5);
/// Receives of each queue of dead letters in one invocation, ten messages each: they are an accident, and what is left
/// waits a minute.
const RECEIVES_MAX: usize = 10;
/// What is told of a job that its queue gave up on.
const GIVEN_UP: &str = "received too often without an end: its queue gave it up";

/// The function.
pub struct Function {
    environment: Environment,
}

impl Function {
    /// Reads its settings.
    pub async fn prepare() -> Result<Self, SettingsError> {
        Ok(Self { environment: Environment::prepare().await? })
    }

    /// Does what a minute asks for; what fails is done by the next one.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<(), lambda_runtime::Error> {
        let invocation = Invocation::begin(&self.environment);
        let Environment { aws, ambient, .. } = &self.environment;
        let ends = Timestamp(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
        self.environment.refresh().await?;
        let work = async {
            let ticked = tick(ambient, &aws.stores()).await;
            let ticked =
                ticked.inspect_err(|error| tracing::error!(%error, "waiting rows could not be looked after"));
            let brought = bring_all(aws).await;
            (ticked, brought)
        };
        let time = ends.minus(RESERVE).since(ambient.now());
        match tokio::time::timeout(time, work).await {
            Ok((Ok(ticked), brought)) => {
                tracing::debug!(sent = ticked.sent, brought, "a minute was looked after")
            }
            Ok((Err(_), _)) => {}
            Err(_) => tracing::warn!("a minute was too short; the next one goes on"),
        }
        match standing(aws, ambient.now()).await {
            Ok(standing) => invocation.end_with(&standing),
            Err(error) => {
                tracing::warn!(%error, "how things stand is not known");
                invocation.end();
            }
        }
        Ok(())
    }
}

/// Brings what the lanes' queues gave up on to the dead letters; how many there were.
async fn bring_all(aws: &Aws) -> usize {
    let mut brought = 0;
    for queue in &aws.names().dead {
        match bring(aws, queue).await {
            Ok(count) => brought += count,
            Err(error) => tracing::warn!(%error, queue, "dead letters could not be brought"),
        }
    }
    brought
}

async fn bring(aws: &Aws, queue: &str) -> Result<usize, StoreError> {
    let mut brought = 0;
    for _ in 0..RECEIVES_MAX {
        let received = aws.receive(queue, Duration::ZERO).await?;
        if received.is_empty() {
            break;
        }
        let jobs = readable(&received);
        let mut receipts = Vec::with_capacity(jobs.len());
        for (job, receipt) in jobs {
            aws.bury(&job, GIVEN_UP).await?;
            tracing::error!(job = job.id.as_str(), "a queue gave a job up; it is among the dead letters");
            receipts.push(receipt);
        }
        brought += receipts.len();
        aws.acknowledge(queue, &receipts).await?;
    }
    Ok(brought)
}

/// The jobs among messages. What is no job stays where it is: it was put there with its reason.
fn readable(received: &[Received]) -> Vec<(Job, String)> {
    let job = |message: &Received| Some((serde_json::from_str(&message.body).ok()?, message.receipt.clone()));
    received.iter().filter_map(job).collect()
}

/// How things stand now. What queues gave up on and nobody could read counts among the dead letters.
async fn standing(aws: &Aws, now: Timestamp) -> Result<Standing, StoreError> {
    let groups = aws.stores().ledger.waiting(None).await?;
    let mut dead = aws.dead_letters().await?;
    for queue in &aws.names().dead {
        dead += messages(aws, queue).await?;
    }
    Ok(Standing::of(&groups, dead, now))
}

/// Messages in a queue, roughly.
async fn messages(aws: &Aws, queue: &str) -> Result<usize, StoreError> {
    use aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
    let asked = aws.clients().sqs.get_queue_attributes().queue_url(queue);
    let got = asked.attribute_names(ApproximateNumberOfMessages).send().await.map_err(|error| {
        StoreError::Unavailable(format!("counting dead letters: {}", DisplayErrorContext(error)))
    })?;
    let count = got.attributes.and_then(|all| all.get(&ApproximateNumberOfMessages)?.parse().ok());
    Ok(count.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use posthaste_mail::{JobId, Lane, MessageId, PartKey, Tenant};
    use posthaste_pipeline::row::Realm;

    use super::*;

    #[test]
    fn only_jobs_are_brought_and_acknowledged() {
        let job = serde_json::to_string(&Job {
            id: JobId::from_random([1; 16]),
            key: PartKey { message: MessageId::from_random([2; 16]), part: 0 },
            seq: 1,
            tenant: Tenant::default_tenant(),
            lane: Lane::Bulk,
            domain: None,
            realm: Realm::World,
            tls: None,
            due: Timestamp(0),
            expires: Timestamp(1),
            recipients: 1,
            sender: None,
            ticket: None,
            track: posthaste_pipeline::row::Track::Own,
        });
        let message = |body: &str, receipt: &str| Received {
            body: body.to_owned(),
            receipt: receipt.to_owned(),
            times: 101,
        };
        let found = readable(&[message("no job", "one"), message(&job.unwrap(), "two")]);
        let receipts: Vec<&str> = found.iter().map(|(_, receipt)| &**receipt).collect();
        assert_eq!(receipts, ["two"]);
    }
}
