//! What prose says about an address: the lines behind its mention, up to the next address, best first.

use std::sync::OnceLock;

use regex::Regex;

use crate::bound::{DIAGNOSTIC_OCTETS_MAX, tidy};

/// Lines behind a mention that may be about it.
const LINES_MAX: usize = 10;
/// Passages kept for one recipient.
const PASSAGES_MAX: usize = 8;
/// Paragraphs that are looked at where nothing stands beside an address.
const PARAGRAPHS_MAX: usize = 24;

/// Lines that say nothing of a cause, and have words in them that would.
const FRAME_LINE: &str = r"(?ix) mime[-\ ](?:encapsulated|formatted) | in\ mime\ format | ^\s*(?:the\ )?(?:message\ identifier|subject|date)\ (?:of\ the\ message\ )?is: | ^\s*(?:subject|date|message-id|content-[a-z-]+|reporting-mta|received-from-mta|arrival-date|mts-id|sent|from):
    | ^[\s*]*message\ from\ \S+.*(?:security|anti-?virus|virus ?wall) | \bdo\ not\ reply | automatically\ (?:generated|created) | created\ automatically";

/// A reply's beginning within a line: its code stands alone, and words or an enhanced code follow.
const REPLY: &str = r"(?x) (?: ^ | [\s:;>(\x22'\[] ) (?P<reply> [45][0-5]\d (?: [\ -] \s* \S | ) )";

/// Where a reply begins in a text.
pub(crate) fn reply_in(text: &str) -> Option<usize> {
    static PATTERN: OnceLock<Regex> = OnceLock::new();
    let pattern =
        PATTERN.get_or_init(|| Regex::new(REPLY).expect("the pattern is part of the program and tested"));
    let found = pattern.captures_iter(text).find(|found| {
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
    static FRAME: OnceLock<Regex> = OnceLock::new();
    let frame =
        FRAME.get_or_init(|| Regex::new(FRAME_LINE).expect("the pattern is part of the program and tested"));
    let lines: Vec<&str> = head.lines().map(|line| if frame.is_match(line) { "" } else { line }).collect();
    let lower: Vec<String> = lines.iter().map(|line| line.to_lowercase()).collect();
    let keys: Vec<String> = addresses.iter().map(|address| address.to_lowercase()).collect();
    let paragraphs = paragraphs(&lines);
    keys.iter()
        .map(|key| {
            let mut beside = Vec::new();
            for at in (0..lines.len()).filter(|at| lower[*at].contains(key.as_str())) {
                if beside.len() >= PASSAGES_MAX {
                    break;
                }
                beside.push(behind(&lines, &lower, at, key, &keys));
            }
            beside.retain(|passage| !passage.is_empty());
            let (mut found, rest): (Vec<_>, Vec<_>) =
                beside.into_iter().partition(|text| reply_in(text).is_some());
            // Of several recipients each has its own words; what stands elsewhere may be about another.
            let shared: &[String] = if keys.len() == 1 { &paragraphs } else { &[] };
            found.extend(shared.iter().filter(|text| reply_in(text).is_some()).cloned());
            found.extend(rest);
            found.extend(shared.iter().filter(|text| reply_in(text).is_none()).cloned());
            found
        })
        .collect()
}

/// The mention's line and those behind it, up to another address's or the second blank one.
fn behind(lines: &[&str], lower: &[String], at: usize, key: &str, keys: &[String]) -> String {
    let mut text = lines[at].to_owned();
    let mut blanks = 0;
    for (line, lower) in lines[at + 1..].iter().zip(&lower[at + 1..]).take(LINES_MAX) {
        // `(generated from …)` goes on about the same recipient.
        let goes_on = line.trim_start().starts_with('(');
        let is_another = !goes_on
            && lower.contains('@')
            && keys.iter().any(|other| other != key && lower.contains(other.as_str()));
        if is_another || blanks > 1 {
            break;
        }
        if line.trim().is_empty() {
            blanks += 1;
            // What stands under an address belongs to it; a second paragraph does only if the first was the address alone.
            if text.trim().len() > key.len() + 8 {
                break;
            }
        } else {
            text.push(' ');
            text.push_str(line.trim());
        }
    }
    tidy(&text, DIAGNOSTIC_OCTETS_MAX)
}

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
