//! What holds whatever the rules say, and what the rules say.

use posthaste_mail::{Reply, Stage};

use super::pattern::{Compiled, Origin};
use super::{Classifier, Observed, Rule, built_in};
use crate::verdict::{Action, Category, Scope, Suppress, Verdict};

fn classify(stage: Stage, mx_host: Option<&str>, recipients: usize, text: &str) -> Verdict {
    use std::sync::OnceLock;
    static RULES: OnceLock<Classifier> = OnceLock::new();
    let classifier = RULES.get_or_init(|| Classifier::new(&[]).unwrap());
    let reply = Reply::parse(text).unwrap();
    classifier.classify(&Observed { stage, reply: &reply, mx_host, recipients })
}

#[test]
fn rules_are_named_once_and_can_match() {
    let mut names: Vec<&str> = built_in().iter().map(|rule| rule.name.as_str()).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
    for rule in built_in() {
        assert!(rule.takes_class(4) || rule.takes_class(5), "{} can never match", rule.name);
        let mut patterns = rule.text.iter().chain(&rule.unless).map(|p| p.replace("\\B", ""));
        assert!(patterns.all(|p| !p.contains(|c: char| c.is_uppercase())), "{} has capitals", rule.name);
        assert_eq!(Compiled::new(rule, Origin::BuiltIn).check(), Ok(()));
        assert!(!rule.text.is_empty() || !rule.enhanced.is_empty() || !rule.code.is_empty(), "{}", rule.name);
    }
}

/// Every wording the table below knows, said by every code at every stage: the three promises of the module.
#[test]
fn no_wording_breaks_the_promises() {
    let words: Vec<&str> =
        CASES.lines().filter_map(|l| l.split('|').nth(1)).map(|l| l.trim().get(4..).unwrap_or("")).collect();
    assert!(words.len() > 100);
    for stage in Stage::ALL {
        for code in [450, 554] {
            for recipients in [1, 2] {
                for text in words.iter().chain(&["", "no", "rejected"]) {
                    let verdict = classify(stage, None, recipients, &format!("{code} {text}"));
                    let told = || format!("{stage} {recipients} {code} {text}: {verdict:?}");
                    assert!(code >= 500 || verdict.action != Action::Bounce, "{}", told());
                    assert!(code >= 500 || verdict.suppress == Suppress::No, "{}", told());
                    assert_ne!(verdict.action, Action::Deliver, "{}", told());
                    let may_blame = stage == Stage::Rcpt || (stage == Stage::Dot && recipients == 1);
                    assert!(may_blame || verdict.scope != Scope::Recipient, "{}", told());
                    assert!(may_blame || verdict.suppress == Suppress::No, "{}", told());
                    if verdict.suppress != Suppress::No {
                        assert_eq!(
                            (verdict.action, verdict.scope),
                            (Action::Bounce, Scope::Recipient),
                            "{}",
                            told()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn bare_codes_follow_their_first_digit_and_suppress_nobody() {
    for code in 400..600_u16 {
        let verdict = classify(Stage::Rcpt, None, 1, &code.to_string());
        let expected = if code < 500 { Action::Retry } else { Action::Bounce };
        assert_eq!((verdict.action, verdict.suppress), (expected, Suppress::No), "{code}");
    }
}

#[test]
fn the_stage_and_the_company_decide_whose_fault_it_is() {
    let check = |stage: Stage, recipients: usize, expected: &str| {
        let v = classify(stage, None, recipients, "550 5.1.1 user unknown");
        assert_eq!(format!("{} {} {}", v.action, v.scope, v.suppress), expected, "{stage} {recipients}");
    };
    check(Stage::Rcpt, 5, "bounce recipient 90d");
    check(Stage::Dot, 1, "bounce recipient 90d");
    check(Stage::Dot, 2, "bounce message no");
    check(Stage::Data, 1, "bounce message no");
    check(Stage::Mail, 1, "bounce message no");
    check(Stage::Banner, 1, "bounce message no");
}

#[test]
fn hosts_tell_apart_what_words_do_not() {
    let check = |host: Option<&str>, expected: &str| {
        let text = "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)";
        let v = classify(Stage::Rcpt, host, 1, text);
        assert_eq!(format!("{} {} {}", v.action, v.category, v.suppress), expected, "{host:?}");
    };
    check(Some("contoso-com.mail.protection.outlook.com"), "bounce bad-mailbox 7d");
    check(Some("contoso-com.x-v1.mx.microsoft."), "bounce bad-mailbox 7d");
    check(None, "bounce bad-mailbox 7d");
    check(Some("mx.example.net"), "bounce policy no");
    check(Some("evilprotection.outlook.com"), "bounce policy no");
}

#[test]
fn accepted_is_delivered_and_nonsense_is_tried_again() {
    let check =
        |text: &str, expected: Action| assert_eq!(classify(Stage::Dot, None, 1, text).action, expected);
    check("250 2.0.0 queued, blocked spam user unknown", Action::Deliver);
    check("354 go on", Action::Retry);
}

#[test]
fn rules_of_the_file_come_first() {
    let rule: Rule = toml::from_str(
        "name = \"mine\"\ntext = ['frobnicated']\ncategory = \"greylisted\"\nmx = [\".example.net\"]",
    )
    .unwrap();
    let classifier = Classifier::new(&[rule]).unwrap();
    let check = |text: &str, host: &str, expected: (Action, Category, &str)| {
        let reply = Reply::parse(text).unwrap();
        let observed = Observed { stage: Stage::Rcpt, reply: &reply, mx_host: Some(host), recipients: 1 };
        let v = classifier.classify(&observed);
        assert_eq!((v.action, v.category, v.rule.as_str()), expected, "{text} from {host}");
    };
    check("550 user unknown, frobnicated", "mx.example.net", (Action::Retry, Category::Greylisted, "mine"));
    check(
        "550 user unknown, frobnicated",
        "mx.example.org",
        (Action::Bounce, Category::BadMailbox, "bad-mailbox"),
    );
}

#[test]
fn long_and_hostile_texts_take_no_time() {
    let began = |text: String| classify(Stage::Rcpt, None, 1, &text);
    began(format!("550 {}", "user unknown@".repeat(5_000)));
    began(format!("550 {}", "a ".repeat(50_000)));
    began(format!("550 {}", "\u{fffd}\u{200b}".repeat(5_000)));
}

/// `action category scope suppress | reply`, at RCPT, from a host nobody knows.
const CASES: &str = include_str!("cases.txt");

#[test]
fn replies_are_understood() {
    let mut wrong = Vec::new();
    for line in CASES.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (expected, text) = line.split_once('|').unwrap();
        let v = classify(Stage::Rcpt, None, 1, &text.trim().replace("\\n", "\n"));
        let got = format!("{} {} {} {}", v.action, v.category, v.scope, v.suppress);
        if got != expected.trim() {
            wrong.push(format!("{got} [{}] for {line}", v.rule));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_ruled_out_by_its_first_letters_would_not_have_matched() {
    let built_in = super::built_in_compiled();
    for line in CASES.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, reply)) = line.split_once('|') else { continue };
        let text = super::clean::clean(&Reply::parse(&reply.trim().replace("\\n", "\n")).unwrap().text);
        let possible = built_in.possible(&text);
        assert!(possible.is_some());
        for rule in &built_in.rules {
            assert_eq!(
                rule.reads(&text, possible.as_ref()),
                rule.reads(&text, None),
                "{}: {text}",
                rule.rule.name
            );
        }
    }
}
