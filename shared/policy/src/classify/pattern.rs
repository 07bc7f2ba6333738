//! Patterns, compiled one by one at their first use. A set of them all costs ten times as much on a text not seen before:
//! nearly every pattern begins with letters that are searched for without an automaton.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

use super::rule::{Rule, RuleError};
use crate::verdict::RuleName;

/// Largest compiled pattern in octets; the built-in ones need a fraction. A file's rules cannot eat the memory.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Whose patterns they are: the built-in ones are lower case and match octets, a file's may be written as one likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    User,
    BuiltIn,
}

/// A rule with its patterns.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) rule: Rule,
    pub(super) name: RuleName,
    origin: Origin,
    text: Vec<OnceLock<Option<Regex>>>,
    unless: Vec<OnceLock<Option<Regex>>>,
}

impl Compiled {
    pub(super) fn new(rule: &Rule, origin: Origin) -> Self {
        let empty = |patterns: &[String]| patterns.iter().map(|_| OnceLock::new()).collect();
        Self {
            name: RuleName::new(&rule.name),
            origin,
            text: empty(&rule.text),
            unless: empty(&rule.unless),
            rule: rule.clone(),
        }
    }

    /// Whether every pattern can be used; one that cannot would otherwise never be found.
    pub(super) fn check(&self) -> Result<(), RuleError> {
        let patterns = self.rule.text.iter().chain(&self.rule.unless);
        let wrong = patterns.filter_map(|pattern| build(pattern, self.origin).err()).next();
        wrong.map_or(Ok(()), |error| {
            Err(RuleError::Pattern { rule: self.rule.name.clone(), why: error.to_string() })
        })
    }

    /// Whether the cleaned text has one of the rule's wordings and none that it must not have.
    pub(super) fn reads(&self, text: &str) -> bool {
        let found = |(pattern, compiled): (&String, &OnceLock<Option<Regex>>)| {
            let compiled = compiled.get_or_init(|| build(pattern, self.origin).ok());
            compiled.as_ref().is_some_and(|regex| regex.is_match(text.as_bytes()))
        };
        (self.text.is_empty() || self.rule.text.iter().zip(&self.text).any(found))
            && !self.rule.unless.iter().zip(&self.unless).any(found)
    }
}

fn build(pattern: &str, origin: Origin) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .unicode(origin == Origin::User)
        .case_insensitive(origin == Origin::User)
        .size_limit(PATTERN_BYTES_MAX)
        .build()
}

/// Whether a pattern of a policy file can be used.
pub(crate) fn build_user(pattern: &str) -> Result<(), regex::Error> {
    build(pattern, Origin::User).map(|_| ())
}
