//! The head of a request: checked as it came, and as it goes to an upstream: [`Head`].

use std::net::IpAddr;

use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderValue, MAX_FORWARDS,
        TRANSFER_ENCODING, UPGRADE, VIA,
    },
    http::{
        request,
        uri::{PathAndQuery, Scheme},
    },
};

use crate::{headers::for_next_hop, host::is_host};

/// A request's head with one host, one framing and one line of cookies, whatever the client sent.
pub(crate) struct Head {
    pub(crate) method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
}

/// The answer to a request that is not passed on.
pub(crate) type Refusal = (StatusCode, &'static str);

const BAD_HOST: Refusal = (StatusCode::BAD_REQUEST, "no host, or more than one\n");
const BAD_LENGTH: Refusal = (StatusCode::BAD_REQUEST, "not one length\n");
const BAD_CODING: Refusal = (StatusCode::NOT_IMPLEMENTED, "no such transfer coding\n");
const BAD_METHOD: Refusal = (
    StatusCode::NOT_IMPLEMENTED,
    "there are no tunnels and no traces here\n",
);

const BAD_UPGRADE: Refusal = (
    StatusCode::NOT_IMPLEMENTED,
    "there are no websockets here\n",
);
const BAD_HOPS: Refusal = (StatusCode::BAD_REQUEST, "not one number of hops\n");
/// To `OPTIONS` that is to go no further.
const NO_FURTHER: Refusal = (StatusCode::NO_CONTENT, "");
const BAD_EXPECTATION: Refusal = (StatusCode::EXPECTATION_FAILED, "no such expectation\n");

/// What is known of the body's length.
#[derive(Clone, Copy)]
pub(crate) enum Length {
    /// Of a body that is empty, too.
    Exact(u64),
    Unknown,
}

impl Head {
    /// The head as it goes on, or the answer.
    pub(crate) fn new(head: request::Parts, length: Length, peer: IpAddr) -> Result<Self, Refusal> {
        // A trace would show what is added to the request here.
        if [Method::CONNECT, Method::TRACE].contains(&head.method) {
            return Err(BAD_METHOD);
        }
        if !is_plain(&head.headers) {
            return Err(BAD_CODING);
        }
        // Without its header an upgrade would reach the upstream as another request. Only `h2c` is an
        // offer, which clients make with any request and which may be ignored.
        if asks_for_websocket(&head) {
            return Err(BAD_UPGRADE);
        }
        // The server asks an HTTP/1 client for the body with 100 when an attempt begins to send it, so the
        // expectation is met here. hyper sends no 100 by HTTP/2, where a client sends the body when it has
        // waited for a while. Passed on, it would let the upstream answer without the body, which comes
        // nevertheless.
        let mut expectations = head.headers.get_all(EXPECT).iter();
        if !expectations.all(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            return Err(BAD_EXPECTATION);
        }
        let host = host(&head)?;
        let mut headers = head.headers;
        let is_chunked = headers.contains_key(TRANSFER_ENCODING);
        for_next_hop(&mut headers, Some(peer));
        headers.remove(EXPECT);
        // Inserted after the headers that `connection` names were removed. An HTTP/1.0 request
        // without a host gets the upstream's.
        if let Some(host) = host {
            headers.insert(HOST, host);
        }
        let had_length = headers.remove(CONTENT_LENGTH).is_some();
        match length {
            Length::Exact(0) if !had_length => {}
            Length::Exact(bytes) => {
                headers.insert(CONTENT_LENGTH, bytes.into());
            }
            // HTTP/2 may have it several times, and they may differ.
            Length::Unknown if had_length && !is_chunked => return Err(BAD_LENGTH),
            // Said here, as hyper takes a `GET` without either for one without a body.
            Length::Unknown => {
                headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
        }
        if head.method == Method::OPTIONS {
            count_hop(&mut headers)?;
        }
        join_cookies(&mut headers);
        let via = match head.version {
            Version::HTTP_10 => "1.0 gateway",
            Version::HTTP_2 => "2.0 gateway",
            _ => "1.1 gateway",
        };
        headers.append(VIA, HeaderValue::from_static(via));
        let root = || PathAndQuery::from_static("/");
        Ok(Self {
            method: head.method,
            path: head.uri.into_parts().path_and_query.unwrap_or_else(root),
            headers,
        })
    }

    /// The request for one attempt. `None` if `authority` is not one.
    pub(crate) fn request<B>(&self, authority: &str, body: B) -> Option<Request<B>> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority)
            .path_and_query(self.path.clone())
            .build()
            .ok()?;
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }
}

/// Does the body have no transfer coding but `chunked`, which ends at each hop? Others would have to
/// be decoded here.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    codings.all(|value| {
        value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    }) && headers.get_all(TRANSFER_ENCODING).iter().count() <= 1
}

/// Not by HTTP/1.0, nor without `upgrade` in `connection`: then the header asks for nothing, and is
/// for another hop (RFC 9110, 7.8).
fn asks_for_websocket(head: &request::Parts) -> bool {
    let lists = |header, wanted: &[u8]| {
        let values = head.headers.get_all(header).iter();
        values
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .any(|name| name.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    head.version == Version::HTTP_11
        && lists(CONNECTION, b"upgrade")
        && lists(UPGRADE, b"websocket")
}

/// The one host that the request is for. The address's counts, if it has one, and not the header
/// (RFC 9112, 3.2.2); in HTTP/2 the two must not differ (RFC 9113, 8.3.1).
fn host(head: &request::Parts) -> Result<Option<HeaderValue>, Refusal> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let named = hosts.next();
    if hosts.next().is_some() {
        return Err(BAD_HOST);
    }
    if let Some(authority) = head.uri.authority() {
        let authority = authority.as_str();
        let differs =
            |named: &HeaderValue| !named.as_bytes().eq_ignore_ascii_case(authority.as_bytes());
        if !is_host(authority.as_bytes())
            || (head.version == Version::HTTP_2 && named.is_some_and(differs))
        {
            return Err(BAD_HOST);
        }
        return HeaderValue::from_str(authority)
            .map(Some)
            .map_err(|_| BAD_HOST);
    }
    match named {
        Some(named) if named.is_empty() || is_host(named.as_bytes()) => Ok(Some(named.clone())),
        None if head.version < Version::HTTP_11 => Ok(None),
        _ => Err(BAD_HOST),
    }
}

/// How many more hops the request may take: none, and it is answered here; one fewer behind this one
/// (RFC 9110, 7.6.2). That is about `OPTIONS` and `TRACE`; with other methods it means nothing.
fn count_hop(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let mut hops = headers.get_all(MAX_FORWARDS).iter();
    let Some(left) = hops.next() else {
        return Ok(());
    };
    let digits = left.to_str().unwrap_or_default();
    if hops.next().is_some() || digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return Err(BAD_HOPS);
    }
    // A number that is too large to be read is too large to be used up, too.
    let left: u64 = digits.parse().unwrap_or(u64::MAX);
    let behind = left.checked_sub(1).ok_or(NO_FURTHER)?;
    headers.insert(MAX_FORWARDS, behind.into());
    Ok(())
}

/// HTTP/2 may send a line for each cookie, which HTTP/1 must not (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() < 2 {
        return;
    }
    let joined = HeaderValue::from_bytes(&cookies.join(&b"; "[..]));
    headers.insert(COOKIE, joined.expect("they were valid in several lines"));
}
