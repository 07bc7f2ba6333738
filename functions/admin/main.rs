//! `admin`: the operator's routes of the HTTP API.

use posthaste_functions::{Error, admin, log, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::begin();
    let function = admin::Function::prepare().await?;
    run(service_fn(|event| function.handle(event))).await
}
