//! How well the rules read replies from the world, measured with labels that others gave. The replies are no part of the
//! project: `POSTHASTE_CORPORA` names the folder that holds them, and without it these tests skip, saying so.

use std::path::Path;
use std::{env, fs};

use posthaste_mail::{Reply, Stage};

use super::pattern::{Compiled, Origin};
use super::{Classifier, Observed};
use crate::verdict::{Action, Scope, Suppress, Verdict};

fn corpus(name: &str) -> Option<String> {
    let Some(folder) = env::var_os("POSTHASTE_CORPORA") else {
        eprintln!("skipped: POSTHASTE_CORPORA names no folder with {name}");
        return None;
    };
    Some(fs::read_to_string(Path::new(&folder).join(name)).expect("the named folder holds the replies"))
}

/// One labelled reply: either label is right where there are several.
struct Labelled<'a> {
    reply: &'a str,
    categories: Vec<&'a str>,
    actions: Vec<&'a str>,
}

fn labelled(text: &str) -> Vec<Labelled<'_>> {
    let lines = text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
    lines
        .filter(|fields| fields.len() >= 5)
        .map(|fields| Labelled {
            reply: fields[0],
            categories: fields[1].split('|').chain(fields[3].split('|')).collect(),
            actions: fields[2].split('|').chain(fields[4].split('|')).collect(),
        })
        .collect()
}

fn judge(classifier: &Classifier, text: &str) -> Option<Verdict> {
    let reply = Reply::parse(text)?;
    Some(classifier.classify(&Observed { stage: Stage::Rcpt, reply: &reply, mx_host: None, recipients: 1 }))
}

/// The label's name for an action: throttles and fresh connections are retries to those who gave the labels.
fn action_label(verdict: &Verdict) -> &'static str {
    match (verdict.action, verdict.scope) {
        (Action::Bounce, Scope::Recipient) if verdict.suppress != Suppress::No => "bounce+suppress",
        (Action::Bounce, _) => "bounce",
        (Action::Deliver, _) => "deliver",
        _ => "retry",
    }
}

impl Labelled<'_> {
    fn action_fits(&self, verdict: &Verdict) -> bool {
        let got = action_label(verdict);
        self.actions.contains(&got) || (got == "bounce" && self.actions.contains(&"bounce+suppress"))
    }

    fn category_fits(&self, verdict: &Verdict) -> bool {
        self.categories.contains(&verdict.category.as_str())
    }

    /// Suppressed where no label says so.
    fn is_wrongly_suppressed(&self, verdict: &Verdict) -> bool {
        action_label(verdict) == "bounce+suppress" && !self.is_to_be_suppressed()
    }

    fn is_to_be_suppressed(&self) -> bool {
        self.actions.contains(&"bounce+suppress")
    }
}

#[derive(Debug, Default)]
struct Score {
    lines: usize,
    actions: usize,
    categories: usize,
    wrongly_suppressed: usize,
    suppressed: usize,
    to_be_suppressed: usize,
}

impl Score {
    fn add(&mut self, line: &Labelled<'_>, verdict: &Verdict) {
        self.lines += 1;
        self.actions += usize::from(line.action_fits(verdict));
        self.categories += usize::from(line.category_fits(verdict));
        self.wrongly_suppressed += usize::from(line.is_wrongly_suppressed(verdict));
        self.to_be_suppressed += usize::from(line.is_to_be_suppressed());
        self.suppressed +=
            usize::from(line.is_to_be_suppressed() && action_label(verdict) == "bounce+suppress");
    }
}

#[test]
fn labelled_replies_are_read_as_their_labels_say() {
    let Some(text) = corpus("replies.tsv") else { return };
    let classifier = Classifier::new(&[]).unwrap();
    let mut score = Score::default();
    for line in labelled(&text) {
        let verdict = judge(&classifier, line.reply).unwrap_or_else(|| panic!("not read: {}", line.reply));
        score.add(&line, &verdict);
        if !line.action_fits(&verdict)
            || !line.category_fits(&verdict)
            || line.is_wrongly_suppressed(&verdict)
        {
            eprintln!("{verdict:?} wanted {:?} {:?}: {}", line.actions, line.categories, line.reply);
        }
    }
    eprintln!("all rules: {score:?}");
    assert_eq!(score.wrongly_suppressed, 0);
    assert!(score.actions * 100 >= score.lines * 95, "{score:?}");
    assert!(score.categories * 100 >= score.lines * 85, "{score:?}");
}

