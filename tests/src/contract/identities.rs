//! Sender domains: written by one at a time, each tenant's its own, each domain proved by one.

use std::time::Duration;

use posthaste_auth::PublicKey;
use posthaste_auth::align::Mode;
use posthaste_auth::audit::{Check, Finding, Severity};
use posthaste_auth::reports::{Findings, Summary};
use posthaste_mail::{Domain, Tenant};
use posthaste_pipeline::identity::{DkimKey, DomainReport, Identity, KeyState, Watched};

use super::make::{T0, tenant};
use super::{Subject, again};

fn identity(of: &str, domain: &str, version: u64) -> Identity {
    let public = PublicKey { algorithm: posthaste_auth::Algorithm::Rsa, base64: "AAAA".to_owned() };
    let key = DkimKey {
        selector: "s1".to_owned(),
        public,
        sealed: vec![1, 2, 3],
        state: KeyState::Pending,
        since: T0,
    };
    Identity {
        tenant: tenant(of),
        domain: Domain::parse(domain).unwrap(),
        version,
        created_at: T0,
        verified_at: None,
        subdomains: true,
        return_path: Some(Domain::parse("bounces.acme.example").unwrap()),
        notices: posthaste_pipeline::row::Told::Wanted,
        alignment: Mode::Strict,
        spf: Some(Mode::Relaxed),
        keys: vec![key],
    }
}

/// One version follows another; each tenant sees its own.
pub async fn identities_are_written_under_their_versions(subject: &Subject) {
    let store = &subject.stores.identities;
    let (first, second) = (identity("one", "acme.example", 1), identity("one", "acme.example", 2));
    let put = async |identity: Identity| again(|| store.put(&identity)).await;
    // An answer that is lost is asked for again, and then another is there: its own.
    again(|| store.put(&first)).await;
    let get = async |of: &str, domain: &str| {
        let (of, domain) = (tenant(of), Domain::parse(domain).unwrap());
        again(|| store.get(&of, &domain)).await
    };
    assert_eq!(get("one", "acme.example").await.as_ref(), Some(&first));
    assert!(!put(identity("one", "acme.example", 3)).await, "a version was passed over");
    again(|| store.put(&second)).await;
    assert_eq!(get("one", "acme.example").await.as_ref(), Some(&second));
    assert!(!put(identity("one", "other.example", 2)).await, "there was none before it");
    assert_eq!(get("two", "acme.example").await, None);
    put(identity("two", "acme.example", 1)).await;
    for domain in ["b.example", "c.example", "a.example"] {
        let one = identity("one", domain, 1);
        again(|| store.put(&one)).await;
    }
    let (one, mut seen, mut after) = (tenant("one"), Vec::new(), None::<Domain>);
    loop {
        let page = again(|| store.list(&one, after.as_ref(), 2)).await;
        let Some(last) = page.last() else { break };
        after = Some(last.domain.clone());
        seen.extend(page.into_iter().map(|identity| identity.domain.to_string()));
    }
    assert_eq!(seen, ["a.example", "acme.example", "b.example", "c.example"]);
}

/// A domain is one tenant's, until he gives it up or it is taken from him by name.
pub async fn a_domain_is_proved_by_one(subject: &Subject) {
    let store = &subject.stores.identities;
    let domain = Domain::parse("acme.example").unwrap();
    let (one, two) = (tenant("one"), tenant("two"));
    let put = async |identity: Identity| again(|| store.put(&identity)).await;
    let owner = async || again(|| store.owners(std::slice::from_ref(&domain))).await.pop().unwrap();
    let claim = async |by: &Tenant, before: Option<&Tenant>| again(|| store.claim(&domain, by, before)).await;
    assert_eq!(owner().await, None);
    assert!(!claim(&two, Some(&one)).await, "it was nobody's");
    claim(&one, None).await;
    assert_eq!(owner().await.as_ref(), Some(&one));
    assert!(!claim(&two, None).await, "it is somebody's");
    claim(&two, Some(&one)).await;
    assert_eq!(owner().await.as_ref(), Some(&two));
    // What another gives up stays his who has it.
    put(identity("one", "acme.example", 1)).await;
    again(|| store.remove(&one, &domain)).await;
    assert_eq!(owner().await.as_ref(), Some(&two));
    put(identity("two", "acme.example", 1)).await;
    again(|| store.remove(&two, &domain)).await;
    assert_eq!(owner().await, None);
    assert_eq!(again(|| store.get(&two, &domain)).await, None);
    claim(&one, None).await;
    assert_eq!(owner().await.as_ref(), Some(&one));
}

