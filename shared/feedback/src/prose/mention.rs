//! Addresses in prose, weighed by how they stand there.

use crate::bound::{MENTIONS_MAX, RECIPIENTS_MAX, VALUE_OCTETS_MAX};
use crate::letter::Letter;
use crate::pattern::Pattern;

use super::passage;

/// An address as relays write it: hardly any quotes, and sometimes a host without a dot.
static ADDRESS: Pattern = Pattern::any_of(&[
    r#"(?:"[^"@\s]{1,64}"|[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,128})@[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?"#,
]);

/// Words in whose company an address is that of somebody to write to, or of the message's author, or no address at all.
static BYSTANDER: Pattern = Pattern::any_of(&[
    r"^[>\s*]*(?:from|sender|reply-to|return-path|message-id|in-reply-to|references|x-[a-z-]+|cc|subject|mail-from)\s*:",
    r"^\s*from\s",
    r"mail from:?\s*<?",
    r"\bcontact\b",
    r"e-?mail (?:us|me)\b",
    "send (?:an? )?(?:e-?)?mail to",
    r"(?:forward|report|write) (?:\w+ ){0,4}to\b",
    "assistance",
    r"\bquestions?\b",
    "help(?:desk)?@",
    "support@",
    "https?://",
    "mailto:",
    "message (?:id|identifier)",
    r"\bsent (?:by|from)\b",
    "envelope-from",
    "envelope sender",
    r"\bwas received\b",
    "return address",
    "sender address",
    "originat(?:or|ing)",
]);

/// Words in whose company it is that of somebody who was not reached.
static RECIPIENT: Pattern = Pattern::any_of(&[
    "recipient",
    "not (?:listed|found|known|exist|deliver|reach|relayed|be delivered)",
    "unknown",
    "no such",
    "undeliver",
    r"deliver\w* (?:\w+ ){0,5}to",
    "addressed",
    "intended",
    "mailbox",
    "quota",
    "does ?n.t (?:exist|have)",
    "failed",
    r"\bfull\b",
    r"user\b",
    "invalid",
    "original address",
    r"(?:^|[^.\d])[45]\d\d[ -]",
    "could not ",
    "unable to",
    "was not",
    "rejected",
    "disabled",
    r"\bto:",
    r"^to\b",
    "message to",
    "forwarded",
    "destinat",
    "adresse",
    "bounced?",
]);

/// What stands before an address that is a recipient, in so many words.
static NAMED_AHEAD: Pattern = Pattern::any_of(&[
    r"rcpt to:?\s*<?$",
    r"final-recipient:\s*rfc822;\s*<?$",
    r"(?:expanded|generated) from:?\s*<?$",
    r"error-for:\s*<?$",
    r"addressed to:?\s*<?$",
    r"(?:recipient|original) address:\s*<?$",
    r"did not reach the following recipient(?:\(s\))?:\s*<?$",
]);

/// A field of the message, shown to tell which one it was.
static FIELD: Pattern = Pattern::any_of(&[r"^[>\s*]*(?:to|cc|for)\s*:"]);

/// A line that is one word and its announcement, where a relay names its own users without their domain.
static LOCAL_PARTS: Pattern = Pattern::any_of(&[
    r"(?:recipients?|users?|following)\b[^\n]*:[ \t]*\n+[ \t]+(?P<local>[a-z0-9._-]{2,64})[ \t]*$",
]);

/// Octets of one line in which addresses are weighed, by all the words around them.
const LINE_OCTETS_MAX: usize = 2_000;

/// A mention's weight: somebody else, anybody, somebody spoken of as not reached, somebody named in so many words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Bystander,
    Any,
    SpokenOf,
    Named,
}

/// The addresses in a text, as written, in order.
pub(crate) fn addresses(text: &str) -> Vec<String> {
    let found = ADDRESS.regex().find_iter(text).take(MENTIONS_MAX);
    found.map(|found| tidy(found.as_str())).filter(|address| !address.starts_with('@')).collect()
}

fn tidy(address: &str) -> String {
    // `=` and a quote stand before addresses more often than in them, dots behind them.
    let address = address.trim_start_matches(['=', '\'', '*', '.', '/', '`', '|', '-']);
    let address = match address.get(..5) {
        Some(kind) if kind.eq_ignore_ascii_case("smtp=") => &address[5..],
        _ => address,
    };
    let address =
        address.rsplit_once("..").filter(|(_, rest)| rest.contains('@')).map_or(address, |(_, rest)| rest);
    let address =
        address.split_once("..").filter(|(head, _)| head.contains('@')).map_or(address, |(head, _)| head);
    address.chars().take(VALUE_OCTETS_MAX).collect()
}

/// Users that a relay names without their domain, which is its own.
pub(super) fn local_parts(head: &str, from: &str) -> Vec<String> {
    let found = LOCAL_PARTS.captures(head);
    let local = found.and_then(|found| found.name("local").map(|local| local.as_str().to_owned()));
    let sender = addresses(from).into_iter().next();
    match (local, sender.as_deref().and_then(|sender| sender.split_once('@'))) {
        (Some(local), Some((_, domain))) => vec![format!("{local}@{domain}")],
        _ => Vec::new(),
    }
}

