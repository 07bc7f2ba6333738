//! What prose says about an address: the lines behind its mention, up to the next address, best first.

use std::collections::HashMap;

use super::mention;
use crate::bound::{DIAGNOSTIC_OCTETS_MAX, tidy};
use crate::pattern::Pattern;

/// Lines behind a mention that may be about it.
const LINES_MAX: usize = 10;
/// Passages kept for one recipient.
const PASSAGES_MAX: usize = 8;
/// Paragraphs that are looked at where nothing stands beside an address.
const PARAGRAPHS_MAX: usize = 24;

/// Lines that say nothing of a cause, and have words in them that would.
static FRAME: Pattern = Pattern::any_of(&[
    "mime[- ](?:encapsulated|formatted)",
    "in mime format",
    r"^\s*(?:the )?(?:message identifier|subject|date) (?:of the message )?is:",
    r"^\s*(?:subject|date|message-id|content-[a-z-]+|reporting-mta|received-from-mta|arrival-date|mts-id|sent|from):",
    r"^[\s*]*message from \S+.*(?:security|anti-?virus|virus ?wall)",
    r"\bdo not reply",
    "automatically (?:generated|created)",
    "created automatically",
]);

/// A reply's beginning within a line: its code stands alone, and words or an enhanced code follow.
static REPLY: Pattern = Pattern::any_of(&[r#"(?:^|[\s:;>("'\[])(?P<reply>[45][0-5]\d)"#]);

/// Where a reply begins in a text.
pub(crate) fn reply_in(text: &str) -> Option<usize> {
    let found = REPLY.regex().captures_iter(text).find(|found| {
        let at = found.name("reply").map_or(0, |reply| reply.start());
        is_reply(&text[at..]) && !is_a_number(&text[..at])
    });
    found.and_then(|found| found.name("reply")).map(|reply| reply.start())
}

/// The code is followed by a blank, a hyphen, or nothing.
fn is_reply(text: &str) -> bool {
    matches!(text.as_bytes().get(3), None | Some(b' ' | b'-' | b'\t'))
}

/// `port 465`, `line 512`, `size: 500 KB`.
fn is_a_number(ahead: &str) -> bool {
    let word = ahead.trim_end_matches([' ', ':', '(', '[', '=']).rsplit(' ').next().unwrap_or("");
    let words = ["port", "line", "size", "after", "last", "of", "for", "than", "id", "limit", "to", "at"];
    words.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// For each address the passages about it, best first: those with a reply, then those beside it, then the rest.
pub(super) fn of_all(head: &str, addresses: &[String]) -> Vec<Vec<String>> {
    let prose = Prose::of(head, addresses);
    let paragraphs = paragraphs(&prose.lines);
    let all = addresses.iter().enumerate().map(|(n, address)| {
        let beside = prose.lines_about(n, address).into_iter().take(PASSAGES_MAX);
        let beside = beside.map(|at| prose.behind(at, n, address)).filter(|passage| !passage.is_empty());
        let (mut found, rest): (Vec<_>, Vec<_>) = beside.partition(|text| reply_in(text).is_some());
        // Of several recipients each has its own words; what stands elsewhere may be about another.
        let shared: &[String] = if addresses.len() == 1 { &paragraphs } else { &[] };
        found.extend(shared.iter().filter(|text| reply_in(text).is_some()).cloned());
        found.extend(rest);
        found.extend(shared.iter().filter(|text| reply_in(text).is_none()).cloned());
        found
    });
    all.collect()
}

/// Lines of prose, and which of some addresses each of them names.
struct Prose<'a> {
    lines: Vec<&'a str>,
    named: Vec<Vec<usize>>,
}

impl<'a> Prose<'a> {
    fn of(head: &'a str, addresses: &[String]) -> Self {
        let numbers: HashMap<String, usize> =
            addresses.iter().enumerate().map(|(n, address)| (address.to_lowercase(), n)).collect();
        let lines: Vec<&str> = head.lines().map(|line| if FRAME.is_in(line) { "" } else { line }).collect();
        let named = lines.iter().map(|line| match line.contains('@') {
            true => mention::addresses(line)
                .iter()
                .filter_map(|a| numbers.get(&a.to_lowercase()).copied())
                .collect(),
            false => Vec::new(),
        });
        Self { named: named.collect(), lines }
    }

    /// The lines that name an address; where none does as addresses are written, those that have its letters.
    fn lines_about(&self, n: usize, address: &str) -> Vec<usize> {
        let found: Vec<usize> = (0..self.lines.len()).filter(|at| self.named[*at].contains(&n)).collect();
        if !found.is_empty() {
            return found;
        }
        let key = address.to_lowercase();
        (0..self.lines.len()).filter(|at| self.lines[*at].to_lowercase().contains(&key)).collect()
    }

    /// A line and those behind it, up to another address's or the second blank one.
    fn behind(&self, at: usize, n: usize, address: &str) -> String {
        let mut text = self.lines[at].to_owned();
        let mut blanks = 0;
        for (line, named) in self.lines[at + 1..].iter().zip(&self.named[at + 1..]).take(LINES_MAX) {
            // `(generated from …)` goes on about the same recipient.
            let goes_on = line.trim_start().starts_with('(');
            let is_another = !goes_on && named.iter().any(|other| *other != n);
            if is_another || blanks > 1 {
                break;
            }
            if line.trim().is_empty() {
                blanks += 1;
                // A second paragraph is about the address only if the first was the address alone.
                if text.trim().len() > address.len() + MARKS_AROUND {
                    break;
                }
            } else {
                text.push(' ');
                text.push_str(line.trim());
            }
        }
        tidy(&text, DIAGNOSTIC_OCTETS_MAX)
    }
}

/// Octets of brackets, bullets and colons around an address that stands alone.
const MARKS_AROUND: usize = 8;

fn paragraphs(lines: &[&str]) -> Vec<String> {
    let mut paragraphs: Vec<String> = lines
        .split(|line| line.trim().is_empty())
        .filter(|paragraph| !paragraph.is_empty())
        .take(PARAGRAPHS_MAX)
        .map(|paragraph| tidy(&paragraph.join(" "), DIAGNOSTIC_OCTETS_MAX))
        .collect();
    paragraphs.retain(|text| !text.is_empty());
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_found_in_sentences() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(reply_in(text).map(|at| &text[at..]), expected);
        check("host mx[192.0.2.7] said: 550 5.1.1 no", Some("550 5.1.1 no"));
        check("host mx [192.0.2.125]: 550-no", Some("550-no"));
        check("<<< 550 no", Some("550 no"));
        check("connect to mx:587: timed out", None);
        check("on port 465 after 500 seconds", None);
        check("192.0.2.450 is a host", None);
        check("said: 550", Some("550"));
    }

    #[test]
    fn each_address_has_its_own_words() {
        let head = "<ann@example.net>:\n550 no such user\n\n<bob@example.net>: mailbox full\n\nBye.";
        let addresses = ["ann@example.net".to_owned(), "bob@example.net".to_owned()];
        let passages = of_all(head, &addresses);
        assert_eq!(passages[0], ["<ann@example.net>: 550 no such user"]);
        assert_eq!(passages[1], ["<bob@example.net>: mailbox full"]);
    }
}
