//! Who may run code: clients that have the token and call the page by its own name. Foreign pages
//! in a browser on this machine may not.

use std::{fmt::Write, io};

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, HOST, ORIGIN},
};

pub(super) struct Guard {
    token: String,
    hosts: [String; 2],
}

impl Guard {
    pub(super) fn new(port: u16) -> io::Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let mut token = String::new();
        for byte in bytes {
            // Writing to a `String` does not fail.
            let _ = write!(token, "{byte:02x}");
        }
        Ok(Self {
            token,
            hosts: ["127.0.0.1", "localhost"].map(|name| format!("{name}:{port}")),
        })
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// May it be answered? Loading the page needs no token: the page contains no data.
    pub(super) fn admits(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), (StatusCode, &'static str)> {
        // A page whose name was made to resolve to this address (DNS rebinding) calls this by that
        // name.
        let host = one(headers, HOST);
        if !host.is_some_and(|host| self.hosts.iter().any(|own| own == host)) {
            return Err((
                StatusCode::FORBIDDEN,
                "call the page by the address that the worker has printed",
            ));
        }
        // A browser names the requesting page in all requests except loading; other programs name
        // none.
        let is_own = |origin: &str| {
            let origin = origin.strip_prefix("http://");
            origin.is_some() && origin == host
        };
        let is_foreign = headers.contains_key(ORIGIN) && !one(headers, ORIGIN).is_some_and(is_own);
        if is_foreign {
            return Err((StatusCode::FORBIDDEN, "other pages may not use the worker"));
        }
        if method == Method::GET {
            return Ok(());
        }
        let given = one(headers, AUTHORIZATION).and_then(|given| given.strip_prefix("Bearer "));
        if !given.is_some_and(|given| is_same(given.as_bytes(), self.token.as_bytes())) {
            return Err((
                StatusCode::UNAUTHORIZED,
                "open the address that the worker has printed, with what stands behind the `#`",
            ));
        }
        Ok(())
    }
}

/// The header, if it is there once and is text.
fn one(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    match all.next() {
        Some(_) => None,
        None => first.to_str().ok(),
    }
}

/// Compares in constant time, so that the time does not tell where they differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn status(guard: &Guard, method: Method, given: &[(HeaderName, &str)]) -> u16 {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let admitted = guard.admits(&method, &headers);
        admitted.map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn the_page_is_called_by_its_own_names_alone() {
        let guard = Guard::new(8080).unwrap();
        for host in ["127.0.0.1:8080", "localhost:8080"] {
            assert_eq!(status(&guard, Method::GET, &[(HOST, host)]), 200, "{host}");
        }
        for host in [
            "example.org",
            "example.org:8080",
            "127.0.0.1",
            "127.0.0.1:80",
            "localhost.example.org:8080",
            "127.0.0.1:8080.example.org",
            "",
        ] {
            assert_eq!(status(&guard, Method::GET, &[(HOST, host)]), 403, "{host}");
        }
        assert_eq!(status(&guard, Method::GET, &[]), 403);
        let twice = [(HOST, "127.0.0.1:8080"), (HOST, "example.org")];
        assert_eq!(status(&guard, Method::GET, &twice), 403);
    }

    #[test]
    fn to_run_code_takes_the_token_and_no_other_page() {
        let guard = Guard::new(8080).unwrap();
        let here = (HOST, "127.0.0.1:8080");
        let right = format!("Bearer {}", guard.token());
        let right = (AUTHORIZATION, right.as_str());
        let post = |more: &[(HeaderName, &str)]| {
            let all: Vec<_> = [std::slice::from_ref(&here), more].concat();
            status(&guard, Method::POST, &all)
        };
        assert_eq!(post(std::slice::from_ref(&right)), 200);
        assert_eq!(
            post(&[right.clone(), (ORIGIN, "http://127.0.0.1:8080")]),
            200
        );
        for other in [
            "http://127.0.0.1:8081",
            "http://localhost:8080",
            "https://127.0.0.1:8080",
            "http://example.org",
            "null",
            "",
        ] {
            assert_eq!(post(&[right.clone(), (ORIGIN, other)]), 403, "{other}");
        }
        let twice = [
            right.clone(),
            (ORIGIN, "http://127.0.0.1:8080"),
            (ORIGIN, "http://example.org"),
        ];
        assert_eq!(post(&twice), 403);
        let longer = format!("Bearer {}0", guard.token());
        let shorter = format!("Bearer {}", &guard.token()[1..]);
        let bare = guard.token();
        for wrong in [&longer, &shorter, bare, "Bearer ", "Bearer", "Basic x"] {
            assert_eq!(post(&[(AUTHORIZATION, wrong)]), 401, "{wrong}");
        }
        assert_eq!(post(&[]), 401);
    }

    #[test]
    fn tokens_are_new_and_long() {
        let (one, other) = (Guard::new(1).unwrap(), Guard::new(1).unwrap());
        assert_ne!(one.token(), other.token());
        assert_eq!(one.token().len(), 64);
    }
}
