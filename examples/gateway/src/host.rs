//! Hosts, of requests and of upstreams: [`is_host`] and [`is_upstream`]; and what upstreams are asked:
//! [`is_path`].

use std::net::Ipv6Addr;

use hyper::http::uri::{Authority, PathAndQuery};

/// Can requests be sent to `text`? It is a host and a port, which is not 0.
#[must_use]
pub fn is_upstream(text: &str) -> bool {
    let port = text.rsplit_once(':').map(|(_, port)| port);
    let is_port = port.is_some_and(|port| port.parse().is_ok_and(|port: u16| port != 0));
    is_port && is_host(text.as_bytes())
}

/// Can upstreams be asked for `text`? It is a path, perhaps with a query. Without its slash it would
/// become a part of the host that it is put behind: `:8080` and `health`, or `@elsewhere`.
#[must_use]
pub fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.parse::<PathAndQuery>().is_ok()
}

/// A host and perhaps a port; no name of a user, with which it would look like another host.
pub(crate) fn is_host(text: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(text) else {
        return false;
    };
    // What `Authority` does not look at: an empty host, a port that is none, and brackets around or
    // after something else than an address.
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host).unwrap_or("@");
    let is_port = match port.strip_prefix(':') {
        // A number may have a sign, and a port may not.
        Some(number) => {
            number.bytes().all(|digit| digit.is_ascii_digit())
                && (number.is_empty() || authority.port_u16().is_some())
        }
        None => port.is_empty(),
    };
    let is_name = match host.strip_prefix('[') {
        Some(rest) => {
            let address = rest.strip_suffix(']').map(str::parse::<Ipv6Addr>);
            address.is_some_and(|address| address.is_ok())
        }
        None => !host.is_empty() && !host.contains(['[', ']']),
    };
    is_name && is_port && !text.contains(&b'@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_are_around_an_address_only() {
        for host in [
            "a.example",
            "a_b:80",
            "a:",
            "127.0.0.1",
            "[::1]",
            "[::1]:80",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "",
            ":80",
            "[]",
            "[]:80",
            "[zz]",
            "[::1",
            "::1]",
            "[::1]80",
            "a[::1]",
            "[a.example]",
            "[127.0.0.1]",
            "[::1%25eth0]",
            "[v1.x]",
            "a@b",
            "a:+80",
            "a:65536",
            "a/",
            "a?b",
            "a b",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn an_upstream_has_a_port() {
        for upstream in ["a.example:80", "127.0.0.1:1", "[::1]:65535"] {
            assert!(is_upstream(upstream), "{upstream}");
        }
        for upstream in [
            "", "a", "a:", "a:0", ":80", "[::1]", "[zz]:80", "u@a:80", "a:80/",
        ] {
            assert!(!is_upstream(upstream), "{upstream}");
        }
    }
}
