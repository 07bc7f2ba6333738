//! Rules of reaction: which answers do what to a receiver's standing, after how many. The built-in ones are
//! `reactions.toml`; the policy file's `[[reaction]]` come before them.

use std::sync::OnceLock;
use std::time::Duration;

use posthaste_mail::Stage;
use regex::Regex;
use serde::Deserialize;

use crate::classify::rule::CodePattern;
use crate::names::named;
use crate::site::SiteName;
use crate::verdict::{Category, Scope};

named! {
    /// What a reaction does.
    Effect {
        /// Nothing: takes the place of a built-in rule.
        Nothing = "nothing",
        /// Half the rate, then growth by degrees.
        HalveRate = "halve-rate",
        /// Half the connections for a while, the rate kept.
        HalveConnections = "halve-connections",
        /// Nothing is sent for a while, or until a probe is taken.
        Suspend = "suspend",
        /// Nothing is sent before the time that the reply names.
        HonourWait = "honour-wait",
        /// Nothing is sent for as long as the ladder of retries says, by failures in a row.
        Rest = "rest",
        /// Half the rate for the sending domain.
        SlowSender = "slow-sender",
        /// Nothing of the sending domain is sent for a while, or until a probe is taken.
        HoldSender = "hold-sender",
        /// A connection carries no more messages than this one did.
        LearnMessages = "learn-messages",
        /// A transaction carries no more recipients than were accepted.
        LearnRecipients = "learn-recipients",
    }
}

/// Within what time answers are counted where a rule says nothing.
pub const WITHIN: Duration = Duration::from_secs(600);
/// How long a suspension lasts that says neither for how long nor how it is probed.
pub const SUSPENDED_FOR: Duration = Duration::from_secs(1_800);

/// One rule.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reaction {
    /// What changes are said to be by.
    pub name: String,
    /// Any of these categories; none: every one.
    #[serde(default, deserialize_with = "one_or_many")]
    pub category: Vec<Category>,
    /// Any of these scopes.
    #[serde(default, deserialize_with = "one_or_many")]
    pub scope: Vec<Scope>,
    /// The verdict came by any of these rules.
    #[serde(default, deserialize_with = "one_or_many")]
    pub rule: Vec<String>,
    /// Any of these codes.
    #[serde(default, deserialize_with = "one_or_many")]
    pub code: Vec<CodePattern>,
    /// At any of these stages.
    #[serde(default, deserialize_with = "one_or_many")]
    pub stage: Vec<Stage>,
    /// At any of these sites.
    #[serde(default, deserialize_with = "one_or_many")]
    pub site: Vec<SiteName>,
    /// Any of these patterns is found in the reply, in lower case.
    #[serde(skip)]
    pub text: Vec<Pattern>,
    /// It takes so many answers.
    #[serde(default = "one")]
    pub count: u32,
    /// Within this time.
    #[serde(default, deserialize_with = "span")]
    pub within: Option<Duration>,
    /// From so many recipient domains.
    #[serde(default = "one")]
    pub domains: u32,
    /// Only answers between which nothing was accepted are counted.
    #[serde(default)]
    pub in_a_row: bool,
    /// What is done.
    #[serde(rename = "do", deserialize_with = "one_or_many")]
    pub effects: Vec<Effect>,
    /// For how long.
    #[serde(default, rename = "for", deserialize_with = "span")]
    pub lasts: Option<Duration>,
    /// One message tries each time so long has passed.
    #[serde(default, deserialize_with = "span")]
    pub probe: Option<Duration>,
}

/// A pattern with its source, by which it is compared.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Pattern {
    /// Compiles one; bounded in what it may cost.
    pub fn parse(source: &str) -> Result<Self, String> {
        /// Octets of a compiled pattern.
        const SIZE_MAX: usize = 1 << 20;
        let built = regex::RegexBuilder::new(source).size_limit(SIZE_MAX).build();
        built.map(Self).map_err(|error| format!("`{source}` is no pattern: {error}"))
    }
}

/// What a rule is compared with.
pub(super) struct Answer<'a> {
    pub category: Category,
    pub scope: Scope,
    pub rule: &'a str,
    pub code: Option<u16>,
    pub stage: Stage,
    pub site: &'a SiteName,
    pub text: &'a str,
}

impl Reaction {
    /// Whether it names nothing of an answer.
    pub(crate) fn is_open(&self) -> bool {
        self.category.is_empty()
            && self.scope.is_empty()
            && self.rule.is_empty()
            && self.code.is_empty()
            && self.text.is_empty()
            && self.stage.is_empty()
            && self.site.is_empty()
    }

    /// Whether it takes every answer that another one does.
    pub(crate) fn fits_the_same(&self, other: &Self) -> bool {
        fn wider<T: PartialEq>(one: &[T], other: &[T]) -> bool {
            one.is_empty() || (!other.is_empty() && other.iter().all(|value| one.contains(value)))
        }
        wider(&self.category, &other.category)
            && wider(&self.scope, &other.scope)
            && wider(&self.rule, &other.rule)
            && wider(&self.code, &other.code)
            && wider(&self.stage, &other.stage)
            && wider(&self.site, &other.site)
            && wider(&self.text, &other.text)
    }

    /// Whether an answer is one it is about.
    pub(super) fn fits(&self, answer: &Answer<'_>) -> bool {
        fn any<T: PartialEq>(list: &[T], value: &T) -> bool {
            list.is_empty() || list.contains(value)
        }
        let text = || answer.text.to_lowercase();
        any(&self.category, &answer.category)
            && any(&self.scope, &answer.scope)
            && (self.rule.is_empty() || self.rule.iter().any(|rule| rule == answer.rule))
            && (self.code.is_empty()
                || answer.code.is_some_and(|code| self.code.iter().any(|pattern| pattern.fits(code))))
            && any(&self.stage, &answer.stage)
            && any(&self.site, answer.site)
            && (self.text.is_empty() || self.text.iter().any(|pattern| pattern.0.is_match(&text())))
    }
}

/// The built-in rules.
pub fn built_in() -> &'static [Reaction] {
    static RULES: OnceLock<Vec<Reaction>> = OnceLock::new();
    RULES.get_or_init(|| {
        #[derive(Deserialize)]
        struct File {
            reaction: Vec<Reaction>,
        }
        let file: Result<File, _> = toml::from_str(include_str!("reactions.toml"));
        #[expect(clippy::panic, reason = "a test reads the file: what is built reads well")]
        file.unwrap_or_else(|error| panic!("reactions.toml: {error}")).reaction
    })
}

fn one() -> u32 {
    1
}

fn span<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    crate::span::parse_span(&text).map(Some).map_err(serde::de::Error::custom)
}

fn one_or_many<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<T> {
        Many(Vec<T>),
        One(T),
    }
    Ok(match Either::deserialize(from)? {
        Either::Many(many) => many,
        Either::One(one) => vec![one],
    })
}
