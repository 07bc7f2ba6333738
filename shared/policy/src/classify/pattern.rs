//! Patterns, compiled one by one at their first use; of the built-in ones only those are tried whose first letters are in the
//! text. A set of them all as one automaton costs ten times as much on a text not seen before.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

use super::hints::{Hints, Possible};
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
    /// The number of its first pattern among all that hints know.
    first: usize,
}

impl Compiled {
    pub(super) fn new(rule: &Rule, origin: Origin) -> Self {
        let empty = |patterns: &[String]| patterns.iter().map(|_| OnceLock::new()).collect();
        Self {
            name: RuleName::new(&rule.name),
            origin,
            text: empty(&rule.text),
            unless: empty(&rule.unless),
            first: 0,
            rule: rule.clone(),
        }
    }

    /// Its patterns, in the order of their numbers.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.rule.text.iter().chain(&self.rule.unless).map(String::as_str)
    }

    /// Whether every pattern can be used; one that cannot would otherwise never be found.
    pub(super) fn check(&self) -> Result<(), RuleError> {
        let wrong = self.patterns().filter_map(|pattern| build(pattern, self.origin).err()).next();
        wrong.map_or(Ok(()), |error| {
            Err(RuleError::Pattern { rule: self.rule.name.clone(), why: error.to_string() })
        })
    }

    /// Whether the cleaned text has one of the rule's wordings and none that it must not have; patterns that are not
    /// possible are not tried.
    pub(super) fn reads(&self, text: &str, possible: Option<&Possible>) -> bool {
        let found = |number: usize, pattern: &str, compiled: &OnceLock<Option<Regex>>| {
            if possible.is_some_and(|possible| !possible.has(self.first + number)) {
                return false;
            }
            let compiled = compiled.get_or_init(|| build(pattern, self.origin).ok());
            compiled.as_ref().is_some_and(|regex| regex.is_match(text.as_bytes()))
        };
        let wordings = self.rule.text.len();
        let any = |patterns: &[String], compiled: &[OnceLock<Option<Regex>>], first: usize| {
            patterns
                .iter()
                .zip(compiled)
                .enumerate()
                .any(|(n, (pattern, compiled))| found(first + n, pattern, compiled))
        };
        (self.text.is_empty() || any(&self.rule.text, &self.text, 0))
            && !any(&self.rule.unless, &self.unless, wordings)
    }
}

/// The program's own rules, with what rules out most of their patterns at once.
#[derive(Debug)]
pub(super) struct BuiltIn {
    pub(super) rules: Vec<Compiled>,
    hints: Hints,
}

impl BuiltIn {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut rules: Vec<Compiled> =
            rules.iter().map(|rule| Compiled::new(rule, Origin::BuiltIn)).collect();
        let hints = Hints::of(rules.iter().flat_map(Compiled::patterns));
        let mut first = 0;
        for rule in &mut rules {
            rule.first = first;
            first += rule.text.len() + rule.unless.len();
        }
        Self { rules, hints }
    }

    /// The patterns that may match a cleaned text.
    pub(super) fn possible(&self, text: &str) -> Option<Possible> {
        self.hints.possible(text)
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
