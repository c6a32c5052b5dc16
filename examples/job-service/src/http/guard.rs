//! Access control: with a token, only its holders; otherwise this machine's programs and pages of
//! this service, but no foreign pages in a browser on this machine.

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::problem::Problem;

#[derive(Clone)]
pub(super) struct Guard {
    /// The SHA-256 of the token. The time of comparing hashes tells nothing about the token.
    token: Option<[u8; 32]>,
}

impl Guard {
    pub(super) fn new(token: Option<&str>) -> Self {
        let token = token.map(|token| Sha256::digest(token).into());
        Self { token }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(token) = self.token else {
            return true;
        };
        let given = headers.get(AUTHORIZATION);
        let given = given.and_then(|given| given.to_str().ok()?.split_once(' '));
        // The case of a scheme's name does not matter (RFC 9110).
        given.is_some_and(|(scheme, given)| {
            scheme.eq_ignore_ascii_case("Bearer")
                && <[u8; 32]>::from(Sha256::digest(given.trim())) == token
        })
    }
}

/// These contain no data: the pages are empty, and health is for monitoring.
pub(super) const OPEN: [&str; 3] = ["/", "/docs", "/health"];

pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if guard.token.is_none() && !is_local(request.uri(), headers) {
        let detail = "without a token the service answers to `localhost` and to addresses of this \
                      machine alone";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) && is_foreign(headers) {
        let detail = "pages of other sites may not use the service";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    if !OPEN.contains(&request.uri().path()) && !guard.admits(headers) {
        let detail = "give the service's token: `Authorization: Bearer TOKEN`";
        let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        return response;
    }
    next.run(request).await
}

/// Is the service called by a local name? A page whose name was made to resolve to this address
/// (DNS rebinding) calls it by that name.
fn is_local(uri: &Uri, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(Authority::as_str));
    let Some(Ok(host)) = host.map(str::parse::<Authority>) else {
        return false;
    };
    let host = host.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// Does it come from a page of another site?
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else {
        return false; // no browser, or no other site
    };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    origin.is_none_or(|(_, origin)| Some(origin) != host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_local_names_are_local() {
        let uri = Uri::from_static("/");
        for local in [
            "localhost",
            "localhost:80",
            "127.0.0.1:8080",
            "[::1]:8080",
            "LocalHost",
        ] {
            assert!(is_local(&uri, &headers(&[("host", local)])), "{local}");
        }
        for other in ["example.org", "localhost.example.org", "10.0.0.1:80", ""] {
            assert!(!is_local(&uri, &headers(&[("host", other)])), "{other}");
        }
        assert!(!is_local(&uri, &headers(&[])));
    }

    #[test]
    fn pages_of_other_sites_are_foreign() {
        let here = ("host", "localhost:8080");
        assert!(!is_foreign(&headers(&[here])));
        assert!(!is_foreign(&headers(&[
            here,
            ("origin", "http://localhost:8080")
        ])));
        for other in ["http://localhost:81", "https://example.org", "null"] {
            assert!(is_foreign(&headers(&[here, ("origin", other)])), "{other}");
        }
    }

    #[test]
    fn the_token_is_needed_as_it_is() {
        let guard = Guard::new(Some("secret"));
        for right in ["Bearer secret", "bearer secret", "BEARER  secret"] {
            assert!(
                guard.admits(&headers(&[("authorization", right)])),
                "{right}"
            );
        }
        for wrong in [
            "Bearer secre",
            "Bearer secret1",
            "secret",
            "Basic secret",
            "Bearer ",
        ] {
            assert!(
                !guard.admits(&headers(&[("authorization", wrong)])),
                "{wrong}"
            );
        }
        assert!(!guard.admits(&headers(&[])));
        assert!(Guard::new(None).admits(&headers(&[])));
    }
}
