//! The envelope of a raw message: what stands in the query, or wherever a raw message comes with its envelope.

use std::collections::BTreeMap;

use posthaste_mail::{Address, ReversePath, Timestamp};

use super::refusal::{FieldError, Findings, Refusal};
use super::wishes::{self, TAGS_MAX, Wishes, Written};

/// Parameters of one query: a thousand recipients, twenty tags and the rest.
const PARAMETERS_MAX: usize = 10_100;

/// An envelope as it was written.
#[derive(Debug, Clone, Default)]
pub struct RawRequest {
    /// Where notices go; nothing or `<>` is the null path; absent: the From address.
    pub mail_from: Option<String>,
    /// Recipients.
    pub rcpt_to: Vec<String>,
    /// `name:value`, each.
    pub tag: Vec<String>,
    /// `transactional` or `bulk`.
    pub lane: Option<String>,
    /// RFC 3339.
    pub send_at: Option<String>,
    /// A span of time.
    pub expires_in: Option<String>,
    /// `at-least-once` or `at-most-once`.
    pub guarantee: Option<String>,
    /// The least TLS that will do.
    pub tls: Option<String>,
    /// The same as `mail_from`.
    pub return_path: Option<String>,
    /// `true` or `false`.
    pub sandbox: Option<String>,
}

impl RawRequest {
    /// Reads the parameters of a query, already decoded.
    pub fn from_pairs(pairs: Vec<(String, String)>) -> Result<Self, Refusal> {
        if pairs.len() > PARAMETERS_MAX {
            return Err(FieldError::new("", "far too many parameters").into());
        }
        let mut request = Self::default();
        let mut findings = Findings::default();
        for (name, value) in pairs {
            let once = match name.as_str() {
                "rcpt_to" => {
                    request.rcpt_to.push(value);
                    continue;
                }
                "tag" => {
                    request.tag.push(value);
                    continue;
                }
                "mail_from" => &mut request.mail_from,
                "lane" => &mut request.lane,
                "send_at" => &mut request.send_at,
                "expires_in" => &mut request.expires_in,
                "guarantee" => &mut request.guarantee,
                "tls" => &mut request.tls,
                "return_path" => &mut request.return_path,
                "sandbox" => &mut request.sandbox,
                _ => {
                    findings.add(wishes::shown(&name), "unknown parameter");
                    continue;
                }
            };
            if once.replace(value).is_some() {
                findings.add(name, "given more than once");
            }
        }
        findings.verdict()?;
        Ok(request)
    }
}

/// An envelope, read.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) recipients: Vec<Address>,
    pub(super) wishes: Wishes,
    pub(super) sandbox: Option<bool>,
}

pub(super) fn read(request: &RawRequest, now: Timestamp, findings: &mut Findings) -> Envelope {
    let recipients = request
        .rcpt_to
        .iter()
        .enumerate()
        .filter_map(|(n, text)| {
            let hint = if text.contains(' ') { " (in a query a plus sign is written %2B)" } else { "" };
            let address = Address::parse(text).map_err(|error| format!("{error}{hint}"));
            findings.take(&format!("rcpt_to[{n}]"), address)
        })
        .collect();
    let mut tags = BTreeMap::new();
    for (n, tag) in request.tag.iter().enumerate().take(TAGS_MAX + 1) {
        match tag.split_once(':') {
            Some((name, value)) => {
                tags.insert(name, value);
            }
            None => findings.add(format!("tag[{n}]"), "expected `name:value`"),
        }
    }
    let sandbox = match request.sandbox.as_deref() {
        Some("true") => Some(true),
        None | Some("false") => None,
        Some(_) => {
            findings.add("sandbox", "expected `true` or `false`");
            None
        }
    };
    if request.mail_from.is_some() && request.return_path.is_some() {
        findings.add("return_path", "says the same as `mail_from`: give one of them");
    }
    let mail_from = findings.take_if("mail_from", request.mail_from.as_deref().map(ReversePath::parse));
    let mut wishes = wishes::read(
        &Written {
            tags,
            lane: request.lane.as_deref(),
            send_at: request.send_at.as_deref(),
            expires_in: request.expires_in.as_deref(),
            guarantee: request.guarantee.as_deref(),
            tls: request.tls.as_deref(),
            return_path: request.return_path.as_deref(),
        },
        now,
        findings,
    );
    wishes.return_path = mail_from.or(wishes.return_path);
    Envelope { recipients, wishes, sandbox }
}
