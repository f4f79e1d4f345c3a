//! Who may ask, checked before any handler: the names that weir is asked by, pages of other origins, tokens and their
//! scopes. Also the headers of every answer, and a line of the audit log for whatever changes something.

use std::net::IpAddr;
use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpResponse, web};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::answer;
use super::answer::Places;
use super::pace::Pace;
use super::view::Failure;
use crate::base::codes::Code;
use crate::base::logging::AUDIT;
use crate::base::words::cut;
use crate::settings::{Http, Token};

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// To know that it lives, and how to ask.
    Anybody,
    /// To see everything.
    Read,
    /// To change what runs, too.
    Control,
}

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal(StatusCode, Code, &'static str);

/// Who may ask.
pub(super) struct Guard {
    /// Nobody needs a token.
    open: bool,
    read: Option<[u8; 32]>,
    control: Option<[u8; 32]>,
    hosts: Vec<String>,
    pace: Pace,
    places: Places,
}

/// Bytes of what a client has sent that are logged.
const LOGGED_BYTES_MAX: usize = 200;

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
];
/// Answers are data, no pages.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// The API's page is one; it styles itself inline and holds its pictures as data.
const PAGE_POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";

impl Guard {
    pub(super) fn new(http: &Http) -> Self {
        let digest = |token: &Option<Token>| token.as_ref().map(|token| digest(token.secret()));
        Guard {
            open: http.is_open(),
            read: digest(&http.read_token),
            control: digest(&http.control_token),
            hosts: http.hosts.clone(),
            pace: Pace::default(),
            places: Places::default(),
        }
    }

    /// Whether a request may go on; then, by whose right.
    fn admit(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<&'static str, Refusal> {
        let host = text(headers, header::HOST).ok_or(Refusal(
            StatusCode::BAD_REQUEST,
            Code::NoHost,
            "the request names no host",
        ))?;
        if !self.knows(host) {
            let words = "this is no name of weir's; add it to http.hosts if it should be one";
            return Err(Refusal(StatusCode::MISDIRECTED_REQUEST, Code::OtherHost, words));
        }
        // An origin that is no text is no origin of weir's.
        if let Some(origin) = headers.get(header::ORIGIN).map(|value| value.to_str().unwrap_or_default())
            && origin.split_once("://").map(|(_, authority)| authority) != Some(host)
        {
            return Err(Refusal(StatusCode::FORBIDDEN, Code::OtherOrigin, "pages of other origins may not ask weir"));
        }
        // A page's picture or script says no origin, but browsers say where the page is from. Other
        // clients don't send this. A page on another port of this machine is of the `same-site`.
        let sites = || headers.get_all("sec-fetch-site");
        if path != "/healthz" && sites().any(|site| site != "same-origin" && site != "none") {
            return Err(Refusal(StatusCode::FORBIDDEN, Code::OtherOrigin, "pages of other sites may not ask weir"));
        }
        let needed = scope(method, path);
        if self.open || needed == Scope::Anybody {
            return Ok("anybody");
        }
        let bearer = |value| str::split_once(value, ' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let token = text(headers, header::AUTHORIZATION).and_then(bearer).map(|(_, token)| token);
        let token =
            token.ok_or(Refusal(StatusCode::UNAUTHORIZED, Code::NoToken, "send a token: Authorization: Bearer …"))?;
        // Both are always compared, each in the same time whatever the token is.
        let given = digest(token);
        let is = |known: &Option<[u8; 32]>| known.is_some_and(|known| known.ct_eq(&given).into());
        let (read, control) = (is(&self.read), is(&self.control));
        match (read, control) {
            (_, true) => Ok("control_token"),
            (true, false) if needed == Scope::Read => Ok("read_token"),
            (true, false) => Err(Refusal(
                StatusCode::FORBIDDEN,
                Code::TokenMayOnlyRead,
                "this token may only read; send http.control_token",
            )),
            (false, false) => Err(Refusal(StatusCode::UNAUTHORIZED, Code::UnknownToken, "the token is none of weir's")),
        }
    }

    /// Whether weir may be asked by this name. An address is no name that somebody else could point here.
    fn knows(&self, host: &str) -> bool {
        let (name, port) = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap_or_default(),
            None => host.split_at(host.find(':').unwrap_or(host.len())),
        };
        if !(port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())) {
            return false;
        }
        let name = name.to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }
}

