//! `site`: what receivers are given now, which reply made it so, and what an operator orders.

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
use crate::screen::{Align, Column, Form, Output, Table, ago, clean, print_json, until};

/// Sites asked for at once.
const PAGE: &str = "500";

/// What a receiver is allowed now, and which reply made it so.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A site is named as `posthaste queue` and `policy explain` name it; a domain whose mail goes \
there will do. For operators: beyond loopback the key needs the scope `operator`.

Examples:
  posthaste site list
  posthaste site show google.com
  posthaste site suspend mx.example.net --for 2h --note 'they asked'
  posthaste site set mx.example.net --rate 2/s --connections 1
  posthaste site resume mx.example.net"
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
    /// Every site that differs from the policy's beginning
    #[command(after_help = "Example:
  posthaste site list --json")]
    List,
    /// One site: its numbers now, the policy's, and the latest changes with their replies
    #[command(after_help = "Example:
  posthaste site show google.com")]
    Show {
        /// The site, or a domain
        site: String,
    },
    /// Send nothing there
    #[command(after_help = "Example:
  posthaste site suspend mx.example.net --for 2h")]
    Suspend {
        /// The site, or a domain
        site: String,
        /// For so long; until it is resumed without
        #[arg(long = "for", value_name = "SPAN")]
        lasts: Option<String>,
        /// Why, for whoever looks
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Open it again: orders, suspensions and slower rates are forgotten
    #[command(after_help = "Example:
  posthaste site resume mx.example.net")]
    Resume {
        /// The site, or a domain
        site: String,
    },
    /// Numbers that hold whatever the replies say
    #[command(after_help = "Example:
  posthaste site set mx.example.net --rate 2/s --connections 1 --for 6h")]
    Set {
        /// The site, or a domain
        site: String,
        /// Recipients in a time: `20/s`, `600/m`, `unlimited`
        #[arg(long, value_name = "RATE", required_unless_present = "connections")]
        rate: Option<String>,
        /// Connections at once
        #[arg(long, value_name = "N")]
        connections: Option<u32>,
        /// For so long; until it is resumed without
        #[arg(long = "for", value_name = "SPAN")]
        lasts: Option<String>,
        /// Why, for whoever looks
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = args.api.open()?;
    let form = args.output.form();
    match args.what {
        What::List => list(&api, form).await,
        What::Show { site } => show(&api, &site, form).await,
        What::Suspend { site, lasts, note } => {
            let order = json!({"for": lasts, "note": note});
            order_it(&api, Method::POST, &format!("{}:suspend", segment(&site)), &order, form).await
        }
        What::Resume { site } => {
            order_it(&api, Method::POST, &format!("{}:resume", segment(&site)), &json!({}), form).await
        }
        What::Set { site, rate, connections, lasts, note } => {
            let order = json!({"rate": rate, "connections": connections, "for": lasts, "note": note});
            order_it(&api, Method::PUT, &segment(&site), &order, form).await
        }
    }
}

/// One site, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Site {
    site: String,
    egress: String,
    sender: Option<String>,
    state: String,
    rate: String,
    connections: u32,
    messages_per_connection: u32,
    recipients_per_message: u32,
    why: Option<String>,
    #[serde(deserialize_with = "moment")]
    until: Option<Timestamp>,
    changes: Vec<Change>,
    limits: Value,
    now: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Change {
    #[serde(deserialize_with = "moment")]
    at: Option<Timestamp>,
    what: String,
    reply: Option<String>,
    by: String,
}

fn colour(state: &str) -> Style {
    match state {
        "open" => style::GOOD,
        "suspended" => style::BAD,
        _ => style::STRONG,
    }
}

fn cell(text: String) -> (String, Style) {
    (text, Style::new())
}

async fn list(api: &Api, form: Form) -> Outcome {
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let mut page = api.get("v1/sites", &query).await?;
        match page["sites"].take() {
            Value::Array(sites) => all.extend(sites),
            _ => {
                let odd = format!("{} answers, but not as the API does", api.base());
                return Err(ApiError::NotTheApi(odd).into());
            }
        }
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    if form == Form::Json {
        print_json(&Value::Array(all))?;
        return Ok(());
    }
    let mut out = anstream::stdout().lock();
    if all.is_empty() {
        writeln!(out, "{} no receiver has been sent to yet", paint(style::GOOD, "✓"))?;
        return Ok(());
    }
    let column = |title, align| Column { title, align };
    let mut table = Table::new(&[
        column("SITE", Align::Elastic),
        column("EGRESS", Align::Left),
        column("STATE", Align::Left),
        column("RATE", Align::Right),
        column("CONNECTIONS", Align::Right),
        column("LATEST CHANGE", Align::Elastic),
    ]);
    let now = now();
    for site in all.iter().map(|site| Site::deserialize(site).unwrap_or_default()) {
        let latest = site.changes.last().map(|change| {
            format!("{} {}", change.what, change.at.map(|at| ago(at, now)).unwrap_or_default())
        });
        let name = site.sender.map_or(site.site.clone(), |sender| format!("{} for {sender}", site.site));
        table.row(vec![
            (clean(&name), style::STRONG),
            cell(clean(&site.egress)),
            (clean(&site.state), colour(&site.state)),
            cell(clean(&site.rate)),
            cell(site.connections.to_string()),
            (clean(&latest.unwrap_or_default()), style::FAINT),
        ]);
    }
    table.print(&mut out)?;
    Ok(())
}

async fn show(api: &Api, site: &str, form: Form) -> Outcome {
    let answer = api.get(&format!("v1/sites/{}", segment(site)), &[]).await?;
    if form == Form::Json {
        print_json(&answer)?;
        return Ok(());
    }
    let site: Site = Site::deserialize(&answer).map_err(|error| {
        Failure::failed(format!("{} answers, but not as the API does: {error}", api.base()))
    })?;
    let now = now();
    let mut out = anstream::stdout().lock();
    let until_when = site.until.map(|at| format!(", {}", until(at, now))).unwrap_or_default();
    writeln!(
        out,
        "{}  {}{until_when}",
        paint(style::STRONG, clean(&site.site)),
        paint(colour(&site.state), clean(&site.state))
    )?;
    if let Some(why) = &site.why {
        writeln!(out, "  {}", paint(style::BAD, clean(why)))?;
    }
    let ceiling = |key: &str| {
        let given = &site.limits[key];
        let value = match &given["value"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        format!("of {} by {}", clean(&value), clean(given["by"].as_str().unwrap_or("")))
    };
    let mut table = Table::new(&[
        Column { title: "", align: Align::Left },
        Column { title: "NOW", align: Align::Right },
        Column { title: "AT MOST", align: Align::Elastic },
    ]);
    for (name, value, key) in [
        ("rate", site.rate.clone(), "rate"),
        ("connections", site.connections.to_string(), "connections"),
        ("messages a connection", site.messages_per_connection.to_string(), "messages_per_connection"),
        ("recipients a message", site.recipients_per_message.to_string(), "recipients_per_message"),
    ] {
        table.row(vec![cell(name.to_owned()), (clean(&value), style::STRONG), (ceiling(key), style::FAINT)]);
    }
    table.print(&mut out)?;
    for line in site.now["waiting"].as_array().into_iter().flatten() {
        let text = |key: &str| clean(line[key].as_str().unwrap_or(""));
        writeln!(
            out,
            "  {} recipients wait in line: {} {}",
            line["recipients"],
            text("tenant"),
            text("lane")
        )?;
    }
    for change in site.changes.iter().rev() {
        let at = change.at.map(|at| ago(at, now)).unwrap_or_default();
        writeln!(out, "  {at}: {} ({})", clean(&change.what), clean(&change.by))?;
        if let Some(reply) = &change.reply {
            writeln!(out, "      {}", paint(style::FAINT, clean(reply)))?;
        }
    }
    Ok(())
}

async fn order_it(api: &Api, method: Method, name: &str, order: &Value, form: Form) -> Outcome {
    let answer = api.ask(method, &format!("v1/sites/{name}"), &[], &[], Body::Json(order)).await?;
    if form == Form::Json {
        print_json(&answer)?;
        return Ok(());
    }
    let text = |key: &str| clean(answer[key].as_str().unwrap_or(""));
    writeln!(
        anstream::stdout(),
        "{}  {}",
        paint(style::STRONG, text("site")),
        paint(style::GOOD, text("status"))
    )?;
    Ok(())
}
