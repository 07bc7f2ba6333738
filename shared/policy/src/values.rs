//! Values of a policy file, each with what to write instead when it is wrong.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use posthaste_mail::{Domain, Tenant};
use toml::de::DeValue;

use crate::classify::build_user;
use crate::file::{Matches, RelayHost};
use crate::rate::Rate;
use crate::section::Read;
use crate::span::parse_span;
use crate::tls::TlsMode;

pub(crate) fn text<'v>(value: &'v DeValue<'_>) -> Read<&'v str> {
    value.as_str().ok_or_else(|| format!("is a text in quotes, not {} {}", article(value), value.type_str()))
}

pub(crate) fn article(value: &DeValue<'_>) -> &'static str {
    if value.type_str().starts_with(['a', 'i']) { "an" } else { "a" }
}

pub(crate) fn name(value: &DeValue<'_>) -> Read<String> {
    let text = text(value)?;
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no name: 1 to 64 visible ASCII characters"))
    }
}

pub(crate) fn switch(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| format!("is true or false, not {} {}", article(value), value.type_str()))
}

pub(crate) fn whole(value: &DeValue<'_>) -> Read<u64> {
    let number = value
        .as_integer()
        .ok_or_else(|| format!("is a whole number, not {} {}", article(value), value.type_str()))?;
    let digits = number.as_str().replace('_', "");
    u64::from_str_radix(digits.trim_start_matches('+'), number.radix())
        .map_err(|_| format!("`{digits}` is out of range: write a whole number from 0"))
}

pub(crate) fn positive(number: u64) -> Read<u64> {
    if number == 0 { Err("0 would let nothing through: write at least 1".to_owned()) } else { Ok(number) }
}

pub(crate) fn count(value: &DeValue<'_>) -> Read<u32> {
    let number = whole(value).and_then(positive)?;
    u32::try_from(number)
        .ok()
        .filter(|n| *n <= 1_000_000)
        .ok_or_else(|| format!("{number} is out of range: 1 to 1000000"))
}

/// A bound that may be lifted.
pub(crate) fn bound(value: &DeValue<'_>) -> Read<Option<u64>> {
    if value.as_str() == Some("unlimited") {
        return Ok(None);
    }
    if value.is_str() {
        return Err("is a whole number or \"unlimited\"".to_owned());
    }
    // Stores count in signed numbers.
    match whole(value).and_then(positive)? {
        number if i64::try_from(number).is_ok() => Ok(Some(number)),
        number => Err(format!("{number} is out of range: write \"unlimited\"")),
    }
}

pub(crate) fn tenant(value: &DeValue<'_>) -> Read<Tenant> {
    let name = text(value)?;
    Tenant::parse(name).ok_or_else(|| format!("`{name}` is no tenant: 1 to 64 of a-z, 0-9, `-` and `_`"))
}

pub(crate) fn port(value: &DeValue<'_>) -> Read<u16> {
    let number = whole(value)?;
    u16::try_from(number).ok().filter(|p| *p > 0).ok_or_else(|| format!("{number} is no port: 1 to 65535"))
}

pub(crate) fn share(value: &DeValue<'_>) -> Read<f64> {
    let number = match value {
        DeValue::Float(float) => float.as_str().replace('_', "").parse::<f64>().ok(),
        DeValue::Integer(_) => whole(value).ok().map(|n| n as f64),
        _ => None,
    };
    number.filter(|n| (0.0..=1.0).contains(n)).ok_or_else(|| "is a share from 0 to 1, such as 0.1".to_owned())
}

pub(crate) fn span(value: &DeValue<'_>) -> Read<Duration> {
    match value {
        DeValue::Integer(number) => {
            Err(format!("`{0}` has no unit: write \"{0}s\", \"{0}m\", \"{0}h\" or \"{0}d\"", number.as_str()))
        }
        value => parse_span(text(value)?),
    }
}

