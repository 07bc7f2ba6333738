//! What has become worse since a domain was last looked at. A question that nobody answered changes nothing: name servers
//! that are down for an hour have not lost a record.

use std::collections::BTreeMap;

use crate::audit::{Audit, Check, Finding, Severity};

/// How each check stood when it was last known.
pub type Standing = BTreeMap<Check, Severity>;

/// A check that is worse than it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// How it stood.
    pub was: Severity,
    /// The worst of what was found.
    pub now: Finding,
}

/// How the checks stand after an audit, and which are worse than before; below a warning nobody is called. A check that
/// has never been known cannot be worse.
pub fn drifted(before: &Standing, audit: &Audit) -> (Standing, Vec<Drift>) {
    let (mut standing, mut drifts) = (before.clone(), Vec::new());
    for check in Check::ALL {
        let of_check = || audit.findings.iter().filter(|finding| finding.check == check);
        let answered = of_check().filter(|finding| finding.severity != Severity::Unknown);
        let Some(worst) = answered.max_by_key(|finding| finding.severity) else { continue };
        let was = before.get(&check).copied();
        let is_whole = of_check().all(|finding| finding.severity != Severity::Unknown);
        // What is known already may be worse than before; that it is better takes every answer.
        if !is_whole && was.is_some_and(|was| worst.severity <= was) {
            continue;
        }
        if let Some(was) = was
            && worst.severity > was
            && worst.severity >= Severity::Warning
        {
            drifts.push(Drift { was, now: worst.clone() });
        }
        if is_whole || was.is_some() {
            standing.insert(check, worst.severity);
        }
    }
    (standing, drifts)
}

#[cfg(test)]
mod tests {
    use posthaste_mail::Domain;

    use super::*;

    #[test]
    fn worse_is_told_and_silence_is_not() {
        use Severity::{Error, Note, Ok, Unknown, Warning};
        let check = |before: Option<Severity>, found: &[Severity], expected: (Option<Severity>, &str)| {
            let findings = found.iter().enumerate().map(|(n, severity)| Finding {
                check: Check::Spf,
                severity: *severity,
                seen: n.to_string(),
                mend: None,
            });
            let audit =
                Audit { domain: Domain::parse("acme.example").unwrap(), findings: findings.collect() };
            let before: Standing = before.into_iter().map(|severity| (Check::Spf, severity)).collect();
            let (standing, drifts) = drifted(&before, &audit);
            let told: Vec<String> = drifts
                .iter()
                .map(|d| format!("{} {} {}", d.was.as_str(), d.now.severity.as_str(), d.now.seen))
                .collect();
            let got = (standing.get(&Check::Spf).copied(), told.join(", "));
            assert_eq!(got, (expected.0, expected.1.to_owned()), "{before:?} {found:?}");
        };
        check(None, &[Error], (Some(Error), ""));
        check(Some(Ok), &[Ok, Error, Note], (Some(Error), "ok error 1"));
        check(Some(Warning), &[Error], (Some(Error), "warning error 0"));
        check(Some(Error), &[Error], (Some(Error), ""));
        check(Some(Error), &[Ok], (Some(Ok), ""));
        // Nobody is called for a note.
        check(Some(Ok), &[Note], (Some(Note), ""));
        check(Some(Note), &[Warning], (Some(Warning), "note warning 0"));
        // Not all were answered.
        check(Some(Ok), &[Unknown], (Some(Ok), ""));
        check(Some(Error), &[Unknown, Ok], (Some(Error), ""));
        check(Some(Ok), &[Unknown, Error], (Some(Error), "ok error 1"));
        check(None, &[Unknown], (None, ""));
        check(None, &[Unknown, Ok], (None, ""));
        check(Some(Ok), &[], (Some(Ok), ""));
    }
}
