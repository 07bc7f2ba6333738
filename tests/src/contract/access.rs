//! Keys, quotas and uploads. What a tenant has is its own, counts are never more than their limits, and a body is
//! put once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use posthaste_mail::{ApiKey, KeyId, Tenant, Timestamp, UploadId};
use posthaste_pipeline::access::{KeyRecord, Scope, Taken};
use posthaste_pipeline::deliver::return_path::TenantTag;
use posthaste_pipeline::feedback::KeptReport;
use posthaste_pipeline::upload::{OPEN_FOR, UploadOffer, UploadReceived};
use posthaste_policy::QuotaLimits;

use super::make::{T0, at, tenant};
use super::{Subject, again};

fn key(name: &str, of: Option<&str>) -> KeyRecord {
    let id = KeyId::derived(&[name.as_bytes()]);
    let scopes = if of.is_some() { vec![Scope::Send, Scope::Read] } else { vec![Scope::Operator] };
    KeyRecord {
        hash: ApiKey::from_random(id.clone(), [7; 32]).hash(),
        id,
        tenant: of.map(tenant),
        scopes,
        name: name.to_owned(),
        created_at: T0,
    }
}

/// Keys are found by id, listed by tenant in pages, and revoked only by whose they are.
pub async fn keys_are_found_listed_and_revoked(subject: &Subject) {
    let directory = &subject.stores.directory;
    let (one, two) = (tenant("one"), tenant("two"));
    let mut keys: Vec<KeyRecord> = (0..5).map(|n| key(&format!("one {n}"), Some("one"))).collect();
    let others = [key("two", Some("two")), key("operator", None)];
    for key in keys.iter().chain(&others) {
        again(|| directory.put(key.clone())).await;
        again(|| directory.put(key.clone())).await;
    }
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    let find = async |id: &KeyId| again(|| directory.find(id)).await;
    assert_eq!(find(&keys[0].id).await.as_ref(), Some(&keys[0]));
    assert_eq!(find(&others[1].id).await.as_ref(), Some(&others[1]));
    assert_eq!(find(&KeyId::derived(&[b"nobody's"])).await, None);

    let pages = async |of: Option<&Tenant>| {
        let (mut seen, mut after) = (Vec::<KeyRecord>::new(), None);
        loop {
            let page = again(|| directory.list(of, after.as_ref(), 2)).await;
            let Some(last) = page.last() else { return seen };
            after = Some(last.id.clone());
            seen.extend(page);
        }
    };
    assert_eq!(pages(Some(&one)).await, keys);
    assert_eq!(pages(Some(&two)).await, others[..1]);
    let mut all: Vec<KeyRecord> = keys.iter().chain(&others).cloned().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(pages(None).await, all);

    for id in [&keys[0].id, &others[1].id] {
        assert!(!again(|| directory.revoke(Some(&two), id)).await, "another's key was revoked");
        assert!(find(id).await.is_some());
    }
    again(|| directory.revoke(Some(&one), &keys[0].id)).await;
    again(|| directory.revoke(None, &others[1].id)).await;
    assert_eq!((find(&keys[0].id).await, find(&others[1].id).await), (None, None));
    assert!(!again(|| directory.revoke(None, &keys[0].id)).await);
    assert_eq!(pages(None).await.len(), 5);
}

/// A tenant is found by its tag once it is remembered, and others are not.
pub async fn tenants_are_found_by_their_tags(subject: &Subject) {
    let directory = &subject.stores.directory;
    let (one, two) = (tenant("one"), tenant("two"));
    let find = async |of: &Tenant| {
        let tag = TenantTag::of(of);
        again(|| directory.tenant(&tag)).await
    };
    assert_eq!(find(&one).await, None);
    again(|| directory.remember(&one)).await;
    again(|| directory.remember(&one)).await;
    assert_eq!((find(&one).await, find(&two).await), (Some(one), None));
}

/// What is kept is listed, newest first, once, in pages.
pub async fn reports_are_kept_once_and_listed(subject: &Subject) {
    let reports = &subject.stores.reports;
    let report = |n: usize| KeptReport {
        id: format!("rep_{n}"),
        at: at(n as u64),
        mail_from: None,
        rcpt_to: vec![format!("r{n}@bounces.example")],
        why: "no report".to_owned(),
        report: serde_json::json!({ "kind": "other" }),
    };
    for n in 0..5 {
        let report = report(n);
        again(|| reports.keep(&report)).await;
        again(|| reports.keep(&report)).await;
    }
    let (mut seen, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = again(|| reports.list(after.as_deref(), 2)).await;
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        seen.extend(page);
    }
    assert_eq!(seen, (0..5).rev().map(report).collect::<Vec<_>>());
    assert_eq!(again(|| reports.list(Some("rep_none"), 2)).await, Vec::new());
}

const LIMITS: QuotaLimits = QuotaLimits { per_minute: Some(10), per_day: Some(25) };

