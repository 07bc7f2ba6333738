//! Routes as a name server's answers make them, over real sockets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use posthaste_mail::Domain;
use tokio::task::JoinSet;

use crate::zone::{NEGATIVE_TTL_S, Zone};
use crate::{ADDRESSES_MAX, AllowPrivate, Config, Families, MailHosts, Resolver, RouteError, Source};

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn config(zone: &Zone) -> Config {
    Config {
        servers: vec![zone.at],
        timeout: Duration::from_secs(10),
        own_names: vec![domain("us.test")],
        ..Config::default()
    }
}

/// The candidates as `preference host address`, or the error's name.
async fn route(resolver: &Resolver, name: &str, seed: u64) -> String {
    let found = async {
        let hosts = resolver.mx(&domain(name)).await?;
        resolver.candidates(&hosts, seed).await
    };
    match found.await {
        Ok(candidates) => {
            let shown = candidates.iter().map(|c| format!("{} {} {}", c.preference, c.host, c.ip));
            shown.collect::<Vec<_>>().join(", ")
        }
        Err(error) => name_of(&error),
    }
}

fn name_of(error: &RouteError) -> String {
    let shown = format!("{error:?}");
    shown.split([' ', '{']).next().unwrap().to_owned()
}

#[tokio::test]
async fn domains_lead_to_addresses_or_say_why_not() {
    let zone = Zone::serve(&[
        "two.test 60 MX 20 b.two.test",
        "two.test 60 MX 10 a.two.test",
        "a.two.test 60 A 8.8.0.1",
        "b.two.test 60 A 8.8.0.2",
        "implicit.test 60 A 8.8.0.3",
        "null.test 60 MX 0 .",
        "null.test 60 A 8.8.0.4",
        "halfnull.test 60 MX 0 .",
        "halfnull.test 60 MX 10 a.two.test",
        "alias.test 60 CNAME two.test",
        "aliased-host.test 60 MX 10 cname.test",
        "cname.test 60 CNAME a.two.test",
        "implicit-alias.test 60 CNAME implicit.test",
        "alias-nowhere.test 60 CNAME nowhere.test",
        "loop-a.test 60 CNAME loop-b.test",
        "loop-b.test 60 CNAME loop-a.test",
        "textonly.test SERVFAIL TXT",
        "noaddress.test 60 MX 10 gone.noaddress.test",
        "noaddress.test 60 MX 20 empty.noaddress.test",
        "empty.noaddress.test 60 AAAA 2a00::1",
        "literal.test 60 MX 10 192.0.2.1",
        "servfail.test SERVFAIL",
        "refused.test REFUSED",
        "halfdead.test 60 MX 10 servfail.test",
        "halfdead.test 60 MX 20 a.two.test",
        "dead.test 60 MX 10 servfail.test",
        "dead.test 60 MX 20 gone.noaddress.test",
        "six.test 60 AAAA 2a00::2",
        "shared.test 60 MX 10 a.two.test",
        "shared.test 60 MX 20 same.two.test",
        "same.two.test 60 A 8.8.0.1",
        "truncated.test TRUNCATED",
        "truncated.test 60 MX 10 a.two.test",
        "inside.test 60 MX 10 lo.test",
        "inside.test 60 MX 20 a.two.test",
        "lo.test 60 A 127.0.0.1",
        "lo.test 60 A 8.8.0.5",
        "allinside.test 60 MX 10 meta.test",
        "meta.test 60 A 169.254.169.254",
        "forwarder.test 60 MX 10 a.two.test",
        "forwarder.test 60 MX 20 us.test",
        "forwarder.test 60 MX 20 b.two.test",
        "loops.test 60 MX 10 us.test",
        "loops.test 60 MX 10 a.two.test",
        "us.test 60 A 8.8.0.9",
    ])
    .await;
    let resolver = Resolver::new(&config(&zone)).unwrap();
    let check = async |name: &str, expected: &str| {
        assert_eq!(route(&resolver, name, 1).await, expected, "{name}");
    };
    check("two.test", "10 a.two.test 8.8.0.1, 20 b.two.test 8.8.0.2").await;
    check("implicit.test", "0 implicit.test 8.8.0.3").await;
    check("null.test", "NullMx").await;
    check("halfnull.test", "10 a.two.test 8.8.0.1").await;
    check("alias.test", "10 a.two.test 8.8.0.1, 20 b.two.test 8.8.0.2").await;
    check("aliased-host.test", "10 cname.test 8.8.0.1").await;
    check("implicit-alias.test", "0 implicit-alias.test 8.8.0.3").await;
    check("alias-nowhere.test", "NoSuchDomain").await;
    check("loop-a.test", "DnsFailed").await;
    check("nowhere.test", "NoSuchDomain").await;
    check("textonly.test", "NoMailHost").await;
    check("noaddress.test", "NoAddresses").await;
    check("literal.test", "NoAddresses").await;
    check("servfail.test", "DnsFailed").await;
    check("refused.test", "DnsFailed").await;
    check("halfdead.test", "20 a.two.test 8.8.0.1").await;
    check("dead.test", "DnsFailed").await;
    check("six.test", "NoAddresses").await;
    check("shared.test", "10 a.two.test 8.8.0.1").await;
    check("truncated.test", "10 a.two.test 8.8.0.1").await;
    check("inside.test", "10 lo.test 8.8.0.5, 20 a.two.test 8.8.0.1").await;
    check("allinside.test", "Forbidden").await;
    check("forwarder.test", "10 a.two.test 8.8.0.1").await;
    check("loops.test", "LoopsBack").await;
    check("us.test", "LoopsBack").await;
    assert_eq!(zone.asked("truncated.test MX"), 2, "over UDP, then over TCP");
}

