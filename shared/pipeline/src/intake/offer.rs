//! The offer to unsubscribe with one click: two fields of the header, for mail to one recipient, since whoever follows the
//! link is known by it.

use posthaste_mail::{Address, Lane, MessageId, Tenant};
use posthaste_policy::Policy;

use super::refusal::{FieldError, Refusal};
use crate::row::Realm;
use crate::unsubscribe::{self, Link};

const FIELD: &str = "unsubscribe";

/// The link of a message; refused where several would share it.
pub(super) fn link(
    tenant: &Tenant,
    message: &MessageId,
    realm: Realm,
    lane: Lane,
    recipients: &[Address],
) -> Result<Link, Refusal> {
    let [address] = recipients else {
        let detail = format!(
            "{} recipients would share one link: send each a message of its own (`/v1/messages:batch`)",
            recipients.len()
        );
        return Err(FieldError::new(FIELD, detail).into());
    };
    let (tenant, message, address) = (tenant.clone(), message.clone(), address.clone());
    Ok(Link { tenant, realm, lane, message, address })
}

/// The fields that offer it.
pub(super) fn fields(
    policy: &Policy,
    headers: &[(String, String)],
    link: &Link,
    key: Option<&[u8; 32]>,
) -> Result<Vec<(String, String)>, Refusal> {
    if let Some((name, _)) = headers
        .iter()
        .find(|(name, _)| name.get(..16).is_some_and(|head| head.eq_ignore_ascii_case("List-Unsubscribe")))
    {
        return Err(FieldError::new(
            format!("headers.{name}"),
            "`unsubscribe` writes this field: give one of them",
        )
        .into());
    }
    let Some(url) = &policy.mta.public_url else {
        let detail = "the policy has no `mta.public_url`, at which links would be answered";
        return Err(FieldError::new(FIELD, detail).into());
    };
    let token = key.and_then(|key| link.seal(key)).ok_or(Refusal::Unavailable)?;
    Ok(unsubscribe::fields(url, &token).map(|(name, value)| (name.to_owned(), value)).to_vec())
}
