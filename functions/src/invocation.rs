//! One invocation from its beginning to its end: what is measured begins here and is told here, in a line of its own.

use posthaste_mail::Timestamp;

use crate::environment::Environment;
use crate::settings::Settings;

/// An invocation under way.
pub struct Invocation<'a> {
    environment: &'a Environment,
    began: Timestamp,
}

impl<'a> Invocation<'a> {
    /// Begins; what was counted before belongs to nobody.
    pub fn begin(environment: &'a Environment) -> Self {
        environment.aws.clients().calls.take();
        Self { environment, began: environment.now() }
    }

    /// The settings it runs under.
    pub fn settings(&self) -> &Settings {
        &self.environment.settings
    }

    /// Ends, and tells what it took.
    pub fn end(self) {
        let calls: u64 = self.environment.aws.clients().calls.take().values().sum();
        let took_ms = self.environment.now().since(self.began).as_millis();
        tracing::debug!(took_ms, aws_calls = calls, "an invocation ended");
    }
}
