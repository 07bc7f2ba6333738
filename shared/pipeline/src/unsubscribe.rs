//! One-click unsubscribe (RFC 8058): a link in the message's header that whoever holds it can follow for years, long after
//! the ledger has forgotten the message. So the link says all there is to know, sealed: only we can make one, and nobody
//! else can read whose it is.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use posthaste_mail::{Address, Lane, MessageId, Tenant};
use serde::{Deserialize, Serialize};

use crate::ambient::Ambient;
use crate::effect::{Effect, EventKind, Evidence, Reason, Suppression};
use crate::machine::by_recipient;
use crate::meter::Happened;
use crate::row::Realm;
use crate::seal;
use crate::stores::{StoreError, Stores};

/// Characters of a link's token that are looked at: an address of the longest kind and its company, sealed.
const TOKEN_CHARS_MAX: usize = 1_024;
/// What is sealed is for this and nothing else.
const PURPOSE: &[u8] = b"unsubscribe";

/// Who unsubscribes from what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Whose mail it is.
    #[serde(rename = "t")]
    pub tenant: Tenant,
    /// Which world's.
    #[serde(rename = "r")]
    pub realm: Realm,
    /// The lane that is closed.
    #[serde(rename = "l")]
    pub lane: Lane,
    /// The message that has the link.
    #[serde(rename = "m")]
    pub message: MessageId,
    /// The recipient.
    #[serde(rename = "a")]
    pub address: Address,
}

/// The key that links are sealed with, made when it is asked for the first time.
pub async fn key(ambient: &Ambient, stores: &Stores) -> Result<[u8; 32], StoreError> {
    let mut fresh = [0; 32];
    fresh[..16].copy_from_slice(&ambient.chance.octets());
    fresh[16..].copy_from_slice(&ambient.chance.octets());
    stores.controls.secret("unsubscribe", fresh).await
}

impl Link {
    /// As it stands in a path. The same link is the same token: a submission that comes again is the same message.
    pub fn seal(&self, key: &[u8; 32]) -> Option<String> {
        let sealed = seal::seal(key, PURPOSE, &serde_json::to_vec(self).ok()?)?;
        Some(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What a token says; none that we did not make.
    pub fn open(token: &str, key: &[u8; 32]) -> Option<Self> {
        if token.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let octets = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        serde_json::from_slice(&seal::open(key, PURPOSE, &octets)?).ok()
    }
}

/// The fields of a message that offer a link below this address (RFC 2369 3.2, RFC 8058 3.1).
pub fn fields(public_url: &str, token: &str) -> [(&'static str, String); 2] {
    [
        ("List-Unsubscribe", format!("<{}/u/{token}>", public_url.trim_end_matches('/'))),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()),
    ]
}

/// Closes the lane to whoever followed a link; the same again does the same again.
pub async fn follow(ambient: &Ambient, stores: &Stores, link: &Link) -> Result<(), StoreError> {
    let now = ambient.now();
    let mut effects = vec![Effect::Suppress(Suppression {
        tenant: link.tenant.clone(),
        realm: link.realm,
        address: link.address.clone(),
        lane: Some(link.lane),
        reason: Reason::Unsubscribe,
        expires_at: None,
        created_at: now,
        evidence: Evidence {
            message_id: Some(link.message.clone()),
            reply: None,
            note: Some("one click".to_owned()),
        },
    })];
    // What is past its retention has no tags to tell, and nobody who asks for it.
    let rows = stores.ledger.message(&link.tenant, &link.message).await?;
    if let Some(row) = rows.iter().find(|row| row.recipients.iter().any(|r| r.address == link.address)) {
        let told = by_recipient(row, &link.address, EventKind::Unsubscribed, now);
        if let Effect::Event(event) = &told {
            ambient.note(Happened::Told { event, waited: std::time::Duration::ZERO });
        }
        effects.push(told);
    }
    stores.ledger.perform(effects).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link {
            tenant: Tenant::default_tenant(),
            realm: Realm::World,
            lane: Lane::Bulk,
            message: MessageId::derived(&[b"m"]),
            address: Address::parse("ann@example.net").unwrap(),
        }
    }

    #[test]
    fn a_link_is_read_back_and_no_other_is() {
        let key = [7; 32];
        let token = link().seal(&key).unwrap();
        assert_eq!(Link::open(&token, &key), Some(link()));
        assert_eq!(link().seal(&key), Some(token.clone()), "the same is the same");
        assert!(
            !token.contains("ann") && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        assert_eq!(Link::open(&token, &[8; 32]), None);
        for at in 0..token.len() {
            let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
            let mut forged = token.clone();
            forged.replace_range(at..=at, other);
            // The last character has bits that mean nothing: it is refused or reads as the same.
            assert!(Link::open(&forged, &key).is_none_or(|opened| opened == link()), "{at}");
        }
        for text in ["", "A", "AAAAAAAAAAAAAAAAAAAA", "not base64!", &"A".repeat(5_000)] {
            assert_eq!(Link::open(text, &key), None, "{text}");
        }
    }
}
