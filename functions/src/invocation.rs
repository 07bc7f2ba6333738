//! One invocation from its beginning to its end: what was counted in between is told here, as metrics in the log.

use posthaste_aws::counts::Standing;
use posthaste_aws::emf;
use posthaste_mail::Timestamp;

use crate::environment::Environment;
use crate::settings::variable;

/// An invocation under way. What one that broke off has counted is told by the next: failures are what is looked for.
pub struct Invocation<'a> {
    environment: &'a Environment,
    began: Timestamp,
}

impl<'a> Invocation<'a> {
    /// Begins.
    pub fn begin(environment: &'a Environment) -> Self {
        Self { environment, began: environment.now() }
    }

    /// Ends, and tells what it came to.
    pub fn end(self) {
        self.tell(None);
    }

    /// Ends, and tells how things stand as well.
    pub fn end_with(self, standing: &Standing) {
        self.tell(Some(standing));
    }

    fn tell(self, standing: Option<&Standing>) {
        let environment = self.environment;
        let (counted, calls) = (environment.counts.take(), environment.aws.clients().calls.take());
        let at = environment.now();
        let function = variable("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
        let told = emf::Invocation { stack: &environment.settings.stack, function: &function, at };
        for line in emf::lines(&told, &counted, &calls, standing) {
            // CloudWatch makes metrics of it only where it stands alone in its line.
            println!("{line}");
        }
        tracing::debug!(took_ms = at.since(self.began).as_millis(), "an invocation ended");
    }
}
