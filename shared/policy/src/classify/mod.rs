//! From what a peer answered to a verdict. Rules are data: the policy file's own first, then `rules.toml`; the
//! first that matches decides, and where none does the reply's first digit.
//!
//! Three things hold whatever the rules say. A 4xx never bounces. A mailbox is only judged where the answer can be
//! about it alone: at RCPT, or at the dot of a transaction of one recipient. And only a rule that knows the wording
//! suppresses; a bare 5xx never does.

mod clean;
mod hints;
mod pattern;
pub(crate) mod rule;
mod wait;

use std::sync::OnceLock;

use posthaste_mail::{Reply, Stage};

use hints::Possible;
pub(crate) use pattern::build_user;
use pattern::{BuiltIn, Compiled, Origin};
pub use rule::{CodePattern, EnhancedPattern, Rule, RuleError};
pub use wait::wait_named;

use crate::verdict::{Action, Category, Class, RuleName, Scope, Suppress, Verdict};

/// A rule of the policy file, `[[verdict]]`.
pub type UserRule = Rule;

/// The built-in rules, first match first.
const RULES: &str = include_str!("rules.toml");

/// What a rule's `mx` says for a reply whose host is not known, as when one is read from a report.
const HOST_UNKNOWN: &str = "unknown";

/// What a peer answered, and where.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The command that was answered.
    pub stage: Stage,
    /// The answer.
    pub reply: &'a Reply,
    /// The name of the host that gave it, if known.
    pub mx_host: Option<&'a str>,
    /// Recipients in this transaction, those already refused not counted.
    pub recipients: usize,
}

/// The file's rules; the built-in ones are shared by all of a process.
#[derive(Debug)]
pub struct Classifier {
    user: Vec<Compiled>,
}

impl Classifier {
    /// The file's rules before the built-in ones. Rules from a checked policy cannot fail; others may.
    pub fn new(user: &[UserRule]) -> Result<Self, RuleError> {
        let user = user.iter().map(|rule| {
            let compiled = Compiled::new(rule, Origin::User);
            compiled.check().map(|()| compiled)
        });
        Ok(Self { user: user.collect::<Result<_, _>>()? })
    }

    /// What an answer means for a recipient it concerns.
    pub fn classify(&self, observed: &Observed<'_>) -> Verdict {
        let reply = observed.reply;
        if reply.is_success() {
            return Verdict::delivered();
        }
        let text = clean::clean(&reply.text);
        let built_in = built_in_compiled();
        first_that_fits(&self.user, &text, None, observed)
            .or_else(|| first_that_fits(&built_in.rules, &text, built_in.possible(&text).as_ref(), observed))
            .unwrap_or_else(|| by_first_digit(reply))
    }
}

/// The verdict of the first rule that fits and may blame whom it blames.
fn first_that_fits(
    rules: &[Compiled],
    text: &str,
    possible: Option<&Possible>,
    observed: &Observed<'_>,
) -> Option<Verdict> {
    rules
        .iter()
        .filter(|c| c.rule.fits(observed) && c.reads(text, possible))
        .map(|c| c.rule.verdict(Class::of(observed.reply), &c.name))
        .find(|verdict| verdict.scope != Scope::Recipient || may_blame_recipient(observed))
}

fn built_in_compiled() -> &'static BuiltIn {
    static COMPILED: OnceLock<BuiltIn> = OnceLock::new();
    COMPILED.get_or_init(|| BuiltIn::new(built_in()))
}

/// Whether a host is a suffix or below it, in whole labels; a host that is not known is only `unknown`.
fn is_at(host: Option<&str>, suffix: &str) -> bool {
    let suffix = suffix.trim_start_matches('.');
    match host {
        None => suffix == HOST_UNKNOWN,
        Some(host) => host.strip_suffix(suffix).is_some_and(|head| head.is_empty() || head.ends_with('.')),
    }
}

/// Whether an answer can be about one mailbox: at RCPT, or at the dot of a transaction of one.
fn may_blame_recipient(observed: &Observed<'_>) -> bool {
    match observed.stage {
        Stage::Rcpt => true,
        Stage::Dot => observed.recipients <= 1,
        _ => false,
    }
}

fn by_first_digit(reply: &Reply) -> Verdict {
    let (category, rule) = match reply.code / 100 {
        4 => (Category::Other, "any-4xx"),
        5 => (Category::Other, "any-5xx"),
        _ => (Category::Protocol, "neither-4xx-nor-5xx"),
    };
    Verdict::by_table(category, Class::of(reply), None, &RuleName::new(rule))
}

/// The built-in rules as data, in the order they are tried.
pub fn built_in() -> &'static [Rule] {
    static RULES_READ: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES_READ.get_or_init(|| {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            rule: Vec<Rule>,
        }
        let file: Result<File, _> = toml::from_str(RULES);
        file.expect("rules.toml is part of the program and read by every test").rule
    })
}

impl Rule {
    /// Everything but the text: code, enhanced code, host, stage.
    fn fits(&self, observed: &Observed<'_>) -> bool {
        let reply = observed.reply;
        let host = observed.mx_host.map(|host| host.trim_end_matches('.').to_ascii_lowercase());
        (self.code.is_empty() || self.code.iter().any(|code| code.fits(reply.code)))
            && (self.enhanced.is_empty()
                || reply.enhanced.is_some_and(|e| self.enhanced.iter().any(|p| p.fits(e))))
            && (self.stage.is_empty() || self.stage.contains(&observed.stage))
            && (self.mx.is_empty() || self.mx.iter().any(|suffix| is_at(host.as_deref(), suffix)))
    }

    /// The table's verdict with what the rule says otherwise; a 4xx neither bounces nor suppresses, and nobody but a
    /// recipient is suppressed.
    fn verdict(&self, class: Class, name: &RuleName) -> Verdict {
        let mut verdict = Verdict::by_table(self.category, class, self.scope, name);
        verdict.action = match self.action {
            Some(Action::Bounce | Action::Deliver) if class == Class::Transient => verdict.action,
            Some(action) => action,
            None => verdict.action,
        };
        if let Some(scope) = self.scope {
            verdict.scope = scope;
        }
        if let Some(suppress) = self.suppress {
            verdict.suppress = suppress;
        }
        if verdict.action != Action::Bounce || verdict.scope != Scope::Recipient {
            verdict.suppress = Suppress::No;
        }
        verdict
    }
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
