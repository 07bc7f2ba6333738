//! What a report's words mean: by the rules for replies where they quote one, else first by what relays say of their own
//! troubles. Nothing is decided here that acts; the category is told.

use std::sync::OnceLock;

use posthaste_mail::{Enhanced, Reply, Stage};
use posthaste_policy::classify::UserRule;
use posthaste_policy::{Category, Classifier, Observed};
use serde::Deserialize;

use crate::bound::{DIAGNOSTIC_OCTETS_MAX, tidy};
use crate::prose::reply_in;
use crate::report::{DeliveryAction, Failure, Told};

/// What relays say of themselves.
const RELAY_RULES: &str = include_str!("relays.toml");

/// How verdicts' rules are called that know no more than the first digit.
const BY_FIRST_DIGIT: &str = "any-";

struct Judge {
    /// Replies: the rules that judge our own.
    replies: Classifier,
    /// Words without a reply: the relays' own before those.
    words: Classifier,
}

fn judge() -> &'static Judge {
    static JUDGE: OnceLock<Judge> = OnceLock::new();
    JUDGE.get_or_init(|| {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            rule: Vec<UserRule>,
        }
        let file: File =
            toml::from_str(RELAY_RULES).expect("relays.toml is part of the program and read by every test");
        let words = Classifier::new(&file.rule).expect("its patterns are tried by every test");
        let replies = Classifier::new(&[]).expect("no rules, no patterns");
        Judge { replies, words }
    })
}

/// What is told, judged: by its diagnostic, or where that says nothing by the first passage that says something.
pub(crate) fn failure(told: Told) -> Failure {
    let status = told.status.as_deref().and_then(Enhanced::parse);
    let action = told.action.unwrap_or_else(|| match status.map(|status| status.class) {
        Some(2) => DeliveryAction::Delivered,
        Some(4) => DeliveryAction::Delayed,
        _ => DeliveryAction::Failed,
    });
    let about = About { action, status, host: told.host.as_deref() };
    let texts = told.diagnostic.iter().chain(&told.passages);
    let read: Vec<(Reading, &String)> = texts.map(|text| (about.judge(text), text)).collect();
    let best = read.iter().find(|(reading, _)| reading.is_known).or_else(|| read.first());
    let category = best.map_or_else(|| about.judge("").category, |(reading, _)| reading.category);
    let enhanced = best.and_then(|(reading, _)| reading.enhanced);
    let said = best.map(|(_, text)| quoted(text));
    Failure {
        address: told.address,
        final_address: told.final_address,
        action,
        status: status.filter(is_specific).or(enhanced).or(status).map(|code| code.to_string()),
        diagnostic: told.diagnostic.or(said),
        category,
    }
}

/// Whether a status says more than that there was a failure.
fn is_specific(status: &Enhanced) -> bool {
    (status.subject, status.detail) != (0, 0)
}

/// A passage from its reply onwards.
fn quoted(text: &str) -> String {
    let text = reply_in(text).map_or(text, |at| &text[at..]);
    tidy(text, DIAGNOSTIC_OCTETS_MAX)
}

/// The command that was answered, where a relay names it; what answers a greeting says nothing of a mailbox.
fn stage_named(text: &str) -> Stage {
    let text = text.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if has(&["in reply to mail from", "after mail from", "smtp:mail "]) {
        Stage::Mail
    } else if has(&["in reply to ehlo", "in reply to helo", "after ehlo", "after helo"]) {
        Stage::Ehlo
    } else if has(&["initial connection", "initial server greeting", "refused to talk to me"]) {
        Stage::Banner
    } else if has(&["end of data"]) {
        Stage::Dot
    } else {
        Stage::Rcpt
    }
}

struct About<'a> {
    action: DeliveryAction,
    status: Option<Enhanced>,
    host: Option<&'a str>,
}

/// What a text was read as.
struct Reading {
    category: Category,
    /// By a rule that knows its wording or its code.
    is_known: bool,
    enhanced: Option<Enhanced>,
}

impl About<'_> {
    fn judge(&self, text: &str) -> Reading {
        let quoted = reply_in(text).and_then(|at| Reply::parse(&text[at..]));
        let Some(reply) = quoted else { return self.by(&judge().words, Stage::Rcpt, self.as_reply(text)) };
        let (stage, reply) = (stage_named(text), self.with_status(reply));
        let reading = self.by(&judge().replies, stage, reply.clone());
        if reading.is_known {
            return reading;
        }
        // Where the reply says nothing, what the relay says around it may.
        self.by(&judge().words, stage, Reply { text: text.to_owned(), ..reply })
    }

    fn by(&self, classifier: &Classifier, stage: Stage, reply: Reply) -> Reading {
        let observed = Observed { stage, reply: &reply, mx_host: self.host, recipients: 1 };
        let verdict = classifier.classify(&observed);
        let is_known = !verdict.rule.as_str().starts_with(BY_FIRST_DIGIT);
        Reading { category: verdict.category, is_known, enhanced: reply.enhanced }
    }

    /// A reply that has no enhanced code has the report's, if both say the same of permanence.
    fn with_status(&self, reply: Reply) -> Reply {
        let status = self.status.filter(|status| is_specific(status) && status.class == reply.code / 100);
        Reply { enhanced: reply.enhanced.or(status), ..reply }
    }

    /// Words as if they were a reply of the report's class.
    fn as_reply(&self, text: &str) -> Reply {
        let class = match (self.status.map(|status| status.class), self.action) {
            (Some(class @ (4 | 5)), _) => class,
            (_, DeliveryAction::Delayed) => 4,
            _ => 5,
        };
        let reply = Reply::new(class * 100 + 50, &[text]);
        self.with_status(reply)
    }
}
