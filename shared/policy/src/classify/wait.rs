//! A wait that a reply names: "try again in 300 seconds", "greylisted for 5 minutes".

use std::sync::OnceLock;
use std::time::Duration;

use posthaste_mail::Reply;
use regex::Regex;

use crate::retry::NAMED_WAIT_MAX;

/// A number with a unit, or hours:minutes:seconds, that follows a word about waiting in the same sentence. Limits ("100
/// messages in 5 minutes") name no wait.
const PATTERN: &str = r"(?ix)
    \b (?: try | retry | retry-after | wait | again | back | later | resend | resubmit | reconnect | gr[ae]y-?\s?list\w*
        | defer\w* | delay\w* | blocked | throttled | suspended | sp(?:ä|ae)ter | minutes? \s remaining ) \b
    [^.;0-9]{0,40}?
    (?: \b (?P<hours>[0-9]{1,3}) : (?P<minutes>[0-5][0-9]) : (?P<seconds>[0-5][0-9]) \b
      | \b (?P<n>[0-9]{1,6}) \s* (?P<unit> s(?:ec(?:ond)?s?|ekunden)? | m(?:in(?:ute)?[sn]?)? | h(?:(?:ou)?rs?)? | days? ) \b )
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
    let number = |name: &str| found.name(name).and_then(|digits| digits.as_str().parse::<u64>().ok());
    let seconds = match (number("n"), number("hours"), number("minutes"), number("seconds")) {
        (Some(count), ..) => count * unit_seconds(&found["unit"]),
        (None, Some(hours), Some(minutes), Some(seconds)) => hours * 3_600 + minutes * 60 + seconds,
        _ => return None,
    };
    Some(Duration::from_secs(seconds).min(NAMED_WAIT_MAX)).filter(|wait| !wait.is_zero())
}

fn unit_seconds(unit: &str) -> u64 {
    match unit.as_bytes().first().map(u8::to_ascii_lowercase) {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        _ => 86_400,
    }
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
        check("451 4.7.1 Greylisting in action, please come back in 00:05:00", Some(300));
        check("451 4.7.1 Please try again in about 10 minutes", Some(600));
        check("451 please wait at least 2 minutes before retrying", Some(120));
        check("450 blocked for 1 hour", Some(3600));
        check("421 too many messages in 60 minutes, try later", None);
        check("421 You sent 500 messages within 24 hours. Try again later", None);
        check("421 try again, at most 5 messages per minute", None);
        check("451 try again at 12:30", None);
        check("451 4.7.1 in 300", None);
        check("421 back in 0 seconds", None);
        check("250 ok in 5 seconds", None);
    }
}
