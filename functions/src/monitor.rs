//! `monitor`: on a schedule it looks at what every proved domain publishes, moves its keys on, and tells what has become
//! worse.

use std::time::Duration;

use lambda_runtime::LambdaEvent;
use posthaste_mail::Timestamp;
use posthaste_pipeline::identity::{name_servers, round};
use serde_json::Value;

use crate::environment::Environment;
use crate::invocation::Invocation;
use crate::settings::SettingsError;

/// Kept at the end of an invocation for telling what it came to.
const RESERVE: Duration = Duration::from_secs(5);

/// The function.
pub struct Function {
    environment: Environment,
}

impl Function {
    /// Reads its settings.
    pub async fn prepare() -> Result<Self, SettingsError> {
        Ok(Self { environment: Environment::prepare().await? })
    }

    /// Looks at every domain whose time has come; what one invocation does not come to, the next one does.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<(), lambda_runtime::Error> {
        let invocation = Invocation::begin(&self.environment);
        let Environment { aws, ambient, .. } = &self.environment;
        let ends = Timestamp(i64::try_from(event.context.deadline).unwrap_or(i64::MAX));
        self.environment.refresh().await?;
        let dns = name_servers(&ambient.policy.get())?;
        let time = ends.minus(RESERVE).since(ambient.now());
        match tokio::time::timeout(time, round(ambient, &aws.stores(), &dns)).await {
            Ok(Ok(done)) => tracing::info!(
                domains = done.looked_at,
                wrong = done.wrong,
                drifted = done.drifted,
                failed = done.failed,
                "sender domains were looked at"
            ),
            Ok(Err(error)) => tracing::error!(%error, "sender domains could not be looked at"),
            Err(_) => tracing::warn!("the time was too short for every domain; the next invocation goes on"),
        }
        invocation.end();
        Ok(())
    }
}
