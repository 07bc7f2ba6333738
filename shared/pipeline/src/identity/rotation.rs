//! The life of keys: published, seen, used, replaced, kept for what is still on its way, gone. Pure.

use std::time::Duration;

use posthaste_auth::Algorithm;
use posthaste_mail::Timestamp;

use super::{DkimKey, Identity, KeyState};

/// A key that was replaced stays published for so long after the longest life of mail that it signed: receivers look at
/// old mail again.
const KEPT_AFTER: Duration = Duration::from_secs(7 * 86_400);

/// An identity as it becomes when these selectors have been seen in DNS with our keys: what is pending there is used from
/// now on, and takes the place of what was used before it; what was replaced long enough ago goes.
pub fn advance(identity: &Identity, seen: &[&str], longest_life: Duration, now: Timestamp) -> Identity {
    let mut next = identity.clone();
    for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
        let of = |key: &DkimKey| key.public.algorithm == algorithm;
        let newest = next.keys.iter().rposition(|key| {
            of(key) && key.state == KeyState::Pending && seen.contains(&key.selector.as_str())
        });
        let Some(newest) = newest else { continue };
        for (at, key) in next.keys.iter_mut().enumerate().filter(|(_, key)| of(key)) {
            let state = match key.state {
                _ if at == newest => KeyState::Active,
                KeyState::Active => KeyState::Retiring,
                other => other,
            };
            if state != key.state {
                (key.state, key.since) = (state, now);
            }
        }
    }
    next.keys
        .retain(|key| key.state != KeyState::Retiring || now.since(key.since) <= longest_life + KEPT_AFTER);
    if next.verified_at.is_none() && next.active().next().is_some() {
        next.verified_at = Some(now);
    }
    next
}

/// An identity with these keys to be published next: what was pending before and never seen goes.
pub fn rotated(identity: &Identity, keys: Vec<DkimKey>) -> Identity {
    let mut next = identity.clone();
    next.keys.retain(|key| key.state != KeyState::Pending);
    next.keys.extend(keys);
    next
}

#[cfg(test)]
mod tests {
    use posthaste_auth::PublicKey;
    use posthaste_mail::{Domain, Tenant};

    use super::*;

    fn at(days: u64) -> Timestamp {
        Timestamp(1_800_000_000_000).plus(Duration::from_secs(days * 86_400))
    }

    /// `s1 rsa active 0, …`: selector, algorithm, state, since when in days.
    fn identity(keys: &str) -> Identity {
        let key = |text: &str| {
            let words: Vec<&str> = text.split(' ').collect();
            let algorithm = if words[1] == "rsa" { Algorithm::Rsa } else { Algorithm::Ed25519 };
            DkimKey {
                selector: words[0].to_owned(),
                public: PublicKey { algorithm, base64: words[0].to_owned() },
                sealed: Vec::new(),
                state: match words[2] {
                    "pending" => KeyState::Pending,
                    "active" => KeyState::Active,
                    _ => KeyState::Retiring,
                },
                since: at(words[3].parse().unwrap()),
            }
        };
        Identity {
            tenant: Tenant::default_tenant(),
            domain: Domain::parse("acme.example").unwrap(),
            version: 1,
            created_at: at(0),
            verified_at: None,
            subdomains: false,
            return_path: None,
            notices: crate::row::Told::Unwanted,
            alignment: posthaste_auth::align::Mode::Relaxed,
            spf: None,
            keys: keys.split(", ").map(key).collect(),
        }
    }

    fn shown(identity: &Identity) -> String {
        let key = |key: &DkimKey| {
            let state = format!("{:?}", key.state).to_lowercase();
            let days = key.since.since(at(0)).as_secs() / 86_400;
            format!("{} {} {state} {days}", key.selector, key.public.algorithm.as_str())
        };
        let keys: Vec<String> = identity.keys.iter().map(key).collect();
        let verified = if identity.verified_at.is_some() { "verified" } else { "pending" };
        format!("{verified}: {}", keys.join(", "))
    }

    #[test]
    fn keys_are_used_when_they_are_seen_and_kept_while_their_mail_lives() {
        let check = |keys: &str, seen: &[&str], days: u64, expected: &str| {
            let life = Duration::from_secs(4 * 86_400);
            assert_eq!(shown(&advance(&identity(keys), seen, life, at(days))), expected, "{keys} {seen:?}");
        };
        check("s1 rsa pending 0", &[], 1, "pending: s1 rsa pending 0");
        check("s1 rsa pending 0", &["s1"], 1, "verified: s1 rsa active 1");
        check("s1 rsa active 0, s2 rsa pending 5", &["s1"], 6, "verified: s1 rsa active 0, s2 rsa pending 5");
        check(
            "s1 rsa active 0, s2 rsa pending 5",
            &["s1", "s2"],
            6,
            "verified: s1 rsa retiring 6, s2 rsa active 6",
        );
        check(
            "s1 rsa retiring 6, s2 rsa active 6",
            &["s2"],
            17,
            "verified: s1 rsa retiring 6, s2 rsa active 6",
        );
        check("s1 rsa retiring 6, s2 rsa active 6", &["s2"], 18, "verified: s2 rsa active 6");
        // Each algorithm for itself.
        check(
            "s1 rsa active 0, e1 ed25519 pending 5",
            &["e1"],
            6,
            "verified: s1 rsa active 0, e1 ed25519 active 6",
        );
        // One that is there no longer goes on being used: a look that failed is no reason to send unsigned mail.
        check("s1 rsa active 0", &[], 100, "verified: s1 rsa active 0");
    }

    #[test]
    fn the_next_keys_take_the_place_of_those_never_seen() {
        let next = rotated(&identity("s1 rsa active 0, s2 rsa pending 1"), identity("s3 rsa pending 2").keys);
        assert_eq!(shown(&next), "pending: s1 rsa active 0, s3 rsa pending 2");
    }
}
