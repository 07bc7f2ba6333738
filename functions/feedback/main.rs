//! `feedback`: reports about mail that was sent, from the bucket that inbound mail is put into.

use posthaste_functions::{Error, feedback, log, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    log::begin();
    let function = feedback::Function::prepare().await?;
    run(service_fn(|event| function.handle(event))).await
}
