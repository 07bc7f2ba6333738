//! The effects of the table of verdicts, one by one; and what no sequence of them may do.

use posthaste_mail::Stage;
use proptest::prelude::*;

use super::*;
use crate::file::Policy;
use crate::limits::{Limits, Place};
use crate::site::SiteName;
use crate::verdict::{Category, Class, RuleName, Scope, Verdict};

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

fn site() -> SiteName {
    SiteName::new("mx.example.net")
}

fn limits(policy: &Policy) -> Limits {
    let domain = Domain::parse("example.net").unwrap();
    policy.limits(&Place { site: &site(), hosts: &[], domain: &domain })
}

fn at(seconds: u64) -> Timestamp {
    Timestamp(1_800_000_000_000).plus(Duration::from_secs(seconds))
}

/// A story: each word a signal, `+12` lets that many seconds pass. `ok` delivers; else `category/class/scope@stage`
/// with the recipient domain behind `>`, all but the category optional.
struct Story {
    policy: Policy,
    limits: Limits,
    standing: Standing,
    now: u64,
    changes: Vec<Change>,
}

impl Story {
    fn new(policy: Policy) -> Self {
        let limits = limits(&policy);
        Self { policy, limits, standing: Standing::default(), now: 0, changes: Vec::new() }
    }

    fn tell(&mut self, words: &str) -> &mut Self {
        for word in words.split_whitespace() {
            match word.strip_prefix('+') {
                Some(seconds) => self.now += seconds.parse::<u64>().unwrap(),
                None if word == "probe" => {
                    let sender = Domain::parse("acme.example").unwrap();
                    self.standing = self.standing.probing(Some(&sender), at(self.now)).unwrap();
                }
                None => self.signal(word),
            }
        }
        self
    }

    fn signal(&mut self, word: &str) {
        let (word, domain) = word.split_once('>').unwrap_or((word, "one.example"));
        let (word, stage) = word.split_once('@').unwrap_or((word, "rcpt"));
        let (word, wait) = word.split_once('~').unwrap_or((word, ""));
        let mut parts = word.split('/');
        let category = parts.next().unwrap();
        let class = if parts.next() == Some("5") { Class::Permanent } else { Class::Transient };
        let scope = parts.next().and_then(Scope::parse);
        let sender = Domain::parse("acme.example").unwrap();
        let domain = Domain::parse(domain).unwrap();
        let verdict = Category::parse(category)
            .map(|category| Verdict::by_table(category, class, scope, &RuleName::new("test")));
        let of = match &verdict {
            None => SignalOf::Delivered { recipients: 1 },
            Some(verdict) => SignalOf::Refused {
                verdict,
                stage: Stage::parse(stage).unwrap(),
                code: Some(if class == Class::Permanent { 550 } else { 451 }),
                text: "no, ann@example.net, not now",
                named_wait: crate::span::parse_span(wait).ok(),
                messages: 6,
                accepted: 4,
            },
        };
        let signal = Signal { of, site: &site(), domain: &domain, sender: Some(&sender), now: at(self.now) };
        if let Some(reacted) = self.standing.react(&signal, &self.limits, &self.policy) {
            assert_eq!(reacted.standing.epoch, self.standing.epoch + 1);
            self.standing = reacted.standing;
            self.changes.extend(reacted.changes);
        }
    }

    fn allowed(&self) -> Allowed {
        let sender = Domain::parse("acme.example").unwrap();
        self.standing.allowed(&self.limits, Some(&sender), at(self.now))
    }

    /// `rate connections gate`, and what of the sender.
    fn shown(&self) -> String {
        let allowed = self.allowed();
        let gate = match &allowed.gate {
            Gate::Open => "open".to_owned(),
            Gate::Probe => "probe".to_owned(),
            Gate::Closed { until, .. } => format!("closed {}", until.since(at(self.now)).as_secs()),
        };
        let sender = if allowed.sender_a_second.is_finite() {
            format!(" sender {}", allowed.sender_a_second)
        } else {
            String::new()
        };
        format!("{} {} {gate}{sender}", allowed.a_second, allowed.connections)
    }
}

const FIXED: &str = "[[shaping]]\nmatch = \"default\"\nrate = \"20/s\"\nconnections = 8\n";

