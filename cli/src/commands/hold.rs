//! `hold`: mail that is not to be tried for now, and mail that is recalled.

use std::io::Write;

use anstyle::Style;
use posthaste_mail::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::select::{Tag, tag};
use crate::client::view::moment;
use crate::client::{Api, ApiArgs, Body, segment};
use crate::commands::trace::now;
use crate::failure::{Failure, Outcome};
use crate::screen::style::{self, paint};
use crate::screen::{Align, Column, Form, Output, Table, ago, clean, print_json};

/// Hold what was accepted until now, or recall it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A hold works within five seconds on everything that is not past DATA. What is held waits, at no \
cost, until the hold is released or it expires. Domains and sites are for operators.

Examples:
  posthaste hold add --tag release=v42
  posthaste hold add --tag release=v42 --cancel
  posthaste hold add --site google.com
  posthaste hold list
  posthaste hold release hold_0123456789abcdef0123456789abcdef"
)]
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
    /// Hold, or recall
    #[command(after_help = "Example:
  posthaste hold add --tag release=v42")]
    Add(Add),
    /// Every hold
    #[command(after_help = "Example:
  posthaste hold list --json")]
    List,
    /// Send what is held on its way
    #[command(after_help = "Example:
  posthaste hold release hold_0123456789abcdef0123456789abcdef")]
    Release {
        /// Its id, as `hold list` shows it
        id: String,
    },
}

#[derive(Debug, clap::Args)]
#[group(id = "held", required = true, multiple = false, args = ["message", "tag", "lane", "domain", "site"])]
struct Add {
    /// One message
    #[arg(long, value_name = "ID", alias = "id")]
    message: Option<String>,
    /// What bears a tag
    #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
    tag: Option<Tag>,
    /// A lane
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// A recipient domain
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// A site
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Recall it: what is not delivered yet is cancelled
    #[arg(long)]
    cancel: bool,
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = args.api.open()?;
    let form = args.output.form();
    match args.what {
        What::Add(add) => put(&api, &add, form).await,
        What::List => list(&api, form).await,
        What::Release { id } => {
            let path = format!("v1/holds/{}", segment(&id));
            told(&api.ask(Method::DELETE, &path, &[], &[], Body::Empty).await?, form)
        }
    }
}

async fn put(api: &Api, add: &Add, form: Form) -> Outcome {
    let mut wish = Map::new();
    let tag = add.tag.as_ref().map(Tag::query);
    for (name, value) in [
        ("message", &add.message),
        ("tag", &tag),
        ("lane", &add.lane),
        ("domain", &add.domain),
        ("site", &add.site),
    ] {
        if let Some(value) = value {
            wish.insert(name.to_owned(), json!(value));
        }
    }
    if add.cancel {
        wish.insert("action".to_owned(), json!("cancel"));
    }
    told(&api.ask(Method::POST, "v1/holds", &[], &[], Body::Json(&Value::Object(wish))).await?, form)
}

fn told(answer: &Value, form: Form) -> Outcome {
    if form == Form::Json {
        print_json(answer)?;
        return Ok(());
    }
    let text = |key: &str| clean(answer[key].as_str().unwrap_or(""));
    writeln!(
        anstream::stdout(),
        "{}  {}",
        paint(style::STRONG, text("id")),
        paint(style::GOOD, text("status"))
    )?;
    Ok(())
}

/// One hold, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Hold {
    id: String,
    tenant: Option<String>,
    message: Option<String>,
    tag: Option<String>,
    lane: Option<String>,
    domain: Option<String>,
    site: Option<String>,
    status: String,
    #[serde(deserialize_with = "moment")]
    until: Option<Timestamp>,
}

impl Hold {
    fn what(&self) -> String {
        let all = [
            ("message", &self.message),
            ("tag", &self.tag),
            ("lane", &self.lane),
            ("domain", &self.domain),
            ("site", &self.site),
        ];
        let named = all.into_iter().find_map(|(name, value)| Some(format!("{name} {}", value.as_ref()?)));
        named.unwrap_or_default()
    }
}

async fn list(api: &Api, form: Form) -> Outcome {
    let mut answer = api.get("v1/holds", &[]).await?;
    if form == Form::Json {
        print_json(&answer)?;
        return Ok(());
    }
    let holds: Vec<Hold> = serde_json::from_value(answer["holds"].take()).map_err(|error| {
        Failure::failed(format!("{} answers, but not as the API does: {error}", api.base()))
    })?;
    let mut out = anstream::stdout().lock();
    if holds.is_empty() {
        writeln!(out, "{} nothing is held", paint(style::GOOD, "✓"))?;
        return Ok(());
    }
    let column = |title, align| Column { title, align };
    let mut table = Table::new(&[
        column("HOLD", Align::Left),
        column("WHAT", Align::Elastic),
        column("OF", Align::Left),
        column("STATUS", Align::Left),
        column("SINCE", Align::Left),
    ]);
    let now = now();
    for hold in holds {
        let cell = |text: String| (text, Style::new());
        table.row(vec![
            (clean(&hold.id), style::STRONG),
            cell(clean(&hold.what())),
            cell(clean(hold.tenant.as_deref().unwrap_or("everybody"))),
            cell(clean(&hold.status)),
            cell(hold.until.map(|at| ago(at, now)).unwrap_or_default()),
        ]);
    }
    table.print(&mut out)?;
    Ok(())
}
