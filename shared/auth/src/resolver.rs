//! [`Dns`] and [`CheckSpf`] by name servers.

use std::net::IpAddr;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{MessageAuthenticator, SpfResult};

use crate::dns::{Answer, CheckSpf, Dns, Spf};
use crate::spf;

/// Answers of one kind that are looked at: more are nobody's.
const ANSWERS_MAX: usize = 64;

/// Asks name servers.
#[derive(Clone)]
pub struct Asked(TokioResolver);

impl Asked {
    /// Asks by this resolver, which should have a cache: the same names are asked for again and again.
    pub fn new(resolver: TokioResolver) -> Self {
        Self(resolver)
    }

    async fn ask<T>(&self, name: &str, kind: RecordType, read: impl Fn(&RData) -> Option<T>) -> Answer<T> {
        let absolute = match Name::from_utf8(format!("{}.", name.trim_end_matches('.'))) {
            Ok(absolute) => absolute,
            Err(error) => return Answer::Failed(error.to_string()),
        };
        match self.0.lookup(absolute, kind).await {
            Ok(answer) => {
                let of_kind = answer.answers().iter().filter(|record| record.record_type() == kind);
                let found: Vec<T> =
                    of_kind.filter_map(|record| read(&record.data)).take(ANSWERS_MAX).collect();
                if found.is_empty() { Answer::NoData } else { Answer::Found(found) }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => match nothing.response_code {
                ResponseCode::NXDomain => Answer::NoName,
                ResponseCode::NoError => Answer::NoData,
                code => Answer::Failed(format!("the name server said {code}")),
            },
            Err(NetError::Timeout) => Answer::Failed("nobody answered".to_owned()),
            Err(error) => Answer::Failed(error.to_string()),
        }
    }
}

/// Where the names of an address stand (RFC 1035 3.5, RFC 3596 2.5).
fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            let labels: Vec<String> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            format!("{}.ip6.arpa", labels.join("."))
        }
    }
}

fn text_of(data: &RData) -> Option<String> {
    match data {
        RData::TXT(text) => {
            let octets: Vec<u8> = text.txt_data.iter().flat_map(|string| string.iter().copied()).collect();
            Some(String::from_utf8_lossy(&octets).into_owned())
        }
        _ => None,
    }
}

#[async_trait]
impl Dns for Asked {
    async fn txt(&self, name: &str) -> Answer<String> {
        self.ask(name, RecordType::TXT, text_of).await
    }

    async fn mx(&self, name: &str) -> Answer<(u16, String)> {
        let read = |data: &RData| match data {
            RData::MX(mx) => Some((mx.preference, mx.exchange.to_utf8().trim_end_matches('.').to_owned())),
            _ => None,
        };
        self.ask(name, RecordType::MX, read).await
    }

    async fn addresses(&self, name: &str) -> Answer<IpAddr> {
        let four = self.ask(name, RecordType::A, RData::ip_addr).await;
        let six = self.ask(name, RecordType::AAAA, RData::ip_addr).await;
        match (four, six) {
            (Answer::Found(mut four), Answer::Found(six)) => {
                four.extend(six);
                Answer::Found(four)
            }
            (Answer::Found(found), _) | (_, Answer::Found(found)) => Answer::Found(found),
            (Answer::Failed(why), _) | (_, Answer::Failed(why)) => Answer::Failed(why),
            (none, _) => none,
        }
    }

    async fn names(&self, ip: IpAddr) -> Answer<String> {
        let name = reverse_name(ip);
        let read = |data: &RData| match data {
            RData::PTR(name) => Some(name.0.to_utf8()),
            _ => None,
        };
        self.ask(&name, RecordType::PTR, read).await
    }
}

#[async_trait]
impl CheckSpf for Asked {
    async fn spf(&self, ip: IpAddr, domain: &str, helo: &str) -> Spf {
        self.sender(ip, &format!("postmaster@{domain}"), helo).await
    }
}

impl Asked {
    /// What SPF makes of a sender; of the null path by the name in EHLO (RFC 7208 2.4). The evaluation takes records
    /// that say what none may: the record of the domain itself is held to the letter before.
    pub async fn sender(&self, ip: IpAddr, sender: &str, helo: &str) -> Spf {
        let domain = sender.rsplit_once('@').map_or(helo, |(_, domain)| domain);
        if !spf::is_name(domain) {
            return Spf::None;
        }
        if let Answer::Found(texts) = self.txt(domain).await {
            let records: Vec<&String> = texts.iter().filter(|text| spf::is_record(text)).collect();
            if records.len() > 1 || records.iter().any(|record| spf::check(record).is_err()) {
                return Spf::PermError;
            }
        }
        let ip = ip.to_canonical();
        let by = MessageAuthenticator(self.0.clone());
        let asked = match sender.is_empty() {
            true => SpfParameters::verify_ehlo(ip, helo, helo),
            false => SpfParameters::verify_mail_from(ip, helo, helo, sender),
        };
        match by.verify_spf(asked).await.result() {
            SpfResult::Pass => Spf::Pass,
            SpfResult::Fail => Spf::Fail,
            SpfResult::SoftFail => Spf::SoftFail,
            SpfResult::Neutral => Spf::Neutral,
            SpfResult::TempError => Spf::TempError,
            SpfResult::PermError => Spf::PermError,
            SpfResult::None => Spf::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_names_under_itself_backwards() {
        let check = |ip: &str, expected: &str| assert_eq!(reverse_name(ip.parse().unwrap()), expected);
        check("192.0.2.25", "25.2.0.192.in-addr.arpa");
        // RFC 3596 2.5's own example.
        check(
            "4321:0:1:2:3:4:567:89ab",
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa",
        );
    }
}
