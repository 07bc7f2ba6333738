//! What a submission asks of its delivery, whatever form it came in: lane, tags, times, guarantee, TLS, return path.

use std::collections::BTreeMap;
use std::time::Duration;

use posthaste_mail::{Lane, ReversePath, Timestamp};
use posthaste_policy::TlsMode;
use posthaste_policy::span::parse_span;

use super::refusal::Findings;
use super::request::MailRequest;
use crate::row::Guarantee;

/// Tags of one submission: they are copied into every row and event.
pub(super) const TAGS_MAX: usize = 20;
/// Octets of a tag's name.
pub(super) const TAG_NAME_OCTETS_MAX: usize = 64;
/// Octets of a tag's value.
pub(super) const TAG_VALUE_OCTETS_MAX: usize = 256;
/// How far ahead a message may be scheduled: longer plans belong in the caller's own calendar.
pub(super) const SEND_AT_AHEAD_MAX: Duration = Duration::from_secs(90 * 86_400);
/// Longest lifetime: what waits for a month was not wanted.
pub(super) const LIFETIME_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Shortest lifetime: less than a second cannot hold one attempt.
pub(super) const LIFETIME_MIN: Duration = Duration::from_secs(1);

/// Delivery options as they were written.
#[derive(Debug, Clone, Default)]
pub(super) struct Written<'a> {
    pub(super) lane: Option<&'a str>,
    pub(super) tags: BTreeMap<&'a str, &'a str>,
    pub(super) send_at: Option<&'a str>,
    pub(super) expires_in: Option<&'a str>,
    pub(super) guarantee: Option<&'a str>,
    pub(super) tls: Option<&'a str>,
    pub(super) return_path: Option<&'a str>,
}

impl<'a> Written<'a> {
    pub(super) fn of(request: &'a MailRequest) -> Self {
        let tags =
            request.tags.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self {
            tags,
            lane: request.lane.as_deref(),
            send_at: request.send_at.as_deref(),
            expires_in: request.expires_in.as_deref(),
            guarantee: request.guarantee.as_deref(),
            tls: request.tls.as_deref(),
            return_path: request.return_path.as_deref(),
        }
    }
}

/// Delivery options, read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Wishes {
    pub(super) lane: Lane,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) send_at: Option<Timestamp>,
    pub(super) expires_in: Option<Duration>,
    pub(super) guarantee: Guarantee,
    pub(super) tls: Option<TlsMode>,
    pub(super) return_path: Option<ReversePath>,
}

/// Reads the options; what cannot be read is a finding and keeps its default.
pub(super) fn read(written: &Written<'_>, now: Timestamp, findings: &mut Findings) -> Wishes {
    let lane = written.lane.map(|text| Lane::parse(text).ok_or("expected `transactional` or `bulk`"));
    let guarantee = written.guarantee.map(|text| match text {
        "at-least-once" => Ok(Guarantee::AtLeastOnce),
        "at-most-once" => Ok(Guarantee::AtMostOnce),
        _ => Err("expected `at-least-once` or `at-most-once`"),
    });
    let tls = written
        .tls
        .map(|text| TlsMode::parse(text).ok_or("expected `never`, `opportunistic`, `encrypt` or `verify`"));
    read_tags(&written.tags, findings);
    Wishes {
        lane: findings.take_if("lane", lane).unwrap_or_default(),
        tags: written.tags.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        send_at: findings.take_if("send_at", written.send_at.map(|text| read_send_at(text, now))).flatten(),
        expires_in: findings.take_if("expires_in", written.expires_in.map(read_expires_in)),
        guarantee: findings.take_if("guarantee", guarantee).unwrap_or_default(),
        tls: findings.take_if("tls", tls),
        return_path: findings.take_if("return_path", written.return_path.map(ReversePath::parse)),
    }
}

fn read_tags(tags: &BTreeMap<&str, &str>, findings: &mut Findings) {
    if tags.len() > TAGS_MAX {
        findings.add("tags", format!("at most {TAGS_MAX} tags are taken"));
        return;
    }
    for (name, value) in tags {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !(1..=TAG_NAME_OCTETS_MAX).contains(&name.len()) || !name.bytes().all(known) {
            let detail =
                format!("a tag's name is 1 to {TAG_NAME_OCTETS_MAX} letters, digits, `-`, `_` or `.`");
            findings.add(format!("tags.{}", shown(name)), detail);
        } else if value.len() > TAG_VALUE_OCTETS_MAX || value.chars().any(char::is_control) {
            let detail =
                format!("a tag's value is at most {TAG_VALUE_OCTETS_MAX} octets without control characters");
            findings.add(format!("tags.{name}"), detail);
        }
    }
}

/// A name from outside, fit to be shown.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// A time that has passed is now: it was early enough when the caller wrote it.
fn read_send_at(text: &str, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let at = Timestamp::parse_rfc3339(text)
        .ok_or("expected a time as in RFC 3339, such as `2026-11-23T12:00:00Z`")?;
    if at.since(now) > SEND_AT_AHEAD_MAX {
        return Err(format!("at most {} days ahead", SEND_AT_AHEAD_MAX.as_secs() / 86_400));
    }
    Ok((at > now).then_some(at))
}

fn read_expires_in(text: &str) -> Result<Duration, String> {
    let span = parse_span(text)?;
    if (LIFETIME_MIN..=LIFETIME_MAX).contains(&span) {
        Ok(span)
    } else {
        Err(format!("expected one second to {} days", LIFETIME_MAX.as_secs() / 86_400))
    }
}
