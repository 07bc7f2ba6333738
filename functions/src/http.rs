//! The HTTP API behind API Gateway: an event becomes a request, the router's answer becomes what the gateway takes.
//!
//! What is absent: no route and no check of a key is here, they are the router's. A path comes decoded and a query does
//! not, so the one is encoded again and the other is taken as it is.

use std::sync::Arc;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use lambda_runtime::LambdaEvent;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use posthaste_api::{App, KeysNeeded, Limits, Names, Problem, SandboxMail};
use tower::ServiceExt;

use crate::environment::Environment;
use crate::invocation::Invocation;
use crate::kept_mail::InTable;
use crate::settings::SettingsError;

/// Octets of a body: binary ones come as base 64 in an event of 6 MB.
const BODY_OCTETS_MAX: usize = 4_500_000;
/// Kilobytes of bodies in flight: an invocation has one.
const IN_FLIGHT_KILOBYTES: u32 = 5_000;
/// What a path cannot hold as it is (RFC 3986 3.3). The gateway leaves `%25` as it came, and only that.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'\\');

/// The function.
pub struct Function {
    environment: Environment,
    router: Router,
}

impl Function {
    /// Reads its settings, and makes the routes.
    pub async fn prepare() -> Result<Self, SettingsError> {
        let environment = Environment::prepare().await?;
        let (ambient, stores) = (environment.ambient.clone(), environment.aws.stores());
        let authority = KeysNeeded::new(stores.directory.clone(), ambient.clock.clone());
        let router = posthaste_api::router(App {
            ambient,
            stores,
            limits: Limits::new(BODY_OCTETS_MAX, BODY_OCTETS_MAX, IN_FLIGHT_KILOBYTES),
            authority: Arc::new(authority),
            names: Names::any(),
            sandbox: Some(SandboxMail::Kept(Arc::new(InTable(environment.aws.clone())))),
        });
        Ok(Self { environment, router })
    }

    /// Answers one request.
    pub async fn handle(
        &self,
        event: LambdaEvent<ApiGatewayV2httpRequest>,
    ) -> Result<ApiGatewayV2httpResponse, lambda_runtime::Error> {
        let invocation = Invocation::begin(&self.environment);
        let answer = match request(event.payload) {
            Err(problem) => problem.into_response(),
            Ok(request) => match self.environment.refresh().await {
                // The router cannot fail.
                Ok(()) => self.router.clone().oneshot(request).await?,
                Err(error) => {
                    tracing::error!(%error, "a request was not answered");
                    Problem::unavailable("the policy cannot be read now").into_response()
                }
            },
        };
        let answered = response(answer).await?;
        invocation.end();
        Ok(answered)
    }
}

/// The request that an event stands for.
fn request(event: ApiGatewayV2httpRequest) -> Result<Request<Body>, Problem> {
    let bad = |why: &str| Problem::new(StatusCode::BAD_REQUEST, why);
    let path = event.raw_path.unwrap_or_default();
    let path = utf8_percent_encode(if path.is_empty() { "/" } else { &path }, NOT_IN_PATHS);
    let uri = match event.raw_query_string.filter(|query| !query.is_empty()) {
        Some(query) => format!("{path}?{query}"),
        None => path.to_string(),
    };
    let body = event.body.unwrap_or_default();
    let body = if event.is_base64_encoded {
        STANDARD.decode(body).map_err(|_| bad("the body cannot be read"))?.into()
    } else {
        Bytes::from(body)
    };
    let length = body.len();
    let mut request = Request::builder()
        .method(event.request_context.http.method)
        .uri(uri)
        .body(Body::from(body))
        .map_err(|_| bad("the path or the query cannot be read"))?;
    *request.headers_mut() = event.headers;
    // What the gateway took in and what it hands on may differ in length; a body of unknown length would be taken for
    // the largest one.
    request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    request.headers_mut().remove(header::TRANSFER_ENCODING);
    Ok(request)
}

/// What the gateway takes for an answer.
async fn response(answer: Response<Body>) -> Result<ApiGatewayV2httpResponse, axum::Error> {
    let (parts, body) = answer.into_parts();
    let octets = body.collect().await?.to_bytes();
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = i64::from(parts.status.as_u16());
    response.headers = parts.headers;
    if !octets.is_empty() {
        let body = match String::from_utf8(octets.to_vec()) {
            Ok(text) => encodings::Body::Text(text),
            Err(binary) => encodings::Body::Binary(binary.into_bytes()),
        };
        response.is_base64_encoded = matches!(body, encodings::Body::Binary(_));
        response.body = Some(body);
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
