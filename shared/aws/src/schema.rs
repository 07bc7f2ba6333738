//! Keys, indexes and shapes of items: all of what is in DynamoDB, S3 and SQS, in one place.
//!
//! One table, keys `pk` and `sk` (strings). One index over it, `by-wake`: `wake_shard` (string) and `wake` (number),
//! keys only, sparse: items without a `wake` are not in it. Items go by themselves when `gone_at` (seconds) has passed.
//!
//! | what | `pk` | `sk` | in the index under | other attributes |
//! |---|---|---|---|---|
//! | row of the ledger | `TENANT#row#MESSAGE` | part, five digits | `wake#SHARD` by its wake in ms, as long as it has one | `v` version, `doc`, `found` (see below), `gone_at` once it is final |
//! | event | `TENANT#row#MESSAGE` | `event#ID` | `feed#TENANT#SHARD` by its cursor in µs | `doc`, `gone_at` |
//! | event about no message | `TENANT#told` | `event#ID` | the same | the same |
//! | every message, newest last | `TENANT#all#SHARD` | place | | `ids`, `gone_at` |
//! | messages with a tag | `TENANT#tag#HASH#SHARD` | place | | `ids`, `gone_at` |
//! | messages to a recipient | `TENANT#to#FOLDED` | place | | `ids`, `gone_at` |
//! | suppressed mailbox | `TENANT#suppressed#SHARD` | folded address | | `v`, `doc`: all its entries, `gone_at` if all of them end |
//! | dead letter | `TENANT#dead` | job | `dead` by its arrival in µs; `dead-off` once it is taken off | `doc` until then, `gone_at` after |
//! | message in the sandbox | `TENANT#sandbox` | its id, which begins with its time | | `doc`, `gone_at` a day later |
//! | hold | `holds` | its id | | `doc` |
//! | mark of a row that is parked under a hold | `held#HOLD` | its tenant, message and part, as JSON | | `gone_at` a day after the row expires |
//! | API key | `keys` | its id | | `doc` |
//! | sender domain | `TENANT#identities` | domain | | `v`, `doc`: its keys, each sealed |
//! | latest look at what a sender domain publishes | `TENANT#audits` | domain | | `doc` |
//! | what a receiver reports of it | `TENANT#reported#DOMAIN` | its beginning in seconds, twelve digits, and its id | | `doc`, `gone_at` |
//! | who has proved a sender domain | `owners` | domain | | `tenant` |
//! | tenant by the tag in its tokens | `tenants` | its tag | | `tenant` |
//! | report about mail that changed nothing | `reports` | its id | `reports` by its arrival in µs | `doc`, `gone_at` |
//! | what a tenant has submitted | `TENANT#quota` | `now` | | `minute`, `in_minute`, `day`, `in_day` |
//! | secret | `secrets` | its name | | `octets` |
//! | a receiver's standing | `sites` | egress, site, sending domain, as JSON | | `v` its epoch, `doc` |
//! | how mailboxes fare there | `healths` | the same | | `v`, `doc`, `gone_at` |
//! | a receiver's pace | `pace#` and the same | `now` | | `tat`, `epoch`, `opened`, `wanted`, `leases`, `gone_at`; small, since each chunk of tokens writes it |
//! | a line of those who wait for it | the same | `line#LANE#TENANT` | | `tail`, `served`, `moved`, `gone_at` |
//!
//! What is written under a condition also has `w`, the mark of the write that made it.
//!
//! A *place* is sixteen digits of microseconds, `#`, and the id of the first message there: messages of one request
//! share the items of `all` and `tag` (`ids`, in order), so that finding a campaign again costs a write a hundred
//! messages. The item of the last recipient, by folded address, is written last: where it is, the others are. `found` in a row says which place its
//! message got, so that a request that comes again after a crash can see what is missing.
//!
//! Documents (`doc`) are JSON, compressed with a dictionary (module `document`): a row of one recipient stays under
//! one kilobyte, which is what a write is paid by.
//!
//! Shards spread what a tenant or everybody writes at once over partitions: each bears 1,000 writes a second. A hash of
//! the id picks the shard, so that an item is in one only.
//!
//! In the bucket: `spool/TENANT/…` messages ([`posthaste_pipeline::spool`] names them), `incoming/TENANT/…` submissions
//! by S3, `uploads/TENANT/…` bodies on their way, `policy.toml`. In the queues: jobs as JSON, `MessageGroupId` the tenant.

use posthaste_mail::{Domain, EventId, JobId, Lane, MessageId, PartKey, Tenant, Timestamp, UploadId};
use posthaste_pipeline::pacer::PaceKey;
use posthaste_pipeline::stores::{SearchBy, StoreError};
use sha2::{Digest, Sha256};

