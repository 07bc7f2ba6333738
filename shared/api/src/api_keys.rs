//! `/v1/api-keys`: who may ask. An operator makes and revokes keys of any tenant, `admin` those of its own.

use axum::http::StatusCode;
use axum::response::IntoResponse;
use posthaste_mail::{KeyId, Tenant, Timestamp};
use posthaste_pipeline::access::{KeyRecord, Scope, make_key};
use posthaste_pipeline::intake::{Findings, read_json};
use posthaste_pipeline::view::rfc3339;
use serde::{Deserialize, Serialize};

use crate::ask::{Ask, json};
use crate::messages::unsupported;
use crate::problem::{Answer, Problem};

const PATH: &str = "/v1/api-keys/";

/// Keys of one page.
const PAGE: usize = 100;
/// Most keys of one page.
const PAGE_MAX: usize = 1_000;
/// Octets of the body of a POST.
const BODY_OCTETS_MAX: usize = 16 * 1024;
/// Characters of a key's name: a line of a list.
const NAME_CHARS_MAX: usize = 100;

/// Whose keys a caller may see to.
enum Reach {
    /// Everybody's.
    All,
    /// One tenant's.
    Of(Tenant),
}

impl Reach {
    fn of(ask: &Ask) -> Result<Self, Problem> {
        if ask.caller.may(Scope::Operator) {
            return Ok(Self::All);
        }
        Ok(Self::Of(ask.need(Scope::Admin)?.clone()))
    }

    fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::All => None,
            Self::Of(tenant) => Some(tenant),
        }
    }
}

/// A key as it is shown: never its hash.
#[derive(Serialize)]
struct KeyView<'a> {
    id: &'a KeyId,
    /// The whole key, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    name: &'a str,
    /// Absent for an operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a Tenant>,
    scopes: &'a [Scope],
    #[serde(serialize_with = "rfc3339")]
    created_at: Timestamp,
}

impl<'a> KeyView<'a> {
    fn of(record: &'a KeyRecord, key: Option<String>) -> Self {
        let KeyRecord { id, tenant, scopes, name, created_at, .. } = record;
        Self { id, key, name, tenant: tenant.as_ref(), scopes, created_at: *created_at }
    }
}

#[derive(Serialize)]
struct Page<'a> {
    api_keys: Vec<KeyView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<&'a KeyId>,
}

/// `GET /v1/api-keys`
pub(crate) async fn list(ask: Ask) -> Answer {
    let reach = Reach::of(&ask)?;
    let query = ask.query()?.only(&["tenant", "after", "limit"])?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE);
    let asked = query.get("tenant").map(|text| {
        let tenant = Tenant::parse(text).ok_or_else(|| Problem::field("tenant", NO_TENANT))?;
        within(&reach, &tenant).map(|()| tenant)
    });
    let asked = asked.transpose()?;
    let after = query.get("after").filter(|text| !text.is_empty());
    let after = after.map(|text| KeyId::parse(text).ok_or_else(|| Problem::field("after", "not a cursor")));
    let after = after.transpose()?;
    let of = asked.as_ref().or(reach.tenant());
    let keys = ask.app.stores.directory.list(of, after.as_ref(), limit).await?;
    let next = keys.last().filter(|_| keys.len() == limit).map(|last| &last.id);
    json(StatusCode::OK, &Page { api_keys: keys.iter().map(|key| KeyView::of(key, None)).collect(), next })
}

const NO_TENANT: &str = "no tenant: 1 to 64 of `a-z`, `0-9`, `-` and `_`";

/// Refuses to be about another tenant than one's own.
fn within(reach: &Reach, tenant: &Tenant) -> Result<(), Problem> {
    match reach.tenant().is_none_or(|own| own == tenant) {
        true => Ok(()),
        false => {
            Err(Problem::new(StatusCode::FORBIDDEN, "keys of another tenant are an operator's to see to"))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateRequest {
    scopes: Vec<String>,
    tenant: Option<String>,
    name: Option<String>,
}

/// `POST /v1/api-keys`
pub(crate) async fn create(mut ask: Ask) -> Answer {
    let reach = Reach::of(&ask)?;
    ask.query()?.only(&[])?;
    if ask.content_type() != "application/json" {
        return Err(unsupported("application/json"));
    }
    let body = ask.read_body(BODY_OCTETS_MAX).await?.bytes;
    let request: CreateRequest = read_json(&body)?;
    let (tenant, scopes, name) = read(request, &reach, ask.caller.tenant.as_ref())?;
    let (record, key) = make_key(&ask.app.ambient, tenant, scopes, name);
    ask.app.stores.directory.put(record.clone()).await?;
    json(StatusCode::CREATED, &KeyView::of(&record, Some(key.reveal())))
}

/// What a key is to be: of which tenant, good for what, called how.
fn read(
    request: CreateRequest,
    reach: &Reach,
    own: Option<&Tenant>,
) -> Result<(Option<Tenant>, Vec<Scope>, String), Problem> {
    let mut findings = Findings::default();
    let mut scopes = Vec::new();
    for (n, text) in request.scopes.iter().enumerate() {
        let scope = Scope::parse(text).ok_or("expected `send`, `read`, `admin` or `operator`");
        scopes.extend(findings.take(&format!("scopes[{n}]"), scope));
    }
    if request.scopes.is_empty() {
        findings.add("scopes", "a key without any is good for nothing");
    }
    let is_operator = scopes.contains(&Scope::Operator);
    if is_operator && (scopes.iter().any(|scope| *scope != Scope::Operator) || request.tenant.is_some()) {
        findings.add("scopes", "`operator` belongs to no tenant, and stands alone");
    }
    let tenant = request.tenant.as_deref().map(|text| Tenant::parse(text).ok_or(NO_TENANT));
    let tenant = findings.take_if("tenant", tenant);
    if !is_operator && request.tenant.is_none() && own.is_none() {
        findings.add("tenant", "missing: an operator says whose key it is");
    }
    let name = request.name.unwrap_or_default();
    if name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let detail = format!("longer than {NAME_CHARS_MAX} characters, or with control characters");
        findings.add("name", detail);
    }
    findings.verdict()?;
    if is_operator {
        return match reach {
            Reach::All => Ok((None, scopes, name)),
            Reach::Of(_) => {
                Err(Problem::new(StatusCode::FORBIDDEN, "an operator's key is made by an operator"))
            }
        };
    }
    let tenant = tenant.or_else(|| own.cloned());
    tenant.iter().try_for_each(|tenant| within(reach, tenant))?;
    Ok((tenant, scopes, name))
}

/// `DELETE /v1/api-keys/{id}`
pub(crate) async fn revoke(ask: Ask) -> Answer {
    let reach = Reach::of(&ask)?;
    let name = ask.segment(PATH, "")?;
    let unknown = || {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
        Problem::not_found(format!("there is no key {shown}"))
    };
    let id = KeyId::parse(&name).ok_or_else(unknown)?;
    if !ask.app.stores.directory.revoke(reach.tenant(), &id).await? {
        return Err(unknown());
    }
    ask.app.authority.forget(&id);
    Ok(StatusCode::NO_CONTENT.into_response())
}
