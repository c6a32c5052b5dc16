//! HTTP on every runtime: an axum application, hyper-util's client, and how a server ends.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::Query,
    routing::{get, post},
};
use fourway_core::{
    AnyRuntime, AnyTask, Offload, Shutdown, Spawner, Timer, cancel::CancellationToken,
};
use fourway_hyper::{Connecting, Connector, Drain, HttpStream, Hyper, Io, Server, client};
use fourway_net::{Net, is_final, is_shutdown};
use fourway_testing::{AGES, Counter, Gate, on_every_runtime, poll_once, run};
use futures_util::{AsyncReadExt, AsyncWriteExt, future::join_all};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::{Bytes, Frame, Incoming},
    client::conn::http2,
    service::service_fn,
};
use hyper_util::{client::legacy::Client, service::TowerToHyperService};
use tower_service::Service;

on_every_runtime! { erased
    an_axum_application
    a_body_both_ways
    it_drains
    it_cuts_what_does_not_end
    what_was_cut_is_destroyed_when_serving_ends
    no_more_connections_than_that
    who_says_nothing_is_closed
    it_ends_with_its_runtime
    it_ends_with_its_listener
    what_is_reset_before_it_is_accepted
    nobody_listens
    what_hyper_answers_itself
    a_wrapper_passes_the_address_on
}

type Body = Full<Bytes>;

const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

struct Running<'a> {
    rt: &'a AnyRuntime,
    address: SocketAddr,
    stop: CancellationToken,
    task: AnyTask<Drain>,
}

impl<'a> Running<'a> {
    async fn app(rt: &'a AnyRuntime, app: Router) -> Self {
        Self::app_with(rt, app, |server| server).await
    }

    async fn app_with(
        rt: &'a AnyRuntime,
        app: Router,
        set: impl FnOnce(Server<AnyRuntime>) -> Server<AnyRuntime>,
    ) -> Self {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = set(Server::new(rt).stop(&stop));
        let task = rt.spawn(server.serve(listener, TowerToHyperService::new(app)));
        Self {
            rt,
            address,
            stop,
            task,
        }
    }

    async fn get(&self, path: &str) -> Response<Incoming> {
        let uri = format!("http://{}{path}", self.address);
        let client = client::<_, Body>(self.rt);
        client.get(uri.parse().unwrap()).await.unwrap()
    }