fn scope(method: &Method, path: &str) -> Scope {
    let page = ["/", "/openapi.json", "/docs"].contains(&path) || path.starts_with("/docs/");
    match (method, path) {
        (&Method::GET | &Method::HEAD, "/healthz") => Scope::Anybody,
        (&Method::GET | &Method::HEAD, _) if page => Scope::Anybody,
        (&Method::GET | &Method::HEAD, _) => Scope::Read,
        _ => Scope::Control,
    }
}

fn known(pair: &str) -> bool {
    pair.starts_with("wait=") || pair.starts_with("level=")
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Lets a request through or answers it, and keeps the audit log.
pub(super) async fn check(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let guard = request.app_data::<web::Data<Guard>>().expect("every app has one").clone();
    tokio::time::sleep(guard.pace.wait(Instant::now())).await;
    let (method, path) = (request.method().clone(), request.path().to_owned());
    let from = request.peer_addr().map(|address| address.to_string());
    let admitted = guard.admit(&method, &path, request.headers());
    let mut response = match admitted {
        Ok(_) if answer::may_be_large(&method, &path) => match guard.places.take().await {
            Some(place) => {
                let response = next.call(request).await?.map_into_boxed_body();
                response.map_body(|_, body| answer::in_pieces(body, place))
            }
            None => {
                let words = "too many large answers are on their way; ask again later";
                request.into_response(Failure::answer(StatusCode::SERVICE_UNAVAILABLE, Code::TooManyAnswers, words))
            }
        },
        Ok(_) => next.call(request).await?.map_into_boxed_body(),
        Err(Refusal(status, code, words)) => {
            let mut answer = HttpResponse::build(status);
            if status == StatusCode::UNAUTHORIZED {
                answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            request.into_response(answer.json(Failure::new(code, words)))
        }
    };
    if scope(&method, &path) == Scope::Control {
        let (by, status) = (admitted.unwrap_or("nobody"), response.status().as_u16());
        let path = cut(&path, LOGGED_BYTES_MAX);
        // Only what a command can have: somebody may have put a token there.
        let query: Vec<_> = response.request().query_string().split('&').filter(|pair| known(pair)).collect();
        let (query, from) = (query.join("&"), from.as_deref().unwrap_or("unknown"));
        let (query, method) = (cut(&query, LOGGED_BYTES_MAX), cut(method.as_str(), LOGGED_BYTES_MAX));
        tracing::info!(target: AUDIT, %method, %path, %query, by, from, status, "asked to change something");
    }
    let page = path.starts_with("/docs/");
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = if page { PAGE_POLICY } else { POLICY };
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Ok(response)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::http::token_for_tests as token;

    const READ: &str = "read-read-read-read";
    const CONTROL: &str = "control-control-control";

    /// `headers` as `name: value` lines, after the host.
    #[track_caller]
    fn check(guard: &Guard, request: &str, host: &str, headers: &[&str], expected: Result<&str, u16>) {
        let (method, path) = request.split_once(' ').unwrap();
        let mut map = HeaderMap::new();
        map.insert(header::HOST, host.parse().unwrap());
        for (name, value) in headers.iter().map(|line| line.split_once(": ").unwrap()) {
            map.insert(name.parse().unwrap(), value.parse().unwrap());
        }
        let found = guard.admit(&method.parse().unwrap(), path, &map);
        assert_eq!(found.map_err(|Refusal(status, ..)| status.as_u16()), expected, "{request} {host} {headers:?}");
    }

    fn guard(read: Option<&str>, control: Option<&str>) -> Guard {
        let (read_token, control_token) = (read.map(token), control.map(token));
        Guard::new(&Http { read_token, control_token, hosts: vec!["weir.example.com".to_owned()], ..Http::default() })
    }

    #[test]
    fn only_its_own_names_reach_it() {
        let guard = guard(None, None);
        for host in ["localhost:8321", "LOCALHOST", "127.0.0.1:8321", "[::1]:8321", "10.0.0.1", "weir.example.com:443"]
        {
            check(&guard, "GET /metrics", host, &[], Ok("anybody"));
        }
        for host in [
            "evil.example.com",
            "localhost.example.com",
            "",
            "weir.example.com.evil.com",
            "[::1",
            "[::1]evil.com",
            "localhost:x@evil.com",
        ] {
            check(&guard, "GET /metrics", host, &[], Err(421));
        }
    }

    #[test]
    fn pages_of_other_origins_do_not() {
        let guard = guard(None, None);
        let from = |origin: &str| format!("origin: {origin}");
        check(&guard, "POST /api/v1/reload", "localhost:8321", &[&from("http://localhost:8321")], Ok("anybody"));
        for origin in ["http://evil.example.com", "http://localhost:9000", "null", "http://localhost"] {
            check(&guard, "POST /api/v1/reload", "localhost:8321", &[&from(origin)], Err(403));
        }
    }

    #[test]
    fn pictures_in_pages_of_other_sites_do_not() {
        let guard = guard(None, None);
        let get = |path: &str, sites: &[&str], expected| {
            let headers: Vec<_> = sites.iter().map(|site| format!("sec-fetch-site: {site}")).collect();
            let headers: Vec<_> = headers.iter().map(String::as_str).collect();
            check(&guard, path, "localhost:8321", &headers, expected);
        };
        for path in ["GET /api/v1/pipelines/x/rejects", "GET /metrics", "GET /docs/", "GET /readyz", "POST /x"] {
            for site in ["same-origin", "none"] {
                get(path, &[site], Ok("anybody"));
            }
            for site in ["cross-site", "same-site", "", "anything"] {
                get(path, &[site], Err(403));
            }
        }
        get("GET /healthz", &["cross-site"], Ok("anybody"));
    }

    #[test]
    fn tokens_have_scopes() {
        let bearer = |token: &str| format!("authorization: Bearer {token}");
        let (read, control, wrong) = (bearer(READ), bearer(CONTROL), bearer("read-read-read-reaD"));
        let both = guard(Some(READ), Some(CONTROL));
        let check = |guard: &Guard, request: &str, headers: &[&str], expected| {
            check(guard, request, "localhost", headers, expected);
        };
        for request in ["GET /healthz", "GET /docs/", "GET /openapi.json"] {
            check(&both, request, &[], Ok("anybody"));
        }
        for request in ["GET /metrics", "GET /readyz", "GET /api/v1/pipelines", "HEAD /metrics"] {
            check(&both, request, &[], Err(401));
            check(&both, request, &[&wrong], Err(401));
            check(&both, request, &["authorization: Basic cmVhZDpyZWFk"], Err(401));
            check(&both, request, &[&read], Ok("read_token"));
            check(&both, request, &[&read.replace("Bearer", "bearer")], Ok("read_token"));
            check(&both, request, &[&control], Ok("control_token"));
        }
        for request in ["POST /api/v1/reload", "PUT /api/v1/log", "DELETE /healthz", "POST /healthz"] {
            check(&both, request, &[], Err(401));
            check(&both, request, &[&read], Err(403));
            check(&both, request, &[&control], Ok("control_token"));
        }
        check(&guard(Some(READ), None), "POST /api/v1/reload", &[&read], Err(403));
        check(&guard(None, Some(CONTROL)), "GET /metrics", &[], Err(401));
        check(&guard(None, Some(CONTROL)), "GET /metrics", &[&control], Ok("control_token"));
    }
}
