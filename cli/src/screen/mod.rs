//! What people see: colours where a terminal wants them, tables that fit it, spans of time at a glance. No I/O
//! beyond stdout, no clock: now is an argument.

mod output;
mod span;
pub(crate) mod style;
mod table;
mod text;
pub(crate) mod timeline;

pub(crate) use output::{Form, Output, columns, print_json};
pub(crate) use span::{ago, span, until};
pub(crate) use table::{Align, Column, Table};
pub(crate) use text::{clean, fit, wrap};
