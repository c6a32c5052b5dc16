//! The reverse proxy: [`Gateway`].

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fourway_core::{Runtime, cancel::CancellationToken};
use fourway_hyper::{Connector, Drain, Hyper, Server, Timeout};
use fourway_net::TcpListener;
use futures_rustls::TlsAcceptor;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::{Body as _, Bytes, Incoming},
    header::{CONNECTION, CONTENT_LENGTH, HeaderValue, RETRY_AFTER},
    service::service_fn,
};
use hyper_util::client::legacy::Client;

use crate::{
    Body, Log, Metrics, Settings, SettingsError,
    body::{Lender, Lent, Passing},
    head::{Head, Length, is_plain},
    headers::for_next_hop,
    log::{Entry, Line, Stamp},
    upstream::Upstreams,
};

/// A reverse proxy for HTTP. It streams bodies both ways, and keeps only the pieces that are
/// being sent.
pub struct Gateway<R: Runtime> {
    runtime: R,
    settings: Settings,
    upstreams: Upstreams,
    client: Client<Connector<R>, Lent<R>>,
    metrics: Arc<Metrics>,
    peers: Mutex<HashMap<IpAddr, usize>>,
    log: Log,
}

impl<R: Runtime> Gateway<R> {
    /// On `runtime`, with `log` as its access log.
    ///
    /// # Errors
    ///
    /// If nothing could be asked of an upstream as the settings say.
    pub fn new(runtime: &R, settings: Settings, log: Log) -> Result<Arc<Self>, SettingsError> {
        settings.check()?;
        // The limit for sending ends a connection whose upstream has answered early and reads no more:
        // nobody waits for the answer any longer. Before an answer, `forward` notices within two of
        // `timeout`, and says so by 504.
        let connector = Connector::new(runtime.clone())
            .timeout(settings.connect_timeout)
            .send_timeout(settings.timeout.saturating_mul(3));
        let client = Client::builder(Hyper::new(runtime.clone()))
            .timer(Hyper::new(runtime.clone()))
            .pool_timer(Hyper::new(runtime.clone()))
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Ok(Arc::new(Self {
            runtime: runtime.clone(),
            upstreams: Upstreams::new(settings.upstreams.clone()),
            settings,
            client,
            metrics: Arc::default(),
            peers: Mutex::default(),
            log,
        }))
    }

