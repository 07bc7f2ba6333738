//! What is done with records of a lane beside delivering them.

use async_trait::async_trait;
use posthaste_aws::Aws;
use posthaste_pipeline::row::Job;
use posthaste_pipeline::stores::StoreError;

use crate::aside;
use crate::settings::LaneSettings;

/// Gives records of a lane back.
#[async_trait]
pub(super) trait Lane: Send + Sync {
    /// The job comes again at its `due`, as a message of its own.
    async fn later(&self, job: Job) -> Result<(), StoreError>;
    /// Puts a job aside for good, with its reason.
    async fn bury(&self, job: &Job, reason: &str) -> Result<(), StoreError>;
    /// Puts aside what is no job.
    async fn set_aside(&self, body: &str, reason: &str) -> Result<(), StoreError>;
}

/// On SQS, and on the stores.
pub(super) struct SqsLane<'a> {
    pub aws: &'a Aws,
    pub settings: &'a LaneSettings,
}

#[async_trait]
impl Lane for SqsLane<'_> {
    async fn later(&self, job: Job) -> Result<(), StoreError> {
        self.aws.stores().later.put(vec![job]).await
    }

    async fn bury(&self, job: &Job, reason: &str) -> Result<(), StoreError> {
        self.aws.bury(job, reason).await
    }

    async fn set_aside(&self, body: &str, reason: &str) -> Result<(), StoreError> {
        aside::put(self.aws, &self.settings.dead, body, &[("reason", reason)]).await
    }
}
