//! Which headers are passed on, and which belong to one hop: [`for_next_hop`].

use std::net::IpAddr;

use hyper::{
    HeaderMap,
    header::{
        CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Removes the headers for this hop only (RFC 9110, 7.6.1): the fixed ones, and those that
/// `connection` names. A chunked message loses its content length (RFC 9112, 6.3). Adds `peer` to
/// the list of addresses that a request came from.
pub fn for_next_hop(headers: &mut HeaderMap, peer: Option<IpAddr>) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    let always = [
        CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    for name in always.iter().chain(&named) {
        headers.remove(name);
    }
    let Some(peer) = peer else { return };
    let before: Vec<_> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .chain([peer.to_string()])
        .collect();
    if let Ok(value) = HeaderValue::from_str(&before.join(", ")) {
        headers.insert(FORWARDED_FOR, value);
    }
}