    /// The counters.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Serves until `stop` is cancelled, and then ends running requests.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: &CancellationToken) -> Drain {
        // A child token, so that the checks end with this future, however that ends.
        let checking = stop.child();
        let _end = checking.clone().drop_guard();
        if let Some(every) = self.settings.check_every {
            let (this, stopped) = (self.clone(), checking);
            self.runtime.spawn_detached(async move {
                let path = this.settings.check_path.as_deref();
                let checking = this.upstreams.check(&this.runtime, every, path);
                let _ = stopped.run_until_cancelled(checking).await;
            });
        }
        let (this, told) = (self.clone(), self.clone());
        let server = self
            .server(stop)
            .max_connections(self.settings.max_connections)
            .grace(self.settings.grace)
            .first_byte_timeout(Some(self.settings.head_timeout))
            .head_timeout(Some(self.settings.head_timeout))
            .send_timeout(Some(self.settings.send_timeout))
            .send_rate(self.settings.send_rate)
            .on_timeout(move |peer, timeout| this.too_slow(peer, timeout))
            .on_malformed(move |peer, error| told.malformed(peer, error));
        let service = |peer: SocketAddr| {
            let this = self.clone();
            service_fn(move |request| {
                let this = this.clone();
                async move { Ok::<_, Infallible>(this.answer(peer, request).await) }
            })
        };
        match self.settings.tls.clone() {
            None => server.serve_each(listener, service).await,
            Some(config) => {
                let tls = TlsAcceptor::from(config);
                let shake_hands = move |stream| tls.accept(stream);
                server.serve_over(listener, shake_hands, service).await
            }
        }
    }

    /// Serves the metrics at `/metrics`.
    pub async fn serve_metrics(self: Arc<Self>, listener: TcpListener, stop: &CancellationToken) {
        let server = self.server(stop);
        let service = service_fn(move |request: Request<Incoming>| {
            let method = request.method();
            let mut response = Response::new(Full::new(Bytes::new()));
            if request.uri().path() == "/metrics" {
                let mut text = self.metrics.to_string();
                if self.settings.check_every.is_some() {
                    text += &self.upstreams.to_string();
                }
                *response.body_mut() = Full::new(Bytes::from(text));
            } else {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            let response = without_body_for_head(method, response);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        server.serve(listener, service).await;
    }

    /// A server that reports connections that it cannot accept.
    fn server(&self, stop: &CancellationToken) -> Server<R> {
        let (metrics, errors) = (self.metrics.clone(), self.settings.errors.clone());
        Server::new(&self.runtime)
            .stop(stop)
            .on_accept_error(move |error| cannot_accept(&metrics, &errors, error))
    }

    fn too_slow(&self, peer: SocketAddr, timeout: Timeout) {
        match timeout {
            Timeout::Head => {
                self.metrics.head_timeouts.add();
                self.answered_itself(peer, StatusCode::REQUEST_TIMEOUT);
            }
            // The request has its own line, which says that it was cut off.
            Timeout::Send => self.metrics.send_timeouts.add(),
            _ => {}
        }
    }

    /// The status is the one that hyper has answered with.
    fn malformed(&self, peer: SocketAddr, error: &hyper::Error) {
        self.metrics.malformed.add();
        if error.is_parse_version_h2() {
            // No answer.
            return;
        }
        let status = if !error.is_parse_too_large() {
            StatusCode::BAD_REQUEST
        } else if error.to_string().contains("URI") {
            // The two have no question of their own.
            StatusCode::URI_TOO_LONG
        } else {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        };
        self.answered_itself(peer, status);
    }

    /// Counts and logs the answer to a head that is not known.
    fn answered_itself(&self, peer: SocketAddr, status: StatusCode) {
        let mut entry = Entry::new(format!("{peer} \"\""));
        entry.status = status.as_u16();
        entry.is_complete = true;
        self.metrics.answered(entry.status);
        self.metrics.logged(self.log.line(|| entry.to_string()));
    }

    async fn answer(
        self: Arc<Self>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Response<Body> {
        // Quoted as a Rust string, so that an address cannot make a second line or field.
        let asked = format!("{} {}", request.method(), request.uri());
        let method = request.method().clone();
        let mut line = Line {
            entry: Entry::new(format!("{peer} {asked:?}")),
            log: self.log.clone(),
            metrics: self.metrics.clone(),
        };
        let (answer, admission) = match self.admit(peer.ip()) {
            Ok(admission) => {
                let admission = Arc::new(admission);
                let answer = self.forward(peer.ip(), request, &admission).await;
                (answer, Some(admission))
            }
            Err(refused) => (later(refused), None),
        };
        let answer = without_body_for_head(&method, answer);
        line.entry.status = answer.status().as_u16();
        self.metrics.answered(line.entry.status);
        answer.map(|body| {
            let passing = Passing {
                body,
                runtime: self.runtime.clone(),
                timeout: self.settings.timeout,
                silence: None,
                line,
                metrics: self.metrics.clone(),
                _admission: admission,
            };
            passing.boxed_unsync()
        })
    }

    /// Is there room for another request?
    fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Admission<R>, StatusCode> {
        let mut peers = self.lock_peers();
        if self.metrics.in_flight.get() >= self.settings.max_requests {
            self.metrics.refused_busy.add();
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let of_peer = peers.entry(peer).or_default();
        if *of_peer >= self.settings.max_requests_of_peer {
            self.metrics.refused_peer.add();
            return Err(StatusCode::TOO_MANY_REQUESTS);
        }
        *of_peer += 1;
        self.metrics.in_flight.add();
        Ok(Admission {
            gateway: self.clone(),
            peer,
        })
    }

    async fn forward(
        &self,
        peer: IpAddr,
        request: Request<Incoming>,
        admission: &Arc<Admission<R>>,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        let length = match body.size_hint().exact() {
            Some(bytes) => Length::Exact(bytes),
            None => Length::Unknown,
        };
        let head = match Head::new(head, length, peer) {
            Ok(head) => head,
            Err((status, text)) => {
                let mut answer = plain(status, text);
                // Whoever is before this gateway may see its end elsewhere: what follows it is not read.
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
                return answer;
            }
        };
        let timeout = self.settings.timeout;
        let body = Lender::new(body, self.runtime.clone(), timeout, admission.clone());
        let mut forwarding = pin!(self.try_often(&head, &body));
        let mut passed = 0;
        loop {
            match self.runtime.timeout(timeout, forwarding.as_mut()).await {
                Ok(answer) => return answer,
                // A large body takes its time.
                Err(_) if body.passed() != passed => passed = body.passed(),
                // The body has a limit for the client.
                Err(_) if body.is_awaited() => {}
                Err(_) => {
                    self.metrics.timeouts.add();
                    return plain(StatusCode::GATEWAY_TIMEOUT, "the upstream took too long\n");
                }
            }
        }
    }

    async fn try_often(&self, head: &Head, body: &Lender<R>) -> Response<Body> {
        // A body can be sent once, and an unsafe request must not be repeated.
        let is_repeatable = head.method.is_idempotent() && body.lend().is_end_stream();
        let mut turns = self.upstreams.turns();
        for i in 0..=self.settings.retries {
            let Some(upstream) = turns.next() else {
                return later(StatusCode::SERVICE_UNAVAILABLE);
            };
            if i > 0 {
                self.metrics.retries.add();
            }
            let Some(request) = head.request(&upstream.authority, body.lend()) else {
                break;
            };
            match self.client.request(request).await {
                Ok(answer) => return passed_on(answer),
                // Nothing was sent.
                Err(error) if error.is_connect() && body.is_untouched() => {}
                Err(_) if is_repeatable => {}
                Err(_) if body.is_late() => {
                    return plain(StatusCode::REQUEST_TIMEOUT, "the request took too long\n");
                }
                Err(_) if body.is_broken() => {
                    return plain(StatusCode::BAD_REQUEST, "the request is malformed\n");
                }
                Err(_) => break,
            }
        }
        plain(StatusCode::BAD_GATEWAY, "the upstream does not answer\n")
    }

    fn lock_peers(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // No code panics under this lock.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Called a few times a second at most, as the next `accept` waits.
pub(crate) fn cannot_accept(metrics: &Metrics, errors: &Log, error: &io::Error) {
    metrics.accept_errors.add();
    metrics.logged(errors.line(|| format!("{} cannot accept: {error}", Stamp::now())));
}

/// An upstream's answer as it goes to the client.
fn passed_on(mut answer: Response<Incoming>) -> Response<Body> {
    // Nobody has asked for another protocol, and a coding that is not decoded here would be lost.
    let is_upgrade = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    if is_upgrade || !is_plain(answer.headers()) {
        return plain(
            StatusCode::BAD_GATEWAY,
            "the upstream answers in another way\n",
        );
    }
    for_next_hop(answer.headers_mut(), None);
    // The server sets the version of this hop.
    *answer.version_mut() = Version::HTTP_11;
    answer.map(|body| body.map_err(Into::into).boxed_unsync())
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}

/// The answer to a `HEAD`: the length of its body, but no body. hyper leaves the body out with HTTP/1
/// only; with HTTP/2 the client would get bytes that it must not get, and reset the stream.
fn without_body_for_head<B>(method: &Method, mut response: Response<B>) -> Response<B>
where
    B: hyper::body::Body + Default,
{
    if method != Method::HEAD || response.body().is_end_stream() {
        return response;
    }
    let body = std::mem::take(response.body_mut());
    if let Some(length) = body.size_hint().exact() {
        let headers = response.headers_mut();
        headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    response
}

fn later(status: StatusCode) -> Response<Body> {
    let mut response = plain(status, "try again later\n");
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A request counts until its answer has gone and its body has come.
pub(crate) struct Admission<R: Runtime> {
    gateway: Arc<Gateway<R>>,
    peer: IpAddr,
}

impl<R: Runtime> Admission<R> {
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        self.gateway.metrics()
    }
}

impl<R: Runtime> Drop for Admission<R> {
    fn drop(&mut self) {
        self.gateway.metrics.in_flight.sub();
        let mut peers = self.gateway.lock_peers();
        if let Some(of_peer) = peers.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

impl<R: Runtime> fmt::Debug for Gateway<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
