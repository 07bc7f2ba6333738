//! Each finding by what is in DNS: a table.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::*;
use crate::dns::Spf;
use crate::key::Algorithm;

/// A zone: `NAME TXT text`, `NAME MX host`, `NAME A ip`, `ip PTR name`, `NAME FAIL`.
struct Zone(BTreeMap<(String, &'static str), Vec<String>>, Spf);

impl Zone {
    fn new(lines: &[&str], spf: Spf) -> Self {
        let mut records: BTreeMap<(String, &'static str), Vec<String>> = BTreeMap::new();
        for line in lines {
            let mut words = line.splitn(3, ' ');
            let (name, kind) = (words.next().unwrap(), words.next().unwrap());
            let kind = ["TXT", "MX", "A", "PTR", "FAIL"].into_iter().find(|known| *known == kind).unwrap();
            let value = words.next().unwrap_or_default().to_owned();
            records.entry((name.to_owned(), kind)).or_default().push(value);
        }
        Self(records, spf)
    }

    fn ask(&self, name: &str, kind: &'static str) -> Answer<String> {
        if self.0.contains_key(&(name.to_owned(), "FAIL")) {
            return Answer::Failed("nobody answered".to_owned());
        }
        match self.0.get(&(name.to_owned(), kind)) {
            Some(found) => Answer::Found(found.clone()),
            None => Answer::NoName,
        }
    }
}

#[async_trait]
impl Dns for Zone {
    async fn txt(&self, name: &str) -> Answer<String> {
        self.ask(name, "TXT")
    }

    async fn mx(&self, name: &str) -> Answer<(u16, String)> {
        match self.ask(name, "MX") {
            Answer::Found(hosts) => Answer::Found(hosts.into_iter().map(|host| (10, host)).collect()),
            Answer::Failed(why) => Answer::Failed(why),
            _ => Answer::NoData,
        }
    }

    async fn addresses(&self, name: &str) -> Answer<IpAddr> {
        match self.ask(name, "A") {
            Answer::Found(ips) => Answer::Found(ips.iter().map(|ip| ip.parse().unwrap()).collect()),
            _ => Answer::NoData,
        }
    }

    async fn names(&self, ip: IpAddr) -> Answer<String> {
        self.ask(&ip.to_string(), "PTR")
    }
}

#[async_trait]
impl CheckSpf for Zone {
    async fn spf(&self, _: IpAddr, _: &str, _: &str) -> Spf {
        self.1
    }
}

const GOOD: [&str; 8] = [
    "bounces.acme.example TXT v=spf1 ip4:192.0.2.1 -all",
    "s1._domainkey.acme.example TXT v=DKIM1; k=rsa; p=AAAA",
    "_dmarc.acme.example TXT v=DMARC1; p=reject; rua=mailto:d@acme.example",
    "bounces.acme.example MX in.acme.example",
    "192.0.2.1 PTR mta.acme.example.",
    "mta.acme.example A 192.0.2.1",
    "_mta-sts.acme.example TXT v=STSv1; id=1",
    "_smtp._tls.acme.example TXT v=TLSRPTv1; rua=mailto:t@acme.example",
];

/// The good zone without the lines that begin so, and with these.
async fn audited(without: &str, with: &[&str], spf: Spf) -> Audit {
    let mut lines: Vec<&str> =
        GOOD.iter().copied().filter(|line| without.is_empty() || !line.starts_with(without)).collect();
    lines.extend(with);
    let zone = Zone::new(&lines, spf);
    let domain = Domain::parse("acme.example").unwrap();
    let return_path = Domain::parse("bounces.acme.example").unwrap();
    let key = PublicKey { algorithm: Algorithm::Rsa, base64: "AAAA".to_owned() };
    let egress = [Egress { ip: "192.0.2.1".parse().unwrap(), hostname: "mta.acme.example".to_owned() }];
    let subject = Subject {
        domain: &domain,
        selectors: vec![("s1".to_owned(), Expected::Ours(key))],
        return_path: Some(&return_path),
        egress: &egress,
    };
    audit(&zone, &zone, &subject).await
}

#[tokio::test]
async fn a_domain_in_order_has_nothing_to_mend() {
    let audit = audited("", &[], Spf::Pass).await;
    assert_eq!(audit.worst(), Severity::Ok, "{audit:?}");
    assert!(audit.findings.iter().all(|finding| finding.mend.is_none()), "{audit:?}");
    assert!(Check::ALL.iter().all(|check| audit.of(*check).is_some()), "{audit:?}");
}

/// What is taken away, what is put in, what SPF comes to; then which check says so, how loudly, and a part of the mend.
type Case = (&'static str, &'static [&'static str], Spf, Check, Severity, &'static str);

#[tokio::test]
async fn what_is_wrong_is_told_with_the_record_that_mends_it() {
    let cases: &[Case] = &[
        (
            "bounces.acme.example TXT",
            &[],
            Spf::None,
            Check::Spf,
            Severity::Error,
            "v=spf1 ip4:192.0.2.1 -all",
        ),
        (
            "",
            &["bounces.acme.example TXT v=spf1 -all"],
            Spf::PermError,
            Check::Spf,
            Severity::Error,
            "leave one",
        ),
        (
            "bounces.acme.example TXT",
            &["bounces.acme.example TXT v=spf1 ip4:192.0.2.1:25 -all"],
            Spf::PermError,
            Check::Spf,
            Severity::Error,
            "mend the term",
        ),
        ("", &[], Spf::Fail, Check::Spf, Severity::Error, "ip4:192.0.2.1"),
        (
            "bounces.acme.example TXT",
            &["bounces.acme.example TXT v=spf1 +all"],
            Spf::Pass,
            Check::Spf,
            Severity::Error,
            "-all",
        ),
        ("", &["bounces.acme.example FAIL"], Spf::TempError, Check::Spf, Severity::Unknown, ""),
        ("s1.", &[], Spf::Pass, Check::Dkim, Severity::Error, "p=AAAA"),
        (
            "s1.",
            &["s1._domainkey.acme.example TXT v=DKIM1; p=BBBB"],
            Spf::Pass,
            Check::Dkim,
            Severity::Error,
            "p=AAAA",
        ),
        (
            "s1.",
            &["s1._domainkey.acme.example TXT v=DKIM1; p="],
            Spf::Pass,
            Check::Dkim,
            Severity::Error,
            "p=AAAA",
        ),
        ("s1.", &["s1._domainkey.acme.example TXT k=rsa; p=AA AA"], Spf::Pass, Check::Dkim, Severity::Ok, ""),
        ("_dmarc.", &[], Spf::Pass, Check::Dmarc, Severity::Error, "v=DMARC1; p=none"),
        (
            "_dmarc.",
            &["_dmarc.acme.example TXT v=DMARC1; p=maybe"],
            Spf::Pass,
            Check::Dmarc,
            Severity::Error,
            "",
        ),
        (
            "_dmarc.",
            &["_dmarc.acme.example TXT v=DMARC1; p=none; rua=mailto:a@b.example"],
            Spf::Pass,
            Check::Dmarc,
            Severity::Note,
            "p=quarantine",
        ),
        (
            "_dmarc.",
            &["_dmarc.acme.example TXT v=DMARC1; p=reject"],
            Spf::Pass,
            Check::Dmarc,
            Severity::Note,
            "rua=",
        ),
        ("", &["_dmarc.acme.example TXT v=DMARC1; p=none"], Spf::Pass, Check::Dmarc, Severity::Error, ""),
        ("bounces.acme.example MX", &[], Spf::Pass, Check::ReturnPath, Severity::Error, "IN MX"),
        (
            "bounces.acme.example MX",
            &["bounces.acme.example MX ."],
            Spf::Pass,
            Check::ReturnPath,
            Severity::Error,
            "IN MX",
        ),
        ("192.0.2.1", &[], Spf::Pass, Check::Ptr, Severity::Error, "mta.acme.example"),
        ("mta.", &[], Spf::Pass, Check::Ptr, Severity::Error, "mta.acme.example"),
        (
            "192.0.2.1",
            &["192.0.2.1 PTR host.isp.example", "host.isp.example A 192.0.2.1"],
            Spf::Pass,
            Check::Ptr,
            Severity::Note,
            "",
        ),
        ("_mta-sts", &[], Spf::Pass, Check::MtaSts, Severity::Note, "v=STSv1"),
        ("_smtp", &[], Spf::Pass, Check::TlsRpt, Severity::Note, "v=TLSRPTv1"),
    ];
    for (without, with, spf, check, severity, mend) in cases {
        let audit = audited(without, with, *spf).await;
        assert_eq!(audit.of(*check), Some(*severity), "-{without} +{with:?}: {audit:?}");
        let mends: Vec<&str> =
            audit.findings.iter().filter(|f| f.check == *check).filter_map(|f| f.mend.as_deref()).collect();
        assert!(
            mend.is_empty() || mends.iter().any(|text| text.contains(mend)),
            "-{without} +{with:?}: {mends:?}"
        );
    }
}

#[tokio::test]
async fn look_ups_are_counted_through_what_is_included() {
    let check = async |record: &str, expected: usize| {
        let zone = Zone::new(
            &[
                "a.example TXT v=spf1 mx a:b.example include:b.example -all",
                "b.example TXT v=spf1 exists:%{i}.x ptr ?all",
            ],
            Spf::Pass,
        );
        assert_eq!(spf::lookups_of(&zone, record).await, expected, "{record}");
    };
    check("v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all", 0).await;
    check("v=spf1 a mx/24 a:x.example/28 -all", 3).await;
    check("v=spf1 include:a.example ~all", 6).await;
    check("v=spf1 redirect=a.example", 6).await;
    check("v=spf1 include:%{d}.example include:missing.example -all", 2).await;
}

#[tokio::test]
async fn what_differs_from_the_organization_is_told() {
    let check = async |domain: &str, lines: &[&str], expected: &[&str]| {
        let zone = Zone::new(lines, Spf::Pass);
        let domain = Domain::parse(domain).unwrap();
        let subject = Subject { domain: &domain, selectors: Vec::new(), return_path: None, egress: &[] };
        let found = audit(&zone, &zone, &subject).await.findings.into_iter();
        let found = found.filter(|f| f.check == Check::Dmarc && f.severity != Severity::Ok);
        let found: Vec<String> = found.map(|f| format!("{} {}", f.severity.as_str(), f.seen)).collect();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (seen, expected) in found.iter().zip(expected) {
            assert!(seen.starts_with(expected), "{seen}");
        }
    };
    let above = "_dmarc.acme.example TXT v=DMARC1; p=reject; adkim=s; rua=mailto:d@acme.example";
    let own =
        |text: &str| format!("_dmarc.news.acme.example TXT v=DMARC1; {text}; rua=mailto:d@acme.example");
    check("news.acme.example", &[above], &[]).await;
    check("news.acme.example", &[above, &own("p=reject; adkim=s")], &[]).await;
    check(
        "news.acme.example",
        &[above, &own("p=quarantine")],
        &["warning _dmarc.news.acme.example asks for p=quarantine, less", "note adkim of"],
    )
    .await;
    let lax = above.replace("p=reject", "p=reject; sp=none");
    check("news.acme.example", &[&lax, &own("p=quarantine; adkim=s")], &[]).await;
    check("acme.example", &[&lax], &["note _dmarc.acme.example: sp=none asks for less"]).await;
    check("news.acme.example", &[&lax], &["note p=none", "note _dmarc.acme.example: sp=none"]).await;
}