/// Whether an address stands as those do that are told of.
pub(super) fn names_somebody(head: &str) -> bool {
    weighed(head).iter().any(|(_, weight)| *weight == Weight::Named)
}

/// Whose addresses a report has without anything being said of them: who wrote it and who gets it.
pub(super) fn bystanders(letter: &Letter) -> Vec<String> {
    let names =
        ["To", "From", "Reply-To", "Return-Path", "Sender", "Delivered-To", "Envelope-To", "X-Original-To"];
    names.into_iter().flat_map(|name| letter.fields(name)).flat_map(addresses).collect()
}

/// The recipients that prose tells of: those with the most weight, and all that are named in so many words.
pub(super) fn failed(head: &str, bystanders: &[String]) -> Vec<String> {
    let mentions = weighed(head);
    let is_bystander = |address: &str| bystanders.iter().any(|known| known.eq_ignore_ascii_case(address));
    let is_machine = |address: &str| {
        let local = address.split('@').next().unwrap_or("").to_ascii_lowercase();
        matches!(local.as_str(), "postmaster" | "mailer-daemon" | "mdaemon" | "abuse" | "hostmaster" | "root")
    };
    let others = || mentions.iter().filter(|(address, _)| !is_bystander(address) && !is_machine(address));
    let found = heaviest(others(), Weight::Any);
    // Reports about mail to oneself: only what is named as a recipient is one.
    if found.is_empty() { heaviest(mentions.iter(), Weight::SpokenOf) } else { found }
}

fn heaviest<'a>(mentions: impl Iterator<Item = &'a (String, Weight)> + Clone, least: Weight) -> Vec<String> {
    let Some(most) = mentions.clone().map(|(_, weight)| *weight).max().filter(|most| *most >= least) else {
        return Vec::new();
    };
    let mut found: Vec<String> = Vec::new();
    for (address, _) in mentions.filter(|(_, weight)| *weight == most) {
        if found.len() < RECIPIENTS_MAX && !found.iter().any(|known| known.eq_ignore_ascii_case(address)) {
            found.push(address.clone());
        }
    }
    found
}

fn weighed(head: &str) -> Vec<(String, Weight)> {
    let mut mentions = Vec::new();
    let mut before = "";
    for line in head.lines() {
        let line = &line[..line.floor_char_boundary(LINE_OCTETS_MAX)];
        if line.contains('@') {
            for found in ADDRESS.regex().find_iter(line) {
                if mentions.len() >= MENTIONS_MAX {
                    return mentions;
                }
                mentions.push((tidy(found.as_str()), weigh(line, found.start(), found.end(), before)));
            }
        }
        if !line.trim().is_empty() {
            before = line;
        }
    }
    mentions.retain(|(address, _)| !address.starts_with('@'));
    mentions
}

fn weigh(line: &str, start: usize, end: usize, before: &str) -> Weight {
    let (ahead, behind) = (&line[..start], &line[end..]);
    let ahead_bare = ahead.trim_matches(|c: char| c.is_whitespace() || "<>*-=|\"'`(#:&;".contains(c));
    let behind_bare = behind.trim_start_matches(|c: char| c.is_whitespace() || "<>\"'`)|".contains(c));
    if NAMED_AHEAD.is_in(ahead) {
        return Weight::Named;
    }
    let is_bystander = BYSTANDER.is_in(line);
    let with_reply = behind_bare.starts_with(':') && passage::reply_in(behind).is_some();
    if ahead_bare.is_empty() && (with_reply || !is_bystander) {
        let stands_alone = behind_bare.is_empty() || behind_bare.starts_with([':', '[', ';']);
        if stands_alone
            || behind_bare.starts_with(['.', ',', '-', '*', '#'])
            || behind_bare.starts_with("on ")
        {
            return Weight::Named;
        }
    }
    if is_bystander {
        return Weight::Bystander;
    }
    if behind_bare.starts_with("...") && passage::reply_in(line).is_some_and(|at| at < start) {
        return Weight::Named;
    }
    if FIELD.is_in(line) {
        return Weight::Any;
    }
    let spoken_of =
        RECIPIENT.is_in(line) || (before.trim_end().ends_with([':', '<']) && RECIPIENT.is_in(before));
    if spoken_of {
        return Weight::SpokenOf;
    }
    Weight::Any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_told_from_bystanders() {
        let check = |head: &str, expected: &[&str]| {
            assert_eq!(failed(head, &["me@acme.example".to_owned()]), expected, "{head}");
        };
        check("could not be delivered to:\n\n  ann@example.net\n", &["ann@example.net"]);
        check(
            "<ann@example.net>:\nno mailbox\n\n<bob@example.net>:\nno mailbox",
            &["ann@example.net", "bob@example.net"],
        );
        check("User ann (ann@example.net) not listed in directory", &["ann@example.net"]);
        check("ask help@example.net\nRCPT TO:<ann@example.net>\n550 no", &["ann@example.net"]);
        check("me@acme.example\n", &["me@acme.example"]);
        check("For assistance write to care@example.net", &[]);
        check("ann@example.net... User unknown", &["ann@example.net"]);
        check("", &[]);
    }
}
