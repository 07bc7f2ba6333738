//! `retry`: what waits, or ended undelivered, is tried now.

use reqwest::Method;

use super::cancel::{Deed, each};
use super::select::Selection;
use crate::client::ApiArgs;
use crate::client::view::Status;
use crate::failure::Outcome;
use crate::screen::Output;

/// What is meant where no id is given. What a caller cancelled, and what may have arrived, is only tried again by
/// name; what is suppressed would be refused.
const UNDELIVERED: &[Status] = &[Status::Throttled, Status::Deferred, Status::Bounced, Status::Expired];

/// Try again now: what waits, and what ended undelivered.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Attempts start anew, and so does the time until it expires. What is being sent, or is \
suppressed, is refused.

Examples:
  posthaste retry msg_0123456789abcdefghjkmnpqrs
  posthaste retry --category blocked
  posthaste retry --tag release=v42 --site google.com"
)]
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
    let ids = args.selection.find(&api, UNDELIVERED).await?;
    let deed = Deed { method: Method::POST, after: ":retry", done: "queued" };
    each(&api, &ids, &deed, args.output.form()).await
}
