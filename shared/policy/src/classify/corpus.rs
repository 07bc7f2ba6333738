//! How well the rules read replies from the world, measured with labels that others gave. The replies are no part of the
//! project: `POSTHASTE_CORPORA` names the folder that holds them, and without it these tests skip, saying so.

use std::path::Path;
use std::{env, fs};

use posthaste_mail::{Reply, Stage};

use super::{Classifier, Observed};
use crate::verdict::{Action, Scope, Suppress, Verdict};

fn corpus(name: &str) -> Option<String> {
    let Some(folder) = env::var_os("POSTHASTE_CORPORA") else {
        eprintln!("skipped: POSTHASTE_CORPORA names no folder with {name}");
        return None;
    };
    Some(fs::read_to_string(Path::new(&folder).join(name)).expect("the named folder holds the replies"))
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

#[test]
fn labelled_replies_are_read_as_their_labels_say() {
    let Some(text) = corpus("replies.tsv") else { return };
    let classifier = Classifier::new(&[]).unwrap();
    let (mut lines, mut actions, mut categories, mut wrongly_suppressed) = (0, 0, 0, 0);
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [reply, category, action, also_category, also_action, ..] = fields.as_slice() else { continue };
        let verdict = judge(&classifier, reply).unwrap_or_else(|| panic!("not read: {reply}"));
        let is_one_of =
            |got: &str, a: &str, b: &str| a.split('|').chain(b.split('|')).any(|label| label == got);
        let got = action_label(&verdict);
        let action_fits =
            is_one_of(got, action, also_action) || (got == "bounce" && *action == "bounce+suppress");
        let category_fits = is_one_of(verdict.category.as_str(), category, also_category);
        lines += 1;
        actions += usize::from(action_fits);
        categories += usize::from(category_fits);
        if got == "bounce+suppress" && !action.contains("suppress") && !also_action.contains("suppress") {
            wrongly_suppressed += 1;
            eprintln!("WRONGLY SUPPRESSED {}: {reply}", verdict.rule);
        }
        if !action_fits || !category_fits {
            eprintln!(
                "{got} {} {} [{}] wanted {action}/{also_action} {category}/{also_category}: {reply}",
                verdict.category, verdict.scope, verdict.rule
            );
        }
    }
    eprintln!("of {lines}: actions {actions}, categories {categories}");
    assert_eq!(wrongly_suppressed, 0);
    assert!(actions * 100 >= lines * 95, "actions {actions} of {lines}");
    assert!(categories * 100 >= lines * 85, "categories {categories} of {lines}");
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
