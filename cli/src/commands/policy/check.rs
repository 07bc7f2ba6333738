//! `policy check`: everything that is wrong with a file, a line each.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use posthaste_mail::Lane;
use posthaste_pipeline::deliver::fit_for_work;
use posthaste_policy::Policy;
use serde_json::json;

use super::file::{Unreadable, read};
use crate::failure::{Failure, Outcome, say};
use crate::screen::{Form, Output, print_json, style};

/// Unknown keys, rules that can never match and contradictions, each with its line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Problems go to stderr as FILE:LINE: KEY: MESSAGE, and the exit code is 2.

Example:
  posthaste policy check policy.toml")]
pub(crate) struct Args {
    /// The policy file
    #[arg(value_name = "FILE", env = "POSTHASTE_POLICY")]
    file: OsString,
    #[command(flatten)]
    output: Output,
}

/// Runs it.
pub(crate) fn run(args: Args) -> Outcome {
    let path = Path::new(&args.file);
    let form = args.output.form();
    match read(path) {
        Ok(policy) => match fit_for_work(&policy) {
            Ok(()) => good(path, &policy, form),
            Err(why) => {
                say(&format!("{}: {why}", path.display()));
                Err(Failure::InputTold)
            }
        },
        Err(unreadable) => {
            if let (Form::Json, Unreadable::Problems(_, problems)) = (form, &unreadable) {
                print_json(&json!({"file": path.to_string_lossy(), "ok": false, "problems": problems}))?;
            }
            Err(unreadable.told())
        }
    }
}

fn good(path: &Path, policy: &Policy, form: Form) -> Result<(), Failure> {
    let warnings = policy.warnings();
    if form == Form::Json {
        print_json(
            &json!({"file": path.to_string_lossy(), "ok": true, "problems": [], "warnings": warnings}),
        )?;
        return Ok(());
    }
    let mut out = anstream::stdout().lock();
    for warning in warnings {
        writeln!(out, "{}: {} {warning}", path.display(), style::paint(style::WAITING, "warning:"))?;
    }
    writeln!(out, "{}: {} {}", path.display(), style::paint(style::GOOD, "ok:"), summary(policy))?;
    Ok(())
}

/// What the file decides, in one line.
fn summary(policy: &Policy) -> String {
    let name = match &policy.mta.hostname {
        _ if policy.sandbox.all => "everything goes to the sandbox".to_owned(),
        Some(hostname) => format!("as {hostname}"),
        None if policy.sandbox_only() => "no hostname: everything goes to the sandbox".to_owned(),
        None => "as its egresses' names".to_owned(),
    };
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let waits = policy.retry(Lane::Transactional).schedule.len();
    [
        name,
        count(policy.shaping.len(), "shaping rule"),
        count(policy.routes.len(), "route"),
        count(policy.verdicts.len(), "verdict rule"),
        count(waits, "wait") + " between tries",
        format!("TLS {}", policy.tls.mode),
    ]
    .join(", ")
}
