//! Logs: a JSON object a line on standard output, which is what Lambda keeps. The runtime's span around each
//! invocation gives every line its `requestId`.

use tracing_subscriber::EnvFilter;

/// What is told when `RUST_LOG` says nothing.
const USUAL: &str = "info";

/// Begins logging: what `RUST_LOG` names.
pub fn begin() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(USUAL));
    // Lambda stamps each line with its time; who logs twice in one process is a test, and the first one stays.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(std::io::stdout)
        .try_init();
}
