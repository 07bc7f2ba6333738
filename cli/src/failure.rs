//! How a command ends when it does not end well: one line on stderr and an exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::screen::style::{self, paint};

/// Something failed.
const FAILED: u8 = 1;
/// What was given is wrong: usage, a file, a key, a field.
const WRONG_INPUT: u8 = 2;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was given is wrong; the text names the file, key or field.
    #[error("{0}")]
    Input(String),
    /// The same, and everything has been said on stderr.
    #[error("the input is wrong")]
    InputTold,
    /// Something failed; the text says what.
    #[error("{0}")]
    Failed(String),
    /// The same, and everything has been said.
    #[error("it failed")]
    FailedTold,
    /// Nobody reads the output any more.
    #[error("nobody reads the output")]
    OutputClosed,
}

/// What a command comes to.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// What was given is wrong.
    pub(crate) fn input(message: impl Display) -> Self {
        Self::Input(message.to_string())
    }

    /// Something failed.
    pub(crate) fn failed(message: impl Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// A file that was named cannot be read.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self::Input(format!("{}: {error}", path.display()))
    }

    /// Says it, and gives the exit code.
    pub(crate) fn end(self) -> ExitCode {
        match self {
            Self::Input(message) => {
                say(&error_line(&message));
                ExitCode::from(WRONG_INPUT)
            }
            Self::InputTold => ExitCode::from(WRONG_INPUT),
            Self::Failed(message) => {
                say(&error_line(&message));
                ExitCode::from(FAILED)
            }
            Self::FailedTold => ExitCode::from(FAILED),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

fn error_line(message: &str) -> String {
    format!("{} {message}", paint(style::BAD, "error:"))
}

/// How arguments that are wrong end a command: one line instead of clap's paragraphs. Help is no error.
pub(crate) fn refuse_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    {
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { WRONG_INPUT } else { 0 });
    }
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said: Vec<&str> =
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more")).collect();
    let line = said.join(" ");
    Failure::Input(line.strip_prefix("error: ").unwrap_or(&line).to_owned()).end()
}

/// One line on stderr; a stderr that is closed hears nothing.
pub(crate) fn say(message: &str) {
    let line = message.trim_end().replace('\n', " ");
    let _ = writeln!(anstream::stderr(), "{line}");
}

impl From<io::Error> for Failure {
    /// Of writing output: everything else names its file.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Failed(format!("the output cannot be written: {error}"))
        }
    }
}
