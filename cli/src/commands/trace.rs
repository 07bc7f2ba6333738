//! `trace`: the whole story of one message.

use std::io::Write;

use posthaste_mail::Timestamp;

use super::select::message_id;
use crate::client::view::Message;
use crate::client::{Api, ApiArgs, segment};
use crate::failure::{Failure, Outcome};
use crate::screen::{Form, Output, columns, print_json, timeline};

/// The timeline of one message: every attempt, the reply, the verdict, the next try.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  posthaste trace msg_0123456789abcdefghjkmnpqrs")]
pub(crate) struct Args {
    /// The message
    #[arg(value_name = "ID", value_parser = message_id)]
    id: String,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: Output,
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = args.api.open()?;
    let answer = api.get(&format!("v1/messages/{}", segment(&args.id)), &[]).await;
    let answer = answer.map_err(|error| {
        if error.is_absent() {
            Failure::failed(format!("{}: there is no such message", args.id))
        } else {
            error.into()
        }
    })?;
    match args.output.form() {
        Form::Json => print_json(&answer)?,
        Form::People => show(&read(answer, &api)?)?,
    }
    Ok(())
}

/// The answer as it is shown.
pub(super) fn read(answer: serde_json::Value, api: &Api) -> Result<Message, Failure> {
    serde_json::from_value(answer)
        .map_err(|error| Failure::failed(format!("{} answers, but not as the API does: {error}", api.base())))
}

/// The story on stdout.
pub(super) fn show(message: &Message) -> Outcome {
    let mut out = anstream::stdout().lock();
    for line in timeline::story(message, now(), columns()) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The machine's time.
pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
