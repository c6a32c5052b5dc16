//! The reverse proxy: [`Gateway`].

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use fourway_core::{Runtime, cancel::CancellationToken};
use fourway_hyper::{Connector, Drain, Hyper, Server};
use fourway_net::TcpListener;
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Body as _, Bytes, Frame, Incoming, SizeHint},
    header::{HOST, RETRY_AFTER},
    http::{request, uri::Scheme},
    service::service_fn,
};
use hyper_util::client::legacy::Client;
use pin_project_lite::pin_project;

use crate::{Log, Metrics, headers::for_next_hop, upstream::Upstreams};

/// What a gateway does and allows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `HOST:PORT`, in turn.
    pub upstreams: Vec<String>,
    /// Connections at a time; more wait to be accepted.
    pub max_connections: usize,
    /// Requests at a time, until the end of the answer; more get 503.
    pub max_requests: u64,
    /// Of one peer; more get 429.
    pub max_requests_of_peer: usize,
    /// Until the head of the answer, over all attempts; then 504.
    pub timeout: Duration,
    /// How often what is safe is tried again with another upstream, after a failure.
    pub retries: u32,
    /// How long what runs may go on once it stops.
    pub grace: Duration,
    /// How often upstreams are looked at.
    pub check_every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            max_connections: 10_000,
            max_requests: 10_000,
            max_requests_of_peer: 10_000,
            timeout: Duration::from_secs(30),
            retries: 2,
            grace: Duration::from_secs(30),
            check_every: Duration::from_secs(5),
        }
    }
}

/// The bodies that go through.
pub type Body = BoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// A reverse proxy for HTTP: streams bodies both ways, and keeps no more of them than what is
/// being sent.
pub struct Gateway<R> {
    runtime: R,
    settings: Settings,
    upstreams: Upstreams,
    client: Client<Connector<R>, Body>,
    metrics: Arc<Metrics>,
    peers: Mutex<HashMap<IpAddr, usize>>,
    log: Log,
}

impl<R: Runtime> Gateway<R> {
    /// On `runtime`.
    pub fn new(runtime: &R, settings: Settings, log: Log) -> Arc<Self> {
        let connector = Connector::new(runtime.clone()).timeout(settings.timeout);
        let client = Client::builder(Hyper::new(runtime.clone()))
            .timer(Hyper::new(runtime.clone()))
            .pool_timer(Hyper::new(runtime.clone()))
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Arc::new(Self {
            runtime: runtime.clone(),
            upstreams: Upstreams::new(settings.upstreams.clone()),
            settings,
            client,
            metrics: Arc::default(),
            peers: Mutex::default(),
            log,
        })
    }

    /// What has happened.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Serves until `stop` is cancelled, and then ends what runs.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, stop: &CancellationToken) -> Drain {
        let (checker, stopped) = (self.clone(), stop.clone());
        self.runtime.spawn_detached(async move {
            let every = checker.settings.check_every;
            checker
                .upstreams
                .check(&checker.runtime, every, &stopped)
                .await;
        });
        let server = Server::new(&self.runtime)
            .max_connections(self.settings.max_connections)
            .grace(self.settings.grace)
            .stop(stop);
        let service = |peer: SocketAddr| {
            let this = self.clone();
            service_fn(move |request| {
                let this = this.clone();
                async move { Ok::<_, Infallible>(this.answer(peer, request).await) }
            })
        };
        server.serve_each(listener, service).await
    }

    /// Serves the metrics, at any path.
    pub async fn serve_metrics(self: Arc<Self>, listener: TcpListener, stop: &CancellationToken) {
        let server = Server::new(&self.runtime).stop(stop);
        let service = service_fn(move |_| {
            let text = Full::new(Bytes::from(self.metrics.to_string()));
            std::future::ready(Ok::<_, Infallible>(Response::new(text)))
        });
        server.serve(listener, service).await;
    }

    async fn answer(
        self: Arc<Self>,
        peer: SocketAddr,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let begun = Instant::now();
        let line = format!("{peer} \"{} {}\"", request.method(), request.uri());
        let answer = match self.admit(peer.ip()) {
            Ok(admitted) => {
                let answer = self.forward(peer.ip(), request).await;
                answer.map(|body| Admitted { body, admitted }.boxed())
            }
            Err(refused) => later(refused),
        };
        let status = answer.status().as_u16();
        self.metrics.answered(status);
        let took = begun.elapsed();
        if !self.log.line(|| format!("{line} {status} {took:?}")) {
            self.metrics.log_lines_lost.add();
        }
        answer
    }

    /// Is there room for one more?
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

    async fn forward(&self, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        let forwarding = self.try_often(peer, request);
        match self
            .runtime
            .timeout(self.settings.timeout, forwarding)
            .await
        {
            Ok(answer) => answer,
            Err(_) => {
                self.metrics.timeouts.add();
                plain(StatusCode::GATEWAY_TIMEOUT, "the upstream took too long\n")
            }
        }
    }

    async fn try_often(&self, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        for_next_hop(&mut head.headers, Some(peer));
        // A body can be sent once; and what is not safe must not be done twice.
        let is_repeatable = head.method.is_idempotent() && body.is_end_stream();
        let mut body = Some(body);
        let tries = if is_repeatable {
            self.settings.retries + 1
        } else {
            1
        };
        for i in 0..tries {
            let Some(upstream) = self.upstreams.next() else {
                return later(StatusCode::SERVICE_UNAVAILABLE);
            };
            if i > 0 {
                self.metrics.retries.add();
            }
            let body = match body.take() {
                Some(body) => body.map_err(Into::into).boxed(),
                None => Empty::new().map_err(|never| match never {}).boxed(),
            };
            let Some(request) = addressed(&head, &upstream.authority, body) else {
                return plain(StatusCode::BAD_REQUEST, "not an address\n");
            };
            if let Ok(mut answer) = self.client.request(request).await {
                for_next_hop(answer.headers_mut(), None);
                return answer.map(|body| body.map_err(Into::into).boxed());
            }
        }
        plain(StatusCode::BAD_GATEWAY, "the upstream does not answer\n")
    }

    fn lock_peers(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing under it panics.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The request as it goes to an upstream.
fn addressed(head: &request::Parts, authority: &str, body: Body) -> Option<Request<Body>> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(authority)
        .path_and_query(path)
        .build()
        .ok()?;
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = head.headers.clone();
    // What the client called it; of HTTP/2 that is in the address.
    if let (false, Some(host)) = (head.headers.contains_key(HOST), head.uri.authority()) {
        request
            .headers_mut()
            .insert(HOST, host.as_str().parse().ok()?);
    }
    Some(request)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

fn later(status: StatusCode) -> Response<Body> {
    let mut response = plain(status, "try again later\n");
    response
        .headers_mut()
        .insert(RETRY_AFTER, hyper::header::HeaderValue::from_static("1"));
    response
}

/// A request counts until its answer has gone.
struct Admission<R: Runtime> {
    gateway: Arc<Gateway<R>>,
    peer: IpAddr,
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

pin_project! {
    struct Admitted<T> {
        #[pin]
        body: Body,
        admitted: T,
    }
}

impl<T> hyper::body::Body for Admitted<T> {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<R> fmt::Debug for Gateway<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
