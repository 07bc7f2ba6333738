//! The shipped scenarios, smaller; and days on which workers die, stand still and disagree about the time.

use super::*;

fn play_seeded(text: &str, seed: u64) -> Report {
    play(text, Some(seed), |_, _| {}).unwrap_or_else(|error| panic!("{error}"))
}

fn smaller(name: &str, messages: &str) -> String {
    let text = SHIPPED.iter().find(|(shipped, _)| *shipped == name).unwrap().1;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let first = lines.iter().position(|line| line.starts_with("messages = ")).unwrap();
    lines[first] = format!("messages = {messages}");
    lines.join("\n")
}

#[test]
fn the_shipped_scenarios_end_within_every_limit() {
    for (name, _) in SHIPPED {
        let report = play_seeded(&smaller(name, "20_000"), 1);
        assert_eq!(report.passed, [""; 0], "{name}");
        assert_eq!(report.waiting, 0, "{name}: {report:?}");
        assert_eq!(report.messages, report.delivered + report.bounced + report.expired, "{name}");
        assert!(report.delivered > report.messages / 2, "{name}");
    }
}

/// Crashes, stalls, clocks two seconds apart, jobs that come twice: the receiver sees its limits, everything ends, and
/// only what was taken as its worker died is there twice.
#[test]
fn no_day_passes_a_limit_or_loses_a_message() {
    let text = r#"
[workers]
count = 8
skew = "2s"
crash_every = "20s"
stall_every = "45s"
stall_for = "30s"
duplicates = 0.05
[[mail]]
messages = 3000
lane = "bulk"
[[mail]]
messages = 30
starts = "30s"
over = "2m"
[[receiver]]
name = "limited"
mx = ["mx.limited.example"]
"#;
    let policy = "policy = \"\"\"\n[[shaping]]\nmatch = \"default\"\nrate = \"20/s\"\nconnections = 3\n\
messages_per_connection = 10\n\"\"\"\n";
    for seed in 1..=12 {
        let report = play_seeded(&format!("{policy}{text}"), seed);
        assert_eq!(report.passed, [""; 0], "seed {seed}");
        assert_eq!(report.waiting, 0, "seed {seed}: {report:?}");
        assert_eq!(report.delivered, 3030, "seed {seed}");
        let [limited] = &report.receivers[..] else { panic!("one receiver") };
        assert_eq!(limited.taken, 3030 + report.copies, "seed {seed}");
    }
}

#[test]
fn a_limited_receiver_is_given_nearly_all_of_its_rate() {
    let text = r#"
policy = """
[[shaping]]
match = "default"
rate = "20/s"
connections = 3
messages_per_connection = 10
"""
[[mail]]
messages = 6000
lane = "bulk"
[[receiver]]
name = "limited"
mx = ["mx.limited.example"]
latency = "50ms"
"#;
    // Whoever is alone has all of it; eight who meet over three connections lose some to who has one when.
    for (workers, least) in [(1, 18.0), (8, 17.0)] {
        let report = play_seeded(&format!("{text}[workers]\ncount = {workers}\n"), 7);
        assert_eq!(report.passed, [""; 0]);
        assert!(report.receivers[0].achieved >= least, "{workers}: {:?}", report.receivers[0]);
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    let text = smaller("throttling", "5_000");
    let told = |report: &Report| serde_json::to_string(report).unwrap();
    assert_eq!(told(&play_seeded(&text, 3)), told(&play_seeded(&text, 3)));
    assert_ne!(told(&play_seeded(&text, 3)), told(&play_seeded(&text, 4)));
}

#[test]
fn a_scenario_that_is_wrong_is_told_so() {
    let check = |text: &str, expected: &str| {
        let told = Scenario::read(text).map(|_| ()).unwrap_err();
        assert!(told.contains(expected), "{text}: {told}");
    };
    let receiver = "[[receiver]]\nname = \"a\"\nmx = [\"mx.a.example\"]\n";
    check("mail = []\nreceiver = []", "mail.messages");
    check(&format!("[[mail]]\nmessages = 1\nto = [\"b\"]\n{receiver}"), "there is no receiver `b`");
    check(&format!("[[mail]]\nmesages = 1\n{receiver}"), "unknown field `mesages`");
    check(&format!("policy = \"colour = 1\"\n[[mail]]\nmessages = 1\n{receiver}"), "policy: line 1: colour");
    check(&format!("[[mail]]\nmessages = 1\n{receiver}unknown = 2.0"), "receiver.unknown");
}
