//! Wordings to look for, compiled at their first use.

use std::sync::OnceLock;

use regex::{Captures, Regex};

/// Any of some regular expressions, whatever the case of letters; `^` and `$` are a line's.
#[derive(Debug)]
pub(crate) struct Pattern {
    alternatives: &'static [&'static str],
    compiled: OnceLock<Regex>,
}

impl Pattern {
    /// Of alternatives that are part of the program.
    pub(crate) const fn any_of(alternatives: &'static [&'static str]) -> Self {
        Self { alternatives, compiled: OnceLock::new() }
    }

    /// Compiled.
    pub(crate) fn regex(&self) -> &Regex {
        self.compiled.get_or_init(|| {
            let pattern = format!("(?im){}", self.alternatives.join("|"));
            Regex::new(&pattern)
                .expect("the pattern is part of the program and every one is tried by the tests")
        })
    }

    /// Whether a text has one of them.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.regex().is_match(text)
    }

    /// The first of them in a text, with its groups.
    pub(crate) fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.regex().captures(text)
    }
}