#[test]
fn the_table_of_effects() {
    let check = |words: &str, expected: &str| {
        let mut story = Story::new(policy(FIXED));
        assert_eq!(story.tell(words).shown(), expected, "{words}");
    };
    check("ok", "20 8 open");
    // Rate limits: halved, one burst is one word, then by a twentieth of the ceiling a minute.
    check("rate-limited", "10 8 open");
    check("rate-limited rate-limited +5 rate-limited", "10 8 open");
    check("rate-limited +10 rate-limited", "5 8 open");
    check("rate-limited +60 ok", "11 8 open");
    check("rate-limited +60", "10 8 open");
    check("rate-limited +60 ok ok ok", "11 8 open");
    check("rate-limited~5m", "10 8 closed 300");
    check("rate-limited~5m +300", "10 8 open");
    check("rate-limited~9h", "10 8 closed 3600");
    check("rate-limited/4/sender", "20 8 open sender 10");
    check("rate-limited/4/sender +10 rate-limited/4/sender", "20 8 open sender 5");
    check("rate-limited/4/recipient", "20 8 open");
    check("greylisted", "20 8 open");
    // Connections: halved for half an hour, the rate kept.
    check("connection-limit@banner", "20 4 open");
    check("connection-limit@banner +11 connection-limit@banner", "20 2 open");
    check("connection-limit@banner +1800", "20 8 open");
    // Blocks.
    check("blocked/4/egress@mail", "10 8 open");
    check("blocked/5/egress@banner", "20 8 closed 1800");
    check("blocked/5/egress@banner +1800", "20 8 probe");
    check("blocked/5/egress@banner +1800 probe", "20 8 closed 1800");
    check("blocked/5/egress@banner +1800 probe +5 ok", "5 8 open");
    check("blocked/5/egress@banner +1 ok", "20 8 closed 1799");
    check("blocked/5/egress blocked/5/egress", "20 8 open");
    check("ok ok>two.example blocked/5/egress blocked/5/egress blocked/5/egress", "20 8 open");
    check(
        "ok ok>two.example blocked/5/egress blocked/5/egress blocked/5/egress>two.example",
        "20 8 closed 1800",
    );
    check("ok blocked/5/egress blocked/5/egress blocked/5/egress", "20 8 closed 1800");
    check("ok blocked/5/egress blocked/5/egress +601 blocked/5/egress", "20 8 open");
    // What is the sending domain's fault closes the site for it alone.
    check("blocked/5/sender blocked/5/sender blocked/5/sender", "20 8 closed 1800");
    check("auth/5/sender@dot auth/5/sender@dot", "20 8 open");
    check("auth/5/sender@dot auth/5/sender@dot auth/5/sender@dot", "20 8 closed 1800");
    check("auth/4/egress@ehlo", "20 8 closed 1800");
    check("ok ok>two.example auth/5/egress", "20 8 open");
    // Nobody there, or broken.
    check("remote-fault remote-fault remote-fault remote-fault", "20 8 open");
    check("remote-fault remote-fault remote-fault remote-fault remote-fault", "20 8 closed 120");
    check("remote-fault remote-fault ok remote-fault remote-fault remote-fault", "20 8 open");
    check(
        "network@connect network@connect network@connect network@connect network@connect",
        "20 8 closed 360",
    );
    check(
        "network@connect dns@route network@connect dns@route network@connect +360 network@connect",
        "20 8 closed 720",
    );
    // What says nothing of the receiver.
    check("bad-mailbox/5 content/5@dot policy/5 other/5 mailbox-full too-big/5", "20 8 open");
}

#[test]
fn a_sender_that_is_held_is_held_alone() {
    let mut story = Story::new(policy(FIXED));
    story.tell("auth/5/sender@dot auth/5/sender@dot auth/5/sender@dot");
    let other = Domain::parse("other.example").unwrap();
    assert_eq!(story.standing.allowed(&story.limits, Some(&other), at(0)).gate, Gate::Open);
    story.tell("+1800 probe +1 ok");
    assert_eq!(story.shown(), "20 8 open");
    assert_eq!(story.standing.senders.len(), 0);
}

#[test]
fn limits_are_learnt() {
    let mut story = Story::new(policy(FIXED));
    story.tell("too-many-recipients");
    assert_eq!(story.allowed().recipients_per_message, 4);
    story.tell("connection-used-up@mail");
    assert_eq!(story.allowed().messages_per_connection, 5);
    assert!(story.changes.iter().all(|change| change.kind == ChangeKind::Adjusted), "{:?}", story.changes);
}

#[test]
fn a_rate_nobody_wrote_starts_modestly_and_grows_on_success() {
    let check = |words: &str, expected: &str| {
        let mut story = Story::new(Policy::default());
        assert_eq!(story.tell(words).shown(), expected, "{words}");
    };
    check("", "2 2 open");
    check("ok +9 ok", "2 2 open");
    check("ok +10 ok", "4 2 open");
    check("ok +3600", "2 2 open");
    check("ok +10 ok +10 ok +10 ok +10 ok", "32 4 open");
    check("ok +10 ok +10 ok +10 ok +10 ok +10 ok +10 ok", "100 10 open");
    check("ok +10 ok +10 ok rate-limited", "4 2 open");
    check("ok +10 ok +10 ok rate-limited +10 ok", "4 2 open");
    check("ok +10 ok +10 ok rate-limited +60 ok", "9 2 open");
}

