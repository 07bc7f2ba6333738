//! `dlq`: jobs that were put aside, each with its reason, and the way back.

use std::io::Write;

use anstyle::Style;
use posthaste_mail::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::view::moment;
use crate::client::{Api, ApiArgs, ApiError, Body, segment};
use crate::commands::trace::now;
use crate::failure::{Failure, Outcome};
use crate::screen::style::{self, paint};
use crate::screen::{Align, Column, Form, Output, Table, ago, clean, print_json};

/// Letters asked for at once.
const PAGE: &str = "500";

/// Dead letters: jobs that were put aside, each with its reason.
#[derive(Debug, clap::Args)]
#[command(after_help = "For operators: beyond loopback the key needs the scope `operator`.

Examples:
  posthaste dlq list
  posthaste dlq redrive job_0w3ge1r70w3ge1r70w3ge1r70w
  posthaste dlq redrive --all")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What was put aside, oldest first
    #[command(after_help = "Example:
  posthaste dlq list --json")]
    List,
    /// Try it again now, and take it off the list
    #[command(
        after_help = "What is being sent right now, or is suppressed, stays on the list, and the command ends \
with 1; the others are put back all the same.

Example:
  posthaste dlq redrive job_0w3ge1r70w3ge1r70w3ge1r70w"
    )]
    Redrive {
        /// The jobs
        #[arg(value_name = "JOB", required_unless_present = "all")]
        jobs: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "jobs")]
        all: bool,
    },
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = args.api.open()?;
    let form = args.output.form();
    match args.what {
        What::List => list(&api, form).await,
        What::Redrive { jobs, all: false } => redrive(&api, &jobs, form).await,
        What::Redrive { .. } => {
            let letters = letters(&api).await?;
            let jobs: Vec<String> =
                letters.iter().filter_map(|letter| letter["job"].as_str().map(str::to_owned)).collect();
            redrive(&api, &jobs, form).await
        }
    }
}

/// All that are on the list now.
async fn letters(api: &Api) -> Result<Vec<Value>, ApiError> {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let mut answer = api.get("v1/dead-letters", &query).await?;
        match answer["dead_letters"].take() {
            Value::Array(letters) => all.extend(letters),
            _ => return Err(ApiError::NotTheApi(format!("{} answers, but not as the API does", api.base()))),
        }
        match answer["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(all),
        }
    }
}

/// A letter, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Letter {
    job: String,
    message_id: String,
    tenant: String,
    reason: String,
    #[serde(deserialize_with = "moment")]
    at: Option<Timestamp>,
}

async fn list(api: &Api, form: Form) -> Outcome {
    let letters = letters(api).await?;
    if form == Form::Json {
        print_json(&Value::Array(letters))?;
        return Ok(());
    }
    let mut out = anstream::stdout().lock();
    if letters.is_empty() {
        writeln!(out, "{} nothing was put aside", paint(style::GOOD, "✓"))?;
        return Ok(());
    }
    let column = |title, align| Column { title, align };
    let mut table = Table::new(&[
        column("JOB", Align::Left),
        column("MESSAGE", Align::Left),
        column("TENANT", Align::Elastic),
        column("SINCE", Align::Left),
        column("REASON", Align::Elastic),
    ]);
    let now = now();
    for letter in letters.iter().map(|letter| Letter::deserialize(letter).unwrap_or_default()) {
        let cell = |text: String| (text, Style::new());
        table.row(vec![
            (clean(&letter.job), style::STRONG),
            cell(clean(&letter.message_id)),
            cell(clean(&letter.tenant)),
            cell(letter.at.map(|at| ago(at, now)).unwrap_or_default()),
            (clean(&letter.reason), style::BAD),
        ]);
    }
    table.print(&mut out)?;
    Ok(())
}

/// Puts each back in turn; one refusal does not keep the others from it.
async fn redrive(api: &Api, jobs: &[String], form: Form) -> Outcome {
    let (mut answers, mut refused) = (Vec::new(), 0);
    let mut out = anstream::stdout();
    for job in jobs {
        let path = format!("v1/dead-letters/{}:redrive", segment(job));
        let (answer, line) = match api.ask(Method::POST, &path, &[], &[], Body::Empty).await {
            Ok(answer) => {
                let line = paint(style::GOOD, told(&answer));
                (json!({"job": job, "ok": true, "answer": answer}), line)
            }
            Err(error) if error.may_pass() => return Err(error.into()),
            Err(error) => {
                refused += 1;
                let problem = clean(&error.to_string());
                (json!({"job": job, "ok": false, "problem": problem}), paint(style::BAD, &problem))
            }
        };
        match form {
            Form::Json => answers.push(answer),
            Form::People => writeln!(out, "{}  {line}", paint(style::STRONG, clean(job)))?,
        }
    }
    match form {
        Form::Json => print_json(&Value::Array(answers))?,
        Form::People if jobs.is_empty() => writeln!(out, "nothing was put aside")?,
        Form::People => {}
    }
    match refused {
        0 => Ok(()),
        _ if form == Form::People && jobs.len() == 1 => Err(Failure::FailedTold),
        n => Err(Failure::failed(format!("{n} of {} dead letters were not put back", jobs.len()))),
    }
}

fn told(answer: &Value) -> String {
    match answer["status"].as_str() {
        Some("delivered") => "was delivered meanwhile; off the list".to_owned(),
        Some("gone") => "its message is past its retention; off the list".to_owned(),
        status => clean(status.unwrap_or("queued")),
    }
}
