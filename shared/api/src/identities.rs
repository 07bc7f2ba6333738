//! `/v1/identities`: sender domains, the records to publish, and what is wrong with those that are.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, Uri};
use posthaste_auth::audit::{Finding, Severity, audit};
use posthaste_auth::drift::Standing;
use posthaste_auth::record::{Record, dkim_name, dkim_value};
use posthaste_auth::reports::Summary;
use posthaste_mail::{Domain, Timestamp};
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::identity::{
    self, DkimKey, DomainReport, Identity, IdentityError, KeyState, NewKey, Overview, Registration, Watched,
    audit_subject, name_servers, overview,
};
use posthaste_pipeline::row::Told;
use posthaste_pipeline::view::{rfc3339, rfc3339_if};
use posthaste_policy::Policy;
use serde::{Deserialize, Serialize};

use crate::ask::{Ask, json};
use crate::problem::{Answer, Problem};

const PATH: &str = "/v1/identities/";
/// Octets of a registration: a few keys in PEM.
const BODY_MAX: usize = 64 * 1024;
/// Identities of one page, if nothing else is asked for, and at most.
const PAGE: usize = 100;
/// See [`PAGE`].
const PAGE_MAX: usize = 500;
/// Days of reports, if nothing else is asked for, and at most: older ones are gone.
const DAYS: usize = 30;
/// See [`DAYS`].
const DAYS_MAX: usize = 90;
/// Reports summed up at once: those of thirty receivers for a month.
const REPORTS_MAX: usize = 1_000;

/// What a caller writes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default, deserialize_with = "given")]
    return_path: Option<Option<String>>,
    subdomains: Option<bool>,
    notify: Option<bool>,
    ed25519: Option<bool>,
    keys: Option<Vec<KeyWish>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyWish {
    selector: String,
    private_key: String,
}

/// `null` is something else than nothing.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

#[derive(Serialize)]
struct KeyView<'a> {
    selector: &'a str,
    algorithm: &'static str,
    state: KeyState,
    #[serde(serialize_with = "rfc3339")]
    since: Timestamp,
    name: String,
    value: String,
}

impl<'a> KeyView<'a> {
    fn of(domain: &Domain, key: &'a DkimKey) -> Self {
        Self {
            selector: &key.selector,
            algorithm: key.public.algorithm.as_str(),
            state: key.state,
            since: key.since,
            name: dkim_name(&key.selector, domain),
            value: dkim_value(&key.public),
        }
    }
}

#[derive(Serialize)]
struct IdentityView<'a> {
    domain: &'a Domain,
    /// `pending` until DNS has proved it, then `verified`.
    status: &'static str,
    #[serde(serialize_with = "rfc3339")]
    created_at: Timestamp,
    #[serde(serialize_with = "rfc3339_if", skip_serializing_if = "Option::is_none")]
    verified_at: Option<Timestamp>,
    subdomains: bool,
    notify: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    return_path: Option<&'a Domain>,
    keys: Vec<KeyView<'a>>,
    records: Vec<Record>,
    /// What the latest look at it came to; of a proved one.
    #[serde(skip_serializing_if = "Option::is_none")]
    watched: Option<WatchedView<'a>>,
    /// Keys that are not there, of an answer to `:verify`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<Missing>,
}

#[derive(Serialize)]
struct WatchedView<'a> {
    #[serde(serialize_with = "rfc3339")]
    at: Timestamp,
    worst: Severity,
    checks: &'a Standing,
    findings: &'a [Finding],
}

impl<'a> WatchedView<'a> {
    fn of(watched: &'a Watched) -> Self {
        Self {
            at: watched.at,
            worst: watched.worst(),
            checks: &watched.standing,
            findings: &watched.findings,
        }
    }
}

#[derive(Serialize)]
struct Missing {
    selector: String,
    why: String,
}

impl<'a> IdentityView<'a> {
    fn of(policy: &Policy, identity: &'a Identity) -> Self {
        Self::with(policy, identity, None)
    }

