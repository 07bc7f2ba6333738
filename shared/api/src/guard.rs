//! Keeps pages of other origins out: a browser on this machine must not become somebody else's way in, neither by
//! a foreign page (`Origin`) nor by a foreign name that resolves to us (`Host`, DNS rebinding).

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::App;
use crate::problem::Problem;

/// The names under which we are asked for; none: any.
#[derive(Debug, Clone)]
pub struct Names(Option<Vec<String>>);

impl Names {
    /// This machine's own names, the address that is listened on, and others that lead here.
    pub fn new(bound: SocketAddr, others: &[String]) -> Self {
        let ip = match bound.ip() {
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
            std::net::IpAddr::V4(ip) => ip.to_string(),
        };
        let own = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
        let others = others.iter().map(|name| name.to_ascii_lowercase());
        Self(Some(own.into_iter().chain([ip]).chain(others).collect()))
    }

    /// Whatever we are called, and for pages of any origin: where every request needs a key, a browser has none of its
    /// own that a foreign page could use.
    pub fn any() -> Self {
        Self(None)
    }

    fn has(names: &[String], host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }
}

/// Lets a request through if it is meant for us.
pub(crate) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match check(&app.names, request.uri().authority(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// A request without `Host` is let through: browsers always send one, HTTP/1.0 clients need not.
fn check(names: &Names, absolute: Option<&Authority>, headers: &HeaderMap) -> Result<(), Problem> {
    let Names(Some(names)) = names else { return Ok(()) };
    let mut host = None;
    for value in headers.get_all(HOST) {
        let authority = value.to_str().ok().and_then(|text| text.parse::<Authority>().ok());
        host = Some(authority.ok_or_else(|| refused("Host", "is not readable"))?);
    }
    for asked in absolute.into_iter().chain(&host) {
        if !Names::has(names, asked.host()) {
            return Err(refused("Host", "names another host than this one"));
        }
    }
    for value in headers.get_all(ORIGIN) {
        let origin = value
            .to_str()
            .ok()
            .and_then(|text| text.split_once("://"))
            .filter(|(s, _)| matches!(*s, "http" | "https"));
        let origin = origin.and_then(|(scheme, text)| Some((scheme, text.parse::<Authority>().ok()?)));
        let own = origin.is_some_and(|(scheme, origin)| {
            let port = |a: &Authority| a.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
            Names::has(names, origin.host()) && host.as_ref().is_none_or(|host| port(host) == port(&origin))
        });
        if !own {
            return Err(refused("Origin", "is a foreign one"));
        }
    }
    Ok(())
}

fn refused(header: &str, why: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, format!("the header `{header}` {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_hosts_and_origins_are_refused() {
        let names = Names::new("127.0.0.2:8025".parse().unwrap(), &["Mail.Example".to_owned()]);
        let check = |host: Option<&str>, origin: Option<&str>, expected: bool| {
            let mut headers = HeaderMap::new();
            host.map(|host| headers.insert(HOST, host.parse().unwrap()));
            origin.map(|origin| headers.insert(ORIGIN, origin.parse().unwrap()));
            assert_eq!(check(&names, None, &headers).is_ok(), expected, "{host:?} {origin:?}");
        };
        check(None, None, true);
        for host in
            ["localhost:8025", "127.0.0.1", "[::1]:80", "127.0.0.2:8025", "LOCALHOST", "mail.example:443"]
        {
            check(Some(host), None, true);
        }
        for host in
            ["evil.example", "127.0.0.3", "localhost.evil.example", "evil.example:8025", "a b", "", "[::2]"]
        {
            check(Some(host), None, false);
        }
        check(Some("localhost:8025"), Some("http://localhost:8025"), true);
        check(Some("localhost:8025"), Some("http://127.0.0.1:8025"), true);
        check(Some("mail.example"), Some("http://mail.example"), true);
        for origin in
            ["http://evil.example", "null", "http://localhost:3000", "file://", "http://localhost", ""]
        {
            check(Some("localhost:8025"), Some(origin), false);
        }
        let mut foreign = HeaderMap::new();
        foreign.insert(HOST, "mail.example".parse().unwrap());
        foreign.insert(ORIGIN, "https://app.example".parse().unwrap());
        assert!(super::check(&Names::any(), None, &foreign).is_ok());
        assert!(super::check(&names, Some(&"evil.example".parse().unwrap()), &HeaderMap::new()).is_err());
    }
}
