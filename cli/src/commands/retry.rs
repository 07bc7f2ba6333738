//! `retry`: what waits, or ended undelivered, is tried now.

use reqwest::Method;

use super::cancel::{Deed, each};
use super::select::Selection;
use crate::client::ApiArgs;
use crate::failure::Outcome;
use crate::screen::Output;

/// Try again now: what waits, and what ended undelivered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Attempts start anew, and so does the time until it expires. What is being sent, or is \
suppressed, is refused.

Examples:
  posthaste retry msg_0123456789abcdefghjkmnpqrs
  posthaste retry --tag release=v42")]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: Output,
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = args.api.open()?;
    let ids = args.selection.find(&api).await?;
    let deed = Deed { method: Method::POST, after: ":retry", done: "queued" };
    each(&api, &ids, &deed, args.output.form()).await
}
