//! Spans of time as people write them: `6m`, `1h 30m`, `90d`.

use std::time::Duration;

/// Longest span any key takes: ten years. Longer ones are slips, and sums of shorter ones never overflow.
pub const SPAN_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// One day.
pub const DAY: Duration = Duration::from_secs(86_400);

/// Reads a span; the error says what is expected.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text.trim()).map_err(|_| {
        format!("`{text}` is not a span of time: write it as \"90s\", \"6m\", \"4h\" or \"4d\"")
    })?;
    if span > SPAN_MAX {
        return Err(format!("`{text}` is longer than ten years"));
    }
    Ok(span)
}

/// Writes a span in its largest whole unit up to days, then the rest: `90d`, `90m` is `1h30m`.
pub fn show_span(span: Duration) -> String {
    let total = span.as_secs();
    let parts = [(total / 86_400, "d"), (total / 3600 % 24, "h"), (total / 60 % 60, "m"), (total % 60, "s")];
    let mut text: String =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if span.subsec_millis() > 0 {
        text.push_str(&format!("{}ms", span.subsec_millis()));
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_as_people_do() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_span(text).ok().map(show_span).as_deref(), expected, "{text}");
        };
        check("6m", Some("6m"));
        check("90m", Some("1h30m"));
        check("90d", Some("90d"));
        check("1500ms", Some("1s500ms"));
        check("0s", Some("0s"));
        check("5", None);
        check("-5m", None);
        check("soon", None);
        check("99999999999999999999d", None);
        check("11y", None);
    }
}
