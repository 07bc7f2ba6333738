//! `/v1/uploads`: a place for a body that is too large for a request, and the submission that names it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use posthaste_mail::{Tenant, Timestamp, UploadId};
use posthaste_pipeline::access::Scope;
use posthaste_pipeline::intake::{Mail, Refusal, UploadRequest, read_json};
use posthaste_pipeline::upload::{self, UploadOffer, UploadReceived, UploadWay};
use posthaste_pipeline::view::rfc3339;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use crate::App;
use crate::ask::{Ask, json};
use crate::body;
use crate::messages::unsupported;
use crate::problem::{Answer, Problem};
use crate::query::{Plus, Query, decode};

const PATH: &str = "/v1/uploads/";

/// Largest body that may be uploaded, in octets: 40 MB (contract section 2).
pub const UPLOAD_OCTETS_MAX: u64 = 40_000_000;
/// Octets of the body of a POST.
const BODY_OCTETS_MAX: usize = 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferRequest {
    size: u64,
}

#[derive(Serialize)]
struct Offered {
    upload: UploadId,
    url: String,
    headers: BTreeMap<String, String>,
    #[serde(serialize_with = "rfc3339")]
    expires_at: Timestamp,
}

/// `POST /v1/uploads`
pub(crate) async fn offer(mut ask: Ask) -> Answer {
    let tenant = ask.need(Scope::Send)?.clone();
    ask.query()?.only(&[])?;
    if ask.content_type() != "application/json" {
        return Err(unsupported("application/json"));
    }
    let body = ask.read_body(BODY_OCTETS_MAX).await?.bytes;
    let OfferRequest { size } = read_json(&body)?;
    let largest = UPLOAD_OCTETS_MAX.min(ask.app.ambient.policy.get().size.message_bytes);
    if size == 0 {
        return Err(Problem::field("size", "a message has at least one octet"));
    }
    if size > largest {
        return Err(Problem::too_large("size", format!("{size} octets, at most {largest} are taken")));
    }
    let (offer, way) = upload::offer(&ask.app.ambient, &ask.app.stores, &tenant, size).await?;
    let (url, headers) = match way {
        UploadWay::Url { url, headers } => (url, headers.into_iter().collect()),
        UploadWay::Here => (url_here(&ask.parts.headers, &offer), headers_here(size)),
    };
    json(StatusCode::CREATED, &Offered { upload: offer.id, url, headers, expires_at: offer.closes_at })
}

/// Where the caller reached us, it reaches us again. Without a name it is a path.
fn url_here(headers: &HeaderMap, offer: &UploadOffer) -> String {
    let path = format!("{PATH}{}?token={}", offer.id, offer.token);
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = if text("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    text(HOST.as_str()).map_or_else(|| path.clone(), |host| format!("{scheme}://{host}{path}"))
}

fn headers_here(size: u64) -> BTreeMap<String, String> {
    let pairs = [("Content-Length", size.to_string()), ("If-None-Match", "*".to_owned())];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// `PUT /v1/uploads/{id}?token=…`: the token stands for the key, as in a presigned URL.
pub(crate) async fn receive(State(app): State<Arc<App>>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let unknown = || Problem::not_found("there is no such upload, or its time is over");
    let query = Query::read(parts.uri.query())?.only(&["token"])?;
    let token = query.get("token").ok_or_else(unknown)?;
    let id = read_id(&parts.uri)?.ok_or_else(unknown)?;
    let (uploads, now) = (&app.stores.uploads, app.ambient.now());
    // Before a single octet of it is read: a stranger is not listened to.
    let size = uploads.expected(&id, token, now).await?.ok_or_else(unknown)?;
    let limit = usize::try_from(size).unwrap_or(usize::MAX);
    let body = body::read(&parts.headers, body, limit, &app.limits).await?;
    match uploads.receive(&id, token, now, body.bytes).await? {
        UploadReceived::Stored => Ok(StatusCode::NO_CONTENT.into_response()),
        UploadReceived::ThereBefore => Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "a body was put there before: it stays as it is",
        )),
        UploadReceived::WrongSize => {
            Err(Problem::field("Content-Length", format!("{size} octets were announced")))
        }
        UploadReceived::Unknown => Err(unknown()),
    }
}

fn read_id(uri: &Uri) -> Result<Option<UploadId>, Problem> {
    let name = uri.path().strip_prefix(PATH).unwrap_or_default();
    Ok(UploadId::parse(&decode(name, Plus::Itself)?))
}

/// The message of a submission that names an upload, with the room it takes up.
pub(crate) async fn mail(
    ask: &Ask,
    tenant: &Tenant,
    request: UploadRequest,
) -> Result<(Mail, Option<OwnedSemaphorePermit>), Problem> {
    let uploads = &ask.app.stores.uploads;
    let id = request.id()?;
    let envelope = request.into_raw()?;
    let size = uploads.size(tenant, &id).await?.ok_or(Refusal::NoUpload)?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let room = body::take_room(size, &ask.app.limits).await?;
    let message = uploads.open(tenant, &id).await?.ok_or(Refusal::NoUpload)?;
    Ok((Mail::Raw(Box::new(envelope), message), room))
}
