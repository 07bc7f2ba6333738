//! What it would ask of AWS: requests by service, and dollars.

use serde::Serialize;

/// Dollars a request or unit, us-east-1, November 2026 (aws.amazon.com: sqs, dynamodb, s3, api-gateway pricing).
const SQS: f64 = 0.4e-6;
const WRITE: f64 = 0.625e-6;
const READ: f64 = 0.125e-6;
const S3_PUT: f64 = 5e-6;
const S3_GET: f64 = 0.4e-6;
/// Messages that share a spool object and a request: a client that sends many sends batches.
const BATCH: f64 = 100.0;
/// Jobs that come and are acknowledged together.
const TEN: f64 = 10.0;

/// Counted as the stores on AWS ask; units are of a kilobyte.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Requests {
    pub sqs: f64,
    pub dynamodb_writes: f64,
    pub dynamodb_reads: f64,
    pub s3_puts: f64,
    pub s3_gets: f64,
}

impl Requests {
    /// A message was accepted: its row with its index, two entries of lists shared by a batch, the recipient's own.
    pub fn accepted(&mut self) {
        self.s3_puts += 1.0 / BATCH;
        self.dynamodb_writes += 3.0 + 1.0 / BATCH;
        self.sqs += 1.0 / TEN;
    }

    /// A job came, and was acknowledged.
    pub fn came(&mut self) {
        self.sqs += 2.0 / TEN;
    }

    /// A job was sent to come again.
    pub fn sent(&mut self) {
        self.sqs += 1.0;
    }

    /// A message was tried: claim, settlement with its index, event with its entry in the feed.
    pub fn tried(&mut self) {
        self.s3_gets += 1.0;
        self.dynamodb_reads += 2.0;
        self.dynamodb_writes += 5.0;
    }

    /// A row was parked, and later woken by the clock.
    pub fn parked(&mut self) {
        self.dynamodb_writes += 4.0;
        self.dynamodb_reads += 1.0;
        self.sqs += 1.0 / TEN;
    }

    /// The pacer was asked: a conditional write of one unit.
    pub fn paced(&mut self) {
        self.dynamodb_writes += 1.0;
    }

    /// A standing and its lines were looked at.
    pub fn viewed(&mut self) {
        self.dynamodb_reads += 1.5;
    }

    /// What all of it costs.
    pub fn dollars(&self) -> f64 {
        self.sqs * SQS
            + self.dynamodb_writes * WRITE
            + self.dynamodb_reads * READ
            + self.s3_puts * S3_PUT
            + self.s3_gets * S3_GET
    }
}
