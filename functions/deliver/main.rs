//! `deliver`: speaks SMTP for the jobs of one lane.

use posthaste_functions::{Error, deliver, log, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::begin();
    let function = deliver::Function::prepare().await?;
    run(service_fn(|event| function.handle(event))).await
}