#[tokio::test]
async fn silent_servers_are_given_up_and_others_asked() {
    let zone = Zone::serve(&["silent.test SILENT", "a.test 60 A 8.8.0.1"]).await;
    let short = Config { timeout: Duration::from_millis(200), ..config(&zone) };
    let resolver = Resolver::new(&short).unwrap();
    assert_eq!(route(&resolver, "silent.test", 1).await, "DnsTimedOut");
    let mute = Zone::serve(&["a.test SILENT"]).await;
    let resolver = Resolver::new(&Config { servers: vec![mute.at, zone.at], ..config(&zone) }).unwrap();
    assert_eq!(route(&resolver, "a.test", 1).await, "0 a.test 8.8.0.1");
}

#[tokio::test]
async fn address_families_follow_the_policy() {
    let zone = Zone::serve(&[
        "both.test 60 A 8.8.0.1",
        "both.test 60 AAAA 2a00::1",
        "six.test 60 AAAA 2a00::2",
        "broken.test 60 A 8.8.0.3",
        "broken.test SERVFAIL AAAA",
    ])
    .await;
    let check = async |families: Families, name: &str, expected: &str| {
        let resolver = Resolver::new(&Config { families, ..config(&zone) }).unwrap();
        assert_eq!(route(&resolver, name, 1).await, expected, "{name} over {families:?}");
    };
    check(Families::V4, "both.test", "0 both.test 8.8.0.1").await;
    assert_eq!(zone.asked("both.test AAAA"), 0);
    check(Families::V6, "both.test", "0 both.test 2a00::1").await;
    check(Families::Both, "both.test", "0 both.test 8.8.0.1, 0 both.test 2a00::1").await;
    check(Families::Both, "six.test", "0 six.test 2a00::2").await;
    check(Families::Both, "broken.test", "0 broken.test 8.8.0.3").await;
    check(Families::V6, "broken.test", "DnsFailed").await;
}

#[tokio::test]
async fn private_addresses_pass_where_they_are_allowed_and_for_smarthosts() {
    let zone =
        Zone::serve(&["lo.test 60 A 127.0.0.1", "lo.test 60 A 0.0.0.0", "us.test 60 A 10.0.0.1"]).await;
    let strict = Resolver::new(&config(&zone)).unwrap();
    assert_eq!(route(&strict, "lo.test", 1).await, "Forbidden");
    let lax = Resolver::new(&Config { allow_private: AllowPrivate::Yes, ..config(&zone) }).unwrap();
    assert_eq!(route(&lax, "lo.test", 1).await, "0 lo.test 127.0.0.1");
    assert_eq!(route(&lax, "localhost", 1).await, "0 localhost 127.0.0.1");
    let relay = MailHosts::smarthost(domain("two.test"), domain("us.test"));
    assert_eq!(relay.source(), Source::Smarthost);
    assert_eq!(strict.candidates(&relay, 1).await.unwrap()[0].ip.to_string(), "10.0.0.1");
}

#[tokio::test]
async fn equal_hosts_are_shuffled_and_share_the_five_places() {
    let zone = Zone::serve(&[
        "equal.test 60 MX 10 a.test",
        "equal.test 60 MX 10 b.test",
        "equal.test 60 MX 10 c.test",
        "equal.test 60 MX 5 first.test",
        "many.test 60 MX 10 a.test",
        "many.test 60 MX 20 big.test",
        "many.test 60 MX 20 b.test",
        "hidden.test 60 MX 10 big.test",
        "hidden.test 60 MX 20 a.test",
        "hidden.test 60 MX 30 b.test",
        "first.test 60 A 8.8.0.9",
        "a.test 60 A 8.8.0.1",
        "b.test 60 A 8.8.0.2",
        "c.test 60 A 8.8.0.3",
        "big.test 60 A 8.8.1.1",
        "big.test 60 A 8.8.1.2",
        "big.test 60 A 8.8.1.3",
        "big.test 60 A 8.8.1.4",
        "big.test 60 A 8.8.1.5",
        "big.test 60 A 8.8.1.6",
        "big.test 60 A 8.8.1.7",
    ])
    .await;
    let resolver = Resolver::new(&config(&zone)).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let one = route(&resolver, "equal.test", seed).await;
        assert_eq!(one, route(&resolver, "equal.test", seed).await, "same seed");
        assert!(one.starts_with("5 first.test"), "{one}");
        seen.insert(one);

        let hosts = resolver.mx(&domain("many.test")).await.unwrap();
        let many = resolver.candidates(&hosts, seed).await.unwrap();
        assert_eq!((many.len(), many[0].host.as_str()), (ADDRESSES_MAX, "a.test"));
        assert!(many[1..3].iter().any(|c| c.host.as_str() == "b.test"), "equals take turns: {many:?}");

        let hosts = resolver.mx(&domain("hidden.test")).await.unwrap();
        let hidden = resolver.candidates(&hosts, seed).await.unwrap();
        assert_eq!((hidden.len(), hidden[4].host.as_str()), (ADDRESSES_MAX, "a.test"), "{hidden:?}");
    }
    assert_eq!(seen.len(), 6, "every order of three");
    assert_eq!(zone.asked("equal.test MX"), 1);
    assert_eq!(zone.asked("a.test A"), 1);
}

