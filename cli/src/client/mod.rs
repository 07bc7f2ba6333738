//! The API as a client sees it: small requests, JSON back, problems as one line. Loopback by default; HTTPS with
//! the roots of the web for one that is deployed.

mod paths;
pub(crate) mod view;

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

pub(crate) use paths::segment;

use crate::failure::Failure;

/// The local stack.
pub(crate) const LOCAL_API: &str = "http://127.0.0.1:8025";
/// TCP and TLS. Loopback answers at once; a deployed API is behind a front end that never sleeps.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A whole answer: the longest wait that is asked for is 25 s, and a body may be 40 MB.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// Largest answer that is read, in octets: a page is far smaller, and nothing may fill the memory.
const ANSWER_OCTETS_MAX: usize = 64 << 20;

/// Where the API is, and as whom to ask.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "API")]
pub(crate) struct ApiArgs {
    /// Where the API is
    #[arg(long, env = "POSTHASTE_API", value_name = "URL", default_value = LOCAL_API, global = true)]
    api: String,
    /// API key; the local stack needs none
    #[arg(
        long = "api-key",
        env = "POSTHASTE_API_KEY",
        value_name = "KEY",
        hide_env_values = true,
        global = true
    )]
    key: Option<String>,
}

/// Asks the API.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: Url,
    key: Option<String>,
}

/// Why there is no answer, told apart where a caller does different things.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// Nobody answered; asking again may help.
    #[error("{0}")]
    Unreachable(String),
    /// The API refused, and says why.
    #[error("{text}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The problem's field, title and detail in one line.
        text: String,
    },
    /// What came back is no answer of this API.
    #[error("{0}")]
    NotTheApi(String),
}

impl ApiError {
    /// Whether what was asked for is not there.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }

    /// Whether asking again later may help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::NotTheApi(_) => false,
        }
    }
}

impl From<ApiError> for Failure {
    /// A refusal for what the caller gave is wrong input; the rest are failures.
    fn from(error: ApiError) -> Self {
        let wrong_input = matches!(&error, ApiError::Refused { status, .. } if matches!(status.as_u16(), 400 | 413 | 415 | 422));
        if wrong_input { Self::input(error) } else { Self::failed(error) }
    }
}

/// What goes along with a request.
pub(crate) enum Body<'a> {
    /// Nothing.
    Empty,
    /// JSON.
    Json(&'a Value),
    /// A raw message.
    Message(Vec<u8>),
}

impl ApiArgs {
    /// The client; refuses what is no URL.
    pub(crate) fn open(&self) -> Result<Api, Failure> {
        let given = if self.api.trim().is_empty() { LOCAL_API } else { self.api.trim() };
        let with_scheme = if given.contains("://") { given.to_owned() } else { format!("http://{given}") };
        let wrong = |why: &str| Failure::input(format!("--api {given}: {why}"));
        let mut base = Url::parse(&with_scheme).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong("expected http://host:port or https://host"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .tcp_nodelay(true)
            .user_agent(concat!("posthaste/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none());
        if is_loopback(&base) {
            // A proxy of the environment cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        // One crypto library in the whole binary: the one the hop uses. A second call finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = builder.build().map_err(|error| Failure::failed(format!("no HTTP client: {error}")))?;
        Ok(Api { http, base, key: self.key.clone().filter(|key| !key.is_empty()) })
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Api {
    /// An API in this process, without a key.
    pub(crate) fn local(address: std::net::SocketAddr) -> Result<Self, Failure> {
        ApiArgs { api: format!("http://{address}"), key: None }.open()
    }

    /// Where it is.
    pub(crate) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// GET of a path below the base, with a query.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, ApiError> {
        self.ask(Method::GET, path, query, &[], Body::Empty).await
    }

    /// Any request; the answer's JSON, or null where it has no body.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Value, ApiError> {
        let url = self.base.join(path).map_err(|error| ApiError::NotTheApi(format!("{path}: {error}")))?;
        let mut request = self.http.request(method, url);
        if !query.is_empty() {
            request = request.query(query);
        }
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = match body {
            Body::Empty => request,
            Body::Json(value) => request.json(value),
            Body::Message(octets) => {
                request.header(reqwest::header::CONTENT_TYPE, "message/rfc822").body(octets)
            }
        };
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let octets = self.read(answer).await?;
        if !status.is_success() {
            return Err(ApiError::Refused { status, text: problem_line(status, &octets) });
        }
        if octets.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&octets)
            .map_err(|_| ApiError::NotTheApi(format!("{} answers, but not as the API does", self.base())))
    }

    async fn read(&self, mut answer: reqwest::Response) -> Result<Vec<u8>, ApiError> {
        let mut octets = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            if octets.len() + chunk.len() > ANSWER_OCTETS_MAX {
                return Err(ApiError::NotTheApi(format!("{} answers without end", self.base())));
            }
            octets.extend_from_slice(&chunk);
        }
        Ok(octets)
    }

    fn unreachable(&self, error: &reqwest::Error) -> ApiError {
        let why = root_cause(error);
        let hint =
            if is_loopback(&self.base) && error.is_connect() { "; is `posthaste dev` running?" } else { "" };
        ApiError::Unreachable(format!("{} does not answer: {why}{hint}", self.base()))
    }
}

/// The innermost reason, which is what a person can act on.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A problem (RFC 9457) as one line: `field: detail`. What is no problem is shown by its status.
fn problem_line(status: StatusCode, octets: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(octets).unwrap_or(Value::Null);
    let text = |key: &str| problem[key].as_str().filter(|text| !text.is_empty());
    let said = text("detail").or(text("title"));
    match (text("field"), said) {
        (Some(field), Some(said)) if !said.contains(field) => format!("{field}: {said}"),
        (_, Some(said)) => said.to_owned(),
        (_, None) => format!("the API answered {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_become_one_line_that_names_the_field() {
        let check = |body: &str, expected: &str| {
            assert_eq!(problem_line(StatusCode::UNPROCESSABLE_ENTITY, body.as_bytes()), expected);
        };
        check(
            r#"{"title":"Unprocessable","detail":"is no address","field":"to[0]"}"#,
            "to[0]: is no address",
        );
        check(
            r#"{"title":"Unprocessable","detail":"to[0]: is no address","field":"to[0]"}"#,
            "to[0]: is no address",
        );
        check(r#"{"title":"Not found"}"#, "Not found");
        check("<html>", "the API answered 422 Unprocessable Entity");
    }

    #[test]
    fn urls_are_taken_with_and_without_scheme_and_path() {
        let check = |given: &str, expected: Option<&str>| {
            let opened = ApiArgs { api: given.to_owned(), key: None }.open();
            assert_eq!(opened.ok().map(|api| api.base().to_owned()).as_deref(), expected, "{given}");
        };
        check("http://127.0.0.1:8025", Some("http://127.0.0.1:8025"));
        check("127.0.0.1:8025", Some("http://127.0.0.1:8025"));
        check("https://mail.example/prod/", Some("https://mail.example/prod"));
        check("", Some(LOCAL_API));
        check("ftp://mail.example", None);
        check("http://", None);
    }
}