    fn with(policy: &Policy, identity: &'a Identity, watched: Option<&'a Watched>) -> Self {
        Self {
            watched: watched.map(WatchedView::of),
            domain: &identity.domain,
            status: if identity.verified_at.is_some() { "verified" } else { "pending" },
            created_at: identity.created_at,
            verified_at: identity.verified_at,
            subdomains: identity.subdomains,
            notify: identity.notices == Told::Wanted,
            return_path: identity.return_path.as_ref(),
            keys: identity.keys.iter().map(|key| KeyView::of(&identity.domain, key)).collect(),
            records: identity::records(policy, identity),
            missing: Vec::new(),
        }
    }
}

fn problem(error: IdentityError) -> Problem {
    match error {
        IdentityError::NotFound(_) => Problem::not_found(error.to_string()),
        IdentityError::Field { field, detail } => Problem::field(&field, detail),
        IdentityError::Taken(_) => Problem::new(StatusCode::CONFLICT, error.to_string()),
        IdentityError::Busy => Problem::unavailable(error.to_string()),
        IdentityError::Key(error) => {
            tracing::error!(%error, "a key could not be made");
            Problem::unavailable("a key could not be made now")
        }
        IdentityError::Store(error) => error.into(),
    }
}

fn domain_of(ask: &Ask, suffix: &str) -> Result<Domain, Problem> {
    let name = ask.segment(PATH, suffix)?;
    Domain::parse(&name).map_err(|error| Problem::field("domain", error.to_string()))
}

/// `PUT /v1/identities/{domain}`
pub(crate) async fn put(mut ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Admin)?.clone();
    let domain = domain_of(&ask, "")?;
    let body = ask.read_body(BODY_MAX).await?;
    let wish: Wish = match body.bytes.iter().all(u8::is_ascii_whitespace) {
        true => Wish::default(),
        false => {
            serde_json::from_slice(&body.bytes).map_err(|error| Problem::field("", error.to_string()))?
        }
    };
    let return_path = match wish.return_path {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => {
            let parsed = Domain::parse(&text);
            Some(Some(parsed.map_err(|error| Problem::field("return_path", error.to_string()))?))
        }
    };
    let keys = wish.keys.into_iter().flatten();
    let asked = Registration {
        return_path,
        subdomains: wish.subdomains,
        notices: wish.notify.map(|notify| if notify { Told::Wanted } else { Told::Unwanted }),
        ed25519: wish.ed25519 == Some(true),
        keys: keys.map(|key| NewKey { selector: key.selector, pem: key.private_key }).collect(),
    };
    let (ambient, stores) = (&ask.app.ambient, &ask.app.stores);
    let identity =
        identity::register(ambient, stores, &tenant, &domain, &asked, false).await.map_err(problem)?;
    json(StatusCode::OK, &IdentityView::of(&ambient.policy.get(), &identity))
}

#[derive(Serialize)]
struct Listed<'a> {
    identities: Vec<IdentityView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a Domain>,
}

/// `GET /v1/identities`
pub(crate) async fn list(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Read)?;
    let query = ask.query()?.only(&["after", "limit"])?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE);
    let after = query.get("after").filter(|text| !text.is_empty());
    let after =
        after.map(|text| Domain::parse(text).map_err(|error| Problem::field("after", error.to_string())));
    let found = ask.app.stores.identities.list(tenant, after.transpose()?.as_ref(), limit).await?;
    let policy = ask.app.ambient.policy.get();
    let next = found.last().filter(|_| found.len() == limit).map(|last| &last.domain);
    let domains: Vec<Domain> = found.iter().map(|identity| identity.domain.clone()).collect();
    let watched = ask.app.stores.watches.watched(tenant, &domains).await?;
    let identities = found.iter().zip(&watched);
    let identities =
        identities.map(|(one, watched)| IdentityView::with(&policy, one, watched.as_ref())).collect();
    json(StatusCode::OK, &Listed { identities, next })
}

async fn find(ask: &Ask, suffix: &str) -> Result<Identity, Problem> {
    let tenant = ask.need(Scope::Read)?;
    let domain = domain_of(ask, suffix)?;
    let found = ask.app.stores.identities.get(tenant, &domain).await?;
    found.ok_or_else(|| problem(IdentityError::NotFound(domain)))
}

