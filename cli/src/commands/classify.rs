//! `classify`: SMTP replies in, verdicts out, a line each. The number of lines out is the number of lines in.

use std::io::{self, BufRead, BufWriter, Write};

use posthaste_mail::{Reply, Stage};
use posthaste_policy::{Classifier, Observed, Verdict};

use super::policy::PolicyFile;
use crate::failure::{Failure, Outcome, say};
use crate::screen::{Form, Output};

/// Longest line that is read, in octets: a reply of a hundred lines fits many times over.
const LINE_OCTETS_MAX: u64 = 1 << 20;
/// Lines that are no replies and told of one by one; the rest are counted.
const TOLD_MAX: u64 = 20;
/// Octets held back before they are written.
const BUFFER_OCTETS: usize = 1 << 18;

/// Verdicts of SMTP replies, read from stdin one a line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Prints one line for each: action, category, scope, suppress (`no`, or a time such as `90d`), \
separated by tabs; with --explain the rule as well. As for one recipient without history: `retry` stands for \"once \
elsewhere\" and \"once plainer\" at 4xx, `bounce` at 5xx. A line that is no reply gives `-` in every column, is told \
of on stderr, and the exit code is 2.

Examples:
  echo '550 5.1.1 no such user' | posthaste classify
  echo '550-5.7.1 no\\n550 5.7.1 see https://bl.example' | posthaste classify --explain
  posthaste classify --stage dot --json < replies.txt")]
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
    #[command(flatten)]
    policy: PolicyFile,
    #[command(flatten)]
    output: Output,
}

fn stage(text: &str) -> Result<Stage, String> {
    let names = || Stage::ALL.map(Stage::as_str).join(", ");
    Stage::parse(text).ok_or_else(|| format!("expected one of {}", names()))
}

/// What a line shows.
#[derive(Debug, Clone, Copy)]
enum Columns {
    Verdict,
    VerdictAndRule,
    Json,
}

/// Runs it.
pub(crate) fn run(args: Args) -> Outcome {
    let policy = args.policy.read_or_default()?;
    let classifier = Classifier::new(&policy.verdicts).map_err(Failure::input)?;
    let columns = match (args.output.form(), args.explain) {
        (Form::Json, _) => Columns::Json,
        (Form::People, true) => Columns::VerdictAndRule,
        (Form::People, false) => Columns::Verdict,
    };
    let asked = Asked { classifier: &classifier, stage: args.stage, mx: args.mx.as_deref() };
    let mut out = BufWriter::with_capacity(BUFFER_OCTETS, io::stdout().lock());
    let unread = classify(io::stdin().lock(), &mut out, &asked, columns)?;
    out.flush()?;
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

struct Asked<'a> {
    classifier: &'a Classifier,
    stage: Stage,
    mx: Option<&'a str>,
}

impl Asked<'_> {
    /// Of a reply, bare or as a Diagnostic-Code field has it, `smtp; 550 …` (RFC 3464 2.3.6).
    fn verdict(&self, line: &str) -> Option<Verdict> {
        let line = match line.get(..5) {
            Some(kind) if kind.eq_ignore_ascii_case("smtp;") => line[5..].trim_start(),
            _ => line,
        };
        let reply = if line.contains("\\n") { Reply::parse(&line.replace("\\n", "\n")) } else { Reply::parse(line) }?;
        let observed = Observed { stage: self.stage, reply: &reply, mx_host: self.mx, recipients: 1 };
        Some(self.classifier.classify(&observed))
    }
}

/// Goes through all lines; says how many were no replies.
fn classify(mut lines: impl BufRead, out: &mut impl Write, asked: &Asked<'_>, columns: Columns) -> Result<u64, Failure> {
    let mut line = Vec::new();
    let (mut number, mut unread) = (0_u64, 0_u64);
    loop {
        line.clear();
        number += 1;
        let octets = io::Read::take(&mut lines, LINE_OCTETS_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::failed(format!("stdin: {error}")))?;
        if octets == 0 {
            return Ok(unread);
        }
        if u64::try_from(octets).unwrap_or(u64::MAX) == LINE_OCTETS_MAX && !line.ends_with(b"\n") {
            return Err(Failure::input(format!("line {number}: over {LINE_OCTETS_MAX} octets")));
        }
        let text = String::from_utf8_lossy(&line);
        let verdict = asked.verdict(text.trim());
        if verdict.is_none() {
            unread += 1;
            if unread <= TOLD_MAX {
                say(&format!("line {number}: no SMTP reply: expected a code from 200 to 599 and a text"));
            }
        }
        write_line(out, verdict.as_ref(), columns)?;
    }
}

fn write_line(out: &mut impl Write, verdict: Option<&Verdict>, columns: Columns) -> io::Result<()> {
    match (verdict, columns) {
        (Some(v), Columns::Verdict) => writeln!(out, "{}\t{}\t{}\t{}", v.action, v.category, v.scope, v.suppress),
        (Some(v), Columns::VerdictAndRule) => {
            writeln!(out, "{}\t{}\t{}\t{}\t{}", v.action, v.category, v.scope, v.suppress, v.rule)
        }
        (None, Columns::Verdict) => out.write_all(b"-\t-\t-\t-\n"),
        (None, Columns::VerdictAndRule) => out.write_all(b"-\t-\t-\t-\t-\n"),
        (verdict, Columns::Json) => {
            serde_json::to_writer(&mut *out, &verdict).map_err(io::Error::from)?;
            out.write_all(b"\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_in_is_a_line_out() {
        let classifier = Classifier::new(&[]).unwrap();
        let check = |input: &str, columns: Columns, expected: &str, unread: u64| {
            let mut out = Vec::new();
            let asked = Asked { classifier: &classifier, stage: Stage::Rcpt, mx: None };
            let got = classify(input.as_bytes(), &mut out, &asked, columns).unwrap();
            assert_eq!((String::from_utf8(out).unwrap().as_str(), got), (expected, unread), "{input}");
        };
        let bounce = "bounce\tbad-mailbox\trecipient\t90d";
        check("550 5.1.1 no such user\n", Columns::Verdict, &format!("{bounce}\n"), 0);
        check("550 5.1.1 no such user", Columns::Verdict, &format!("{bounce}\n"), 0);
        check("550-5.1.1 no such user\\n550 5.1.1 here\r\n", Columns::Verdict, &format!("{bounce}\n"), 0);
        check("what\n\n250 ok\n", Columns::Verdict, "-\t-\t-\t-\n-\t-\t-\t-\ndeliver\tother\tmessage\tno\n", 2);
        check("what\n", Columns::VerdictAndRule, "-\t-\t-\t-\t-\n", 1);
        check("what\n", Columns::Json, "null\n", 1);
        check("smtp; 550 5.1.1 no such user\n", Columns::Verdict, &format!("{bounce}\n"), 0);
        check("", Columns::Verdict, "", 0);
        check("450 \u{1b}[2J\n", Columns::Verdict, "retry\tother\tmessage\tno\n", 0);
    }
}
