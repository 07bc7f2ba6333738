//! From lines to verdicts: each different line is judged once, by as many threads as there are cores. Receivers
//! repeat themselves, so most lines have been judged already.

use std::collections::HashMap;
use std::sync::Arc;

use posthaste_mail::{Reply, Stage};
use posthaste_policy::{Classifier, Observed, Verdict};

use super::lines::Batch;

/// Octets of lines and answers that are remembered; past it all are forgotten.
const REMEMBERED_OCTETS_MAX: usize = 16 << 20;
/// Fewer new lines than this are judged where they are: a thread costs more.
const LINES_A_THREAD: usize = 32;

/// What a line shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Columns {
    Verdict,
    VerdictAndRule,
    Json,
}

/// The answer to a line.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// Whether the line was a reply.
    pub(super) is_reply: bool,
    /// What is printed, with its line end.
    pub(super) text: Arc<str>,
}

/// Judges lines.
pub(super) struct Judge<'a> {
    bench: Bench<'a>,
    remembered: HashMap<String, Told>,
    remembered_octets: usize,
}

/// What is needed to judge one line.
#[derive(Clone, Copy)]
struct Bench<'a> {
    classifier: &'a Classifier,
    stage: Stage,
    mx: Option<&'a str>,
    columns: Columns,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        classifier: &'a Classifier,
        stage: Stage,
        mx: Option<&'a str>,
        columns: Columns,
    ) -> Self {
        let bench = Bench { classifier, stage, mx, columns };
        Self { bench, remembered: HashMap::new(), remembered_octets: 0 }
    }

    /// One answer for each line, in order.
    pub(super) fn judge(&mut self, batch: &Batch) -> Vec<Told> {
        if self.remembered_octets > REMEMBERED_OCTETS_MAX {
            self.remembered.clear();
            self.remembered_octets = 0;
        }
        let mut new: Vec<&String> =
            batch.lines.iter().filter(|line| !self.remembered.contains_key(*line)).collect();
        new.sort_unstable();
        new.dedup();
        for (line, told) in new.iter().zip(self.bench.tell_all(&new)) {
            self.remembered_octets += line.len() + told.text.len();
            self.remembered.insert((*line).clone(), told);
        }
        batch.lines.iter().map(|line| self.remembered[line].clone()).collect()
    }
}

impl Bench<'_> {
    fn tell_all(self, lines: &[&String]) -> Vec<Told> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = lines.len().div_ceil(cores).max(LINES_A_THREAD);
        if lines.len() <= share {
            return lines.iter().map(|line| self.tell(line)).collect();
        }
        std::thread::scope(|scope| {
            let shares = lines.chunks(share);
            let judged: Vec<_> = shares
                .map(|share| {
                    scope.spawn(move || share.iter().map(|line| self.tell(line)).collect::<Vec<_>>())
                })
                .collect();
            // A thread that panicked has said why; the command ends the same way.
            judged
                .into_iter()
                .flat_map(|judged| judged.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
                .collect()
        })
    }

    fn tell(self, line: &str) -> Told {
        let verdict = self.verdict(line);
        Told { is_reply: verdict.is_some(), text: self.shown(verdict.as_ref()).into() }
    }

    /// Of a reply, bare or as a Diagnostic-Code field has it, `smtp; 550 …` (RFC 3464 2.3.6).
    fn verdict(self, line: &str) -> Option<Verdict> {
        let line = match line.get(..5) {
            Some(kind) if kind.eq_ignore_ascii_case("smtp;") => line[5..].trim_start(),
            _ => line,
        };
        let reply =
            if line.contains("\\n") { Reply::parse(&line.replace("\\n", "\n")) } else { Reply::parse(line) }?;
        let observed = Observed { stage: self.stage, reply: &reply, mx_host: self.mx, recipients: 1 };
        Some(self.classifier.classify(&observed))
    }

    fn shown(self, verdict: Option<&Verdict>) -> String {
        match (verdict, self.columns) {
            (Some(v), Columns::Verdict) => {
                format!("{}\t{}\t{}\t{}\n", v.action, v.category, v.scope, v.suppress)
            }
            (Some(v), Columns::VerdictAndRule) => {
                format!("{}\t{}\t{}\t{}\t{}\n", v.action, v.category, v.scope, v.suppress, v.rule)
            }
            (None, Columns::Verdict) => "-\t-\t-\t-\n".to_owned(),
            (None, Columns::VerdictAndRule) => "-\t-\t-\t-\t-\n".to_owned(),
            // Strings only: this cannot fail.
            (verdict, Columns::Json) => serde_json::to_string(&verdict).unwrap_or_default() + "\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(lines: &[&str], columns: Columns) -> (String, usize) {
        let classifier = Classifier::new(&[]).unwrap();
        let mut judge = Judge::new(&classifier, Stage::Rcpt, None, columns);
        let batch = Batch { first_line: 1, lines: lines.iter().map(|line| (*line).to_owned()).collect() };
        let told = judge.judge(&batch);
        (told.iter().map(|told| &*told.text).collect(), told.iter().filter(|told| !told.is_reply).count())
    }

    #[test]
    fn every_line_has_its_answer() {
        let check = |lines: &[&str], columns: Columns, expected: &str, unread: usize| {
            assert_eq!(judged(lines, columns), (expected.to_owned(), unread), "{lines:?}");
        };
        let bounce = "bounce\tbad-mailbox\trecipient\t90d\n";
        check(&["550 5.1.1 no such user"], Columns::Verdict, bounce, 0);
        check(&["550-5.1.1 no such user\\n550 5.1.1 here"], Columns::Verdict, bounce, 0);
        check(&["smtp; 550 5.1.1 no such user"], Columns::Verdict, bounce, 0);
        check(
            &["what", "", "250 ok"],
            Columns::Verdict,
            "-\t-\t-\t-\n-\t-\t-\t-\ndeliver\tother\tmessage\tno\n",
            2,
        );
        check(&["what"], Columns::VerdictAndRule, "-\t-\t-\t-\t-\n", 1);
        check(&["what"], Columns::Json, "null\n", 1);
        check(&["450 \u{1b}[2J"], Columns::Verdict, "retry\tother\tmessage\tno\n", 0);
    }

    #[test]
    fn many_lines_keep_their_order() {
        let lines: Vec<String> =
            (0..1_000).map(|n| format!("{} {n}", if n % 3 == 0 { 450 } else { 550 })).collect();
        let (text, _) = judged(&lines.iter().map(String::as_str).collect::<Vec<_>>(), Columns::Verdict);
        for (n, line) in text.lines().enumerate() {
            assert_eq!(line.starts_with("retry"), n % 3 == 0, "{n}");
        }
    }
}