/// Partition key.
pub const PK: &str = "pk";
/// Sort key.
pub const SK: &str = "sk";
/// Partition key of the index.
pub const WAKE_SHARD: &str = "wake_shard";
/// Sort key of the index.
pub const WAKE: &str = "wake";
/// When an item goes by itself, in seconds.
pub const GONE_AT: &str = "gone_at";
/// The index.
pub const INDEX: &str = "by-wake";
/// The version of a row or a mailbox.
pub const VERSION: &str = "v";
/// A document.
pub const DOC: &str = "doc";
/// Ids of messages.
pub const IDS: &str = "ids";
/// The place a row's message got.
pub const FOUND: &str = "found";
/// Which write made an item: eight random octets, so that a try whose answer was lost is known again.
pub const WRITE: &str = "w";
/// A secret's octets.
pub const OCTETS: &str = "octets";

/// Shards of rows that wake: 16,000 moves of a wake a second.
pub const WAKE_SHARDS: u8 = 16;
/// Shards of a tenant's feed: 4,000 events a second.
pub const FEED_SHARDS: u8 = 4;
/// Shards of all messages, and of a tag's, of a tenant: 8,000 requests a second.
pub const SEARCH_SHARDS: u8 = 8;
/// Shards of a tenant's suppressed mailboxes.
pub const SUPPRESSED_SHARDS: u8 = 16;

/// The partition of holds.
pub const HOLDS: &str = "holds";
/// The partition of secrets.
pub const SECRETS: &str = "secrets";
/// The shard of the index with dead letters.
pub const DEAD: &str = "dead";
/// The shard of the index with the places of dead letters that were taken off.
pub const DEAD_OFF: &str = "dead-off";

/// The partition of API keys.
pub const KEYS: &str = "keys";
/// The partition of who has proved which sender domain.
pub const OWNERS: &str = "owners";
/// The partition of tenants by tag.
pub const TENANTS: &str = "tenants";
/// A tenant's name.
pub const TENANT: &str = "tenant";
/// The partition of reports that changed nothing, and their shard of the index.
pub const REPORTS: &str = "reports";

/// The minute that is counted, and recipients in it.
pub const MINUTE: &str = "minute";
/// See [`MINUTE`].
pub const IN_MINUTE: &str = "in_minute";
/// The day that is counted, and recipients in it.
pub const DAY: &str = "day";
/// See [`DAY`].
pub const IN_DAY: &str = "in_day";

/// The partition of how mailboxes fare at receivers.
pub const HEALTHS: &str = "healths";
/// The partition of standings.
pub const SITES: &str = "sites";
/// Up to when a receiver's time is handed out, in µs.
pub const TAT: &str = "tat";
/// The latest standing that tokens were asked under.
pub const EPOCH: &str = "epoch";
/// From when another connection may be opened, in µs.
pub const OPENED: &str = "opened";
/// When somebody urgent last found no seat, in µs.
pub const WANTED: &str = "wanted";
/// Connections held, each until its end in µs.
pub const LEASES: &str = "leases";
/// Places handed out in a line.
pub const TAIL: &str = "tail";
/// Places served of it.
pub const SERVED: &str = "served";
/// When either last moved, in µs.
pub const MOVED: &str = "moved";

/// What in a message's partition is an event and not a row.
pub const EVENT: &str = "event#";

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn shard(text: &str, of: u8) -> u8 {
    hash(text)[0] % of
}

/// The partition of a message: its rows and its events.
pub fn message(tenant: &Tenant, message: &MessageId) -> String {
    format!("{tenant}#row#{message}")
}

/// The partition of a tenant's events about no message.
pub fn of_no_message(tenant: &Tenant) -> String {
    format!("{tenant}#told")
}

/// The partition of a tenant's audits.
pub fn audits(tenant: &Tenant) -> String {
    format!("{tenant}#audits")
}

/// The partition of reports of a tenant's domain.
pub fn domain_reports(tenant: &Tenant, domain: &Domain) -> String {
    format!("{tenant}#reported#{domain}")
}

/// A report among those, by the beginning of its period.
pub fn report_at(begin: Timestamp, id: &str) -> String {
    format!("{:012}#{id}", begin.0.max(0) / 1_000)
}

/// A row in its message's partition.
pub fn part(key: &PartKey) -> String {
    format!("{:05}", key.part)
}

/// An event in its message's partition.
pub fn event(id: &EventId) -> String {
    format!("{EVENT}{id}")
}

/// Where a row wakes.
pub fn wake_shard(key: &PartKey) -> String {
    wake_shard_of(shard(&key.to_string(), WAKE_SHARDS))
}

/// A shard of rows that wake, by its number.
pub fn wake_shard_of(number: u8) -> String {
    format!("wake#{number:02}")
}

/// Where an event is told.
pub fn feed_shard(tenant: &Tenant, id: &EventId) -> String {
    feed_shard_of(tenant, shard(id.as_str(), FEED_SHARDS))
}

/// A shard of a tenant's feed, by its number.
pub fn feed_shard_of(tenant: &Tenant, number: u8) -> String {
    format!("feed#{tenant}#{number}")
}

