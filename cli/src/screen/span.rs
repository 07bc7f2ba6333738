//! Spans of time as they are read at a glance: two units at most.

use std::time::Duration;

use posthaste_mail::Timestamp;

/// `0.4s`, `12s`, `3m 20s`, `2h 5m`, `4d 1h`.
pub(crate) fn span(span: Duration) -> String {
    let s = span.as_secs();
    match s {
        0..10 => {
            let tenths = span.as_millis() / 100;
            format!("{}.{}s", tenths / 10, tenths % 10)
        }
        10..60 => format!("{s}s"),
        60..3_600 => two(s / 60, "m", s % 60, "s"),
        3_600..86_400 => two(s / 3_600, "h", s / 60 % 60, "m"),
        _ => two(s / 86_400, "d", s / 3_600 % 24, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, small_unit: &str) -> String {
    if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit} {small}{small_unit}") }
}

/// `in 5m 40s`; `now` when it has come.
pub(crate) fn until(then: Timestamp, now: Timestamp) -> String {
    let wait = then.since(now);
    if wait < Duration::from_secs(1) { "now".to_owned() } else { format!("in {}", self::span(wait)) }
}

/// `3m 20s ago`; `just now` within a second.
pub(crate) fn ago(then: Timestamp, now: Timestamp) -> String {
    let age = now.since(then);
    if age < Duration::from_secs(1) { "just now".to_owned() } else { format!("{} ago", self::span(age)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_at_most_two_units() {
        let check = |ms: u64, expected: &str| assert_eq!(span(Duration::from_millis(ms)), expected);
        check(0, "0.0s");
        check(449, "0.4s");
        check(9_999, "9.9s");
        check(10_000, "10s");
        check(60_000, "1m");
        check(200_000, "3m 20s");
        check(7_500_000, "2h 5m");
        check(86_400_000, "1d");
        check(4 * 86_400_000 + 3_700_000, "4d 1h");
    }

    #[test]
    fn what_is_past_or_near_has_words() {
        let at = |s: i64| Timestamp(s * 1000);
        assert_eq!(until(at(70), at(10)), "in 1m");
        assert_eq!(until(at(5), at(10)), "now");
        assert_eq!(ago(at(10), at(70)), "1m ago");
        assert_eq!(ago(at(70), at(10)), "just now");
    }
}
