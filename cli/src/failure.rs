//! How a command ends when it does not end well: one line on stderr and an exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

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
                say(&message);
                ExitCode::from(WRONG_INPUT)
            }
            Self::InputTold => ExitCode::from(WRONG_INPUT),
            Self::Failed(message) => {
                say(&message);
                ExitCode::from(FAILED)
            }
            Self::FailedTold => ExitCode::from(FAILED),
            Self::OutputClosed => ExitCode::SUCCESS,
        }
    }
}

/// One line on stderr; a stderr that is closed hears nothing.
pub(crate) fn say(message: &str) {
    let line = message.trim_end().replace('\n', " ");
    let _ = writeln!(anstream::stderr(), "posthaste: {line}");
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
