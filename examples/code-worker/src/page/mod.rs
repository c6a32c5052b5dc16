//! A page with cells, served on the loopback: [`Page`].
//!
//! The page speaks the protocol of `PROTOCOL.md`: the body of the answer to `POST /connect` has the
//! worker's messages, line by line. The page's messages are the bodies of `POST /send/NUMBER`, with
//! the number from the first line. A client's connection and its sessions end with that answer:
//! when the page is closed or reloaded.
//!
//! It is served by its own runtime: a user's code may keep all threads of the worker's runtime, and
//! would then block the message that interrupts it.

mod body;
mod guard;

use std::{
    collections::HashMap,
    convert::Infallible,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use fourway::{
    BlockOn, CancellationToken, Offload, Timer,
    net::{Net, TcpListener},
    std_thread::StdThread,
};
use fourway_hyper::Server;
use http_body_util::{BodyExt, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    service::service_fn,
};

use crate::{
    protocol::{self, Line, Lines},
    worker::{Connection, Worker},
};
use body::Body;
use guard::Guard;

/// How long sending one message may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// HTTP connections: a browser has a few for each page.
const CONNECTIONS: usize = 256;

const INDEX: &str = include_str!("index.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page of a worker, bound to a port of the loopback.
///
/// Only holders of the [address](Self::address) may run code: it has a token that is
/// new each time, and requests of other web pages are refused.
pub struct Page {
    rt: StdThread,
    listener: TcpListener,
    state: Arc<State>,
}

struct State {
    rt: StdThread,
    worker: Worker,
    guard: Guard,
    port: u16,
    connections: Mutex<HashMap<u64, Weak<Connection>>>,
    next: AtomicU64,
}

impl Page {
    /// Listens on this port of `127.0.0.1`; on a free port if it is 0.
    ///
    /// # Errors
    ///
    /// The port is taken, the system gives no threads, or no random bytes.
    pub fn bind(worker: Worker, port: u16) -> io::Result<Self> {
        let rt = StdThread::builder().worker_threads(1).build()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = rt.block_on(async { rt.listen_tcp(address).await })?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            rt: rt.clone(),
            worker,
            guard: Guard::new(port)?,
            port,
            connections: Mutex::default(),
            next: AtomicU64::new(1),
        });
        Ok(Self {
            rt,
            listener,
            state,
        })
    }

    /// The address to open in a browser. The token after the `#` is not sent when the page is
    /// loaded, so it is in no request log.
    #[must_use]
    pub fn address(&self) -> String {
        let State { port, guard, .. } = &*self.state;
        format!("http://127.0.0.1:{port}/#{}", guard.token())
    }

    /// Serves, on this thread and a separate one, until the token is cancelled.
    pub fn serve(self, stop: &CancellationToken) {
        let state = self.state;
        let service = service_fn(move |request| {
            let state = state.clone();
            async move { Ok::<_, Infallible>(state.answer(request).await) }
        });
        let server = Server::new(&self.rt)
            .max_connections(CONNECTIONS)
            .stop(stop)
            // Open pages would keep the connections.
            .grace(Duration::ZERO);
        self.rt.block_on(server.serve(self.listener, service));
    }
}

impl fmt::Debug for Page {
    // Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("port", &self.state.port)
            .finish_non_exhaustive()
    }
}

impl State {
    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Weak<Connection>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let mut response = match self.guard.admits(request.method(), request.headers()) {
            Err((status, why)) => text(status, "text/plain", why),
            Ok(()) => self.serve(request).await,
        };
        // The page loads nothing and connects only to this service, no page may frame or read it,
        // and nothing is cached.
        let headers = response.headers_mut();
        for (name, value) in [
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                 connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                 require-trusted-types-for 'script'",
            ),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
            (
                header::HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
            (
                header::HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let file = match path.as_str() {
            "/" => Some(("text/html; charset=utf-8", INDEX)),
            "/page.css" => Some(("text/css; charset=utf-8", STYLE)),
            "/page.js" => Some(("text/javascript; charset=utf-8", SCRIPT)),
            _ => None,
        };
        let number = path.strip_prefix("/send/").and_then(|n| n.parse().ok());
        match (request.method(), file, number) {
            (&Method::GET, Some((kind, content)), _) => text(StatusCode::OK, kind, content),
            (&Method::POST, _, None) if path == "/connect" => self.connect(),
            (&Method::POST, _, Some(number)) => self.send(number, request).await,
            _ => text(StatusCode::NOT_FOUND, "text/plain", "there is nothing here"),
        }
    }

    fn connect(self: Arc<Self>) -> Response<Body> {
        let connection = Arc::new(self.worker.connect());
        // A number for telling clients apart; no other access depends on it.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections()
            .insert(number, Arc::downgrade(&connection));
        let gone = move || {
            self.connections().remove(&number);
        };
        let first = format!("{{\"connection\":{number}}}\n");
        let body = Body::answers(first, connection, gone);
        response(StatusCode::OK, "application/x-ndjson", body)
    }

    async fn send(&self, number: u64, request: Request<Incoming>) -> Response<Body> {
        let connection = self.connections().get(&number).and_then(Weak::upgrade);
        let Some(connection) = connection else {
            let why = "there is no such connection any more";
            return text(StatusCode::GONE, "text/plain", why);
        };
        // One line more than allowed, which the reader of lines refuses.
        let body = Limited::new(request.into_body(), protocol::LONGEST_LINE + 2);
        let Ok(Ok(body)) = self.rt.timeout(PATIENCE, body.collect()).await else {
            let why = "the message is too long, or did not come";
            return text(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", why);
        };
        let mut lines = Lines::default();
        let mut all = Vec::new();
        lines.feed(&body.to_bytes(), |line| all.push(line));
        lines.end(|line| all.push(line));
        for line in all {
            let room = connection.outbox().ready_for_requests();
            if self.rt.timeout(PATIENCE, room).await.is_err() {
                let why = "replies wait to be read";
                return text(StatusCode::TOO_MANY_REQUESTS, "text/plain", why);
            }
            self.take(&connection, line).await;
        }
        response(StatusCode::NO_CONTENT, "text/plain", Body::empty())
    }

    /// Slow requests, such as parsing and opening a session, run on a thread of the pool, before
    /// the next message.
    async fn take(&self, connection: &Arc<Connection>, line: Line) {
        let is_short = match &line {
            Line::TooLong => true,
            Line::Whole(line) => {
                protocol::parse(line).map_or(true, |message| message.request.is_short())
            }
        };
        if is_short {
            connection.take(&line);
            return;
        }
        let taker = connection.clone();
        let taken = self.rt.offload(move || taker.take(&line));
        if let Err(error) = taken.await {
            let message = format!("the message was not taken: {error}");
            connection
                .outbox()
                .push(None, protocol::Reply::Bad { message });
        }
    }
}

fn text(status: StatusCode, kind: &'static str, content: &'static str) -> Response<Body> {
    response(status, kind, Body::text(content))
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
