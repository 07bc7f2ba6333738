//! `identity`: sender domains, their DKIM keys, and the records to publish.

use std::io::Write;
use std::path::Path;

use posthaste_mail::Domain;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Api, ApiArgs, Body, segment};
use crate::commands::domain;
use crate::failure::{Failure, Outcome};
use crate::screen::style::{self, paint};
use crate::screen::{Align, Column, Form, Output, Table, clean, print_json};

/// Identities asked for at once.
const PAGE: &str = "500";

/// Sender domains, their DKIM keys and the DNS records to publish.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A domain is registered, its records are published, and then it is verified: from there on its mail is
signed, and nobody else may send as it.

Examples:
  posthaste identity add acme.example --return-path bounces.acme.example
  posthaste identity verify acme.example
  posthaste identity show acme.example
  posthaste identity rotate acme.example"
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
    /// Register a domain, or change what is registered
    #[command(after_help = "Example:
  posthaste identity add acme.example --return-path bounces.acme.example --ed25519 --subdomains")]
    Add {
        /// The domain of From
        #[arg(value_parser = domain)]
        domain: Domain,
        /// Its own domain of MAIL FROM
        #[arg(long, value_parser = domain, value_name = "DOMAIN")]
        return_path: Option<Domain>,
        /// Sign mail from below it, too
        #[arg(long)]
        subdomains: bool,
        /// Tell envelope senders at it of what is not delivered
        #[arg(long)]
        notify: bool,
        /// An Ed25519 key beside the RSA one
        #[arg(long)]
        ed25519: bool,
        /// A key to import, in PEM; may be repeated
        #[arg(long = "key", value_name = "SELECTOR=FILE", value_parser = key)]
        keys: Vec<(String, String)>,
    },
    /// Look whether its keys are published, and take into use those that are
    #[command(after_help = "Example:
  posthaste identity verify acme.example")]
    Verify {
        /// The domain
        #[arg(value_parser = domain)]
        domain: Domain,
    },
    /// Its keys and the records to publish
    #[command(after_help = "Example:
  posthaste identity show acme.example --json")]
    Show {
        /// The domain
        #[arg(value_parser = domain)]
        domain: Domain,
    },
    /// What receivers report of it: who sends as the domain, and whether it passes DMARC
    #[command(after_help = "Example:
  posthaste identity reports acme.example --days 7")]
    Reports {
        /// The domain
        #[arg(value_parser = domain)]
        domain: Domain,
        /// How far back
        #[arg(long, default_value_t = 30, value_name = "DAYS")]
        days: u16,
    },
    /// Make the next keys: publish them, then verify
    #[command(after_help = "Example:
  posthaste identity rotate acme.example")]
    Rotate {
        /// The domain
        #[arg(value_parser = domain)]
        domain: Domain,
    },
    /// Give a domain up
    #[command(after_help = "Example:
  posthaste identity remove acme.example")]
    Remove {
        /// The domain
        #[arg(value_parser = domain)]
        domain: Domain,
    },
    /// Every registered domain
    #[command(after_help = "Example:
  posthaste identity list")]
    List,
}

/// `s1=key.pem`, read.
fn key(text: &str) -> Result<(String, String), String> {
    let (selector, file) = text.split_once('=').ok_or("expected SELECTOR=FILE")?;
    let pem = std::fs::read_to_string(Path::new(file)).map_err(|error| format!("{file}: {error}"))?;
    Ok((selector.to_owned(), pem))
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = args.api.open()?;
    let form = args.output.form();
    let path = |domain: &Domain, act: &str| format!("v1/identities/{}{act}", segment(&domain.to_string()));
    let answer = match args.what {
        What::List => return list(&api, form).await,
        What::Add { domain, return_path, subdomains, notify, ed25519, keys } => {
            let keys: Vec<Value> = keys
                .into_iter()
                .map(|(selector, pem)| json!({"selector": selector, "private_key": pem}))
                .collect();
            let mut wish = json!({"ed25519": ed25519});
            if let Some(return_path) = return_path {
                wish["return_path"] = json!(return_path);
            }
            if subdomains {
                wish["subdomains"] = json!(true);
            }
            if notify {
                wish["notify"] = json!(true);
            }
            if !keys.is_empty() {
                wish["keys"] = json!(keys);
            }
            api.ask(Method::PUT, &path(&domain, ""), &[], &[], Body::Json(&wish)).await?
        }
        What::Verify { domain } => {
            api.ask(Method::POST, &path(&domain, ":verify"), &[], &[], Body::Empty).await?
        }
        What::Rotate { domain } => {
            api.ask(Method::POST, &path(&domain, ":rotate"), &[], &[], Body::Empty).await?
        }
        What::Reports { domain, days } => {
            let found = api.get(&path(&domain, "/reports"), &[("days", &days.to_string())]).await?;
            return match form {
                Form::Json => Ok(print_json(&found)?),
                Form::People => reports(&domain, &found),
            };
        }
        What::Show { domain } => api.get(&path(&domain, ""), &[]).await?,
        What::Remove { domain } => {
            api.ask(Method::DELETE, &path(&domain, ""), &[], &[], Body::Empty).await?;
            if form == Form::People {
                writeln!(anstream::stdout(), "{domain}  {}", paint(style::WAITING, "given up"))?;
            }
            return Ok(());
        }
    };
    if form == Form::Json {
        print_json(&answer)?;
        return Ok(());
    }
    show(&answer)
}

fn text(value: &Value, key: &str) -> String {
    clean(value[key].as_str().unwrap_or(""))
}

