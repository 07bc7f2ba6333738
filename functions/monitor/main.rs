//! `monitor`: looks at what sender domains publish, and tells what has become worse.

use posthaste_functions::{Error, log, monitor, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::begin();
    let function = monitor::Function::prepare().await?;
    run(service_fn(|event| function.handle(event))).await
}