    async fn stop(self) -> Drain {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn an_axum_application(rt: AnyRuntime) {
    let sleeper = rt.clone();
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route(
            "/add",
            get(async |Query(them): Query<Vec<(String, i64)>>| {
                Json(serde_json::json!({ "sum": them.iter().map(|(_, n)| n).sum::<i64>() }))
            }),
        )
        .route(
            "/later",
            get(async move || {
                sleeper.sleep(Duration::from_millis(5)).await;
                sleeper.offload(|| "later").await.unwrap()
            }),
        );
    run(&rt, async {
        let server = Running::app(&rt, app).await;
        assert_eq!(text(server.get("/").await).await, "hello");
        assert_eq!(
            text(server.get("/add?a=40&b=2").await).await,
            r#"{"sum":42}"#
        );
        assert_eq!(server.get("/nothing").await.status(), StatusCode::NOT_FOUND);
        let many = join_all((0..32).map(async |_| text(server.get("/later").await).await));
        assert!(many.await.iter().all(|text| text == "later"));
        // One client, and its connection again and again.
        let client = client::<_, Body>(&rt);
        for _ in 0..100 {
            let uri = format!("http://{}/", server.address).parse().unwrap();
            assert_eq!(text(client.get(uri).await.unwrap()).await, "hello");
        }
        drop(client);
        assert_eq!(server.stop().await.cut, 0);
    });
}

fn a_body_both_ways(rt: AnyRuntime) {
    let app = Router::new().route("/", post(async |body: axum::body::Body| body));
    run(&rt, async {
        let server = Running::app(&rt, app).await;
        let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        let request = Request::post(format!("http://{}/", server.address))
            .body(Body::from(sent.clone()))
            .unwrap();
        let response = client(&rt).request(request).await.unwrap();
        let back = response.into_body().collect().await.unwrap().to_bytes();
        assert!(back == sent, "another body came back");
        server.stop().await;
    });
}

fn it_drains(rt: AnyRuntime) {
    let (entered, leave) = (Gate::default(), Gate::default());
    let (inside, may_leave) = (entered.clone(), leave.clone());
    let app = Router::new().route(
        "/",
        get(async move || {
            inside.open();
            may_leave.pass().await;
            "served"
        }),
    );
    run(&rt, async {
        let server = Running::app(&rt, app).await;
        let address = server.address;
        // A connection that has sent no request yet, and one within a request.
        let mut idle = rt.connect_tcp(address).await.unwrap();
        let requester = rt.clone();
        let request = rt.spawn(async move {
            let uri = format!("http://{address}/").parse().unwrap();
            text(client::<_, Body>(&requester).get(uri).await.unwrap()).await
        });
        entered.pass().await;
        server.stop.cancel();
        // Idle connections are closed, and no more are accepted.
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
        while rt.connect_tcp(address).await.is_ok() {
            rt.sleep(Duration::from_millis(1)).await;
        }
        leave.open();
        assert_eq!(request.await.unwrap(), "served");
        assert_eq!(server.stop().await.cut, 0);
    });
}

fn it_cuts_what_does_not_end(rt: AnyRuntime) {
    let entered = Gate::default();
    let inside = entered.clone();
    let app = Router::new().route(
        "/",
        get(async move || {
            inside.open();
            std::future::pending::<()>().await;
        }),
    );
    run(&rt, async {
        let grace = Duration::from_millis(20);
        let server = Running::app_with(&rt, app, |server| server.grace(grace)).await;
        let mut stream = rt.connect_tcp(server.address).await.unwrap();
        stream.write_all(ASK).await.unwrap();
        entered.pass().await;
        assert_eq!(server.stop().await.cut, 1);
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    });
}

/// The streams of HTTP/2 are tasks of their own, which end after the connection's.
fn what_was_cut_is_destroyed_when_serving_ends(rt: AnyRuntime) {
    /// Takes a while to be destroyed, so that a server that does not wait ends before.
    struct Slow(Counter);

    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(2));
            self.0.sub();
        }
    }

    /// A body that does not end.
    struct Endless(#[allow(dead_code, reason = "dropped with it")] Slow);

    impl hyper::body::Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    const STREAMS: usize = 20;
    for limit in [None, Some(AGES)] {
        let alive = Counter::default();
        let counted = alive.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            counted.add();
            let slow = Slow(counted.clone());
            async move {
                if request.uri().path() == "/never" {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(Response::new(Endless(slow)))
            }
        });
        run(&rt, async {
            let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let stop = CancellationToken::new();
            let server = Server::new(&rt)
                .stop(&stop)
                .grace(Duration::ZERO)
                .send_timeout(limit);
            let serving = rt.spawn(server.serve(listener, service));
            let stream = rt.connect_tcp(address).await.unwrap();
            let made = http2::handshake(Hyper::new(rt.clone()), Io::new(stream));
            let (client, connection) = made.await.unwrap();
            rt.spawn_detached(async { drop(connection.await) });
            for i in 0..STREAMS {
                let path = if i % 2 == 0 { "never" } else { "endless" };
                let request = Request::get(format!("http://x/{path}"));
                let request = request.body(Body::default()).unwrap();
                let answer = client.clone().send_request(request);
                rt.spawn_detached(async {
                    if let Ok(answer) = answer.await {
                        drop(answer.into_body().collect().await);
                    }
                });
            }
            // `run` has a deadline.
            while alive.get() < STREAMS {
                rt.sleep(Duration::from_millis(1)).await;
            }
            stop.cancel();
            assert_eq!(serving.await.unwrap().cut, 1);
            assert_eq!(alive.get(), 0, "limit: {limit:?}");
        });
    }
}

fn no_more_connections_than_that(rt: AnyRuntime) {
    let app = Router::new().route("/", get(async || "hello"));
    run(&rt, async {
        let server = Running::app_with(&rt, app, |server| server.max_connections(1)).await;
        let mut first = rt.connect_tcp(server.address).await.unwrap();
        first.write_all(ASK).await.unwrap();
        first.readable().await.unwrap();
        // The system has connected it, but it is not accepted.
        let mut second = rt.connect_tcp(server.address).await.unwrap();
        second.write_all(ASK).await.unwrap();
        assert!(poll_once(pin!(second.readable())).await.is_pending());
        drop(first);
        second.readable().await.unwrap();
        drop(second);
        let drain = server.stop().await;
        assert_eq!((drain.accepted, drain.cut), (2, 0));
    });
}

fn who_says_nothing_is_closed(rt: AnyRuntime) {
    let app = Router::new().route("/", get(async || "hello"));
    run(&rt, async {
        let soon = Some(Duration::from_millis(10));
        let server = Running::app_with(&rt, app, |server| {
            server.first_byte_timeout(soon).head_timeout(soon)
        });
        let server = server.await;
        let mut silent = rt.connect_tcp(server.address).await.unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
        // Bytes that may begin either version.
        let mut silent = rt.connect_tcp(server.address).await.unwrap();
        silent.write_all(b"P").await.unwrap();
        match silent.read(&mut [0]).await {
            Ok(read) => assert_eq!(read, 0),
            // The timer fired first, and the byte is unread.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        server.stop().await;
    });
}

fn it_ends_with_its_runtime(rt: AnyRuntime) {
    let other = fourway_testing::any();
    run(&other, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let hello = service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::from("hello"))));
        // Driven by another runtime.
        let serving = other.spawn(Server::new(&rt).serve(listener, hello));
        let ender = rt.clone();
        let ending = other.offload(move || ender.shutdown(Duration::from_secs(60)).unwrap());
        ending.await.unwrap();
        let drain = serving.await.unwrap();
        assert!(drain.error.as_ref().is_some_and(is_shutdown), "{drain:?}");
        assert_eq!(drain.accept_errors, 1);
    });
}

