//! `queue`: what waits, by site and domain, why, and whether it will be gone before it expires.

use std::io::Write;
use std::time::Duration;

use anstyle::Style;
use posthaste_mail::Timestamp;
use serde::Deserialize;

use super::trace::now;
use crate::client::ApiArgs;
use crate::client::view::moment;
use crate::failure::{Failure, Outcome};
use crate::screen::style::{self, paint};
use crate::screen::{Align, Column, Form, Output, Table, ago, clean, print_json, span, until};

/// What waits, by site and domain, and why.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  posthaste queue
  posthaste queue --site google.com
  posthaste queue --json")]
pub(crate) struct Args {
    /// Only this site
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Only this domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: Output,
}

/// One line of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Group {
    domain: Option<String>,
    site: Option<String>,
    count: u64,
    sending: u64,
    #[serde(deserialize_with = "moment")]
    oldest: Option<Timestamp>,
    #[serde(deserialize_with = "moment")]
    next_attempt_at: Option<Timestamp>,
    #[serde(deserialize_with = "moment")]
    first_expiry: Option<Timestamp>,
    /// Seconds until it is empty at the present rate, where that can be told.
    drain_seconds: Option<f64>,
    why: Option<String>,
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = args.api.open()?;
    let mut answer = api.get("v1/queue", &[]).await?;
    if let Some(groups) = answer["groups"].as_array_mut() {
        let is = |given: &Option<String>, key: &serde_json::Value| {
            given.as_deref().is_none_or(|given| key == given)
        };
        groups.retain(|group| is(&args.site, &group["site"]) && is(&args.domain, &group["domain"]));
    }
    if args.output.form() == Form::Json {
        print_json(&answer)?;
        return Ok(());
    }
    let groups: Vec<Group> = serde_json::from_value(answer["groups"].take()).map_err(|error| {
        Failure::failed(format!("{} answers, but not as the API does: {error}", api.base()))
    })?;
    let mut out = anstream::stdout().lock();
    if groups.is_empty() {
        writeln!(out, "{} nothing waits", paint(style::GOOD, "✓"))?;
        return Ok(());
    }
    let now = now();
    table(&groups, now).print(&mut out)?;
    let total: u64 = groups.iter().map(|group| group.count).sum();
    let domains = groups.len();
    let s = |n: u64| if n == 1 { "" } else { "s" };
    let line = format!("{total} message{} for {domains} domain{}", s(total), s(domains as u64));
    writeln!(out, "{}", paint(style::FAINT, line))?;
    Ok(())
}

fn table(groups: &[Group], now: Timestamp) -> Table {
    let column = |title, align| Column { title, align };
    let mut table = Table::new(&[
        column("DOMAIN", Align::Elastic),
        column("SITE", Align::Elastic),
        column("WAITING", Align::Right),
        column("OLDEST", Align::Right),
        column("NEXT TRY", Align::Left),
        column("DRAINS", Align::Right),
        column("EXPIRES", Align::Left),
        column("WHY", Align::Elastic),
    ]);
    for group in groups {
        let cell = |text: String| (text, Style::new());
        let waiting = match group.sending {
            0 => group.count.to_string(),
            sending => format!("{} ({sending} now)", group.count),
        };
        let site = group.site.as_deref().filter(|site| Some(*site) != group.domain.as_deref()).unwrap_or("");
        table.row(vec![
            (clean(group.domain.as_deref().unwrap_or("(several)")), style::STRONG),
            cell(clean(site)),
            cell(waiting),
            cell(group.oldest.map(|at| ago(at, now).replace(" ago", "")).unwrap_or_default()),
            cell(group.next_attempt_at.map(|at| until(at, now)).unwrap_or_default()),
            drain(group, now),
            cell(group.first_expiry.map(|at| until(at, now)).unwrap_or_default()),
            (clean(group.why.as_deref().unwrap_or("")), style::FAINT),
        ]);
    }
    table
}

/// The time to drain; in red where it is longer than the first of them lives.
fn drain(group: &Group, now: Timestamp) -> (String, Style) {
    let Some(wait) = group.drain_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) else {
        return (String::new(), Style::new());
    };
    let late = group.first_expiry.is_some_and(|expiry| wait > expiry.since(now));
    (span(wait), if late { style::BAD } else { Style::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drains_after_its_expiry_is_red() {
        let check = |drain_seconds: Option<f64>, expected: (&str, Style)| {
            let group = Group { drain_seconds, first_expiry: Some(Timestamp(60_000)), ..Group::default() };
            assert_eq!(drain(&group, Timestamp(0)), (expected.0.to_owned(), expected.1));
        };
        check(Some(30.0), ("30s", Style::new()));
        check(Some(90.0), ("1m 30s", style::BAD));
        check(Some(f64::INFINITY), ("", Style::new()));
        check(None, ("", Style::new()));
    }
}
