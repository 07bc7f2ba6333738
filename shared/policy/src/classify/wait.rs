//! A wait that a reply names: "try again in 300 seconds", "greylisted for 5 minutes".

use std::sync::OnceLock;
use std::time::Duration;

use posthaste_mail::Reply;
use regex::Regex;

use crate::retry::NAMED_WAIT_MAX;

/// A number with a unit after a word that makes it a wait. Limits ("100 messages per 5 minutes") name no wait.
const PATTERN: &str = r"(?ix)
    \b(?: in | after | for | within | wait | retry[- ]after: | another | about | least | (?:next|first) )
    [\s:=(]* (?:about\s+|at\s+least\s+|approximately\s+)?
    (?P<n>[0-9]{1,6}) \s* (?P<unit> s(?:ec(?:ond)?s?)? | m(?:in(?:ute)?s?)? | h(?:(?:ou)?rs?)? | days? ) \b
";

/// The wait a refusal names, at most a day; none if it names none.
pub fn wait_named(reply: &Reply) -> Option<Duration> {
    static NAMED: OnceLock<Regex> = OnceLock::new();
    if !reply.is_transient() && !reply.is_permanent() {
        return None;
    }
    let named =
        NAMED.get_or_init(|| Regex::new(PATTERN).expect("the pattern is part of the program and tested"));
    let text = reply.text.replace('\n', " ");
    let found = named.captures(&text)?;
    let count: u64 = found["n"].parse().ok()?;
    let unit = match found["unit"].as_bytes().first().map(u8::to_ascii_lowercase) {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        _ => 86_400,
    };
    Some(Duration::from_secs(count * unit).min(NAMED_WAIT_MAX)).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_where_they_are_named() {
        let check = |text: &str, expected: Option<u64>| {
            let got = wait_named(&Reply::parse(text).unwrap());
            assert_eq!(got, expected.map(Duration::from_secs), "{text}");
        };
        check("451 4.7.1 Greylisted, please try again in 300 seconds", Some(300));
        check("450 4.2.0 Recipient address rejected: greylisted for 60 seconds", Some(60));
        check("451 4.7.1 Greylisted for 5 minutes", Some(300));
        check("451 try again in 5 min.", Some(300));
        check("421 please retry after 2 hours", Some(7200));
        check("421 4.7.0 wait 90s", Some(90));
        check("451 come back after\n451 10 minutes", Some(600));
        check("421 try again in 99 days", Some(86_400));
        check("421 at most 100 messages per 5 minutes", None);
        check("421 try again later", None);
        check("451 4.7.1 in 300", None);
        check("421 back in 0 seconds", None);
        check("250 ok in 5 seconds", None);
    }
}
