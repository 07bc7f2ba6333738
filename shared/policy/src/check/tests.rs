//! What a policy file may say, and what is said about one that is wrong.

use posthaste_mail::Lane;

use crate::file::Policy;
use crate::rate::Rate;
use crate::span::show_span;
use crate::tls::TlsMode;

/// The example of the contract, as operators will copy it.
const EXAMPLE: &str = include_str!("example.toml");

fn problems(text: &str) -> String {
    match Policy::parse(text) {
        Ok(_) => String::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn the_example_is_read_as_it_says() {
    let policy = Policy::parse(EXAMPLE).unwrap();
    assert_eq!(policy.hostname(&policy.default_egress().name), "mta.example.com");
    assert_eq!(policy.dns.servers, ["127.0.0.1:5353".parse().unwrap()]);
    assert_eq!(policy.tls.mode, TlsMode::Opportunistic);
    assert_eq!(policy.shaping[0].rate, Some(Rate::per_second(20)));
    assert_eq!(policy.retry(Lane::Bulk).schedule, policy.retry(Lane::Transactional).schedule);
    assert_eq!(policy.auth.require_identity, Some(true));
    assert!(policy.sandbox_only());
}

#[test]
fn an_empty_file_is_the_defaults_and_serves_only_the_sandbox() {
    let policy = Policy::parse("").unwrap();
    assert_eq!(policy, Policy::default());
    assert!(policy.sandbox_only());
    assert!(!Policy::parse("mta.hostname = \"mta.example.com\"").unwrap().sandbox_only());
}

#[test]
fn lanes_differ_only_where_they_say_so() {
    let text = "[retry]\nschedule = \"1m\"\nexpire_after = \"2d\"\n[retry.bulk]\nexpire_after = \"12h\"\n";
    let policy = Policy::parse(text).unwrap();
    let check = |lane: Lane, expire: &str| {
        assert_eq!(show_span(policy.retry(lane).expire_after), expire);
        assert_eq!(policy.retry(lane).schedule.len(), 1);
    };
    check(Lane::Transactional, "2d");
    check(Lane::Bulk, "12h");
}

#[test]
fn each_mistake_is_named_with_its_line_and_the_way_out() {
    let check = |text: &str, expected: &str| assert_eq!(problems(text), expected, "{text}");
    check("[mta]\nhostnam = \"a.example\"", "line 2: mta.hostnam: unknown key; did you mean `hostname`?");
    check(
        "[colour]\nx = 1",
        "line 1: colour: unknown key; known here: mta, egress, dns, smtp, tls, retry, shaping, route, verdict, reaction, auth, bulk, suppression, retention, limits, quota, sandbox",
    );
    check("[mta]\nhostname = 5", "line 2: mta.hostname: is a text in quotes, not an integer");
    check(
        "[retry]\nexpire_after = \"soon\"",
        "line 2: retry.expire_after: `soon` is not a span of time: write it as \"90s\", \"6m\", \"4h\" or \"4d\"",
    );
    check(
        "[retry]\nambiguous_after = 30",
        "line 2: retry.ambiguous_after: `30` has no unit: write \"30s\", \"30m\", \"30h\" or \"30d\"",
    );
    check(
        "[retry]\nschedule = [\"1m\",\n  \"x\"]",
        "line 3: retry.schedule[1]: `x` is not a span of time: write it as \"90s\", \"6m\", \"4h\" or \"4d\"",
    );
    check("[retry]\njitter = 2", "line 2: retry.jitter: is a share from 0 to 1, such as 0.1");
    check("[smtp]\nport = 70000", "line 2: smtp.port: 70000 is no port: 1 to 65535");
    check(
        "[smtp]\naddress_families = [\"ipv5\"]",
        "line 2: smtp.address_families[0]: `ipv5` is none of ipv4, ipv6",
    );
    check("[tls]\nmode = \"on\"", "line 2: tls.mode: `on` is none of never, opportunistic, encrypt, verify");
    check("[tls]\ndane = \"yes\"", "line 2: tls.dane: is true or false, not a string");
    check(
        "[dns]\nservers = [\"localhost\"]",
        "line 2: dns.servers[0]: `localhost` is no resolver: write \"192.0.2.53\" or \"127.0.0.1:5353\"",
    );
    check("mta = 1", "line 1: mta: is a table: write [mta]");
    check("[shaping]\nrate = \"1/s\"", "line 1: shaping: is a list: write [[shaping]]");
    check(
        "[mta\nhostname",
        "line 1: not TOML: unclosed table, expected `]`\nline 2: not TOML: key with no value, expected `=`",
    );
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    let shaping = |rest: &str| problems(&format!("[[shaping]]\n{rest}"));
    let check =
        |got: String, expected: &str| assert!(got.contains(expected), "got:\n{got}\nexpected: {expected}");
    check(
        shaping("match = \"default\"\nconnections = 0"),
        "line 3: shaping[0].connections: 0 would let nothing through",
    );
    check(
        shaping("match = \"default\"\nrate = \"0/s\""),
        "line 3: shaping[0].rate: `0/s` would let nothing through",
    );
    check(
        shaping("match = \"default\"\nrate = 20"),
        "line 3: shaping[0].rate: `20` names no time: write \"20/s\" or \"20/m\"",
    );
    check(shaping("rate = \"1/s\""), "line 1: shaping[0]: has no match");
    check(shaping("match = \"all\"\nrate = \"1/s\""), "line 2: shaping[0].match: is a table");
    check(shaping("match = {}\nrate = \"1/s\""), "line 2: shaping[0].match: is empty");
    check(
        shaping("match = { domian = \"a.example\" }\nrate = \"1/s\""),
        "line 2: shaping[0].match.domian: unknown key; did you mean `domain`?",
    );
    check(
        shaping("match = { domain = \"a.example\", site = \"b\" }\nrate = \"1/s\""),
        "names more than one thing",
    );
    check(shaping("match = { domain = \"*.example\" }\nrate = \"1/s\""), "names are matched whole");
    check(
        shaping("match = { mx_suffix = \"*.mx.example\" }\nrate = \"1/s\""),
        "without the star, \".mx.example\"",
    );
    check(shaping("match = { mx_suffix = \"a b\" }\nrate = \"1/s\""), "can match no host");
    check(
        shaping("match = { site = \"googlemail.com\" }\nrate = \"1/s\""),
        "can never match: hosts under .googlemail.com are the site google.com",
    );
    check(
        shaping("match = { site = \"not a site\" }\nrate = \"1/s\""),
        "can never match: sites are named like",
    );
    check(shaping("match = \"default\""), "line 1: shaping[0]: says nothing");
    check(
        shaping("match = \"default\"\negress = \"second\""),
        "there is no egress `second`: known are default",
    );
    check(
        shaping("match = \"default\"\nrate = \"1/s\"\nstart = \"2/s\""),
        "line 4: shaping[0].start: 2/s is above the rate 1/s",
    );
    check(shaping("match = \"default\"\nstart = \"2/s\""), "needs a rate to grow towards");
    check(
        problems(
            "[[shaping]]\nmatch = \"default\"\nrate = \"x\"\n[[shaping]]\nmatch = { domain = \"A.example\" }\nrate = \"1/s\"\n[[shaping]]\nmatch = { domain = \"a.example\" }\nrate = \"2/s\"",
        ),
        "line 8: shaping[2].match: can never match: shaping[1] on line 4 has the same match",
    );
}

#[test]
fn contradictions_are_refused() {
    let check = |text: &str, expected: &str| {
        let got = problems(text);
        assert!(got.contains(expected), "{text}\ngot:\n{got}\nexpected: {expected}");
    };
    check("[retry]\nschedule = []", "line 2: retry.schedule: is empty");
    check("[retry]\nambiguous_after = \"5d\"", "is not before expire_after");
    check("[sandbox]\nall = false", "line 2: sandbox.all: mail cannot leave without a name");
    check("[tls]\nmode = \"never\"\ndane = true", "line 3: tls.dane: demands TLS");
    check(
        "[[egress]]\nname = \"a\"\n[[egress]]\nname = \"a\"",
        "line 4: egress[1].name: `a` is egress[0] already",
    );
    check("[retention]\nledger = \"1h\"", "line 2: retention.ledger: idempotency keys are kept 24h or more");
    check("[retention]\nspool = \"60d\"", "is longer than ledger");
    check("[quota]\nrecipients_per_day = 0", "line 2: quota.recipients_per_day: 0 would let nothing through");
    check("[quota]\nrecipients_per_day = \"many\"", "is a whole number or \"unlimited\"");
    check(
        "[quota]\nrecipients_per_minute = 10\nrecipients_per_day = 9",
        "9 a day are fewer than 10 a minute",
    );
    check("[[quota.tenant]]\nname = \"Acme\"", "line 2: quota.tenant[0].name: `Acme` is no tenant");
    check("[[quota.tenant]]\nrecipients_per_day = 1", "line 1: quota.tenant[0]: has no name");
    check(
        "[[quota.tenant]]\nname = \"a\"\n[[quota.tenant]]\nname = \"a\"",
        "line 4: quota.tenant[1].name: stands here a second time",
    );
    let route = |rest: &str| format!("[[route]]\nmatch = {{ domain = \"a.example\" }}\n{rest}");
    check(
        &route("smarthost = \"relay.example\""),
        "line 3: route[0].smarthost: `relay.example` is no smarthost",
    );
    check(
        &route("smarthost = \"r.example:587\"\nauth_secret = \"s\"\ntls = \"never\""),
        "line 5: route[0].tls: never with auth_secret",
    );
    check(&route("smarthost = \"r.example:587\"\nusername = \"u\""), "has no auth_secret");
    check(&route(""), "line 1: route[0]: has no smarthost");
    let verdict = |rest: &str| format!("[[verdict]]\nname = \"v\"\ncategory = \"policy\"\n{rest}");
    check(&verdict(""), "would match every reply");
    check(&verdict("text = \"(\""), "line 4: verdict[0].text: no regular expression");
    check(&verdict("code = \"4xx\"\naction = \"bounce\""), "a 4xx never bounces");
    check(&verdict("code = 550\nenhanced = \"4.1.1\""), "can never match");
    check(&verdict("code = \"650\""), "`650` is no code");
    check("[[verdict]]\ntext = \"x\"\ncategory = \"bad\"", "`bad` is none of bad-mailbox");
}

#[test]
fn a_tenants_quota_says_only_what_differs() {
    let text = "[quota]\nrecipients_per_minute = 100\nrecipients_per_day = 1_000\n
        [[quota.tenant]]\nname = \"acme\"\nrecipients_per_day = \"unlimited\"";
    let quota = Policy::parse(text).unwrap().quota;
    let check = |tenant: &str, expected: (Option<u64>, Option<u64>)| {
        let limits = quota.of(&posthaste_mail::Tenant::parse(tenant).unwrap());
        assert_eq!((limits.per_minute, limits.per_day), expected, "{tenant}");
    };
    check("acme", (Some(100), None));
    check("other", (Some(100), Some(1_000)));
    assert!(Policy::default().quota.each.is_unlimited());
}

#[test]
fn everything_wrong_is_told_at_once() {
    let text = "[mta]\nhostname = \"a b\"\n[smtp]\nport = 0\n[retry]\nexpire_after = \"1x\"\nfoo = 1\n";
    let got = Policy::parse(text).unwrap_err();
    assert_eq!(got.iter().map(|p| p.line).collect::<Vec<_>>(), [2, 4, 6, 7], "{got:?}");
}

#[test]
fn what_is_allowed_and_hardly_meant_is_warned_of() {
    let check = |text: &str, expected: &str| {
        let got = Policy::parse(text).unwrap().warnings().join("\n");
        assert!(got.contains(expected) && got.is_empty() == expected.is_empty(), "{text}: {got}");
    };
    check("", "");
    check(
        "[[shaping]]\nmatch = \"default\"\nrate = \"1/s\"",
        "without mta.hostname only the sandbox is served",
    );
    check(
        "[retry.bulk]\nexpire_after = \"5m\"",
        "bulk: expire_after 5m is over before the first retry after 6m",
    );
    check("[sandbox]\nall = true\n[[shaping]]\nmatch = \"default\"\nrate = \"1/s\"", "");
    check(
        "[smtp]\naddress_families = [\"ipv4\", \"ipv6\"]\n[[egress]]\nname = \"a\"\npublic_ip = \"192.0.2.1\"",
        "ipv6",
    );
}

/// The policy reference, as it is published.
const REFERENCE: &str = include_str!("../../../../docs/policy.md");

#[test]
fn the_reference_is_true() {
    let examples: Vec<&str> =
        REFERENCE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 3);
    for example in examples {
        assert_eq!(problems(example), "", "{example}");
    }
    for key in crate::read::keys() {
        let written = [format!("`{key}`"), format!("[{key}]"), format!(".{key}]"), format!("{{ {key} =")];
        assert!(written.iter().any(|form| REFERENCE.contains(form)), "`{key}` is not in the reference");
    }
    for rule in crate::builtin::rules() {
        let crate::file::Matches::MxSuffix(suffix) = &rule.matches else { continue };
        let row =
            REFERENCE.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{suffix}`")));
        let numbers =
            format!("| {} | {} |", rule.connections.unwrap(), rule.messages_per_connection.unwrap());
        let row = row.unwrap_or_else(|| panic!("{suffix} is not in the reference"));
        assert!(row.contains(&numbers) && row.contains("TLS") == rule.tls.is_some(), "{row}");
    }
}
