//! Stdout, in one of two forms.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// Widest text where nobody says how wide the terminal is.
const WIDTH_USUAL: usize = 100;
/// Wider lines are not read at a glance.
const WIDTH_MAX: usize = 140;
/// Below this nothing can be laid out.
const WIDTH_MIN: usize = 40;

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Words, tables, colours on a terminal.
    People,
    /// JSON.
    Json,
}

/// The flag that chooses.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Output {
    /// Machine-readable output
    #[arg(long, global = true)]
    json: bool,
}

impl Output {
    /// What was asked for.
    pub(crate) fn form(self) -> Form {
        if self.json { Form::Json } else { Form::People }
    }
}

/// One JSON document, indented: read by programs and, when something is wrong, by people.
pub(crate) fn print_json(value: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()
}

/// How many columns there are.
pub(crate) fn columns() -> usize {
    let of_terminal = || terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
    let width = if io::stdout().is_terminal() { of_terminal() } else { None };
    width.unwrap_or(WIDTH_USUAL).clamp(WIDTH_MIN, WIDTH_MAX)
}
