//! `intake-events`: mail that comes in by the inbound bus, the bucket and the intake queue.

use posthaste_functions::{Error, intake, log, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::begin();
    let function = intake::Function::prepare().await?;
    run(service_fn(|event| function.handle(event))).await
}