/// Proved domains are listed across tenants; the latest look at each is kept, and goes with the domain.
pub async fn proved_domains_are_looked_at(subject: &Subject) {
    let (identities, watches) = (&subject.stores.identities, &subject.stores.watches);
    let domain = |name: &str| Domain::parse(name).unwrap();
    for (of, name) in [("one", "b.example"), ("two", "c.example"), ("one", "a.example")] {
        let one = identity(of, name, 1);
        again(|| identities.put(&one)).await;
        again(|| identities.claim(&one.domain, &one.tenant, None)).await;
    }
    let all = async || {
        let (mut seen, mut after) = (Vec::new(), None::<Domain>);
        loop {
            let page = again(|| watches.proved(after.as_ref(), 2)).await;
            let Some((last, _)) = page.last() else { return seen };
            after = Some(last.clone());
            seen.extend(
                page.into_iter().filter_map(|(domain, tenant)| Some(format!("{domain} {}", tenant?))),
            );
        }
    };
    assert_eq!(all().await, ["a.example one", "b.example one", "c.example two"]);
    let look = |at: u64, severity: Severity| Watched {
        tenant: tenant("one"),
        domain: domain("a.example"),
        at: T0.plus(Duration::from_secs(at)),
        standing: [(Check::Spf, severity)].into(),
        findings: vec![Finding { check: Check::Spf, severity, seen: "what was seen".to_owned(), mend: None }],
    };
    let domains = [domain("b.example"), domain("a.example")];
    let latest = async |of: &str| {
        let of = tenant(of);
        again(|| watches.watched(&of, &domains)).await
    };
    assert_eq!(latest("one").await, [None, None]);
    for look in [look(1, Severity::Ok), look(2, Severity::Error)] {
        again(|| watches.keep(&look)).await;
    }
    assert_eq!(latest("one").await, [None, Some(look(2, Severity::Error))]);
    assert_eq!(latest("two").await, [None, None]);
    let (one, [_, given_up]) = (tenant("one"), &domains);
    again(|| identities.remove(&one, given_up)).await;
    assert_eq!(latest("one").await, [None, None]);
    assert_eq!(all().await, ["b.example one", "c.example two"]);
}

/// What receivers report of a domain is kept once, and found by its period, newest first.
pub async fn reports_of_a_domain_are_kept_once(subject: &Subject) {
    let watches = &subject.stores.watches;
    let report = |of: &str, name: &str, day: u64| {
        let domain = Domain::parse(name).unwrap();
        let begin = T0.plus(Duration::from_secs(day * 86_400));
        DomainReport {
            tenant: tenant(of),
            identity: domain.clone(),
            id: format!("{day:032}"),
            at: T0,
            summary: Summary {
                submitter: "mx.example".to_owned(),
                report_id: day.to_string(),
                domain,
                begin,
                end: begin,
                about: Findings::Tls { succeeded: day, failed: 0, failures: [("why".to_owned(), 1)].into() },
            },
        }
    };
    let made = [
        report("one", "a.example", 1),
        report("one", "a.example", 3),
        report("one", "a.example", 2),
        report("one", "b.example", 2),
        report("two", "a.example", 2),
    ];
    for report in &made {
        again(|| watches.report(report)).await;
        assert!(!again(|| watches.report(report)).await, "it was there");
    }
    let found = async |since: u64, limit: usize| {
        let (of, domain) = (tenant("one"), Domain::parse("a.example").unwrap());
        let since = T0.plus(Duration::from_secs(since * 86_400));
        let found = again(|| watches.reports(&of, &domain, since, limit)).await;
        found.into_iter().map(|report| report.summary.report_id).collect::<Vec<_>>()
    };
    assert_eq!(found(0, 10).await, ["3", "2", "1"]);
    assert_eq!(found(2, 10).await, ["3", "2"]);
    assert_eq!(found(0, 2).await, ["3", "2"]);
}

/// What is sealed opens for what it was sealed for, and shows nothing.
pub async fn what_is_sealed_opens_for_its_purpose_only(subject: &Subject) {
    let sealer = &subject.stores.sealer;
    let plain = b"a private key, and a long one".repeat(40);
    let sealed = again(|| sealer.seal("dkim one acme.example s1", &plain)).await;
    assert!(!sealed.windows(8).any(|part| plain.windows(8).next() == Some(part)));
    assert_eq!(again(|| sealer.open("dkim one acme.example s1", &sealed)).await, plain);
    assert!(sealer.open("dkim two acme.example s1", &sealed).await.is_err());
}
