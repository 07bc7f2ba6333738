//! Records of an event, read: jobs that come for the first time, jobs that came before, and what is no job.

use std::collections::HashMap;
use std::time::Duration;

use aws_lambda_events::sqs::SqsMessage;
use posthaste_mail::Tenant;
use posthaste_pipeline::row::{Job, Realm};

/// How often SQS says it has given a message out, this time included.
const RECEIVED: &str = "ApproximateReceiveCount";

/// What names a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// In answers.
    pub id: String,
    /// To its queue.
    pub receipt: String,
}

/// A record that is to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Back {
    /// The record's id.
    pub id: String,
    /// The record's receipt.
    pub receipt: String,
    /// After how long.
    pub after: Duration,
}

impl Record {
    /// Comes again after this time.
    pub fn back(self, after: Duration) -> Back {
        Back { id: self.id, receipt: self.receipt, after }
    }
}

/// One job with the record it came in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Delivery {
    /// The record.
    pub record: Record,
    /// The job.
    pub job: Job,
}

/// A record that is no job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unreadable {
    /// The record.
    pub record: Record,
    /// What it says.
    pub body: String,
    /// Why that is no job.
    pub reason: String,
}

/// The records of one event.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Batch {
    /// Received for the first time.
    pub fresh: Vec<Delivery>,
    /// Received before.
    pub again: Vec<Delivery>,
    /// No jobs.
    pub unreadable: Vec<Unreadable>,
}

impl Batch {
    /// Reads records.
    pub fn read(records: Vec<SqsMessage>) -> Self {
        let mut batch = Self::default();
        for message in records {
            let times =
                message.attributes.get(RECEIVED).and_then(|text| text.parse::<u32>().ok()).unwrap_or(1);
            let record = Record {
                id: message.message_id.unwrap_or_default(),
                receipt: message.receipt_handle.unwrap_or_default(),
            };
            let body = message.body.unwrap_or_default();
            match serde_json::from_str(&body) {
                Ok(job) if times <= 1 => batch.fresh.push(Delivery { record, job }),
                Ok(job) => batch.again.push(Delivery { record, job }),
                Err(error) => {
                    batch.unreadable.push(Unreadable { record, body, reason: format!("not a job: {error}") });
                }
            }
        }
        batch
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records().count()
    }

    /// Every record's receipt.
    pub fn receipts(&self) -> Vec<String> {
        self.records().map(|record| record.receipt.clone()).collect()
    }

    /// Whose each message is that goes to the sandbox.
    pub fn sandboxed(&self) -> HashMap<String, Tenant> {
        let jobs = self.fresh.iter().chain(&self.again).map(|delivery| &delivery.job);
        let sandboxed = jobs.filter(|job| job.realm == Realm::Sandbox);
        sandboxed.map(|job| (job.key.message.to_string(), job.tenant.clone())).collect()
    }

    /// Every record comes again.
    pub fn all_back(&self, after: Duration) -> Vec<Back> {
        self.records().map(|record| record.clone().back(after)).collect()
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        let jobs = self.fresh.iter().chain(&self.again).map(|delivery| &delivery.record);
        jobs.chain(self.unreadable.iter().map(|unreadable| &unreadable.record))
    }
}
