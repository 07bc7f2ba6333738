//! Colours, each for a meaning. Written always; the stream leaves them out where nobody wants them.

use anstyle::{AnsiColor, Style};

use crate::client::view::Status;

/// What matters most on a line.
pub(crate) const STRONG: Style = Style::new().bold();
/// What is there for completeness.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// It went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// It goes on.
pub(crate) const WAITING: Style = AnsiColor::Yellow.on_default();
/// It went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// It is under way, or merely told.
pub(crate) const NEWS: Style = AnsiColor::Cyan.on_default();

/// A text in a style.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// The sign and the style of a status.
pub(crate) fn of_status(status: Status) -> (&'static str, Style) {
    match status {
        Status::Delivered => ("✓", GOOD),
        Status::Bounced | Status::Expired | Status::Ambiguous => ("✗", BAD),
        Status::Suppressed | Status::Cancelled => ("⊘", BAD),
        Status::Deferred | Status::Throttled | Status::Held => ("…", WAITING),
        Status::Queued | Status::Scheduled | Status::Sending | Status::Unknown => ("→", NEWS),
    }
}

/// The style of a verdict's action.
pub(crate) fn of_action(action: &str) -> Style {
    match action {
        "deliver" => GOOD,
        "bounce" => BAD,
        _ => WAITING,
    }
}
