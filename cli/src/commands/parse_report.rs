//! `parse-report`: mail that came in about mail that went out, read and told as JSON, a line a report.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use posthaste_feedback::Report;

use crate::failure::{Failure, Outcome, say};

/// Names stdin.
const STDIN: &str = "-";
/// Octets read of one report, with room over what is looked at: what follows is the message it returns.
const OCTETS_MAX: u64 = 2 * posthaste_feedback::LOOKED_AT_OCTETS as u64;

/// What inbound reports say: bounces (DSN), complaints (ARF), DMARC aggregates, TLS reports.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints one line of JSON for each file, in the order of the files: `kind` is dsn, complaint, dmarc, \
tls-rpt, auto-reply or other. Bounces are read in the format of RFC 3464 and in prose; `category` is what `classify` \
would say of the reply they quote. Nothing is stored, and nothing acts on what is read here.

Examples:
  posthaste parse-report bounce.eml
  posthaste parse-report < bounce.eml
  posthaste parse-report Maildir/new/* | jq -r 'select(.kind == \"dsn\") | .recipients[].address'"
)]
pub(crate) struct Args {
    /// Messages as they came; none, or `-`, for stdin
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Machine-readable output: what is printed anyway
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(args: Args) -> Outcome {
    let Args { mut files, json: _ } = args;
    if files.is_empty() {
        files.push(STDIN.into());
    }
    let mut out = io::stdout().lock();
    let mut is_wrong = false;
    for path in &files {
        match octets(path) {
            Ok(octets) => {
                let told = serde_json::to_string(&told(&octets)).map_err(io::Error::from)?;
                writeln!(out, "{told}")?;
            }
            Err(error) => {
                is_wrong = true;
                say(&format!("{}: {error}", path.display()));
            }
        }
    }
    out.flush()?;
    if is_wrong { Err(Failure::InputTold) } else { Ok(()) }
}

/// What a report says; of one over a period also what is attached, summed up.
fn told(octets: &[u8]) -> serde_json::Value {
    let report = posthaste_feedback::read(octets);
    let mut told = serde_json::to_value(&report).unwrap_or_default();
    if matches!(report, Report::Dmarc(_) | Report::TlsRpt(_)) {
        let attached = posthaste_feedback::attachment(octets).unwrap_or_default();
        match posthaste_auth::reports::read(&attached) {
            Ok(summary) => told["summary"] = serde_json::to_value(summary).unwrap_or_default(),
            Err(why) => told["unreadable"] = why.into(),
        }
    }
    told
}

fn octets(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    if path == Path::new(STDIN) {
        io::stdin().lock().take(OCTETS_MAX).read_to_end(&mut octets)?;
    } else {
        File::open(path)?.take(OCTETS_MAX).read_to_end(&mut octets)?;
    }
    Ok(octets)
}
