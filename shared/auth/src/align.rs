//! DMARC (RFC 9989): the policy record that holds for a domain, its organizational domain by the tree walk, and whether an
//! authenticated domain is aligned with the one in From.

use posthaste_mail::Domain;
use serde::{Deserialize, Serialize};

use crate::dns::{Answer, Dns};

/// Names asked for in one walk (RFC 9989 4.10).
pub const WALK_MAX: usize = 8;

/// How close an authenticated domain has to be to From's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The same organizational domain.
    #[default]
    Relaxed,
    /// The same domain.
    Strict,
}

/// What the owner asks receivers to do with mail that fails, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Nothing.
    None,
    /// To doubt it.
    Quarantine,
    /// To refuse it.
    Reject,
}

/// A policy record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dmarc {
    /// `p`; a record with `rua` and none is as `none`.
    pub policy: Policy,
    /// `sp`: for subdomains without a record of their own.
    pub subdomains: Option<Policy>,
    /// `adkim`.
    pub dkim: Mode,
    /// `aspf`.
    pub spf: Mode,
    /// `psd`: `y` or `n`, if it says.
    pub psd: Option<bool>,
    /// Where reports go.
    pub rua: Vec<String>,
}

impl Dmarc {
    /// Reads a record; none: it is not one of DMARC. What is wrong in it is told.
    pub fn parse(text: &str) -> Option<Result<Self, String>> {
        let mut tags = text.split(';').map(str::trim).filter(|tag| !tag.is_empty());
        let (name, version) = tags.next()?.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("v") || version.trim() != "DMARC1" {
            return None;
        }
        Some(Self::read(tags))
    }

    fn read<'a>(tags: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mode = |value: &str| match value.to_ascii_lowercase().as_str() {
            "r" => Ok(Mode::Relaxed),
            "s" => Ok(Mode::Strict),
            other => Err(format!("an alignment mode is `r` or `s`, not `{other}`")),
        };
        let policy = |value: &str| match value.to_ascii_lowercase().as_str() {
            "none" => Ok(Policy::None),
            "quarantine" => Ok(Policy::Quarantine),
            "reject" => Ok(Policy::Reject),
            other => Err(format!("a policy is `none`, `quarantine` or `reject`, not `{other}`")),
        };
        let (mut p, mut sp, mut psd, mut rua) = (None, None, None, Vec::new());
        let (mut dkim, mut spf) = (Mode::Relaxed, Mode::Relaxed);
        for tag in tags {
            let (name, value) = tag.split_once('=').ok_or_else(|| format!("`{tag}` is no tag"))?;
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "p" => p = Some(policy(value)?),
                "sp" => sp = Some(policy(value)?),
                "adkim" => dkim = mode(value)?,
                "aspf" => spf = mode(value)?,
                "psd" => {
                    psd = match value {
                        "y" => Some(true),
                        "n" => Some(false),
                        _ => None,
                    }
                }
                "rua" => rua = value.split(',').map(|uri| uri.trim().to_owned()).collect(),
                _ => {}
            }
        }
        let policy = match (p, rua.is_empty()) {
            (Some(policy), _) => policy,
            (None, false) => Policy::None,
            (None, true) => return Err("the record has no `p`".to_owned()),
        };
        Ok(Self { policy, subdomains: sp, dkim, spf, psd, rua })
    }
}

/// What the walk from a domain came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Records, from the domain upwards, each with the name below `_dmarc`.
    pub records: Vec<(String, Dmarc)>,
    /// Records that cannot be read, or several at one name.
    pub wrong: Vec<(String, String)>,
    /// The organizational domain.
    pub organizational: String,
    /// Why it may not be all there is.
    pub failed: Option<String>,
}

impl Walk {
    /// The record that holds for mail of the domain the walk began at.
    pub fn policy(&self, from: &str) -> Option<&(String, Dmarc)> {
        let at = |name: &str| self.records.iter().find(|(known, _)| known == name);
        at(from).or_else(|| at(&self.organizational)).or_else(|| self.records.last())
    }
}

/// The names that are asked for, in order.
fn names(domain: &str) -> Vec<String> {
    let labels: Vec<&str> = domain.trim_end_matches('.').split('.').collect();
    let mut names = vec![labels.join(".")];
    // From more than eight labels the walk goes on at seven.
    let next = labels.len().saturating_sub(1).min(WALK_MAX - 1);
    names.extend((1..=next).rev().map(|count| labels[labels.len() - count..].join(".")));
    names.truncate(WALK_MAX);
    names
}

/// Walks up from a domain.
pub async fn walk(dns: &dyn Dns, domain: &str) -> Walk {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    let mut walk =
        Walk { records: Vec::new(), wrong: Vec::new(), organizational: domain.clone(), failed: None };
    for name in names(&domain) {
        let answer = dns.txt(&format!("_dmarc.{name}")).await;
        if let Answer::Failed(why) = &answer {
            walk.failed.get_or_insert_with(|| format!("_dmarc.{name}: {why}"));
        }
        let read: Vec<_> = answer.found().iter().filter_map(|text| Dmarc::parse(text)).collect();
        match <[_; 1]>::try_from(read) {
            Ok([Ok(record)]) => {
                let psd = record.psd;
                walk.records.push((name, record));
                if psd.is_some() {
                    break;
                }
            }
            Ok([Err(why)]) => walk.wrong.push((name, why)),
            Err(read) if read.is_empty() => {}
            Err(read) => walk.wrong.push((name, format!("there are {} records, and so none", read.len()))),
        }
    }
    walk.organizational = organizational(&walk.records, &domain);
    walk
}