/// The beginning of a day: the cases' own beginning is somewhere within one.
fn midnight() -> Timestamp {
    const DAY_MS: i64 = 86_400_000;
    Timestamp((T0.0 / DAY_MS + 1) * DAY_MS)
}

/// A minute and a day are filled and not more, each tenant's for itself; what is refused says until when.
pub async fn a_quota_is_filled_and_not_more(subject: &Subject) {
    let quotas = &subject.stores.quotas;
    let (one, two) = (tenant("one"), tenant("two"));
    let after = |seconds: u64| midnight().plus(Duration::from_secs(seconds));
    let take = async |of: &Tenant, recipients: u64, seconds: u64| {
        again(|| quotas.take(of, recipients, after(seconds), &LIMITS)).await
    };
    assert_eq!(take(&one, 11, 0).await, Taken::Until(after(60)));
    assert_eq!(take(&one, 26, 0).await, Taken::Until(after(86_400)));
    // Where an answer was lost it stays counted: fewer may be granted here than there were, never more.
    let mut granted = [0_u64; 4];
    for (minute, granted) in (0..).zip(&mut granted) {
        for _ in 0..20 {
            match take(&one, 1, minute * 60 + 30).await {
                Taken::Granted => *granted += 1,
                Taken::Until(until) => {
                    assert!([after((minute + 1) * 60), after(86_400)].contains(&until), "{until:?}");
                }
            }
        }
    }
    assert!(granted.iter().all(|count| *count <= 10), "{granted:?}");
    assert!(granted.iter().sum::<u64>() <= 25, "{granted:?}");
    assert!(granted[0] >= 5, "what is refused is counted: {granted:?}");
    assert_eq!(take(&one, 10, 240).await, Taken::Until(after(86_400)));
    assert_eq!(take(&two, 1, 240).await, Taken::Granted);
    assert_eq!(take(&one, 1, 86_400).await, Taken::Granted);
    // A clock that is behind counts where the others are, and takes no day back.
    assert_eq!(take(&one, 10, 0).await, Taken::Until(after(86_460)));
}

/// However many ask at once, no more is granted than there is.
pub async fn a_quota_holds_against_many_at_once(subject: &Subject) {
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let stores = subject.stores.clone();
        asking.spawn(async move {
            let tenant = Tenant::default_tenant();
            again(|| stores.quotas.take(&tenant, 3, at(0), &LIMITS)).await
        });
    }
    let granted = asking.join_all().await.into_iter().filter(|taken| *taken == Taken::Granted).count();
    assert!(granted <= 3, "{granted} times 3 of 10");
}

/// As of now: signed URLs are only good near the time of the machine that checks them.
fn offer(name: &str, of: &str, octets: u64) -> UploadOffer {
    let now = Timestamp(0).plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    UploadOffer {
        tenant: tenant(of),
        id: UploadId::derived(&[name.as_bytes()]),
        octets,
        token: UploadId::derived(&[b"token", name.as_bytes()]).as_str().to_owned(),
        opened_at: now,
        closes_at: now.plus(OPEN_FOR),
    }
}

/// A body is put where it was offered, once, and is there for its tenant only.
pub async fn an_upload_is_put_once_and_is_its_tenants(subject: &Subject) {
    let uploads = &subject.stores.uploads;
    let body = Bytes::from_static(b"Subject: large\r\n\r\nbody\r\n");
    let offer = offer("one", "one", body.len() as u64);
    let way = again(|| uploads.offer(&offer)).await;
    let seen = async |of: &str| {
        let of = tenant(of);
        (again(|| uploads.size(&of, &offer.id)).await, again(|| uploads.open(&of, &offer.id)).await)
    };
    assert_eq!(seen("one").await, (None, None));
    let stored = again(|| subject.putter.put(&offer, &way, body.clone())).await;
    assert!(matches!(stored, UploadReceived::Stored | UploadReceived::ThereBefore), "{stored:?}");
    assert_eq!(seen("one").await, (Some(body.len() as u64), Some(body.clone())));
    let other = Bytes::from(vec![b'x'; body.len()]);
    assert_eq!(again(|| subject.putter.put(&offer, &way, other.clone())).await, UploadReceived::ThereBefore);
    assert_eq!(seen("one").await, (Some(body.len() as u64), Some(body)));
    assert_eq!(seen("two").await, (None, None));
}

/// A body of another length than was announced is not taken.
pub async fn an_upload_has_the_length_that_was_announced(subject: &Subject) {
    let uploads = &subject.stores.uploads;
    let offer = offer("short", "one", 100);
    let way = again(|| uploads.offer(&offer)).await;
    let put = again(|| subject.putter.put(&offer, &way, Bytes::from_static(b"short"))).await;
    assert_eq!(put, UploadReceived::WrongSize);
    assert_eq!(again(|| uploads.size(&offer.tenant, &offer.id)).await, None);
}
