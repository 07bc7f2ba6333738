//! Records to publish: what a domain's owner puts into DNS so that receivers believe its mail.

use posthaste_mail::Domain;
use serde::Serialize;

use crate::key::PublicKey;

/// Octets of one string of a TXT record (RFC 1035 3.3): longer texts are several strings.
const STRING_OCTETS_MAX: usize = 255;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The name it stands at, without a dot at its end.
    pub name: String,
    /// `TXT`, `MX`, `CNAME`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What it says; of a TXT record the whole text.
    pub value: String,
    /// What it is for, in a few words.
    pub purpose: &'static str,
    /// Whether mail is signed, or taken, without it.
    pub required: bool,
}

impl Record {
    /// The line of a zone file.
    pub fn zone_line(&self) -> String {
        let value = if self.kind == "TXT" { quoted(&self.value) } else { self.value.clone() };
        format!("{}. IN {} {value}", self.name, self.kind)
    }
}

/// A text as strings of a TXT record.
fn quoted(text: &str) -> String {
    let strings = text.as_bytes().chunks(STRING_OCTETS_MAX).map(|octets| {
        let text = String::from_utf8_lossy(octets).replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{text}\"")
    });
    strings.collect::<Vec<_>>().join(" ")
}

/// Where a selector's key stands.
pub fn dkim_name(selector: &str, domain: &Domain) -> String {
    format!("{selector}._domainkey.{domain}")
}

/// What stands there.
pub fn dkim_value(key: &PublicKey) -> String {
    format!("v=DKIM1; k={}; p={}", key.algorithm.as_str(), key.base64)
}

/// What a sender domain publishes.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The domain.
    pub domain: &'a Domain,
    /// Its selectors with their keys.
    pub keys: Vec<(&'a str, &'a PublicKey)>,
    /// Where bounces come back to, if mail leaves with another domain there.
    pub return_path: Option<&'a Domain>,
    /// Our addresses, as receivers see them; empty: not known here.
    pub egress: Vec<std::net::IpAddr>,
}

impl Wanted<'_> {
    /// Every record, the needed ones first.
    pub fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self
            .keys
            .iter()
            .map(|(selector, key)| Record {
                name: dkim_name(selector, self.domain),
                kind: "TXT",
                value: dkim_value(key),
                purpose: "the key that signatures are verified with (RFC 6376)",
                required: true,
            })
            .collect();
        records.push(Record {
            name: format!("_dmarc.{}", self.domain),
            kind: "TXT",
            value: format!("v=DMARC1; p=none; rua=mailto:dmarc@{}", self.domain),
            purpose: "asks receivers to check alignment and to report (RFC 9989); raise p when reports are clean",
            required: false,
        });
        let spf = spf(&self.egress);
        let envelope = self.return_path.unwrap_or(self.domain);
        records.push(Record {
            name: envelope.to_string(),
            kind: "TXT",
            value: spf.clone(),
            purpose: "says that our addresses send for the envelope's domain (RFC 7208)",
            required: false,
        });
        if let Some(domain) = self.return_path {
            records.push(Record {
                name: domain.to_string(),
                kind: "MX",
                value: "10 whatever-receives-your-bounces.".to_owned(),
                purpose: "brings bounces back: see docs/feedback.md",
                required: false,
            });
        }
        for (label, value, purpose) in [
            (
                "_mta-sts",
                "v=STSv1; id=1",
                "mail to you: with a policy at mta-sts.DOMAIN, senders insist on TLS (RFC 8461)",
            ),
            (
                "_smtp._tls",
                "v=TLSRPTv1; rua=mailto:tls@DOMAIN",
                "mail to you: senders report trouble with TLS (RFC 8460)",
            ),
        ] {
            let domain = self.domain.to_string();
            records.push(Record {
                name: format!("{label}.{domain}"),
                kind: "TXT",
                value: value.replace("DOMAIN", &domain),
                purpose,
                required: false,
            });
        }
        records
    }
}

/// A record that covers these addresses.
pub fn spf(egress: &[std::net::IpAddr]) -> String {
    let mechanisms: Vec<String> = egress
        .iter()
        .map(|ip| if ip.is_ipv4() { format!("ip4:{ip}") } else { format!("ip6:{ip}") })
        .collect();
    match mechanisms.is_empty() {
        true => "v=spf1 ip4:YOUR-EGRESS-ADDRESS -all".to_owned(),
        false => format!("v=spf1 {} -all", mechanisms.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Algorithm, PrivateKey};

    #[test]
    fn long_texts_are_several_strings_in_a_zone() {
        let key = PrivateKey::make(Algorithm::Rsa).unwrap();
        let domain = Domain::parse("acme.example").unwrap();
        let wanted = Wanted {
            domain: &domain,
            keys: vec![("s1", key.public())],
            return_path: Some(&domain),
            egress: vec!["192.0.2.1".parse().unwrap()],
        };
        let records = wanted.records();
        let line = records[0].zone_line();
        assert!(line.starts_with("s1._domainkey.acme.example. IN TXT \"v=DKIM1; k=rsa; p=MII"), "{line}");
        let strings: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        assert!(
            strings.len() > 1 && strings.iter().all(|string| string.len() <= STRING_OCTETS_MAX),
            "{line}"
        );
        assert_eq!(strings.concat(), records[0].value);
        assert!(records.iter().any(|record| record.value == "v=spf1 ip4:192.0.2.1 -all"));
        assert!(records.iter().any(|record| record.kind == "MX"));
    }
}
