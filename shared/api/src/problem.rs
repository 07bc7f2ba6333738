//! What went wrong, as RFC 9457 `application/problem+json`.

use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use posthaste_pipeline::control::ControlError;
use posthaste_pipeline::intake::{FieldError, Refusal};
use posthaste_pipeline::stores::StoreError;
use serde::Serialize;
use serde::ser::{SerializeSeq, SerializeStruct, Serializer};

/// What an answer to a request is.
pub(crate) type Answer = Result<Response, Problem>;

/// Seconds after which a store that failed is worth another try: about the length of a failover.
const RETRY_STORE_SECONDS: u32 = 5;
/// Seconds after which a row that others were writing is quiet.
const RETRY_BUSY_SECONDS: u32 = 1;

/// A refusal or a failure, as callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_seconds: Option<u32>,
    allow: Option<&'static str>,
}

impl Problem {
    /// A problem of this status.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new(), retry_after_seconds: None, allow: None }
    }

    /// One wrong field: 422.
    pub fn field(field: impl Into<String>, detail: impl std::fmt::Display) -> Self {
        Self::fields(vec![FieldError::new(field, detail)])
    }

    /// Wrong fields: 422; the first one is named first.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.first() {
            Some(first) if first.field.is_empty() => first.detail.clone(),
            Some(first) => format!("{}: {}", first.field, first.detail),
            None => String::new(),
        };
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// There is nothing under this name: 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The method is not for this path: 405.
    pub(crate) fn method(allow: &'static str) -> Self {
        let detail = format!("this path takes {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// Larger than is taken, in a field that says so: 413.
    pub(crate) fn too_large(field: &str, detail: impl std::fmt::Display) -> Self {
        let error = FieldError::new(field, detail);
        let detail = format!("{}: {}", error.field, error.detail);
        Self { errors: vec![error], ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail) }
    }

    /// No key, or none that is known: 401.
    pub(crate) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// Not now: 503.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        Self { retry_after_seconds: Some(RETRY_STORE_SECONDS), ..problem }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut problem = to.serialize_struct("Problem", 6)?;
        // No page describes them further: the title is the status phrase, as RFC 9457 4.2.1 wants it then.
        problem.serialize_field("type", "about:blank")?;
        problem.serialize_field("title", self.status.canonical_reason().unwrap_or("Error"))?;
        problem.serialize_field("status", &self.status.as_u16())?;
        problem.serialize_field("detail", &self.detail)?;
        if let Some(first) = self.errors.first().filter(|first| !first.field.is_empty()) {
            problem.serialize_field("field", &first.field)?;
        }
        if self.errors.iter().any(|error| !error.field.is_empty()) {
            problem.serialize_field("errors", &Errors(&self.errors))?;
        }
        problem.end()
    }
}

struct Errors<'a>(&'a [FieldError]);

impl Serialize for Errors<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct One<'a> {
            field: &'a str,
            detail: &'a str,
        }
        let mut list = to.serialize_seq(Some(self.0.len()))?;
        for error in self.0 {
            list.serialize_element(&One { field: &error.field, detail: &error.detail })?;
        }
        list.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Strings and numbers only: this cannot fail.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 11.6.1: the answer says how one may ask.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed { .. } => Self::new(StatusCode::BAD_REQUEST, refusal.to_string()),
            Refusal::Invalid(errors) => Self::fields(errors),
            Refusal::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, refusal.to_string()),
            Refusal::Forbidden(detail) => Self::new(StatusCode::FORBIDDEN, detail),
            Refusal::Conflict => Self {
                errors: vec![FieldError::new("Idempotency-Key", "used before, with another request")],
                ..Self::new(StatusCode::CONFLICT, refusal.to_string())
            },
            Refusal::OverQuota { wait } => {
                let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, refusal.to_string());
                Self { retry_after_seconds: Some(seconds), ..problem }
            }
            Refusal::NoUpload => {
                let detail = "there is none of this id, or nothing has arrived there";
                Self {
                    errors: vec![FieldError::new("upload", detail)],
                    ..Self::not_found(refusal.to_string())
                }
            }
            Refusal::Unavailable => Self::unavailable(refusal.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::error!(%error, "a request was not answered: the store failed");
                Self::unavailable("the store cannot answer now")
            }
            StoreError::Corrupt(_) => {
                tracing::error!(%error, "a request was not answered: the store holds something unreadable");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the store holds something that cannot be read")
            }
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotFound(_) | ControlError::NoDeadLetter(_) => Self::not_found(error.to_string()),
            ControlError::Refused(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            ControlError::Busy => {
                let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string());
                Self { retry_after_seconds: Some(RETRY_BUSY_SECONDS), ..problem }
            }
            ControlError::Store(error) => error.into(),
        }
    }
}

/// No route of ours.
pub(crate) async fn no_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::not_found(format!("there is nothing at {path}"))
}

/// A route of ours, but not with this method; the router adds `Allow`.
pub(crate) async fn no_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
}
