//! Which rule gives which number.

use super::*;
use crate::site::Hosts;

const POLICY: &str = r#"
[mta]
hostname = "mta.example.com"
[[shaping]]
match = "default"
connections = 4
[[shaping]]
match = { site = "google.com" }
rate = "30/s"
connections = 8
[[shaping]]
match = { mx_suffix = ".l.google.com" }
connections = 9
tls = "verify"
[[shaping]]
match = { domain = "slow.example" }
rate = "1/m"
burst = 2
[[shaping]]
match = { mx_suffix = ".hosting.example" }
messages_per_connection = 3
[[shaping]]
match = { mx_suffix = ".eu.hosting.example" }
rate = "5/s"
start = "1/s"
"#;

fn limits(policy: &str, domain: &str, mx: &str) -> Limits {
    let policy = Policy::parse(policy).unwrap();
    let domain = Domain::parse(domain).unwrap();
    let hosts: Vec<Domain> = mx.split_whitespace().map(|host| Domain::parse(host).unwrap()).collect();
    let site = policy.site_of(Hosts::Mx(&hosts), &domain);
    policy.limits(&Place { site: &site, hosts: &hosts, domain: &domain })
}

#[test]
fn each_number_comes_from_the_most_specific_rule_that_names_it() {
    let check = |domain: &str, mx: &str, expected: [(&str, &str); 3]| {
        let l = limits(POLICY, domain, mx);
        let shown = [
            (l.rate.value.to_string(), l.rate.by),
            (l.connections.value.to_string(), l.connections.by),
            (l.messages_per_connection.value.to_string(), l.messages_per_connection.by),
        ];
        let got = shown.each_ref().map(|(value, by)| (value.as_str(), by.as_str()));
        assert_eq!(got, expected, "{domain} at {mx}");
    };
    check(
        "a.example",
        "mx.a.example",
        [("100/s", "built-in default"), ("4", "default"), ("100", "built-in default")],
    );
    check(
        "b.example",
        "aspmx.l.google.com alt1.aspmx.l.google.com",
        [
            ("30/s", "site google.com"),
            ("9", "mx_suffix .l.google.com"),
            ("50", "built-in mx_suffix .google.com"),
        ],
    );
    check(
        "f.example",
        "mx.google.com",
        [("30/s", "site google.com"), ("8", "site google.com"), ("50", "built-in mx_suffix .google.com")],
    );
    check(
        "slow.example",
        "aspmx.l.google.com",
        [
            ("1/m", "domain slow.example"),
            ("9", "mx_suffix .l.google.com"),
            ("50", "built-in mx_suffix .google.com"),
        ],
    );
    check(
        "c.example",
        "smtp-in.orange.fr",
        [
            ("100/s", "built-in default"),
            ("2", "built-in mx_suffix .orange.fr"),
            ("100", "built-in mx_suffix .orange.fr"),
        ],
    );
    check(
        "d.example",
        "mx.comcast.net",
        [("100/s", "built-in default"), ("4", "default"), ("1000", "built-in mx_suffix .comcast.net")],
    );
    check(
        "e.example",
        "mx1.eu.hosting.example",
        [("5/s", "mx_suffix .eu.hosting.example"), ("4", "default"), ("3", "mx_suffix .hosting.example")],
    );
}

#[test]
fn only_rates_nobody_wrote_start_modestly() {
    let check = |domain: &str, mx: &str, expected: Option<&str>| {
        let start = limits(POLICY, domain, mx).start.value;
        assert_eq!(start.map(|rate| rate.to_string()).as_deref(), expected, "{domain}");
    };
    check("a.example", "mx.a.example", Some("2/s"));
    check("b.example", "aspmx.l.google.com", None);
    check("e.example", "mx1.eu.hosting.example", Some("1/s"));
}

#[test]
fn tls_is_the_rules_then_what_is_known_then_the_general() {
    let check = |general: &str, mx: &str, asked: Option<TlsMode>, expected: TlsMode| {
        let text = format!(
            "[tls]\nmode = \"{general}\"\n[[shaping]]\nmatch = {{ mx_suffix = \".lax.example\" }}\ntls = \"never\"\n"
        );
        let policy = Policy::parse(&text).unwrap();
        let domain = Domain::parse("a.example").unwrap();
        let hosts = [Domain::parse(mx).unwrap()];
        let site = policy.site_of(Hosts::Mx(&hosts), &domain);
        let place = Place { site: &site, hosts: &hosts, domain: &domain };
        assert_eq!(policy.tls_for(&place, asked), expected, "{general} {mx} {asked:?}");
    };
    check("opportunistic", "mx.a.example", None, TlsMode::Opportunistic);
    check("opportunistic", "mx.a.example", Some(TlsMode::Verify), TlsMode::Verify);
    check("verify", "mx.a.example", Some(TlsMode::Never), TlsMode::Verify);
    check("opportunistic", "aspmx.l.google.com", None, TlsMode::Encrypt);
    check("verify", "aspmx.l.google.com", None, TlsMode::Verify);
    check("never", "aspmx.l.google.com", None, TlsMode::Never);
    check("verify", "mx.lax.example", None, TlsMode::Never);
}

#[test]
fn a_receiver_keeps_its_site_whatever_suffixes_are_written() {
    let policy = Policy::parse(POLICY).unwrap();
    let domain = Domain::parse("a.example").unwrap();
    let check = |mx: &str, expected: &str| {
        let hosts: Vec<Domain> = mx.split_whitespace().map(|host| Domain::parse(host).unwrap()).collect();
        assert_eq!(policy.site_of(Hosts::Mx(&hosts), &domain).as_str(), expected);
    };
    check("aspmx.l.google.com aspmx2.googlemail.com", "google.com");
    check("mx1.hosting.example mx2.hosting.example", "hosting.example");
    check("mx1.eu.hosting.example", "eu.hosting.example");
    let mixed = SiteName::new("mixed");
    assert_eq!(
        policy.site_of_host(&Domain::parse("aspmx.l.google.com").unwrap(), &mixed).as_str(),
        "google.com"
    );
    assert_eq!(policy.site_of_host(&Domain::parse("mx.a.example").unwrap(), &mixed).as_str(), "mixed");
}