/// Parts into which the labelled replies are divided; each is judged by what the others bear out.
const FOLDS: usize = 10;

/// A floor for replies nobody has seen: each tenth of them judged without the patterns that no other reply bears out.
/// Most patterns come from manuals and sources, not from these replies, so the truth lies above it.
#[test]
fn patterns_that_other_replies_bear_out_suffice_for_most() {
    let Some(text) = corpus("replies.tsv") else { return };
    let lines = labelled(&text);
    let all = Classifier::new(&[]).unwrap();
    let right_by: Vec<Option<String>> = lines
        .iter()
        .map(|line| judge(&all, line.reply).filter(|v| line.category_fits(v)).map(|v| v.rule.to_string()))
        .collect();
    let mut score = Score::default();
    for fold in 0..FOLDS {
        let others = |n: &usize| n % FOLDS != fold;
        let rules = borne_out(&lines, &right_by, others);
        let rules = super::BuiltIn::new(&rules).rules;
        for (_, line) in lines.iter().enumerate().filter(|(n, _)| !others(n)) {
            let reply = Reply::parse(line.reply).unwrap();
            let observed = Observed { stage: Stage::Rcpt, reply: &reply, mx_host: None, recipients: 1 };
            let verdict = super::first_that_fits(&rules, &super::clean::clean(&reply.text), None, &observed);
            score.add(line, &verdict.unwrap_or_else(|| super::by_first_digit(&reply)));
        }
    }
    eprintln!("borne out by others: {score:?}");
    assert!(score.actions * 100 >= score.lines * 85, "{score:?}");
}

/// The built-in rules with those of their patterns that matched a reply they read rightly, and all rules of codes.
fn borne_out(
    lines: &[Labelled<'_>],
    right_by: &[Option<String>],
    counts: impl Fn(&usize) -> bool,
) -> Vec<super::Rule> {
    let mut rules = Vec::new();
    for rule in super::built_in() {
        let texts: Vec<String> = lines
            .iter()
            .enumerate()
            .filter(|(n, _)| counts(n) && right_by[*n].as_deref() == Some(rule.name.as_str()))
            .map(|(_, line)| super::clean::clean(&Reply::parse(line.reply).unwrap().text))
            .collect();
        let mut kept = rule.clone();
        kept.text.retain(|pattern| {
            let one = super::Rule { text: vec![pattern.clone()], unless: Vec::new(), ..rule.clone() };
            let one = Compiled::new(&one, Origin::BuiltIn);
            texts.iter().any(|text| one.reads(text, None))
        });
        if rule.text.is_empty() || !kept.text.is_empty() {
            rules.push(kept);
        }
    }
    rules
}

#[test]
fn described_replies_are_mostly_understood() {
    let Some(text) = corpus("field-manual.tsv") else { return };
    let classifier = Classifier::new(&[]).unwrap();
    let (mut lines, mut unknown) = (0, 0);
    for line in text.lines().skip(1) {
        let Some(reply) = line.split('\t').nth(1) else { continue };
        let reply = reply.trim_start_matches("smtp;").trim_start_matches("SMTP;").trim();
        let Some(verdict) = judge(&classifier, reply) else { continue };
        lines += 1;
        if verdict.rule.as_str().starts_with("any-") {
            unknown += 1;
        }
        eprintln!(
            "{} {} {} {} [{}]: {reply}",
            verdict.action, verdict.category, verdict.scope, verdict.suppress, verdict.rule
        );
    }
    assert!(unknown * 20 <= lines, "{unknown} of {lines} replies fit no rule");
}
