//! One rule: what it looks at, and what it says.

use posthaste_mail::{Enhanced, Stage};
use serde::Deserialize;

use crate::verdict::{Action, Category, Scope, Suppress};

/// What a reply must look like, and what it means then. Absent conditions hold for every reply.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Recorded with every verdict it gives.
    pub name: String,
    /// Any of these codes: `550`, `55x`, `5xx`.
    #[serde(default)]
    pub code: Vec<CodePattern>,
    /// Any of these enhanced codes: `5.7.26`, `x.1.1`, `x.7.x`.
    #[serde(default)]
    pub enhanced: Vec<EnhancedPattern>,
    /// The host is one of these or below it.
    #[serde(default)]
    pub mx: Vec<String>,
    /// The answer came at one of these stages.
    #[serde(default)]
    pub stage: Vec<Stage>,
    /// Any of these patterns is found in the text: lower case, a line for each sentence, `@` for every address.
    #[serde(default)]
    pub text: Vec<String>,
    /// None of these is.
    #[serde(default)]
    pub unless: Vec<String>,
    /// What it is about.
    pub category: Category,
    /// Who is to blame, where the table knows several.
    #[serde(default)]
    pub scope: Option<Scope>,
    /// Another action than the table's; a 4xx cannot be made a bounce.
    #[serde(default)]
    pub action: Option<Action>,
    /// Another suppression than the table's, for a recipient that bounces.
    #[serde(default)]
    pub suppress: Option<Suppress>,
}

impl Rule {
    /// Whether codes of a class, 4 or 5, can match.
    pub(crate) fn takes_class(&self, class: u16) -> bool {
        (self.code.is_empty() || self.code.iter().any(|code| code.0[0] == Some(class)))
            && (self.enhanced.is_empty() || self.enhanced.iter().any(|e| e.0[0].is_none_or(|c| c == class)))
    }
}

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No regular expression, or too large a one.
    #[error("a pattern of the rule `{rule}` cannot be used: {why}")]
    Pattern {
        /// The rule's name.
        rule: String,
        /// What is wrong with the pattern.
        why: String,
    },
}

/// Three digits, each perhaps `x` for any.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CodePattern([Option<u16>; 3]);

impl CodePattern {
    /// Reads `550`, `55x` or `5xx`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let digits: Vec<char> = text.chars().collect();
        let read = |c: &char| match c {
            'x' => Some(None),
            c => c.to_digit(10).map(|d| Some(d as u16)),
        };
        match digits.iter().map(read).collect::<Option<Vec<_>>>().as_deref() {
            Some([first @ Some(4 | 5), second, third]) => Ok(Self([*first, *second, *third])),
            _ => Err(format!("`{text}` is no code: write \"550\", \"55x\" or \"5xx\"")),
        }
    }

    /// Whether a code is one of these.
    pub fn fits(&self, code: u16) -> bool {
        let digits = [code / 100, code / 10 % 10, code % 10];
        self.0.iter().zip(digits).all(|(want, have)| want.is_none_or(|want| want == have))
    }
}

impl TryFrom<String> for CodePattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

/// An enhanced code, each part perhaps `x` for any.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct EnhancedPattern([Option<u16>; 3]);

impl EnhancedPattern {
    /// Reads `5.7.26`, `x.1.1` or `x.7.x`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split('.').map(|part| match part {
            "x" => Some(None),
            part => part.parse::<u16>().ok().filter(|n| *n < 1000).map(Some),
        });
        match parts.collect::<Option<Vec<_>>>().as_deref() {
            Some([class @ (None | Some(4 | 5)), subject, detail]) => Ok(Self([*class, *subject, *detail])),
            _ => Err(format!("`{text}` is no enhanced code: write \"5.1.1\", \"x.1.1\" or \"x.7.x\"")),
        }
    }

    /// Whether a code is one of these.
    pub fn fits(&self, code: Enhanced) -> bool {
        let parts = [code.class, code.subject, code.detail];
        self.0.iter().zip(parts).all(|(want, have)| want.is_none_or(|want| want == have))
    }
}

impl TryFrom<String> for EnhancedPattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}