fn show(identity: &Value) -> Outcome {
    let mut out = anstream::stdout().lock();
    let status = text(identity, "status");
    let style = if status == "verified" { style::GOOD } else { style::WAITING };
    writeln!(out, "{}  {}", paint(style::STRONG, text(identity, "domain")), paint(style, &status))?;
    for key in identity["keys"].as_array().into_iter().flatten() {
        let state = text(key, "state");
        let style = if state == "active" { style::GOOD } else { style::WAITING };
        writeln!(out, "  {}  {}  {}", text(key, "selector"), text(key, "algorithm"), paint(style, &state))?;
    }
    let missing: Vec<&Value> = identity["missing"].as_array().into_iter().flatten().collect();
    for key in &missing {
        writeln!(out, "  {}", paint(style::BAD, text(key, "why")))?;
    }
    if let Some(checks) = identity["watched"]["checks"].as_object() {
        let at = text(&identity["watched"], "at");
        writeln!(out, "\n{}", paint(style::FAINT, format!("Looked at {at}:")))?;
        for (check, severity) in checks {
            let severity = clean(severity.as_str().unwrap_or(""));
            let style = if severity == "error" { style::BAD } else { style::FAINT };
            writeln!(out, "  {:<12} {}", clean(check), paint(style, severity))?;
        }
    }
    writeln!(out, "\nRecords to publish:")?;
    for record in identity["records"].as_array().into_iter().flatten() {
        let needed = if record["required"] == json!(true) { "" } else { "  (advice)" };
        writeln!(out, "\n  {}{}", paint(style::FAINT, text(record, "purpose")), paint(style::FAINT, needed))?;
        writeln!(out, "  {}  {}  {}", text(record, "name"), text(record, "type"), text(record, "value"))?;
    }
    Ok(())
}

fn reports(domain: &Domain, found: &Value) -> Outcome {
    let mut out = anstream::stdout().lock();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    if number(&found["reports"]) == 0 {
        writeln!(
            out,
            "no receiver has reported on {domain}: `posthaste doctor {domain}` says where reports go"
        )?;
        return Ok(());
    }
    let left = |title| Column { title, align: Align::Left };
    let right = |title| Column { title, align: Align::Right };
    let share = |part: u64, whole: u64| match whole {
        0 => "-".to_owned(),
        whole => format!("{:.1} %", 100.0 * part as f64 / whole as f64),
    };
    let mut days = Table::new(&[left("day"), right("messages"), right("passed"), right("TLS failed")]);
    for day in found["days"].as_array().into_iter().flatten() {
        let (messages, passed) = (number(&day["messages"]), number(&day["passed"]));
        let (sessions, failed) = (number(&day["sessions"]), number(&day["failed_sessions"]));
        days.row(vec![
            (text(day, "day"), style::STRONG),
            (messages.to_string(), style::FAINT),
            (share(passed, messages), if passed == messages { style::GOOD } else { style::WAITING }),
            (share(failed, sessions), if failed == 0 { style::FAINT } else { style::BAD }),
        ]);
    }
    days.print(&mut out)?;
    writeln!(out)?;
    let mut sources = Table::new(&[left("source"), right("messages"), right("passed"), left("")]);
    for source in found["sources"].as_array().into_iter().flatten() {
        let (messages, passed) = (number(&source["messages"]), number(&source["passed"]));
        let ours = source["ours"] == json!(true);
        let style = match (passed == messages, ours) {
            (true, _) => style::GOOD,
            (false, true) => style::BAD,
            (false, false) => style::WAITING,
        };
        sources.row(vec![
            (text(source, "ip"), style::STRONG),
            (messages.to_string(), style::FAINT),
            (share(passed, messages), style),
            (if ours { "ours" } else { "not ours" }.to_owned(), style::FAINT),
        ]);
    }
    sources.print(&mut out)?;
    for (why, count) in found["tls_failures"].as_object().into_iter().flatten() {
        writeln!(out, "TLS: {}  {}", clean(why), number(count))?;
    }
    Ok(())
}

async fn list(api: &Api, form: Form) -> Outcome {
    let found = all(api).await?;
    if form == Form::Json {
        print_json(&json!({ "identities": found }))?;
        return Ok(());
    }
    let column = |title| Column { title, align: Align::Left };
    let mut table = Table::new(&["domain", "status", "publishes", "return path", "keys in use"].map(column));
    for identity in &found {
        let status = text(identity, "status");
        let style = if status == "verified" { style::GOOD } else { style::WAITING };
        let keys = identity["keys"].as_array().into_iter().flatten();
        let active = keys.filter(|key| key["state"] == "active").map(|key| text(key, "selector"));
        table.row(vec![
            (text(identity, "domain"), style::STRONG),
            (status, style),
            (text(&identity["watched"], "worst"), style::FAINT),
            (text(identity, "return_path"), style::FAINT),
            (active.collect::<Vec<_>>().join(", "), style::FAINT),
        ]);
    }
    table.print(&mut anstream::stdout().lock())?;
    Ok(())
}

/// Every identity there is.
pub(super) async fn all(api: &Api) -> Result<Vec<Value>, Failure> {
    /// Pages asked for: 50,000 domains.
    const PAGES_MAX: usize = 100;
    let (mut found, mut after) = (Vec::new(), String::new());
    for _ in 0..PAGES_MAX {
        let page = api.get("v1/identities", &[("limit", PAGE), ("after", &after)]).await?;
        found.extend(page["identities"].as_array().into_iter().flatten().cloned());
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => break,
        }
    }
    Ok(found)
}
