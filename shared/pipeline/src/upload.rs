//! Large bodies that come in apart from the request that submits them: where they may be put, and for how long.
//!
//! What is absent: no body passes through here, and no HTTP; where a body goes is the store's to say, and what is in
//! it is read when it is submitted, as any message.

use std::time::Duration;

use posthaste_mail::{Tenant, Timestamp, UploadId};

use crate::ambient::Ambient;
use crate::stores::{StoreError, Stores};

/// How long a body may be put where it was offered: the slowest line has sent 40 MB by then.
pub const OPEN_FOR: Duration = Duration::from_secs(3_600);
/// How long a body is kept, counted from the offer: longer than an idempotency key must hold (24 h), so that the same
/// submission again finds the same body.
pub const KEPT_FOR: Duration = Duration::from_secs(48 * 3_600);

/// A place for one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadOffer {
    /// Whose it is.
    pub tenant: Tenant,
    /// Its id.
    pub id: UploadId,
    /// Its octets, exactly.
    pub octets: u64,
    /// What proves the offer where bodies come to us; a store that signs its own URLs needs none.
    pub token: String,
    /// Since when.
    pub opened_at: Timestamp,
    /// Until when a body may come.
    pub closes_at: Timestamp,
}

/// Where a body is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadWay {
    /// By PUT at this URL, which bears its own proof, with exactly these header fields.
    Url {
        /// The whole URL.
        url: String,
        /// Names and values that are signed.
        headers: Vec<(String, String)>,
    },
    /// At our own API, with the offer's token.
    Here,
}

/// What became of a body that came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadReceived {
    /// It is durable.
    Stored,
    /// One was there before; it stays as it is.
    ThereBefore,
    /// It has not the octets that were announced.
    WrongSize,
    /// The id and the token do not belong together, or the offer is closed.
    Unknown,
}

/// Offers a place for a body of so many octets.
pub async fn offer(
    ambient: &Ambient,
    stores: &Stores,
    tenant: &Tenant,
    octets: u64,
) -> Result<(UploadOffer, UploadWay), StoreError> {
    let now = ambient.now();
    let offer = UploadOffer {
        tenant: tenant.clone(),
        id: UploadId::from_random(ambient.chance.octets()),
        octets,
        // The text of an id is as good a token as any: 128 random bits.
        token: UploadId::from_random(ambient.chance.octets()).as_str().to_owned(),
        opened_at: now,
        closes_at: now.plus(OPEN_FOR),
    };
    let way = stores.uploads.offer(&offer).await?;
    Ok((offer, way))
}