fn it_ends_with_its_listener(rt: AnyRuntime) {
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let socket = socket2::SockRef::from(&listener).try_clone().unwrap();
        let hello = service_fn(async |_| Ok::<_, Infallible>(Response::new(Body::from("hello"))));
        let told = Counter::default();
        let tells = told.clone();
        let server = Server::new(&rt).on_accept_error(move |error| {
            assert!(is_final(error), "{error}");
            tells.add();
        });
        let serving = rt.spawn(server.serve(listener, hello));
        rt.sleep(Duration::from_millis(5)).await;
        // The socket no longer listens, so each `accept` fails from now on.
        socket.shutdown(std::net::Shutdown::Both).unwrap();
        let drain = serving.await.unwrap();
        assert!(drain.error.as_ref().is_some_and(is_final), "{drain:?}");
        assert_eq!((told.get(), drain.accept_errors), (1, 1));
    });
}

fn what_is_reset_before_it_is_accepted(rt: AnyRuntime) {
    let app = Router::new().route("/", get(async || "hello"));
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // These connections are reset while they wait to be accepted.
        for _ in 0..100 {
            let stream = rt.connect_tcp(address).await.unwrap();
            stream.set_linger(Some(Duration::ZERO)).unwrap();
        }
        let stop = CancellationToken::new();
        let server = Server::new(&rt).stop(&stop);
        let task = rt.spawn(server.serve(listener, TowerToHyperService::new(app)));
        let server = Running {
            rt: &rt,
            address,
            stop,
            task,
        };
        assert_eq!(text(server.get("/").await).await, "hello");
        let drain = server.stop().await;
        assert_eq!(drain.accept_errors, 0, "{drain:?}");
        assert!(drain.error.is_none());
    });
}

fn nobody_listens(rt: AnyRuntime) {
    run(&rt, async {
        let client = client::<_, Body>(&rt);
        for uri in ["http://127.0.0.1:1/", "https://127.0.0.1:1/"] {
            let error = client.get(uri.parse().unwrap()).await.unwrap_err();
            assert!(error.is_connect());
        }
    });
}

/// Malformed and too large heads never get to the service.
fn what_hyper_answers_itself(rt: AnyRuntime) {
    run(&rt, async {
        let told = Arc::<Mutex<Vec<_>>>::default();
        let tells = told.clone();
        let app = Router::new().route("/", get(async || "hello"));
        let server = Running::app_with(&rt, app, |server| {
            server.on_malformed(move |peer, error| {
                assert!(error.is_parse());
                tells
                    .lock()
                    .unwrap()
                    .push((peer, error.is_parse_too_large()));
            })
        });
        let server = server.await;
        let long = "x".repeat(70_000);
        let asked = [
            (
                "GET / HTTP/1.1\r\nno header\r\n\r\n".to_owned(),
                "400",
                false,
            ),
            (
                format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
                "414",
                true,
            ),
            (
                format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200)),
                "431",
                true,
            ),
        ];
        for (ask, status, is_too_large) in asked {
            let mut stream = rt.connect_tcp(server.address).await.unwrap();
            // After a good one.
            stream.write_all(ASK).await.unwrap();
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200 "), "{text:?}");
            assert!(text.contains(&format!("HTTP/1.1 {status} ")), "{text:?}");
            let peer = stream.local_addr().unwrap();
            // `run` has a deadline.
            let said = loop {
                if let Some(said) = told.lock().unwrap().pop() {
                    break said;
                }
                rt.sleep(Duration::from_millis(1)).await;
            };
            assert_eq!(said, (peer, is_too_large));
        }
        server.stop().await;
        assert!(told.lock().unwrap().is_empty());
    });
}

/// As those that speak TLS do: it gives the connector the address of the request.
#[derive(Clone)]
struct Wrapper(Connector<AnyRuntime>);

impl Service<Uri> for Wrapper {
    type Response = HttpStream;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        assert_eq!(uri.scheme_str(), Some("https"));
        self.0.call(uri)
    }
}

fn a_wrapper_passes_the_address_on(rt: AnyRuntime) {
    run(&rt, async {
        let app = Router::new().route("/", get(async || "hello"));
        let server = Running::app(&rt, app).await;
        let uri: Uri = format!("https://{}/", server.address).parse().unwrap();
        for enforces in [true, false] {
            let connector = Connector::new(rt.clone()).enforce_http(enforces);
            let client =
                Client::builder(Hyper::new(rt.clone())).build::<_, Body>(Wrapper(connector));
            let answer = client.get(uri.clone()).await;
            if enforces {
                assert!(answer.unwrap_err().is_connect());
            } else {
                assert_eq!(text(answer.unwrap()).await, "hello");
            }
        }
        server.stop().await;
        // The default ports, where nobody listens, or somebody does.
        let mut connector = Connector::new(rt.clone()).enforce_http(false);
        for (scheme, port) in [("https", 443), ("http", 80), ("other", 80)] {
            let uri = format!("{scheme}://127.0.0.1/").parse().unwrap();
            match connector.call(uri).await {
                Ok(_) => {}
                Err(error) => assert!(error.to_string().contains(&format!(":{port}:")), "{error}"),
            }
        }
    });
}