/// A span that is not nothing.
pub(crate) fn some_span(value: &DeValue<'_>) -> Read<Duration> {
    let span = span(value)?;
    if span.is_zero() { Err("is no time at all: write at least \"1s\"".to_owned()) } else { Ok(span) }
}

pub(crate) fn rate(value: &DeValue<'_>) -> Read<Rate> {
    match value {
        DeValue::Integer(number) => {
            Err(format!("`{0}` names no time: write \"{0}/s\" or \"{0}/m\"", number.as_str()))
        }
        value => Rate::parse(text(value)?),
    }
}

/// `https://mail.example.com`: where the API is reached from outside.
pub(crate) fn public_url(value: &DeValue<'_>) -> Read<String> {
    /// Octets: it is part of a line of every message that has a link.
    const OCTETS_MAX: usize = 200;
    let url = text(value)?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let plain = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:/[]".contains(&b))
    };
    match rest {
        Some(rest) if plain(rest) && url.len() <= OCTETS_MAX => Ok(url.trim_end_matches('/').to_owned()),
        _ => {
            Err(format!("`{url}`: expected an address such as \"https://mail.example.com\", without a query"))
        }
    }
}

pub(crate) fn domain(value: &DeValue<'_>) -> Read<Domain> {
    let name = text(value)?;
    if name.contains('*') {
        return Err(format!(
            "`{name}`: names are matched whole; a rule for many hosts is match = {{ mx_suffix = \".example.net\" }}"
        ));
    }
    Domain::parse(name).map_err(|error| error.to_string())
}

pub(crate) fn suffix(value: &DeValue<'_>) -> Read<Matches> {
    let written = text(value)?;
    let suffix = written.strip_prefix('.').unwrap_or(written);
    if suffix.contains('*') {
        return Err(format!(
            "`{written}`: write it without the star, \"{}\"",
            written.replace('*', "").replace("..", ".")
        ));
    }
    let domain = Domain::parse(suffix).map_err(|error| format!("`{written}` can match no host: {error}"))?;
    Ok(Matches::MxSuffix(format!(".{domain}").into()))
}

pub(crate) fn address(value: &DeValue<'_>) -> Read<IpAddr> {
    let text = text(value)?;
    text.parse().map_err(|_| format!("`{text}` is no IP address: write \"192.0.2.7\""))
}

/// An address with a port, or without one: 53.
pub(crate) fn server(value: &DeValue<'_>) -> Read<SocketAddr> {
    let text = text(value)?;
    let bare = || text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    text.parse()
        .or_else(|_| bare())
        .map_err(|_| format!("`{text}` is no resolver: write \"192.0.2.53\" or \"127.0.0.1:5353\""))
}

pub(crate) fn smarthost(value: &DeValue<'_>) -> Read<(RelayHost, u16)> {
    let text = text(value)?;
    let expected = || format!("`{text}` is no smarthost: write \"smtp.relay.example:587\"");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let port = port.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(expected)?;
    Ok((RelayHost::parse(host).map_err(|error| format!("{}: {error}", expected()))?, port))
}

pub(crate) fn tls_mode(value: &DeValue<'_>) -> Read<TlsMode> {
    one_of(value, TlsMode::parse, TlsMode::ALL)
}

pub(crate) fn one_of<T: Copy + std::fmt::Display>(
    value: &DeValue<'_>,
    parse: impl Fn(&str) -> Option<T>,
    all: &[T],
) -> Read<T> {
    let text = text(value)?;
    parse(text).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("`{text}` is none of {}", names.join(", "))
    })
}

/// A code may be written as a number.
pub(crate) fn code_text(value: &DeValue<'_>) -> Read<String> {
    if value.is_integer() { whole(value).map(|n| n.to_string()) } else { text(value).map(ToOwned::to_owned) }
}

pub(crate) fn pattern(value: &DeValue<'_>) -> Read<String> {
    let pattern = text(value)?;
    match build_user(pattern) {
        Ok(_) => Ok(pattern.to_owned()),
        Err(error) => Err(format!("no regular expression: {}", error.to_string().replace('\n', " "))),
    }
}
