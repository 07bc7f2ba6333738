//! `clock`: wakes what waits, and says how things stand.

use posthaste_functions::{Error, clock, log, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::begin();
    let function = clock::Function::prepare().await?;
    run(service_fn(|event| function.handle(event))).await
}
