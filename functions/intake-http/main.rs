//! `intake-http`: the HTTP API, all but the operator's routes.

use posthaste_functions::{Error, http, log, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::begin();
    let function = http::Function::prepare().await?;
    run(service_fn(|event| function.handle(event))).await
}
