//! What of a transaction a peer can take, decided before it is asked. Pure.

use posthaste_mail::Domain;

use crate::transaction::RECIPIENTS_MAX;
use crate::wire::command::MailParameters;
use crate::{Capabilities, ContentKind, Inability, Manner, Outcome, SizeLimit, SmtpUtf8, Transaction};

/// What is asked, and what is known without asking.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Indexes of the recipients to ask, in order.
    pub(crate) ask: Vec<usize>,
    /// One for each recipient; `None` where it is asked.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// With MAIL.
    pub(crate) parameters: MailParameters,
}

/// Plans `tx` for a peer that offers `offer`, on a connection where mail to `domains_seen` was sent before.
pub(crate) fn plan(tx: &Transaction, offer: &Capabilities, manner: Manner, domains_seen: &[Domain]) -> Plan {
    let octets = message_octets(tx);
    let everyone = match offer.size {
        Some(SizeLimit::Octets(limit)) if octets > limit => Some(Inability::TooBig { limit }),
        _ if tx.content == ContentKind::EightBit && !offer.eight_bit_mime => Some(Inability::EightBit),
        _ if whole_needs_smtputf8(tx) && !offer.smtputf8 => Some(Inability::SmtpUtf8),
        _ => None,
    };
    let parameters = MailParameters::default();
    if let Some(why) = everyone {
        let outcomes = vec![Some(Outcome::Unable { why }); tx.recipients.len()];
        return Plan { ask: Vec::new(), outcomes, parameters };
    }
    let (ask, outcomes) = choose(tx, offer, domains_seen);
    let smtputf8 = whole_needs_smtputf8(tx) || ask.iter().any(|index| tx.recipients[*index].needs_smtputf8());
    let parameters = match manner {
        Manner::Plain => MailParameters { smtputf8, ..parameters },
        Manner::Full => MailParameters {
            size: offer.size.is_some().then_some(octets),
            eight_bit: tx.content == ContentKind::EightBit,
            smtputf8,
            xid: offer.xid && tx.xid.is_some(),
            xtry: offer.xtry,
        },
    };
    Plan { ask, outcomes, parameters }
}

/// As RFC 1870 counts: with line ends, without stuffed dots and the final one.
fn message_octets(tx: &Transaction) -> u64 {
    tx.prefix.len() as u64 + tx.body.len() as u64
}

fn whole_needs_smtputf8(tx: &Transaction) -> bool {
    tx.smtputf8 == SmtpUtf8::Needed || tx.mail_from.address().is_some_and(|from| from.needs_smtputf8())
}

fn choose(tx: &Transaction, offer: &Capabilities, seen: &[Domain]) -> (Vec<usize>, Vec<Option<Outcome>>) {
    let most = offer.limits.rcpt_max.map_or(RECIPIENTS_MAX, |max| RECIPIENTS_MAX.min(max as usize));
    let domains_most = offer.limits.rcpt_domain_max.map_or(usize::MAX, |max| max as usize);
    let mut new_domains: Vec<&Domain> = Vec::new();
    let mut ask = Vec::with_capacity(tx.recipients.len().min(most));
    let mut outcomes = Vec::with_capacity(tx.recipients.len());
    for (index, recipient) in tx.recipients.iter().enumerate() {
        let domain = recipient.domain();
        let counted =
            offer.limits.rcpt_domain_max.is_none() || seen.contains(domain) || new_domains.contains(&domain);
        outcomes.push(if recipient.needs_smtputf8() && !offer.smtputf8 {
            Some(Outcome::Unable { why: Inability::SmtpUtf8 })
        } else if ask.len() == most {
            Some(Outcome::NextTransaction { reply: None })
        } else if !counted && seen.len() + new_domains.len() >= domains_most {
            // The limit is the connection's: on this one no later transaction will do either.
            Some(Outcome::Reconnect { reply: None })
        } else {
            if !counted {
                new_domains.push(domain);
            }
            ask.push(index);
            None
        });
    }
    (ask, outcomes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use posthaste_mail::{Address, ReversePath};

    use super::*;
    use crate::Limits;

    fn transaction(recipients: &[&str]) -> Transaction {
        Transaction {
            mail_from: ReversePath::Null,
            recipients: recipients.iter().map(|r| Address::parse(r).unwrap()).collect(),
            prefix: Bytes::from_static(b"X: y\r\n"),
            body: Bytes::from_static(b"\r\n.\r\n"),
            content: ContentKind::SevenBit,
            smtputf8: SmtpUtf8::NotNeeded,
            xid: None,
            tries: Vec::new(),
        }
    }

    /// One letter a recipient: asked, next transaction, reconnect, unable.
    fn check(tx: &Transaction, offer: &Capabilities, seen: &[Domain], expected: &str) -> Plan {
        let plan = plan(tx, offer, Manner::Full, seen);
        let letters: String = plan
            .outcomes
            .iter()
            .map(|outcome| match outcome {
                None => 'a',
                Some(Outcome::NextTransaction { .. }) => 'n',
                Some(Outcome::Reconnect { .. }) => 'r',
                Some(Outcome::Unable { .. }) => 'u',
                Some(other) => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(letters, expected);
        assert_eq!(plan.ask.len(), letters.matches('a').count());
        plan
    }

    #[test]
    fn a_peer_is_asked_what_it_can_take() {
        let all = Capabilities { eight_bit_mime: true, smtputf8: true, ..Capabilities::default() };
        let none = Capabilities::default();
        let limited = |limits| Capabilities { limits, ..Capabilities::default() };
        let tx = transaction(&["a@x.example", "b@x.example", "c@y.example"]);
        check(&tx, &none, &[], "aaa");
        check(&tx, &limited(Limits { rcpt_max: Some(2), ..Limits::default() }), &[], "aan");
        let one_domain = limited(Limits { rcpt_domain_max: Some(1), ..Limits::default() });
        check(&tx, &one_domain, &[], "aar");
        check(&tx, &one_domain, &[Domain::parse("y.example").unwrap()], "rra");
        check(&transaction(&["a@x.example", "é@x.example"]), &none, &[], "au");
        assert!(check(&transaction(&["é@x.example"]), &all, &[], "a").parameters.smtputf8);
        check(&Transaction { smtputf8: SmtpUtf8::Needed, ..tx.clone() }, &none, &[], "uuu");
        let from = ReversePath::parse("é@x.example").unwrap();
        check(&Transaction { mail_from: from, ..tx.clone() }, &none, &[], "uuu");
        let eight = Transaction { content: ContentKind::EightBit, ..tx };
        check(&eight, &none, &[], "uuu");
        assert!(check(&eight, &all, &[], "aaa").parameters.eight_bit);
        let hundred_and_two: Vec<String> = (0..102).map(|n| format!("r{n}@x.example")).collect();
        let hundred_and_two: Vec<&str> = hundred_and_two.iter().map(String::as_str).collect();
        check(&transaction(&hundred_and_two), &none, &[], &format!("{}nn", "a".repeat(100)));
    }

    #[test]
    fn size_is_declared_where_offered_and_kept_to() {
        let check = |size: Option<SizeLimit>, expected: &str, declared: Option<u64>| {
            let offer = Capabilities { size, ..Capabilities::default() };
            assert_eq!(
                check(&transaction(&["a@x.example"]), &offer, &[], expected).parameters.size,
                declared
            );
        };
        check(None, "a", None);
        check(Some(SizeLimit::Unstated), "a", Some(11));
        check(Some(SizeLimit::Octets(11)), "a", Some(11));
        check(Some(SizeLimit::Octets(10)), "u", None);
    }
}
