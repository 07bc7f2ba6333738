//! What an SPF record may say (RFC 7208 4.6, 5, 6, 7 and 12): a record that says anything else is a permanent error to
//! receivers, and its domain has no SPF.

use std::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// Octets of a name at most (RFC 1035 2.3.4), without the last dot.
const NAME_MAX: usize = 253;
/// Octets of a label at most.
const LABEL_MAX: usize = 63;

/// A term that no record may have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{term}`: {why}")]
pub struct Wrong {
    /// The term as it stands there.
    pub term: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// Whether a text is an SPF record, of whatever worth: its version stands alone before a space or the end (4.5).
pub fn is_record(text: &str) -> bool {
    let version = text.split(' ').next().unwrap_or_default();
    version.eq_ignore_ascii_case("v=spf1")
}

/// The first term of a record that is wrong.
pub fn check(record: &str) -> Result<(), Wrong> {
    let (mut redirects, mut explanations) = (0, 0);
    for term in record.split(' ').skip(1).filter(|term| !term.is_empty()) {
        let wrong = |why| Wrong { term: term.escape_default().to_string(), why };
        if !term.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err(wrong("letters, digits and marks of ASCII only, with a space between terms"));
        }
        match modifier(term) {
            Some((name, value)) if name.eq_ignore_ascii_case("redirect") => {
                redirects += 1;
                domain_spec(value)
            }
            Some((name, value)) if name.eq_ignore_ascii_case("exp") => {
                explanations += 1;
                domain_spec(value)
            }
            Some((_, value)) => macro_string(value).map(drop),
            None => mechanism(term),
        }
        .map_err(wrong)?;
        if redirects > 1 || explanations > 1 {
            return Err(wrong("stands there twice"));
        }
    }
    Ok(())
}

/// `name=value`; a mechanism has a colon or a slash before any `=`.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    let known = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let starts = name.bytes().next().is_some_and(|first| first.is_ascii_alphabetic());
    (starts && name.bytes().all(known)).then_some((name, value))
}

fn mechanism(term: &str) -> Result<(), &'static str> {
    let term = term.strip_prefix(['+', '-', '?', '~']).unwrap_or(term);
    let at = term.find([':', '/']).unwrap_or(term.len());
    let (name, rest) = term.split_at(at);
    let domain = rest.strip_prefix(':');
    match name.to_ascii_lowercase().as_str() {
        "all" if rest.is_empty() => Ok(()),
        "all" => Err("`all` has nothing behind it"),
        "include" | "exists" => domain_spec(domain.ok_or("no domain")?),
        "ptr" if rest.is_empty() => Ok(()),
        "ptr" => domain_spec(domain.ok_or("no domain")?),
        "a" | "mx" => match domain {
            Some(domain) => domain_spec(lengths(domain)?),
            None => match lengths(rest)? {
                "" => Ok(()),
                _ => Err("neither a domain nor a length of prefix"),
            },
        },
        "ip4" => {
            let (ip, length) = prefix(domain.ok_or("no address")?);
            ip.parse::<Ipv4Addr>().map_err(|_| "no IPv4 address")?;
            length.map_or(Ok(()), |length| bits(length, 32))
        }
        "ip6" => {
            let (ip, length) = prefix(domain.ok_or("no address")?);
            ip.parse::<Ipv6Addr>().map_err(|_| "no IPv6 address")?;
            length.map_or(Ok(()), |length| bits(length, 128))
        }
        _ => Err("no mechanism of SPF, and no modifier"),
    }
}

fn prefix(network: &str) -> (&str, Option<&str>) {
    network.split_once('/').map_or((network, None), |(ip, length)| (ip, Some(length)))
}

/// What stands before the lengths of prefixes, `/24`, `//64` or `/24//64`.
fn lengths(text: &str) -> Result<&str, &'static str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let mut before = text;
    if let Some((rest, six)) = before.rsplit_once("//").filter(|(_, six)| digits(six)) {
        bits(six, 128)?;
        before = rest;
    }
    if let Some((rest, four)) = before.rsplit_once('/').filter(|(_, four)| digits(four)) {
        bits(four, 32)?;
        before = rest;
    }
    // A slash that is left is one of a macro, or no length.
    if before.ends_with('/') { Err("no length of prefix") } else { Ok(before) }
}

fn bits(text: &str, most: u8) -> Result<(), &'static str> {
    let plain = text == "0" || !text.starts_with(['0', '+']);
    match text.parse::<u8>() {
        Ok(length) if plain && length <= most => Ok(()),
        _ => Err("no length of prefix"),
    }
}