#[test]
fn a_rule_of_the_file_comes_before_the_built_in_one() {
    let check = |rule: &str, words: &str, expected: &str| {
        let mut story = Story::new(policy(&format!("{FIXED}[[reaction]]\n{rule}")));
        assert_eq!(story.tell(words).shown(), expected, "{rule}");
    };
    check("category = \"rate-limited\"\ndo = \"nothing\"", "rate-limited", "20 8 open");
    check("text = \"not now\"\ncount = 2\ndo = \"suspend\"\nfor = \"5m\"", "policy", "20 8 open");
    check(
        "text = \"not now\"\ncount = 2\ndo = \"suspend\"\nfor = \"5m\"",
        "policy policy",
        "20 8 closed 300",
    );
    check("site = \"elsewhere.example\"\ndo = \"suspend\"", "policy", "20 8 open");
    check("code = \"4xx\"\ndo = [\"halve-rate\", \"halve-connections\"]\nfor = \"1m\"", "other", "10 4 open");
}

#[test]
fn a_rule_that_is_wrong_is_told_where() {
    let check = |rule: &str, expected: &str| {
        let problems = Policy::parse(&format!("[[reaction]]\n{rule}")).unwrap_err();
        let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        assert!(told.contains(expected), "{rule}: {told}");
    };
    check("category = \"policy\"", "line 1: reaction[0]: does nothing");
    check("do = \"halve\"", "line 2: reaction[0].do");
    check("do = \"suspend\"\ncatgory = \"policy\"", "did you mean `category`?");
    check("do = \"suspend\"", "would react to every refusal");
    check("category = \"policy\"\ndo = \"halve-rate\"\nprobe = \"5m\"", "reaction[0].probe");
    check("category = \"policy\"\ndo = \"suspend\"\nin_a_row = true\nwithin = \"5m\"", "reaction[0].within");
    check("category = \"policy\"\ndo = \"suspend\"\ndomains = 5\ncount = 2", "reaction[0].domains");
    check("category = \"rate-limited\"\ndo = [\"nothing\", \"suspend\"]", "reaction[0].do");
}

#[test]
fn operators_are_obeyed_until_they_say() {
    let mut story = Story::new(policy(FIXED));
    story.tell("rate-limited +11 rate-limited blocked/5/egress@banner");
    story.standing = story.standing.resumed(at(story.now));
    assert_eq!(story.shown(), "20 8 open");
    let order = Order { rate: Some(Rate::per_second(2)), connections: Some(1), ..Order::default() };
    story.standing = story.standing.ordered(Order { until: Some(at(100)), ..order }, at(story.now));
    assert_eq!(story.shown(), "2 1 open");
    story.tell("+100");
    assert_eq!(story.shown(), "20 8 open");
    story.standing = story.standing.ordered(Order { suspended: true, ..Order::default() }, at(story.now));
    assert!(matches!(story.allowed().gate, Gate::Closed { .. }));
    story.tell("+9999 ok");
    assert!(matches!(story.allowed().gate, Gate::Closed { .. }));
    assert_eq!(story.standing.resumed(at(story.now)).order, None);
}

#[test]
fn what_is_shown_names_nobody() {
    let mut story = Story::new(policy(FIXED));
    story.tell("rate-limited");
    let change = story.changes.pop().unwrap();
    assert_eq!(change.reply.as_deref(), Some("no, …@… not now"));
    assert_eq!((change.what.as_str(), change.by.as_str()), ("rate 20/s → 10/s", "rate-limited"));
}

use crate::rate::Rate;

proptest! {
    /// Whatever is heard: the rate stays between its floor and its ceiling, every number is at least one, what is kept
    /// stays small, and an epoch follows another.
    #[test]
    fn no_story_breaks_the_limits(words in proptest::collection::vec(0_usize..14, 1..300), grows in any::<bool>()) {
        const WORDS: [&str; 14] = [
            "ok", "ok", "ok>two.example", "+7", "+61", "+2000", "rate-limited", "rate-limited/4/sender",
            "connection-limit", "blocked/5/egress", "blocked/5/egress@banner", "auth/5/sender>two.example",
            "network@connect", "too-many-recipients",
        ];
        let policy = if grows { Policy::default() } else { policy(FIXED) };
        let mut story = Story::new(policy);
        let top = story.limits.rate.value.a_second();
        for word in words {
            story.tell(WORDS[word]);
            let allowed = story.allowed();
            prop_assert!(allowed.a_second >= react::RATE_FLOOR && allowed.a_second <= top, "{}", allowed.a_second);
            prop_assert!((1..=story.limits.connections.value).contains(&allowed.connections));
            prop_assert!(allowed.recipients_per_message >= 1 && allowed.messages_per_connection >= 1);
            prop_assert!(story.standing.changes.len() <= CHANGES_KEPT);
            let probes = matches!(allowed.gate, Gate::Probe);
            let sender = Domain::parse("acme.example").unwrap();
            prop_assert_eq!(story.standing.probing(Some(&sender), at(story.now)).is_some(), probes);
        }
    }
}
