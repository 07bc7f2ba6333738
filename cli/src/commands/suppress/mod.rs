//! `suppress`: the list of mailboxes that are not sent to, each entry with what shows that it is right.

mod list;
mod sheet;

use std::ffi::OsString;
use std::io::Write;

use posthaste_mail::{Address, Lane};
use posthaste_policy::span;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Api, ApiArgs, ApiError, Body, segment};
use crate::failure::{Failure, Outcome};
use crate::screen::style::{self, paint};
use crate::screen::{Form, Output, print_json};

/// The suppression list.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  posthaste suppress add ann@example.net --note 'asked by phone'
  posthaste suppress check ann@example.net
  posthaste suppress export > list.csv && posthaste suppress import list.csv")]
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
    /// Suppress a mailbox
    #[command(after_help = "Example:
  posthaste suppress add ann@example.net --lane bulk --for 90d --note 'asked by phone'")]
    Add(Add),
    /// Send to a mailbox again
    #[command(after_help = "Example:
  posthaste suppress remove ann@example.net")]
    Remove {
        /// The mailboxes
        #[arg(value_name = "ADDRESS", required = true, value_parser = address)]
        addresses: Vec<Address>,
    },
    /// Everything on the list
    #[command(after_help = "Example:
  posthaste suppress list --json")]
    List,
    /// Whether a mailbox is suppressed, and what shows it
    #[command(after_help = "Exits 0 whether it is or not; `suppressed` in the JSON tells.

Example:
  posthaste suppress check ann@example.net")]
    Check {
        /// The mailbox
        #[arg(value_name = "ADDRESS", value_parser = address)]
        address: Address,
    },
    /// Put the entries of a CSV file on the list
    #[command(
        after_help = "Columns: address, and as far as they are known lane, expires_at, reason, category, created_at, \
message_id, reply, note, sandbox. A header line names them; without one a line is an address. Nothing is imported \
unless every line is right; what has ended already is left out.

Examples:
  posthaste suppress import list.csv
  cut -d, -f1 complaints.csv | posthaste suppress import -"
    )]
    Import {
        /// The file; `-` reads stdin
        #[arg(value_name = "FILE.csv")]
        file: OsString,
    },
    /// Write the list as CSV
    #[command(after_help = "Example:
  posthaste suppress export > list.csv")]
    Export,
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The mailbox
    #[arg(value_name = "ADDRESS", value_parser = address)]
    address: Address,
    /// Only mail of this lane: transactional or bulk
    #[arg(long, value_name = "LANE", value_parser = lane)]
    lane: Option<Lane>,
    /// For how long, such as 90d; for ever without it
    #[arg(long = "for", value_name = "SPAN", value_parser = span::parse_span)]
    time: Option<std::time::Duration>,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// In the sandbox only
    #[arg(long)]
    sandbox: bool,
}

pub(super) fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|error| error.to_string())
}

pub(super) fn lane(text: &str) -> Result<Lane, String> {
    Lane::parse(text).ok_or_else(|| "expected transactional or bulk".to_owned())
}

/// Runs it.
pub(crate) async fn run(args: Args) -> Outcome {
    let api = args.api.open()?;
    let form = args.output.form();
    match args.what {
        What::Add(add) => self::add(&api, &add, form).await,
        What::Remove { addresses } => remove(&api, &addresses, form).await,
        What::List => list::list(&api, form).await,
        What::Check { address } => check(&api, &address, form).await,
        What::Import { file } => sheet::import(&api, std::path::Path::new(&file), form).await,
        What::Export => sheet::export(&api).await,
    }
}

/// The path of a mailbox's entries.
fn path(address: &Address) -> String {
    format!("v1/suppressions/{}", segment(&address.to_string()))
}

async fn put(api: &Api, address: &Address, entry: &Value) -> Result<Value, ApiError> {
    api.ask(Method::PUT, &path(address), &[], &[], Body::Json(entry)).await
}

async fn add(api: &Api, add: &Add, form: Form) -> Outcome {
    let mut entry = json!({});
    if let Some(lane) = add.lane {
        entry["lane"] = json!(lane);
    }
    if let Some(time) = add.time {
        entry["expires_in"] = json!(span::show_span(time));
    }
    if add.sandbox {
        entry["sandbox"] = json!(true);
    }
    if let Some(note) = &add.note {
        entry["note"] = json!(note);
    }
    let answer = put(api, &add.address, &entry).await?;
    match form {
        Form::Json => print_json(&answer)?,
        Form::People => {
            let time =
                add.time.map_or("for ever".to_owned(), |time| format!("for {}", span::show_span(time)));
            writeln!(
                anstream::stdout(),
                "{}  {}",
                add.address,
                paint(style::WAITING, format!("suppressed {time}"))
            )?;
        }
    }
    Ok(())
}

async fn remove(api: &Api, addresses: &[Address], form: Form) -> Outcome {
    let mut answers = Vec::new();
    let mut absent = 0;
    for address in addresses {
        let removed = match api.ask(Method::DELETE, &path(address), &[], &[], Body::Empty).await {
            Ok(_) => true,
            Err(error) if error.is_absent() => false,
            Err(error) => return Err(error.into()),
        };
        absent += usize::from(!removed);
        match form {
            Form::Json => answers.push(json!({"address": address, "removed": removed})),
            Form::People => {
                let what = if removed {
                    paint(style::GOOD, "removed")
                } else {
                    paint(style::WAITING, "was not suppressed")
                };
                writeln!(anstream::stdout(), "{address}  {what}")?;
            }
        }
    }
    if form == Form::Json {
        print_json(&Value::Array(answers))?;
    }
    if absent == addresses.len() { Err(Failure::FailedTold) } else { Ok(()) }
}

async fn check(api: &Api, address: &Address, form: Form) -> Outcome {
    let found = match api.get(&path(address), &[]).await {
        Ok(found) => Some(found),
        Err(error) if error.is_absent() => None,
        Err(error) => return Err(error.into()),
    };
    match (form, found) {
        (Form::Json, Some(mut found)) => {
            found["suppressed"] = json!(true);
            print_json(&found)?;
        }
        (Form::Json, None) => print_json(&json!({"address": address, "suppressed": false}))?,
        (Form::People, Some(mut found)) => match found["entries"].take() {
            Value::Array(entries) => list::show(&entries)?,
            _ => list::show(&[found])?,
        },
        (Form::People, None) => {
            writeln!(anstream::stdout(), "{address}  {}", paint(style::GOOD, "not suppressed"))?;
        }
    }
    Ok(())
}