/// A name, which ends in a macro or in a label that a top-level domain could have.
fn domain_spec(text: &str) -> Result<(), &'static str> {
    let Some(literal) = macro_string(text)? else { return Ok(()) };
    let (_, top) = literal.strip_suffix('.').unwrap_or(literal).rsplit_once('.').ok_or("no full domain")?;
    let letters = top.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let numeric = top.bytes().all(|octet| octet.is_ascii_digit());
    if top.is_empty() || !letters || numeric || top.starts_with('-') || top.ends_with('-') {
        return Err("no domain ends like this");
    }
    Ok(())
}

/// What stands behind the last macro; none where a macro ends it (RFC 7208 7.1).
fn macro_string(text: &str) -> Result<Option<&str>, &'static str> {
    const WRONG: &str = "no macro: `%{letter}`, `%%`, `%_` or `%-`";
    let mut rest = text;
    let mut ends_in_macro = false;
    while let Some((_, behind)) = rest.split_once('%') {
        let (expands, after) = match behind.as_bytes().first() {
            Some(b'%' | b'_' | b'-') => (false, &behind[1..]),
            Some(b'{') => {
                let (inside, after) = behind[1..].split_once('}').ok_or(WRONG)?;
                if !is_macro(inside) {
                    return Err(WRONG);
                }
                (true, after)
            }
            _ => return Err(WRONG),
        };
        (ends_in_macro, rest) = (expands && after.is_empty(), after);
    }
    Ok(if ends_in_macro { None } else { Some(rest) })
}

/// A letter, how many labels of it and whether in reverse, and what it is split at.
fn is_macro(inside: &str) -> bool {
    // `c`, `r` and `t` stand in explanations only, and these are not looked at here.
    let Some(rest) = inside.strip_prefix(|letter: char| "slodiphvSLODIPHV".contains(letter)) else {
        return false;
    };
    let labels = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let count = &rest[..rest.len() - labels.len()];
    let delimiters = labels.strip_prefix(['r', 'R']).unwrap_or(labels);
    (count.is_empty() || count.bytes().any(|digit| digit != b'0'))
        && delimiters.chars().all(|delimiter| ".-+,/_=".contains(delimiter))
}

/// Whether a name is one that SPF is asked of: several labels, none empty or too long (4.3).
pub fn is_name(domain: &str) -> bool {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    domain.len() <= NAME_MAX
        && domain.contains('.')
        && !domain.starts_with('[')
        && domain.split('.').all(|label| (1..=LABEL_MAX).contains(&label.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_records_have_and_terms_that_spoil_them() {
        let good = [
            "all",
            "-all",
            "~ALL",
            "a",
            "a/24",
            "a//64",
            "a/24//64",
            "a:mail.example.com",
            "mx:example.com./0",
            "a:foo:bar.example.com",
            "ptr",
            "ptr:example.com",
            "ip4:192.0.2.1",
            "ip4:192.0.2.0/24",
            "ip6:::1",
            "ip6:2001:db8::/32",
            "include:%{d}",
            "include:_spf.example.com",
            "exists:%{i}.%{l1r-}.list.example.com",
            "exists:%%%_%-.example.com",
            "redirect=example.com",
            "exp=why.%{d2}",
            "x-tag=anything:goes/here",
            "moo=",
        ];
        for term in good {
            assert_eq!(check(&format!("v=spf1 {term} -all")), Ok(()), "{term}");
        }
        let bad = [
            "al",
            "all:here",
            "a:",
            "a/33",
            "a/024",
            "a//129",
            "a/",
            "a:example.com/",
            "a:example",
            "a:example.-com",
            "a:example.111",
            "a:museum.",
            "ip4",
            "ip4:192.0.2",
            "ip4:192.0.2.1/33",
            "ip4:192.0.2.1/032",
            "ip4:::1",
            "ip4:192.0.2.1:25",
            "ip6:2001:db8::/129",
            "ip6:192.0.2.1",
            "include",
            "include:",
            "include:example",
            "exists:%{x}.example.com",
            "exists:%{d0}.example.com",
            "exists:%{d.example.com",
            "exists:%d.example.com",
            "redirect=",
            "redirect=example",
            "=value",
            "1=value",
            "redirect:example.com",
            "a\u{e4}",
            "a\t-all",
            "redirect=a.example redirect=b.example",
            "exp=a.example exp=a.example",
            "ip4 :192.0.2.1",
        ];
        for term in bad {
            assert!(check(&format!("v=spf1 {term} -all")).is_err(), "{term}");
        }
    }

    #[test]
    fn a_version_stands_alone() {
        for (text, is) in
            [("v=spf1", true), ("V=SPF1 -all", true), ("v=spf10", false), ("v=spf1\t-all", false)]
        {
            assert_eq!(is_record(text), is, "{text}");
        }
    }
}