/// RFC 9989 4.10.2: the name that says it is none of a public suffix, else the one below the one that says it is, else the
/// shortest with a record.
fn organizational(records: &[(String, Dmarc)], domain: &str) -> String {
    for (name, record) in records {
        match record.psd {
            Some(false) => return name.clone(),
            Some(true) if name != domain => {
                let count = name.split('.').count() + 1;
                let labels: Vec<&str> = domain.split('.').collect();
                return labels[labels.len().saturating_sub(count)..].join(".");
            }
            _ => {}
        }
    }
    let shortest = records.iter().map(|(name, _)| name).min_by_key(|name| name.split('.').count());
    shortest.cloned().unwrap_or_else(|| domain.to_owned())
}

/// Whether an authenticated domain is aligned with From's, where both belong to these organizations.
pub fn is_aligned(from: &str, authenticated: &str, mode: Mode, organizations: (&str, &str)) -> bool {
    from.eq_ignore_ascii_case(authenticated)
        || (mode == Mode::Relaxed && organizations.0.eq_ignore_ascii_case(organizations.1))
}

/// Whether a signature of a domain is aligned with a From that is the domain itself or stands below it: without a look into
/// DNS that is all that can be said, and all a sender needs who signs with his own domain.
pub fn signs_for(from: &Domain, signing: &Domain, mode: Mode) -> bool {
    from == signing || (mode == Mode::Relaxed && from.is_under(signing.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_or_told_what_is_wrong_with_it() {
        let check = |text: &str, expected: &str| {
            let got = match Dmarc::parse(text) {
                None => "none".to_owned(),
                Some(Err(why)) => format!("wrong: {why}"),
                Some(Ok(r)) => format!(
                    "{:?} {:?} {:?} {:?} {:?} {}",
                    r.policy,
                    r.subdomains,
                    r.dkim,
                    r.spf,
                    r.psd,
                    r.rua.len()
                ),
            };
            assert_eq!(got, expected, "{text}");
        };
        check(
            "v=DMARC1; p=reject; adkim=s; rua=mailto:a@b.example, mailto:c@d.example",
            "Reject None Strict Relaxed None 2",
        );
        check(
            "v=DMARC1;p=none;sp=quarantine;aspf=s;psd=n",
            "None Some(Quarantine) Relaxed Strict Some(false) 0",
        );
        check("v=DMARC1; rua=mailto:a@b.example", "None None Relaxed Relaxed None 1");
        check("v=DMARC1", "wrong: the record has no `p`");
        check("v=DMARC1; p=maybe", "wrong: a policy is `none`, `quarantine` or `reject`, not `maybe`");
        check("v=dmarc1; p=none", "none");
        check("v=spf1 -all", "none");
    }

    #[test]
    fn a_walk_asks_for_eight_names_at_most() {
        let check = |domain: &str, expected: &[&str]| assert_eq!(names(domain), expected, "{domain}");
        check("example.com", &["example.com", "com"]);
        check("a.mail.example.com", &["a.mail.example.com", "mail.example.com", "example.com", "com"]);
        // RFC 9989 4.10.1's own example.
        check(
            "a.b.c.d.e.f.g.h.i.j.mail.example.com",
            &[
                "a.b.c.d.e.f.g.h.i.j.mail.example.com",
                "g.h.i.j.mail.example.com",
                "h.i.j.mail.example.com",
                "i.j.mail.example.com",
                "j.mail.example.com",
                "mail.example.com",
                "example.com",
                "com",
            ],
        );
    }

    #[test]
    fn the_organization_is_found_by_what_stands_on_the_way() {
        let check = |domain: &str, records: &[(&str, &str)], expected: &str| {
            let records: Vec<(String, Dmarc)> = records
                .iter()
                .map(|(name, text)| ((*name).to_owned(), Dmarc::parse(text).unwrap().unwrap()))
                .collect();
            assert_eq!(organizational(&records, domain), expected, "{domain} {records:?}");
        };
        let plain = "v=DMARC1; p=none";
        check("a.example.com", &[], "a.example.com");
        check("a.example.com", &[("example.com", plain)], "example.com");
        check("a.example.com", &[("a.example.com", plain), ("example.com", plain)], "example.com");
        check("a.example.com", &[("a.example.com", "v=DMARC1; p=none; psd=n")], "a.example.com");
        check("a.giant.bank.example", &[("bank.example", "v=DMARC1; p=none; psd=y")], "giant.bank.example");
        check("bank.example", &[("bank.example", "v=DMARC1; p=none; psd=y")], "bank.example");
    }

    #[test]
    fn alignment_is_by_domain_or_by_organization() {
        use Mode::{Relaxed, Strict};
        let check = |from: &str, by: &str, mode: Mode, orgs: (&str, &str), expected: bool| {
            assert_eq!(is_aligned(from, by, mode, orgs), expected, "{from} {by} {mode:?}");
        };
        check("example.com", "EXAMPLE.com", Strict, ("x", "y"), true);
        check("news.example.com", "example.com", Relaxed, ("example.com", "example.com"), true);
        check("news.example.com", "example.com", Strict, ("example.com", "example.com"), false);
        check("example.com", "bounce.example.com", Relaxed, ("example.com", "example.com"), true);
        check("example.com", "example.net", Relaxed, ("example.com", "example.net"), false);
    }
}
