//! The settings of a gateway: [`Settings`].

use std::{error::Error, fmt, sync::Arc, time::Duration};

use futures_rustls::rustls::ServerConfig;

use crate::{Log, is_path, is_upstream};

/// The settings of a gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HOST:PORT` each ([`is_upstream`]), in turn.
    pub upstreams: Vec<String>,
    /// Connections at a time; more wait to be accepted.
    pub max_connections: usize,
    /// Requests at a time, until the end of the answer; more get 503.
    pub max_requests: u64,
    /// Of one peer; more get 429. Fewer than `max_requests`, so that one peer cannot take all
    /// places.
    pub max_requests_of_peer: usize,
    /// How long to wait for the client's next piece of the request, then 408; for the upstream to
    /// take a piece or to send the head of its answer, then 504; and for the next piece of the
    /// answer, then it is cut off.
    pub timeout: Duration,
    /// The limit for the head of a request and for an idle connection. An incomplete head gets 408.
    /// With HTTP/2, only for the first request.
    pub head_timeout: Duration,
    /// How long a client may take nothing, or too little, of an answer; then its connection is
    /// closed, or its HTTP/2 stream reset.
    pub send_timeout: Duration,
    /// How many bytes a second, on average over `send_timeout`, an HTTP/2 client has to take for each
    /// answer that waits; otherwise answers are reset.
    pub send_rate: u32,
    /// How long a connection to an upstream may take.
    pub connect_timeout: Duration,
    /// How often a safe request is tried again with another upstream after a failure.
    pub retries: u32,
    /// How long running requests may go on once it stops.
    pub grace: Duration,
    /// How often upstreams are checked, if at all. Without checks the metrics do not say whether they
    /// are healthy.
    pub check_every: Option<Duration>,
    /// The path that a healthy upstream answers with success ([`is_path`]). Without it, a
    /// connection is enough.
    pub check_path: Option<String>,
    /// Clients speak TLS: see [`tls::config`](crate::tls::config).
    pub tls: Option<Arc<ServerConfig>>,
    /// Gets a line for each error of the gateway itself: a connection that it cannot accept.
    pub errors: Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            max_connections: 10_000,
            max_requests: 10_000,
            max_requests_of_peer: 1_000,
            timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(30),
            send_timeout: Duration::from_secs(60),
            send_rate: 240,
            connect_timeout: Duration::from_secs(5),
            retries: 2,
            grace: Duration::from_secs(30),
            check_every: Some(Duration::from_secs(5)),
            check_path: None,
            tls: None,
            errors: Log::none(),
        }
    }
}

impl Settings {
    /// Otherwise no request could be answered: every check would fail and every request get 503,
    /// or none would have a place or time.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        if let Some(upstream) = self.upstreams.iter().find(|text| !is_upstream(text)) {
            return Err(SettingsError::Upstream(upstream.clone()));
        }
        let nothing = [
            ("max_connections", self.max_connections == 0),
            ("max_requests", self.max_requests == 0),
            ("max_requests_of_peer", self.max_requests_of_peer == 0),
            ("timeout", self.timeout.is_zero()),
            ("head_timeout", self.head_timeout.is_zero()),
            ("send_timeout", self.send_timeout.is_zero()),
            ("connect_timeout", self.connect_timeout.is_zero()),
        ];
        if let Some((name, _)) = nothing.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(SettingsError::Zero(name));
        }
        match &self.check_path {
            Some(path) if !is_path(path) => Err(SettingsError::CheckPath(path.clone())),
            _ => Ok(()),
        }
    }
}

/// Settings with which no request could be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SettingsError {
    /// This upstream is not `HOST:PORT`: see [`is_upstream`].
    Upstream(String),
    /// [`Settings::check_path`] is no path: see [`is_path`].
    CheckPath(String),
    /// This limit or timeout is zero.
    Zero(&'static str),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upstream(text) => write!(f, "the upstream {text:?} is not HOST:PORT"),
            Self::CheckPath(text) => {
                write!(f, "{text:?} is not a path, which begins with `/`")
            }
            Self::Zero(name) => write!(f, "{name} is zero"),
        }
    }
}

impl Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gateway;

    #[test]
    fn a_gateway_that_could_answer_nothing_is_not_made() {
        let made = |upstream: &str, check_path: Option<&str>| {
            let settings = Settings {
                upstreams: vec!["127.0.0.1:80".to_owned(), upstream.to_owned()],
                check_path: check_path.map(str::to_owned),
                ..Settings::default()
            };
            Gateway::new(&fourway_testing::any(), settings, Log::none()).map(drop)
        };
        assert_eq!(made("a.example:80", None), Ok(()));
        assert_eq!(made("a.example:80", Some("/health?deep")), Ok(()));
        for path in ["", "health", "@elsewhere", ":8080/health", "/a b"] {
            let error = made("a.example:80", Some(path)).unwrap_err();
            assert_eq!(error, SettingsError::CheckPath(path.to_owned()));
            assert!(error.to_string().contains(path), "{error}");
        }
        for upstream in ["", "a.example", "u@a.example:80", "http://a.example:80"] {
            let error = made(upstream, None).unwrap_err();
            assert_eq!(error, SettingsError::Upstream(upstream.to_owned()));
        }
    }

    #[test]
    fn a_gateway_without_places_or_time_is_not_made() {
        type Change = fn(&mut Settings);
        let zero: [(&str, Change); 7] = [
            ("max_connections", |it| it.max_connections = 0),
            ("max_requests", |it| it.max_requests = 0),
            ("max_requests_of_peer", |it| it.max_requests_of_peer = 0),
            ("timeout", |it| it.timeout = Duration::ZERO),
            ("head_timeout", |it| it.head_timeout = Duration::ZERO),
            ("send_timeout", |it| it.send_timeout = Duration::ZERO),
            ("connect_timeout", |it| it.connect_timeout = Duration::ZERO),
        ];
        for (name, change) in zero {
            let mut settings = Settings::default();
            change(&mut settings);
            let made = Gateway::new(&fourway_testing::any(), settings, Log::none());
            let error = made.map(drop).unwrap_err();
            assert_eq!(error, SettingsError::Zero(name));
            assert_eq!(error.to_string(), format!("{name} is zero"));
        }
    }
}