/// A place in the lists of messages.
pub fn place(micros: u64, first: &MessageId) -> String {
    format!("{micros:016}#{first}")
}

/// The shard of a list in which a place stands.
pub fn search_shard(first: &MessageId) -> u8 {
    shard(first.as_str(), SEARCH_SHARDS)
}

/// The partition of a list of messages; a recipient's has no shards.
pub fn search(tenant: &Tenant, by: &SearchBy, number: u8) -> String {
    match by {
        SearchBy::All => format!("{tenant}#all#{number}"),
        SearchBy::Recipient(folded) => format!("{tenant}#to#{folded}"),
        SearchBy::Tag { name, value } => {
            // Names and values are anybody's text, and may be longer than a key.
            let named = format!("{}:{name}{value}", name.len());
            let hex: String = hash(&named)[..16].iter().map(|octet| format!("{octet:02x}")).collect();
            format!("{tenant}#tag#{hex}#{number}")
        }
    }
}

/// The partitions of a list of messages.
pub fn searches(tenant: &Tenant, by: &SearchBy) -> Vec<String> {
    let shards = if matches!(by, SearchBy::Recipient(_)) { 1 } else { SEARCH_SHARDS };
    (0..shards).map(|number| search(tenant, by, number)).collect()
}

/// The partition of a suppressed mailbox.
pub fn suppressed(tenant: &Tenant, folded: &str) -> String {
    suppressed_of(tenant, shard(folded, SUPPRESSED_SHARDS))
}

/// A shard of a tenant's suppressed mailboxes, by its number.
pub fn suppressed_of(tenant: &Tenant, number: u8) -> String {
    format!("{tenant}#suppressed#{number:02}")
}

/// The partition of a tenant's dead letters.
pub fn dead(tenant: &Tenant) -> String {
    format!("{tenant}#dead")
}

/// The partition of what the sandbox received of a tenant's.
pub fn sandboxed(tenant: &Tenant) -> String {
    format!("{tenant}#sandbox")
}

/// The partition of the marks of rows that are parked under a hold.
pub fn held(hold: &str) -> String {
    format!("held#{hold}")
}

/// The sort key of a receiver's standing.
pub fn site(key: &PaceKey) -> Result<String, StoreError> {
    serde_json::to_string(key).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The receiver of a standing's sort key.
pub fn site_of(text: &str) -> Result<PaceKey, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Corrupt(format!("a pace's key: {error}")))
}

/// The partition of a receiver's pace.
pub fn pace(key: &PaceKey) -> Result<String, StoreError> {
    Ok(format!("pace#{}", site(key)?))
}

/// The lane and tenant of a line, from its sort key behind `line#`.
pub fn line_name(text: &str) -> Option<(Lane, Tenant)> {
    let (lane, tenant) = text.split_once('#')?;
    Some((Lane::parse(lane)?, Tenant::parse(tenant)?))
}

/// The partition of a tenant's sender domains.
pub fn identities(tenant: &Tenant) -> String {
    format!("{tenant}#identities")
}

/// A dead letter in its partition.
pub fn letter(job: &JobId) -> String {
    job.to_string()
}

/// The partition of a tenant's counts.
pub fn quota(tenant: &Tenant) -> String {
    format!("{tenant}#quota")
}

/// The object of an uploaded body.
pub fn uploaded(tenant: &Tenant, id: &UploadId) -> String {
    format!("uploads/{tenant}/{id}")
}

/// The object of a spooled message.
pub fn spooled(object: &str) -> String {
    format!("spool/{object}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tenants_share_a_key() {
        let (one, other) = (Tenant::parse("a").unwrap(), Tenant::parse("a-tag").unwrap());
        let id = MessageId::derived(&[b"m"]);
        let keys = |tenant: &Tenant| {
            let tag = SearchBy::Tag { name: "n".to_owned(), value: "v".to_owned() };
            let mut keys = vec![
                message(tenant, &id),
                suppressed(tenant, "x@y.example"),
                dead(tenant),
                sandboxed(tenant),
            ];
            for by in [SearchBy::All, tag, SearchBy::Recipient("x@y.example".to_owned())] {
                keys.extend(searches(tenant, &by));
            }
            keys.extend((0..FEED_SHARDS).map(|number| feed_shard_of(tenant, number)));
            keys
        };
        let (ours, theirs) = (keys(&one), keys(&other));
        assert!(ours.iter().all(|key| !theirs.contains(key)));
        assert!(ours.iter().all(|key| key.split('#').any(|piece| piece == "a")));
    }

    #[test]
    fn a_tag_is_its_name_and_its_value() {
        let tenant = Tenant::default_tenant();
        let tag = |name: &str, value: &str| {
            search(&tenant, &SearchBy::Tag { name: name.to_owned(), value: value.to_owned() }, 0)
        };
        assert_ne!(tag("ab", "c"), tag("a", "bc"));
        assert_eq!(tag("ab", "c"), tag("ab", "c"));
    }
}
