//! The stores on AWS as a subject: whatever endpoint `POSTHASTE_TEST_AWS` names, with the table on
//! `POSTHASTE_TEST_DYNAMODB` where that names another. Everything is made under a prefix of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::QueueAttributeName;
use bytes::Bytes;
use posthaste_aws::{Aws, Clients, Names, Options};
use posthaste_mail::Timestamp;
use posthaste_pipeline::ambient::{Ambient, Clock, PolicyInForce, SystemChance};
use posthaste_pipeline::meter::Unmetered;
use posthaste_pipeline::row::Job;
use posthaste_pipeline::row::Queue as Which;
use posthaste_pipeline::stores::StoreError;
use posthaste_pipeline::upload::{UploadOffer, UploadReceived, UploadWay};
use posthaste_policy::Policy;
use tokio::sync::Mutex;

use super::make::at;
use super::{Delivered, Deliveries, Putter, Queue, Subject};

/// The cases' times are over when the store looks at its clock: nothing is delayed by the queue itself, and the time
/// of a case says what is due.
struct Late;

impl Clock for Late {
    fn now(&self) -> Timestamp {
        at(10 * 365 * 86_400)
    }
}

/// A queue whose messages are all taken in, and given out when a case's time has come.
struct AwsQueue {
    aws: Aws,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    last: u64,
    /// Where each came from, what it is, how it is acknowledged, and whether somebody has it.
    jobs: Vec<(u64, Which, Job, Timestamp, String, Out)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Out {
    No,
    Yes,
}

/// Between looks at a queue that has more than it gave.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// Looks at such a queue: longer than what was given out and lost on the way is hidden (90 s).
const LOOKS_MAX: usize = 500;

impl AwsQueue {
    /// Takes in all there is. A receive that gives nothing does not say that nothing is there: a short poll may miss,
    /// and what was received by a call whose answer was lost is hidden for a while. The queue's own counts say.
    async fn take_in(&self, lane: Which, held: &mut Held) -> Result<(), StoreError> {
        for _ in 0..LOOKS_MAX {
            let received = self.aws.receive(self.aws.names().queue(lane), Duration::ZERO).await?;
            if received.is_empty() {
                let here = held.jobs.iter().filter(|(_, of, ..)| *of == lane).count();
                if self.counted(lane).await? <= here {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_PAUSE).await;
                continue;
            }
            for received in received {
                let job: Job = serde_json::from_str(&received.body).unwrap();
                held.last += 1;
                let due = job.due;
                held.jobs.push((held.last, lane, job, due, received.receipt, Out::No));
            }
        }
        panic!("the queue keeps more than it gives");
    }

    /// Messages that a queue has, those given out included.
    async fn counted(&self, lane: Which) -> Result<usize, StoreError> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let asked = self.aws.clients().sqs.get_queue_attributes().queue_url(self.aws.names().queue(lane));
        let answer = asked.set_attribute_names(Some(names.to_vec())).send().await;
        let attributes = answer.map_err(|error| StoreError::Unavailable(error.to_string()))?.attributes;
        let attributes = attributes.unwrap_or_default();
        Ok(names.iter().filter_map(|name| attributes.get(name)?.parse::<usize>().ok()).sum())
    }
}

#[async_trait]
impl Queue for AwsQueue {
    async fn receive(&self, lane: Which, now: Timestamp, limit: usize) -> Result<Vec<Delivered>, StoreError> {
        let mut held = self.held.lock().await;
        self.take_in(lane, &mut held).await?;
        held.jobs.sort_by_key(|(number, _, _, visible, ..)| (*visible, *number));
        let due = held
            .jobs
            .iter_mut()
            .filter(|(_, of, _, visible, _, out)| *of == lane && *visible <= now && *out == Out::No);
        let give = |job: &mut (u64, Which, Job, Timestamp, String, Out)| {
            job.5 = Out::Yes;
            Delivered { receipt: job.0, job: job.2.clone() }
        };
        Ok(due.take(limit).map(give).collect())
    }

    async fn ack(&self, receipt: u64) -> Result<(), StoreError> {
        let mut held = self.held.lock().await;
        let Some(nth) = held.jobs.iter().position(|job| job.0 == receipt) else { return Ok(()) };
        let (_, lane, _, _, handle, _) = held.jobs[nth].clone();
        self.aws.acknowledge(self.aws.names().queue(lane), &[handle]).await?;
        held.jobs.remove(nth);
        Ok(())
    }

    async fn keep(&self, receipt: u64, until: Timestamp) -> Result<(), StoreError> {
        let mut held = self.held.lock().await;
        if let Some(job) = held.jobs.iter_mut().find(|job| job.0 == receipt) {
            (job.3, job.5) = (until, Out::No);
        }
        Ok(())
    }
}

/// Puts bodies at the URLs that were signed for them.
struct AtUrl(reqwest::Client);

#[async_trait]
impl Putter for AtUrl {
    async fn put(
        &self,
        offer: &UploadOffer,
        way: &UploadWay,
        body: Bytes,
    ) -> Result<UploadReceived, StoreError> {
        let UploadWay::Url { url, headers } = way else { panic!("no URL was signed: {way:?}") };
        // The length is signed, and what does not have it is refused by who checks signatures; emulators do not.
        if body.len() as u64 != offer.octets {
            let signed = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            assert_eq!(signed.map(|(_, value)| value.as_str()), Some(offer.octets.to_string().as_str()));
            return Ok(UploadReceived::WrongSize);
        }
        let put = headers.iter().fold(self.0.put(url), |put, (name, value)| put.header(name, value));
        let answer =
            put.body(body).send().await.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        match answer.status().as_u16() {
            200 => Ok(UploadReceived::Stored),
            412 => Ok(UploadReceived::ThereBefore),
            // Too much, or not now: the same again, as any client of S3 would.
            409 | 429 | 500.. => Err(StoreError::Unavailable(format!("answered {}", answer.status()))),
            other => panic!("an upload was answered {other}"),
        }
    }
}

/// A new store; none, and a word why, where no endpoint is named.
pub async fn fresh() -> Option<Subject> {
    let named = |variable: &str| std::env::var(variable).ok().filter(|value| !value.is_empty());
    let Some(endpoint) = named("POSTHASTE_TEST_AWS") else {
        eprintln!("skipped: POSTHASTE_TEST_AWS names no endpoint");
        return None;
    };
    let mut clients = Clients::connect(Some(&endpoint)).await;
    if let Some(other) = named("POSTHASTE_TEST_DYNAMODB") {
        clients.dynamodb = Clients::connect(Some(&other)).await.dynamodb;
    }
    let prefix = format!("t{:016x}", rand::random::<u64>());
    let names = Names::provision(&clients, &prefix).await.unwrap();
    let ambient = Ambient {
        clock: Arc::new(Late),
        chance: Arc::new(SystemChance),
        policy: PolicyInForce::new(Policy::default()),
        meter: Arc::new(Unmetered),
    };
    let aws = Aws::new(clients, names, ambient, Options { feed_settles_within: Duration::ZERO });
    let queue = AwsQueue { aws: aws.clone(), held: Mutex::default() };
    // The first of all tests in this process does; nothing here is encrypted.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let putter = Arc::new(AtUrl(reqwest::Client::new()));
    // Where answers are lost a job is sent again.
    let deliveries = match std::env::var_os("POSTHASTE_TEST_SPOILED") {
        Some(_) => Deliveries::AtLeastOnce,
        None => Deliveries::Once,
    };
    Some(Subject { stores: aws.stores(), queue: Arc::new(queue), deliveries, putter })
}
