//! `simulate`: what a policy would do with a day's mail, before the day.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anstyle::Style;

use crate::failure::{Failure, Outcome};
use crate::screen::style::{self, paint};
use crate::screen::{Align, Column, Form, Output, Table, clean, print_json, span};
use crate::simulate::{Report, SHIPPED, play};

/// The real pacing, retry and lane code on a virtual clock against modelled receivers.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A scenario says what mail comes in, what receivers take, and what goes wrong; `campaign`, \
`outage` and `throttling` come with the program, and `--print` shows one as a beginning for your own. Nothing is sent. \
The command ends with 1 where a limit of the policy was passed.

Examples:
  posthaste simulate campaign
  posthaste simulate my-campaign.toml --seed 7 --json
  posthaste simulate outage --print > mine.toml"
)]
pub(crate) struct Args {
    /// A scenario file, or `campaign`, `outage`, `throttling`
    #[arg(value_name = "SCENARIO.toml")]
    scenario: PathBuf,
    /// Another seed than the scenario's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print the scenario and do nothing
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    output: Output,
}

/// Runs it.
pub(crate) fn run(args: Args) -> Outcome {
    let name = args.scenario.to_string_lossy();
    let shipped = SHIPPED.iter().find(|(shipped, _)| *shipped == name).map(|(_, text)| (*text).to_owned());
    let text = match shipped {
        Some(text) => text,
        None => std::fs::read_to_string(&args.scenario)
            .map_err(|error| Failure::input(format!("{}: {error}", args.scenario.display())))?,
    };
    if args.print {
        write!(anstream::stdout(), "{text}")?;
        return Ok(());
    }
    let began = Instant::now();
    let mut told = Instant::now();
    let mut progress = |now_s: f64, waiting: u64| {
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            // Nobody who watches is no reason to stop.
            let _ = write!(anstream::stderr(), "\r{} in, {waiting} waiting   ", seconds(now_s));
        }
    };
    let played = play(&text, args.seed, &mut progress);
    let report = played.map_err(|error| Failure::input(format!("{}: {error}", args.scenario.display())))?;
    if began.elapsed() > Duration::from_secs(1) {
        let _ = write!(anstream::stderr(), "\r{:60}\r", "");
    }
    match args.output.form() {
        Form::Json => print_json(&serde_json::to_value(&report).map_err(std::io::Error::from)?)?,
        Form::People => show(&report, began.elapsed())?,
    }
    match report.passed.first() {
        None => Ok(()),
        Some(first) => Err(Failure::failed(format!("a limit was passed: {first}"))),
    }
}

fn seconds(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn show(report: &Report, took: Duration) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{}  (seed {})", paint(style::STRONG, clean(&report.title)), report.seed)?;
    writeln!(
        out,
        "{} messages: {} delivered, {} bounced, {} expired, {} waiting; {} attempts; drained in {}",
        report.messages,
        report.delivered,
        report.bounced,
        report.expired,
        report.waiting,
        report.attempts,
        seconds(report.drained_s)
    )?;
    let p = &report.delivered_in;
    writeln!(
        out,
        "to delivery: half within {}, 95 % {}, 99 % {}, all {}",
        seconds(p.p50),
        seconds(p.p95),
        seconds(p.p99),
        seconds(p.most)
    )?;
    let column = |title, align| Column { title, align };
    let mut table = Table::new(&[
        column("RECEIVER", Align::Elastic),
        column("SITE", Align::Elastic),
        column("TAKEN", Align::Right),
        column("ASKED", Align::Right),
        column("A SECOND", Align::Right),
        column("ALLOWED", Align::Right),
        column("TAKES", Align::Right),
        column("MOST", Align::Right),
        column("CONN.", Align::Right),
        column("CHANGES", Align::Right),
    ]);
    for receiver in &report.receivers {
        let cell = |text: String| (text, Style::new());
        table.row(vec![
            (clean(&receiver.name), style::STRONG),
            cell(clean(&receiver.site)),
            cell(receiver.taken.to_string()),
            cell(receiver.asked.to_string()),
            cell(format!("{:.1}", receiver.achieved)),
            cell(receiver.allowed.clone()),
            cell(receiver.takes.clone().unwrap_or_default()),
            cell(receiver.most_in_a_second.to_string()),
            cell(receiver.most_connections.to_string()),
            cell(receiver.changes.to_string()),
        ]);
    }
    table.print(&mut out)?;
    let mut table = Table::new(&[
        column("AFTER", Align::Right),
        column("WAITING", Align::Right),
        column("OLDEST", Align::Right),
    ]);
    let every = report.queue.len().div_ceil(12).max(1);
    for sample in report.queue.iter().step_by(every) {
        let cell = |text: String| (text, Style::new());
        table.row(vec![
            cell(seconds(sample.at_s)),
            cell(sample.waiting.to_string()),
            cell(seconds(sample.oldest_s)),
        ]);
    }
    table.print(&mut out)?;
    let r = &report.requests;
    writeln!(
        out,
        "requests: {:.0} SQS, {:.0} DynamoDB write units, {:.0} read units, {:.0} S3 PUT, {:.0} GET: ${:.2}",
        r.sqs, r.dynamodb_writes, r.dynamodb_reads, r.s3_puts, r.s3_gets, report.dollars
    )?;
    for passed in &report.passed {
        writeln!(out, "{}", paint(style::BAD, format!("limit passed: {}", clean(passed))))?;
    }
    writeln!(out, "{}", paint(style::FAINT, format!("played in {:.1} s", took.as_secs_f64())))
}
