//! `classify`: SMTP replies in, verdicts out, a line each. The number of lines out is the number of lines in. With
//! `--replay` the replies are those of the ledger.

mod judge;
mod lines;
mod replay;

use std::io::{self, Write};

use posthaste_mail::Stage;
use posthaste_policy::Classifier;

use self::judge::{Columns, Judge};
use self::lines::Lines;
use super::policy::PolicyFile;
use crate::client::ApiArgs;
use crate::failure::{Failure, Outcome, say};
use crate::screen::{Form, Output};

/// Lines that are no replies and told of one by one; the rest are counted.
const TOLD_MAX: u64 = 20;

/// Verdicts of SMTP replies, read from stdin one a line.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints one line for each: action, category, scope, suppress (`no`, or a time such as `90d`), \
separated by tabs; with --explain the rule as well. As for one recipient without history: `retry` stands for \"once \
elsewhere\" and \"once plainer\" at 4xx, `bounce` at 5xx. A line that is no reply gives `-` in every column, is told \
of on stderr, and the exit code is 2.

With --replay nothing is read from stdin: every refusal that the ledger keeps is judged again, by the rules of --policy \
(its [[verdict]]s before the built-in ones), and what would be otherwise is told: deferrals, bounces and suppressions by \
category.

Examples:
  echo '550 5.1.1 no such user' | posthaste classify
  echo '550-5.7.1 no\\n550 5.7.1 see https://bl.example' | posthaste classify --explain
  posthaste classify --stage dot --json < replies.txt
  posthaste classify --replay --policy other.toml"
)]
pub(crate) struct Args {
    /// Name the rule that decided, too
    #[arg(long)]
    explain: bool,
    /// The command that was answered: route, connect, banner, ehlo, tls, auth, mail, rcpt, data, body or dot
    #[arg(long, value_name = "STAGE", default_value = "rcpt", value_parser = stage)]
    stage: Stage,
    /// The host that answered
    #[arg(long, value_name = "HOST")]
    mx: Option<String>,
    /// Judge the refusals in the ledger again, and tell what would be otherwise
    #[arg(long, conflicts_with_all = ["explain", "stage", "mx"])]
    replay: bool,
    #[command(flatten)]
    policy: PolicyFile,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: Output,
}

fn stage(text: &str) -> Result<Stage, String> {
    let names = || Stage::ALL.map(Stage::as_str).join(", ");
    Stage::parse(text).ok_or_else(|| format!("expected one of {}", names()))
}

/// Runs it.
pub(crate) fn run(args: Args) -> Outcome {
    let policy = args.policy.read_or_default()?;
    let classifier = Classifier::new(&policy.verdicts).map_err(Failure::input)?;
    if args.replay {
        let api = args.api.open()?;
        return super::wait_for(replay::run(&api, &classifier, args.output.form()));
    }
    let columns = match (args.output.form(), args.explain) {
        (Form::Json, _) => Columns::Json,
        (Form::People, true) => Columns::VerdictAndRule,
        (Form::People, false) => Columns::Verdict,
    };
    let mut judge = Judge::new(&classifier, args.stage, args.mx.as_deref(), columns);
    let mut lines = Lines::new(io::stdin().lock());
    let mut out = io::stdout().lock();
    let mut unread = 0_u64;
    while let Some(batch) = lines.next_batch()? {
        let told = judge.judge(&batch);
        for (n, line) in told.iter().enumerate() {
            if line.is_reply {
                continue;
            }
            unread += 1;
            if unread <= TOLD_MAX {
                let number = batch.first_line + n as u64;
                say(&format!("line {number}: no SMTP reply: expected a code from 200 to 599 and a text"));
            }
        }
        let all: String = told.iter().map(|line| &*line.text).collect();
        out.write_all(all.as_bytes())?;
        out.flush()?;
    }
    match unread {
        0 => Ok(()),
        n => {
            if n > TOLD_MAX {
                say(&format!("{} more lines are no SMTP replies", n - TOLD_MAX));
            }
            Err(Failure::InputTold)
        }
    }
}