/// `GET /v1/identities/{domain}`
pub(crate) async fn show(ask: Ask) -> Answer {
    let identity = find(&ask, "").await?;
    let domain = std::slice::from_ref(&identity.domain);
    let watched = ask.app.stores.watches.watched(&identity.tenant, domain).await?.pop().flatten();
    json(StatusCode::OK, &IdentityView::with(&ask.app.ambient.policy.get(), &identity, watched.as_ref()))
}

/// `DELETE /v1/identities/{domain}`
pub(crate) async fn remove(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Admin)?;
    let domain = domain_of(&ask, "")?;
    identity::remove(&ask.app.stores, tenant, &domain).await.map_err(problem)?;
    Ok(axum::response::IntoResponse::into_response(StatusCode::NO_CONTENT))
}

/// `POST /v1/identities/{domain}:verify`, `:rotate`
pub(crate) async fn act(ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Admin)?;
    let (ambient, stores) = (&ask.app.ambient, &ask.app.stores);
    let policy = ambient.policy.get();
    let path = ask.parts.uri.path();
    if path.ends_with(":rotate") {
        let domain = domain_of(&ask, ":rotate")?;
        let asked = Registration::default();
        let identity =
            identity::register(ambient, stores, tenant, &domain, &asked, true).await.map_err(problem)?;
        return json(StatusCode::OK, &IdentityView::of(&policy, &identity));
    }
    if !path.ends_with(":verify") {
        return Err(Problem::not_found("an identity is acted on at its path with `:verify` or `:rotate`"));
    }
    let domain = domain_of(&ask, ":verify")?;
    let dns = name_servers(&policy).map_err(|error| Problem::unavailable(error.to_string()))?;
    let verified = identity::verify(ambient, stores, &dns, tenant, &domain).await.map_err(problem)?;
    let missing = verified.missing.into_iter().map(|(selector, why)| Missing { selector, why }).collect();
    let view = IdentityView { missing, ..IdentityView::of(&policy, &verified.identity) };
    json(StatusCode::OK, &view)
}

/// `GET /v1/identities/{domain}/audit`
pub(crate) async fn audited(ask: Ask) -> Answer {
    let identity = find(&ask, "/audit").await?;
    let policy: Arc<Policy> = ask.app.ambient.policy.get();
    let dns = name_servers(&policy).map_err(|error| Problem::unavailable(error.to_string()))?;
    let mut egress = Vec::new();
    let subject = audit_subject(&policy, &identity.domain, Some(&identity), &mut egress);
    json(StatusCode::OK, &audit(&dns, &dns, &subject).await)
}

#[derive(Serialize)]
struct ReportsView {
    #[serde(flatten)]
    overview: Overview,
    latest: Vec<ReportView>,
}

#[derive(Serialize)]
struct ReportView {
    id: String,
    #[serde(serialize_with = "rfc3339")]
    at: Timestamp,
    submitter: String,
    domain: Domain,
    #[serde(serialize_with = "rfc3339")]
    begin: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    end: Timestamp,
}

impl ReportView {
    fn of(report: &DomainReport) -> Self {
        let DomainReport { id, at, summary, .. } = report;
        let Summary { submitter, domain, begin, end, .. } = summary.clone();
        Self { id: id.clone(), at: *at, submitter, domain, begin, end }
    }
}

/// `GET /v1/identities/{domain}/reports`: what receivers report of it, summed up.
pub(crate) async fn reports(ask: Ask) -> Answer {
    let query = ask.query()?.only(&["days"])?;
    let days = query.number("days", 1, DAYS_MAX)?.unwrap_or(DAYS);
    let identity = find(&ask, "/reports").await?;
    let since = ask.app.ambient.now().minus(Duration::from_secs(86_400 * days as u64));
    let watches = &ask.app.stores.watches;
    let found = watches.reports(&identity.tenant, &identity.domain, since, REPORTS_MAX).await?;
    let overview = overview(&ask.app.ambient.policy.get(), &found);
    json(
        StatusCode::OK,
        &ReportsView { overview, latest: found.iter().take(PAGE).map(ReportView::of).collect() },
    )
}

/// Any other method on a path of one identity.
pub(crate) async fn no_method(uri: Uri) -> Problem {
    let acts = uri.path().ends_with(":verify") || uri.path().ends_with(":rotate");
    if acts { Problem::method("POST") } else { Problem::method("GET, PUT, DELETE") }
}