/// Makes the clock that caches go by jump; sockets keep going by the real one.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn answers_are_kept_for_their_ttl() {
    let zone =
        Zone::serve(&["long.test 100 MX 10 a.test", "zero.test 0 MX 10 a.test", "a.test 3600 A 8.8.0.1"])
            .await;
    let resolver = Resolver::new(&config(&zone)).unwrap();
    let names = ["long.test", "zero.test", "nowhere.test"];
    let check = async |after: &str, expected: [usize; 3]| {
        for (name, expected) in names.into_iter().zip(expected) {
            route(&resolver, name, 1).await;
            assert_eq!(zone.asked(&format!("{name} MX")), expected, "{name} after {after}");
        }
    };
    check("nothing", [1, 1, 1]).await;
    pass(1).await;
    check("1 s", [1, 2, 1]).await;
    pass(u64::from(NEGATIVE_TTL_S)).await;
    check("a minute", [1, 3, 2]).await;
    pass(100).await;
    check("the rest", [2, 4, 3]).await;
    assert_eq!(zone.asked("a.test A"), 1);
}

#[tokio::test]
async fn a_mended_zone_is_noticed() {
    let zone = Zone::serve(&["a.test SERVFAIL"]).await;
    let resolver = Resolver::new(&config(&zone)).unwrap();
    assert_eq!(route(&resolver, "a.test", 1).await, "DnsFailed");
    let asked = zone.asked("a.test MX");
    zone.set(&["a.test 60 A 8.8.0.1"]);
    tokio::time::pause();
    assert_eq!(route(&resolver, "a.test", 1).await, "DnsFailed");
    assert_eq!(zone.asked("a.test MX"), asked, "a failure is kept for a moment too");
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
    assert_eq!(route(&resolver, "a.test", 1).await, "0 a.test 8.8.0.1");
}

#[tokio::test]
async fn a_crowd_asks_once() {
    let zone = Zone::serve(&["a.test 60 MX 10 mx.test", "mx.test 60 A 8.8.0.1"]).await;
    let resolver = Arc::new(Resolver::new(&config(&zone)).unwrap());
    let mut crowd = JoinSet::new();
    for seed in 0..1000 {
        let resolver = Arc::clone(&resolver);
        crowd.spawn(async move { route(&resolver, "a.test", seed).await });
    }
    assert!(crowd.join_all().await.iter().all(|route| route == "10 mx.test 8.8.0.1"));
    assert_eq!((zone.asked("a.test MX"), zone.asked("mx.test A")), (1, 1));
}

#[tokio::test]
async fn many_domains_at_once_all_get_their_answer() {
    let lines: Vec<String> =
        (0..1000).map(|n| format!("d{n}.test 60 A 8.8.{}.{}", n / 250, n % 250)).collect();
    let zone = Zone::serve(&lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let resolver = Resolver::new(&config(&zone)).unwrap();
    let names: Vec<String> = (0..1000).map(|n| format!("d{n}.test")).collect();
    let routes = futures::future::join_all(names.iter().map(|name| route(&resolver, name, 1))).await;
    for (n, route) in routes.iter().enumerate() {
        assert_eq!(*route, format!("0 d{n}.test 8.8.{}.{}", n / 250, n % 250));
    }
}

#[test]
fn errors_read_alone_and_carry_the_code_of_their_verdict() {
    let domain = domain("a.test");
    let check = |error: RouteError, expected: &str| assert_eq!(error.reply().to_string(), expected);
    check(
        RouteError::NullMx { domain: domain.clone() },
        "556 5.1.10 the domain a.test accepts no mail (null MX)",
    );
    check(RouteError::NoSuchDomain { domain: domain.clone() }, "550 5.1.2 the domain a.test does not exist");
    check(
        RouteError::NoAddresses { domain: domain.clone(), families: Families::V4 },
        "451 4.4.4 no mail host of a.test has an IPv4 address",
    );
    check(RouteError::DnsTimedOut { name: domain }, "451 4.4.3 looking up a.test timed out");
}
