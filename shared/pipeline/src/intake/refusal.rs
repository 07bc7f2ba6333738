//! Why a submission is not taken: data that names the field, for whoever has to mend it.

use std::fmt::Display;
use std::time::Duration;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where: a JSON path (`to[1]`, `headers.X-Kind`), the name of a query parameter, or empty for the whole.
    pub field: String,
    /// What, in a sentence.
    pub detail: String,
}

impl FieldError {
    /// What is wrong, and where.
    pub fn new(field: impl Into<String>, detail: impl Display) -> Self {
        Self { field: field.into(), detail: detail.to_string() }
    }
}

/// Why a submission was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is text that cannot be read at all.
    #[error("malformed JSON at line {line}, column {column}: {detail}")]
    Malformed {
        /// From 1.
        line: usize,
        /// From 1; 0 where the end of a line is meant.
        column: usize,
        /// What was expected.
        detail: String,
    },
    /// Fields that are missing, unknown or wrong; never empty.
    #[error("{}", .0.first().map_or_else(|| "invalid".to_owned(), |e| format!("{}: {}", e.field, e.detail)))]
    Invalid(Vec<FieldError>),
    /// Larger than is taken.
    #[error("the message is {octets} octets, at most {limit} are taken")]
    TooLarge {
        /// As it would be sent.
        octets: u64,
        /// The policy's limit.
        limit: u64,
    },
    /// The policy wants more of a sender than can be shown.
    #[error("{0}")]
    Forbidden(String),
    /// Another request came before under the same idempotency key.
    #[error("another request was made with this Idempotency-Key")]
    Conflict,
    /// The tenant has submitted as much as it may for now.
    #[error("the tenant's quota is used up: again in {} s", .wait.as_secs())]
    OverQuota {
        /// Until the window that is full has ended.
        wait: Duration,
    },
    /// There is no such upload of this tenant, or nothing was put there.
    #[error("upload: there is no such upload, or nothing has arrived there")]
    NoUpload,
    /// Our own store cannot take it now: the same again may work soon.
    #[error("the store cannot take it now")]
    Unavailable,
}

impl Refusal {
    /// The same, where what was read stands under `field` of something larger.
    #[must_use]
    pub fn within(self, field: &str) -> Self {
        let Self::Invalid(errors) = self else { return self };
        let inner = |error: FieldError| match error.field.as_str() {
            "" => error,
            own => FieldError { field: format!("{field}.{own}"), ..error },
        };
        Self::Invalid(errors.into_iter().map(inner).collect())
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::Invalid(vec![error])
    }
}

/// Most errors of one submission that are told; whoever has more mends these first.
const TOLD_MAX: usize = 20;

/// Collects what is wrong, so that a caller learns it in one go.
#[derive(Debug, Default)]
pub struct Findings(Vec<FieldError>);

impl Findings {
    /// One more; past a bound they are not told.
    pub fn add(&mut self, field: impl Into<String>, detail: impl Display) {
        if self.0.len() < TOLD_MAX {
            self.0.push(FieldError::new(field, detail));
        }
    }

    /// The value, or its error as a finding.
    pub fn take<T>(&mut self, field: &str, result: Result<T, impl Display>) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }

    /// The same for what may be absent.
    pub fn take_if<T>(&mut self, field: &str, result: Option<Result<T, impl Display>>) -> Option<T> {
        result.and_then(|result| self.take(field, result))
    }

    /// Whether all is well.
    pub fn verdict(self) -> Result<(), Refusal> {
        if self.0.is_empty() { Ok(()) } else { Err(Refusal::Invalid(self.0)) }
    }
}
