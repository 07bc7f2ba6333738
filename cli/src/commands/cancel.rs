//! `cancel`: recalls what is not yet delivered, message by message.

use std::io::Write;

use reqwest::Method;
use serde_json::{Value, json};

use super::select::{Selection, text};
use crate::client::view::Status;
use crate::client::{Api, ApiArgs, Body, segment};
use crate::failure::{Failure, Outcome};
use crate::screen::style::{self, paint};
use crate::screen::{Form, Output, clean, print_json};

/// What has not come to its end.
const OPEN: &[Status] =
    &[Status::Scheduled, Status::Queued, Status::Held, Status::Throttled, Status::Sending, Status::Deferred];

/// Recall what is not yet delivered.
#[derive(Debug, clap::Args)]
#[command(after_help = "What is being sent at this moment may still arrive; the answer says so.

Examples:
  posthaste cancel msg_0123456789abcdefghjkmnpqrs
  posthaste cancel --tag release=v42
  posthaste cancel --tag release=v42 --site google.com")]
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
    let ids = args.selection.find(&api, OPEN).await?;
    let deed = Deed { method: Method::DELETE, after: "", done: "cancelled" };
    each(&api, &ids, &deed, args.output.form()).await
}

/// What is asked for each message.
pub(super) struct Deed {
    /// The request's method.
    pub(super) method: Method,
    /// What follows the id in its path.
    pub(super) after: &'static str,
    /// What it is then, where the answer names no status.
    pub(super) done: &'static str,
}

/// Asks it for each message in turn; one refusal does not keep the others from it.
pub(super) async fn each(api: &Api, ids: &[String], deed: &Deed, form: Form) -> Outcome {
    let mut answers = Vec::new();
    let mut refused = 0;
    let mut out = anstream::stdout();
    for id in ids {
        let path = format!("v1/messages/{}{}", segment(id), deed.after);
        let answer = api.ask(deed.method.clone(), &path, &[], &[], Body::Empty).await;
        let (answer, line) = match answer {
            Ok(answer) => {
                let line = told(&answer, deed);
                (json!({"id": id, "ok": true, "answer": answer}), line)
            }
            Err(error) if error.may_pass() => return Err(error.into()),
            Err(error) => {
                refused += 1;
                (
                    json!({"id": id, "ok": false, "problem": error.to_string()}),
                    paint(style::BAD, clean(&error.to_string())),
                )
            }
        };
        match form {
            Form::People => writeln!(out, "{}  {line}", paint(style::STRONG, id))?,
            Form::Json => answers.push(answer),
        }
    }
    match form {
        Form::Json => print_json(&Value::Array(answers))?,
        Form::People if ids.is_empty() => writeln!(out, "no such message is left to be {}", deed.done)?,
        Form::People => {}
    }
    match refused {
        0 => Ok(()),
        _ if form == Form::People && ids.len() == 1 => Err(Failure::FailedTold),
        n => Err(Failure::failed(format!("{n} of {} messages: not {}", ids.len(), deed.done))),
    }
}

/// What became of a message, recipient by recipient where that is told.
fn told(answer: &Value, deed: &Deed) -> String {
    let Some(recipients) = answer["recipients"].as_array() else {
        let status = Some(text(answer, "status")).filter(|status| !status.is_empty());
        return paint(style::GOOD, clean(status.unwrap_or(deed.done)));
    };
    let one = |recipient: &Value| {
        let outcome = text(recipient, "outcome");
        let (words, colour) = match outcome {
            "cancelled" => ("cancelled", style::GOOD),
            "may-be-delivered" => ("is being sent and may still be delivered", style::WAITING),
            ended => (ended, style::FAINT),
        };
        format!("{}  {}", clean(text(recipient, "address")), paint(colour, clean(words)))
    };
    recipients.iter().map(one).collect::<Vec<_>>().join("\n    ")
}
