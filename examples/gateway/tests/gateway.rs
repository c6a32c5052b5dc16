//! The gateway on every runtime: passing, refusing, and ending.

mod shown;

use std::{convert::Infallible, fs, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use fourway_core::{AnyRuntime, AnyTask, Spawner, Timer, cancel::CancellationToken};
use fourway_hyper::{Drain, Hyper, Io, Server, client};
use fourway_net::Net;
use fourway_net_acceptance::addresses::Nobody;
use fourway_testing::{AGES, Counter, Gate, on_every_runtime, run};
use futures_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use futures_util::{
    AsyncReadExt, AsyncWriteExt, StreamExt,
    future::{Either, join_all, select},
    stream::{self, BoxStream},
};
use gateway::{Gateway, Log, Metrics, Settings, tcp, tls};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    client::conn::{http1, http2},
    service::service_fn,
};

on_every_runtime! { erased
    bodies_go_both_ways
    an_answer_streams
    headers_of_one_hop
    too_late_is_504
    a_slow_upload_is_not_too_late
    an_answer_that_stops_is_cut_off
    what_is_safe_is_tried_again
    what_was_never_sent_is_tried_again
    what_is_not_safe_is_not_tried_again
    no_upstream_is_502_and_then_503
    an_upstream_that_says_it_is_ill
    no_tunnels
    too_many_are_refused
    it_drains
    what_does_not_end_is_cut_off
    every_answer_is_in_the_log
    an_answer_to_head_has_no_body
    metrics_are_there
    checks_end_with_the_serving
    what_hyper_answers_is_in_the_log
    tls_ends_here
    tcp_both_ways_and_each_end
    tcp_drains
    tcp_without_an_upstream
}

type Payload = Full<Bytes>;

/// An upstream that does what the path says.
async fn upstream(rt: &AnyRuntime, gate: Gate, asked: Counter) -> SocketAddr {
    let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = service_fn(move |request: Request<Incoming>| {
        let (gate, asked) = (gate.clone(), asked.clone());
        async move {
            asked.add();
            let (head, body) = request.into_parts();
            let mut answer = match head.uri.path() {
                "/echo" => return Ok::<_, Infallible>(Response::new(body.boxed())),
                "/wait" => {
                    gate.pass().await;
                    Response::new("waited".to_owned())
                }
                "/length" => {
                    let bytes = body.collect().await.unwrap().to_bytes();
                    Response::new(bytes.len().to_string())
                }
                "/health" if !gate.is_open() => {
                    let mut answer = Response::new("ill".to_owned());
                    *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    answer
                }
                "/headers" => Response::new(format!("{:?}", head.headers)),
                _ => Response::new("hello".to_owned()),
            };
            let hop = answer.headers_mut();
            hop.insert("connection", "x-of-this-hop".parse().unwrap());
            hop.insert("x-of-this-hop", "1".parse().unwrap());
            let full = |text| {
                Full::new(Bytes::from(text))
                    .map_err(|never| match never {})
                    .boxed()
            };
            Ok(answer.map(full))
        }
    });
    rt.spawn_detached(async move {
        let rt = AnyRuntime::current().expect("this is a task");
        Server::new(&rt).serve(listener, service).await;
    });
    address
}

struct Running {
    rt: AnyRuntime,
    address: SocketAddr,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: AnyTask<Drain>,
}

impl Running {
    async fn with(rt: &AnyRuntime, settings: Settings) -> Self {
        Self::logging(rt, settings, Log::none()).await
    }

    async fn logging(rt: &AnyRuntime, settings: Settings, log: Log) -> Self {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let gateway = Gateway::new(rt, settings, log).unwrap();
        let metrics = gateway.metrics();
        let stopped = stop.clone();
        let task = rt.spawn(async move { gateway.serve(listener, &stopped).await });
        Self {
            rt: rt.clone(),
            address,
            metrics,
            stop,
            task,
        }
    }

    async fn to(rt: &AnyRuntime, upstreams: &[SocketAddr]) -> Self {
        Self::with(rt, settings(upstreams)).await
    }

    async fn get(&self, path: &str) -> Response<Incoming> {
        self.send(Request::get(path)).await
    }

    async fn send(&self, request: hyper::http::request::Builder) -> Response<Incoming> {
        let mut request = request.body(Payload::default()).unwrap();
        let uri = format!("http://{}{}", self.address, request.uri());
        *request.uri_mut() = uri.parse().unwrap();
        client(&self.rt).request(request).await.unwrap()
    }

    async fn stop(self) -> Drain {
        self.stop.cancel();
        self.task.await.unwrap()
    }
}

fn settings(upstreams: &[SocketAddr]) -> Settings {
    Settings {
        upstreams: upstreams.iter().map(ToString::to_string).collect(),
        ..Settings::default()
    }
}

/// Settings without health checks.
fn unchecked(upstreams: &[SocketAddr]) -> Settings {
    Settings {
        check_every: None,
        ..settings(upstreams)
    }
}

/// Waits until it is so.
async fn until(rt: &AnyRuntime, so: impl AsyncFn() -> bool) {
    while !so().await {
        rt.sleep(Duration::from_millis(1)).await;
    }
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn bodies_go_both_ways(rt: AnyRuntime) {
    run(&rt, async {
        let upstream = upstream(&rt, Gate::default(), Counter::default()).await;
        let gateway = Running::to(&rt, &[upstream]).await;
        assert_eq!(text(gateway.get("/").await).await, "hello");
        let sent: Vec<u8> = (0..2_000_000u32).map(|i| (i % 251) as u8).collect();
        let request = Request::post(format!("http://{}/echo", gateway.address))
            .body(Payload::from(sent.clone()))
            .unwrap();
        let response = client(&rt).request(request).await.unwrap();
        let back = response.into_body().collect().await.unwrap().to_bytes();
        assert!(back == sent, "another body came back");
        gateway.stop().await;
    });
}

fn an_answer_streams(rt: AnyRuntime) {
    run(&rt, async {
        // An upstream that sends the second half once the first has arrived.
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, arrived) = (Gate::default(), Gate::default());
        let (first_arrived, told) = (arrived.clone(), gate.clone());
        rt.spawn_detached(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.readable().await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst";
            stream.write_all(head).await.unwrap();
            first_arrived.pass().await;
            stream.write_all(b"other").await.unwrap();
            told.open();
        });
        let gateway = Running::with(&rt, unchecked(&[address])).await;
        let mut response = gateway.get("/").await;
        let frame = response.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "first");
        arrived.open();
        assert_eq!(text(response).await, "other");
        gate.pass().await;
    });
}

fn headers_of_one_hop(rt: AnyRuntime) {
    run(&rt, async {
        let upstream = upstream(&rt, Gate::default(), Counter::default()).await;
        let gateway = Running::to(&rt, &[upstream]).await;
        let request = Request::get("/headers")
            .header("connection", "x-secret, close")
            .header("x-secret", "1")
            .header("x-forwarded-for", "10.0.0.1")
            .header("x-plain", "1");
        let response = gateway.send(request).await;
        assert!(!response.headers().contains_key("x-of-this-hop"));
        let seen = text(response).await;
        assert!(!seen.contains("x-secret"), "{seen}");
        assert!(seen.contains("x-plain"), "{seen}");
        assert!(seen.contains("10.0.0.1, 127.0.0.1"), "{seen}");
        gateway.stop().await;
    });
}

fn too_late_is_504(rt: AnyRuntime) {
    run(&rt, async {
        let gate = Gate::default();
        let upstream = upstream(&rt, gate.clone(), Counter::default()).await;
        let settings = Settings {
            timeout: Duration::from_millis(20),
            ..settings(&[upstream])
        };
        let gateway = Running::with(&rt, settings).await;
        let answer = gateway.get("/wait").await;
        assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
        assert!(
            gateway
                .metrics
                .to_string()
                .contains("gateway_timeouts_total 1")
        );
        gate.open();
        gateway.stop().await;
    });
}

/// A body that comes in pieces.
type Pieces = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

fn a_slow_upload_is_not_too_late(rt: AnyRuntime) {
    run(&rt, async {
        let upstream = upstream(&rt, Gate::default(), Counter::default()).await;
        let settings = Settings {
            timeout: Duration::from_secs(2),
            ..settings(&[upstream])
        };
        let gateway = Running::with(&rt, settings).await;
        // Each piece comes in time, also on a busy machine; all together take longer than that.
        let clock = rt.clone();
        let pieces = stream::iter(0..30u8).then(move |i| {
            let pause = clock.sleep(Duration::from_millis(80));
            async move {
                pause.await;
                Ok(Frame::data(Bytes::from(vec![i; 10])))
            }
        });
        let request = Request::post(format!("http://{}/length", gateway.address))
            .body(StreamBody::new(pieces.boxed()))
            .unwrap();
        let answer = client::<_, Pieces>(&rt).request(request).await.unwrap();
        assert_eq!(text(answer).await, "300");
        gateway.stop().await;
    });
}

fn an_answer_that_stops_is_cut_off(rt: AnyRuntime) {
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let done = Gate::default();
        let end = done.clone();
        rt.spawn_detached(async move {
            let answering = async {
                let mut streams = Vec::new();
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst";
                    // A connection that was too late is closed.
                    if stream.readable().await.is_ok() && stream.write_all(head).await.is_ok() {
                        streams.push(stream);
                    }
                }
            };
            select(pin!(answering), pin!(end.pass())).await;
        });
        let settings = Settings {
            // Once the head is there, enough for what follows it, also on a busy machine.
            timeout: Duration::from_millis(500),
            ..unchecked(&[address])
        };
        let gateway = Running::with(&rt, settings).await;
        let mut timeouts = 1;
        let mut answer = loop {
            let answer = gateway.get("/").await;
            if answer.status() != StatusCode::GATEWAY_TIMEOUT {
                break answer;
            }
            // On a slow machine its head was too late: try again.
            timeouts += 1;
        };
        let first = answer.frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "first");
        answer.frame().await.unwrap().unwrap_err();
        let counted = format!("gateway_timeouts_total {timeouts}\n");
        assert!(gateway.metrics.to_string().contains(&counted));
        done.open();
        gateway.stop().await;
    });
}

fn what_was_never_sent_is_tried_again(rt: AnyRuntime) {
    run(&rt, async {
        let nobody = Nobody::new();
        let asked = Counter::default();
        let upstream = upstream(&rt, Gate::default(), asked.clone()).await;
        let gateway = Running::with(&rt, unchecked(&[nobody.address(), upstream])).await;
        for _ in 0..4 {
            let request = Request::post(format!("http://{}/echo", gateway.address));
            let request = request.body(Payload::from("once")).unwrap();
            let answer = client(&rt).request(request).await.unwrap();
            assert_eq!(text(answer).await, "once");
        }
        assert_eq!(asked.get(), 4);
        gateway.stop().await;
        // One retry is enough, however many requests take turns at the same time.
        let settings = Settings {
            retries: 1,
            ..unchecked(&[nobody.address(), upstream])
        };
        let gateway = Running::with(&rt, settings).await;
        let answers = join_all((0..50).map(|_| gateway.get("/"))).await;
        assert!(answers.iter().all(|it| it.status() == StatusCode::OK));
        gateway.stop().await;
    });
}

fn what_is_not_safe_is_not_tried_again(rt: AnyRuntime) {
    run(&rt, async {
        // It takes the request, and goes away.
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let rude = listener.local_addr().unwrap();
        let taken = Counter::default();
        let takes = taken.clone();
        rt.spawn_detached(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                if let Ok(1..) = stream.read(&mut [0; 1024]).await {
                    takes.add();
                }
            }
        });
        let asked = Counter::default();
        let upstream = upstream(&rt, Gate::default(), asked.clone()).await;
        let gateway = Running::with(&rt, unchecked(&[rude, upstream])).await;
        let send = async |method: Method| {
            let request = Request::builder().method(method);
            gateway.send(request.uri("/")).await.status()
        };
        // Each of the two has a turn.
        let two = [send(Method::POST).await, send(Method::POST).await];
        assert!(two.contains(&StatusCode::BAD_GATEWAY), "{two:?}");
        assert!(two.contains(&StatusCode::OK), "{two:?}");
        assert_eq!((taken.get(), asked.get()), (1, 1));
        let two = [send(Method::PUT).await, send(Method::PUT).await];
        assert_eq!(two, [StatusCode::OK; 2]);
        gateway.stop().await;
    });
}

fn no_tunnels(rt: AnyRuntime) {
    run(&rt, async {
        let asked = Counter::default();
        let upstream = upstream(&rt, Gate::default(), asked.clone()).await;
        let gateway = Running::to(&rt, &[upstream]).await;
        let mut stream = rt.connect_tcp(gateway.address).await.unwrap();
        let request = b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 501");
        assert_eq!(asked.get(), 0);
        drop(stream);
        gateway.stop().await;
    });
}

fn an_upstream_that_says_it_is_ill(rt: AnyRuntime) {
    run(&rt, async {
        let gate = Gate::default();
        let upstream = upstream(&rt, gate.clone(), Counter::default()).await;
        let settings = Settings {
            check_every: Some(Duration::from_millis(5)),
            check_path: Some("/health".to_owned()),
            ..settings(&[upstream])
        };
        let gateway = Running::with(&rt, settings).await;
        until(&rt, async || {
            gateway.get("/").await.status() == StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        // Then it is healthy.
        gate.open();
        until(&rt, async || {
            gateway.get("/").await.status() == StatusCode::OK
        })
        .await;
        gateway.stop().await;
    });
}

fn what_is_safe_is_tried_again(rt: AnyRuntime) {
    run(&rt, async {
        let nobody = Nobody::new();
        let asked = Counter::default();
        let upstream = upstream(&rt, Gate::default(), asked.clone()).await;
        let gateway = Running::with(&rt, unchecked(&[nobody.address(), upstream])).await;
        for _ in 0..4 {
            assert_eq!(gateway.get("/").await.status(), StatusCode::OK);
        }
        assert_eq!(asked.get(), 4);
        // Each of the two was the first to be asked twice.
        assert!(gateway.metrics.to_string().contains("retries_total 2"));
        gateway.stop().await;
    });
}

fn no_upstream_is_502_and_then_503(rt: AnyRuntime) {
    run(&rt, async {
        let nobody = Nobody::new();
        let settings = Settings {
            check_every: Some(Duration::from_millis(5)),
            ..settings(&[nobody.address()])
        };
        let gateway = Running::with(&rt, settings).await;
        loop {
            let answer = gateway.get("/").await;
            match answer.status() {
                // Before it has been checked.
                StatusCode::BAD_GATEWAY => rt.sleep(Duration::from_millis(1)).await,
                status => {
                    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                    assert_eq!(answer.headers()["retry-after"], "1");
                    break;
                }
            }
        }
        gateway.stop().await;
    });
}

fn too_many_are_refused(rt: AnyRuntime) {
    run(&rt, async {
        for (at_once, of_peer, status) in [
            (1, 10, StatusCode::SERVICE_UNAVAILABLE),
            (10, 1, StatusCode::TOO_MANY_REQUESTS),
        ] {
            let (gate, asked) = (Gate::default(), Counter::default());
            let upstream = upstream(&rt, gate.clone(), asked.clone()).await;
            let settings = Settings {
                max_requests: at_once,
                max_requests_of_peer: of_peer,
                ..settings(&[upstream])
            };
            let gateway = Running::with(&rt, settings).await;
            let waiting = async {
                let answer = gateway.get("/wait").await;
                assert_eq!(text(answer).await, "waited");
            };
            let refused = async {
                while asked.get() == 0 {
                    rt.sleep(Duration::from_millis(1)).await;
                }
                let answer = gateway.get("/").await;
                assert_eq!(answer.status(), status);
                assert_eq!(answer.headers()["retry-after"], "1");
                gate.open();
            };
            futures_util::future::join(waiting, refused).await;
            // There is room again, once the answer has gone.
            while gateway.get("/").await.status() != StatusCode::OK {
                rt.sleep(Duration::from_millis(1)).await;
            }
            gateway.stop().await;
        }
    });
}

fn it_drains(rt: AnyRuntime) {
    run(&rt, async {
        let (gate, asked) = (Gate::default(), Counter::default());
        let upstream = upstream(&rt, gate.clone(), asked.clone()).await;
        let gateway = Running::to(&rt, &[upstream]).await;
        let address = gateway.address;
        let requester = rt.clone();
        let request = rt.spawn(async move {
            let uri = format!("http://{address}/wait").parse().unwrap();
            text(client::<_, Payload>(&requester).get(uri).await.unwrap()).await
        });
        while asked.get() == 0 {
            rt.sleep(Duration::from_millis(1)).await;
        }
        gateway.stop.cancel();
        while rt.connect_tcp(address).await.is_ok() {
            rt.sleep(Duration::from_millis(1)).await;
        }
        gate.open();
        assert_eq!(request.await.unwrap(), "waited");
        assert_eq!(gateway.stop().await.cut, 0);
    });
}

fn what_does_not_end_is_cut_off(rt: AnyRuntime) {
    run(&rt, async {
        let (gate, asked) = (Gate::default(), Counter::default());
        let upstream = upstream(&rt, gate.clone(), asked.clone()).await;
        let settings = Settings {
            grace: Duration::from_millis(20),
            ..settings(&[upstream])
        };
        let gateway = Running::with(&rt, settings).await;
        let uri = format!("http://{}/wait", gateway.address).parse().unwrap();
        let requester = client::<_, Payload>(&rt);
        let request = rt.spawn(requester.get(uri));
        until(&rt, async || asked.get() > 0).await;
        let metrics = gateway.metrics.clone();
        assert_eq!(gateway.stop().await.cut, 1);
        request.await.unwrap().unwrap_err();
        assert!(metrics.to_string().contains("requests_in_flight 0"));
        gate.open();
    });
}

fn every_answer_is_in_the_log(rt: AnyRuntime) {
    run(&rt, async {
        let shown = shown::Shown::default();
        let log = Log::new(&rt, shown.clone());
        let upstream = upstream(&rt, Gate::default(), Counter::default()).await;
        let gateway = Running::logging(&rt, settings(&[upstream]), log.clone()).await;
        for _ in 0..10 {
            let answer = gateway.get("/a\"b").await;
            assert_eq!(text(answer).await, "hello");
        }
        let request = Request::head("/");
        gateway.send(request).await;
        gateway.stop().await;
        assert!(log.flush(&rt, AGES).await);
        let lines = shown.text();
        assert_eq!(lines.lines().count(), 11, "{lines}");
        for line in lines.lines().take(10) {
            assert!(line.contains(r#" "GET /a\"b" 200 5 bytes "#), "{line}");
            assert!(!line.contains("cut off"), "{line}");
        }
        assert!(lines.contains(r#" "HEAD /" 200 0 bytes "#), "{lines}");
    });
}

/// hyper's server leaves it out with HTTP/1, and sends it with HTTP/2, where a client refuses it.
fn an_answer_to_head_has_no_body(rt: AnyRuntime) {
    run(&rt, async {
        let nobody = Nobody::new();
        let shown = shown::Shown::default();
        let log = Log::new(&rt, shown.clone());
        let gateway = Running::logging(&rt, unchecked(&[nobody.address()]), log.clone()).await;
        let answer = gateway.send(Request::head("/")).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        let length = answer.headers()["content-length"].clone();
        let answer = head_by_http2(&rt, gateway.address, "/").await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(answer.headers()["content-length"], length);
        assert_eq!(text(answer).await, "");
        gateway.stop().await;
        assert!(log.flush(&rt, AGES).await);
        let lines = shown.text();
        assert_eq!(lines.matches("502 0 bytes").count(), 2, "{lines}");
        assert!(!lines.contains("cut off"), "{lines}");

        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Gateway::new(&rt, unchecked(&[nobody.address()]), Log::none()).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serving = rt.spawn(async move { gateway.serve_metrics(listener, &stopped).await });
        let answer = head_by_http2(&rt, address, "/metrics").await;
        assert!(answer.headers().contains_key("content-length"));
        assert_eq!(text(answer).await, "");
        stop.cancel();
        serving.await.unwrap();
    });
}

async fn head_by_http2(rt: &AnyRuntime, to: SocketAddr, path: &str) -> Response<Incoming> {
    let stream = rt.connect_tcp(to).await.unwrap();
    let made = http2::handshake(Hyper::new(rt.clone()), Io::new(stream));
    let (mut client, connection) = made.await.unwrap();
    rt.spawn_detached(async { drop(connection.await) });
    let request = Request::head(format!("http://{to}{path}"));
    let request = request.body(Payload::default()).unwrap();
    client.send_request(request).await.unwrap()
}

fn metrics_are_there(rt: AnyRuntime) {
    run(&rt, async {
        let upstream = upstream(&rt, Gate::default(), Counter::default()).await;
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Gateway::new(&rt, settings(&[upstream]), Log::none()).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serving = rt.spawn(async move { gateway.serve_metrics(listener, &stopped).await });
        let get = async |path: &str| {
            let uri = format!("http://{address}{path}").parse().unwrap();
            client::<_, Payload>(&rt).get(uri).await.unwrap()
        };
        let metrics = text(get("/metrics").await).await;
        let healthy = format!("gateway_upstream_healthy{{upstream=\"{upstream}\"}} 1");
        assert!(metrics.contains(&healthy), "{metrics}");
        assert!(
            metrics.contains("gateway_requests_in_flight 0"),
            "{metrics}"
        );
        assert_eq!(get("/").await.status(), StatusCode::NOT_FOUND);
        stop.cancel();
        serving.await.unwrap();
        // Nobody knows, as nobody looks.
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Gateway::new(&rt, unchecked(&[upstream]), Log::none()).unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serving = rt.spawn(async move { gateway.serve_metrics(listener, &stopped).await });
        let uri = format!("http://{address}/metrics").parse().unwrap();
        let metrics = text(client::<_, Payload>(&rt).get(uri).await.unwrap()).await;
        assert!(metrics.contains("gateway_malformed_total 0"), "{metrics}");
        assert!(!metrics.contains("healthy"), "{metrics}");
        stop.cancel();
        serving.await.unwrap();
    });
}

/// Dropped, or ended by its listener, it leaves nothing behind.
fn checks_end_with_the_serving(rt: AnyRuntime) {
    run(&rt, async {
        let asked = Counter::default();
        let upstream = upstream(&rt, Gate::default(), asked.clone()).await;
        for is_dropped in [true, false] {
            let settings = Settings {
                check_every: Some(Duration::from_millis(5)),
                check_path: Some("/".to_owned()),
                ..settings(&[upstream])
            };
            let gateway = Gateway::new(&rt, settings, Log::none()).unwrap();
            let left = Arc::downgrade(&gateway);
            let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
            let socket = socket2::SockRef::from(&listener).try_clone().unwrap();
            let stop = CancellationToken::new();
            let mut serving = Box::pin(gateway.serve(listener, &stop));
            let before = asked.get();
            let checked = until(&rt, async || asked.get() > before);
            assert!(matches!(
                select(serving.as_mut(), pin!(checked)).await,
                Either::Right(_)
            ));
            if !is_dropped {
                socket.shutdown(std::net::Shutdown::Both).unwrap();
                assert!(serving.as_mut().await.error.is_some());
            }
            drop(serving);
            assert!(!stop.is_cancelled());
            until(&rt, async || left.strong_count() == 0).await;
        }
    });
}

fn what_hyper_answers_is_in_the_log(rt: AnyRuntime) {
    run(&rt, async {
        let shown = shown::Shown::default();
        let log = Log::new(&rt, shown.clone());
        let gateway = Running::logging(&rt, unchecked(&[]), log.clone()).await;
        let long = "x".repeat(70_000);
        let heads = [
            (400, "GET / HTTP/1.1\r\nno header\r\n\r\n".to_owned()),
            (414, format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n")),
            (
                431,
                format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200)),
            ),
        ];
        for (status, head) in heads {
            let mut stream = rt.connect_tcp(gateway.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer:?}"
            );
        }
        let metrics = gateway.metrics.clone();
        gateway.stop().await;
        assert!(log.flush(&rt, AGES).await);
        let lines = shown.text();
        assert_eq!(lines.lines().count(), 3, "{lines}");
        for status in [400, 414, 431] {
            assert!(
                lines.contains(&format!(r#" "" {status} 0 bytes "#)),
                "{lines}"
            );
        }
        let metrics = metrics.to_string();
        assert!(metrics.contains("gateway_malformed_total 3"), "{metrics}");
        let answers = r#"gateway_answers_total{status="4xx"} 3"#;
        assert!(metrics.contains(answers), "{metrics}");
    });
}

struct RunningTcp {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: AnyTask<Drain>,
}

async fn tcp_gateway(rt: &AnyRuntime, upstream: SocketAddr, grace: Duration) -> RunningTcp {
    tcp_gateway_telling(rt, upstream, grace, Log::none()).await
}

async fn tcp_gateway_telling(
    rt: &AnyRuntime,
    upstream: SocketAddr,
    grace: Duration,
    errors: Log,
) -> RunningTcp {
    let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, stop) = (Arc::<Metrics>::default(), CancellationToken::new());
    let (runtime, counted, stopped) = (rt.clone(), metrics.clone(), stop.clone());
    let task = rt.spawn(async move {
        let limits = tcp::Limits {
            connections: 1000,
            connect_timeout: Duration::from_secs(30),
            send_timeout: AGES,
            grace,
        };
        let upstream = upstream.to_string();
        tcp::serve(
            &runtime, listener, upstream, limits, counted, &errors, &stopped,
        )
        .await
    });
    RunningTcp {
        address,
        metrics,
        stop,
        task,
    }
}

fn tls_ends_here(rt: AnyRuntime) {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| folder.path().join(name));
    fs::write(&certificate, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let wrong = tls::config(&key, &certificate).unwrap_err().to_string();
    assert!(wrong.contains("certificate.pem"), "{wrong}");

    run(&rt, async {
        let upstream = upstream(&rt, Gate::default(), Counter::default()).await;
        let settings = Settings {
            tls: Some(tls::config(&certificate, &key).unwrap()),
            ..settings(&[upstream])
        };
        let gateway = Running::with(&rt, settings).await;

        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(ring::default_provider().into());
        let client = client.with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let stream = rt.connect_tcp(gateway.address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        let name = ServerName::try_from("localhost").unwrap();
        let stream = connector.connect(name, stream).await.unwrap();
        let (mut client, connection) = http1::handshake(Io::new(stream)).await.unwrap();
        rt.spawn_detached(connection);
        let request = Request::post("https://localhost/echo").body(Payload::from("secret"));
        let answer = client.send_request(request.unwrap()).await.unwrap();
        assert_eq!(text(answer).await, "secret");
        drop(client);
        assert_eq!(gateway.stop().await.cut, 0);
    });
}

fn tcp_both_ways_and_each_end(rt: AnyRuntime) {
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let gateway = tcp_gateway(&rt, upstream, Duration::from_secs(60)).await;
        let mut client = rt.connect_tcp(gateway.address).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(b"question").await.unwrap();
        client.close().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        gateway.stop.cancel();
        assert_eq!(gateway.task.await.unwrap().cut, 0);
        assert!(gateway.metrics.to_string().contains("tcp_connections 0"));
    });
}

fn tcp_drains(rt: AnyRuntime) {
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let gateway = tcp_gateway(&rt, upstream, Duration::from_millis(20)).await;
        let mut client = rt.connect_tcp(gateway.address).await.unwrap();
        let (_server, _) = listener.accept().await.unwrap();
        gateway.stop.cancel();
        assert_eq!(gateway.task.await.unwrap().cut, 1);
        assert!(gateway.metrics.to_string().contains("tcp_connections 0"));
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        rt.connect_tcp(gateway.address).await.unwrap_err();
    });
}

fn tcp_without_an_upstream(rt: AnyRuntime) {
    run(&rt, async {
        let shown = shown::Shown::default();
        let errors = Log::new(&rt, shown.clone());
        let nobody = Nobody::new();
        let gateway = tcp_gateway_telling(&rt, nobody.address(), AGES, errors.clone()).await;
        let mut client = rt.connect_tcp(gateway.address).await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        gateway.stop.cancel();
        assert_eq!(gateway.task.await.unwrap().cut, 0);
        let metrics = gateway.metrics.to_string();
        assert!(
            metrics.contains("gateway_connect_errors_total 1"),
            "{metrics}"
        );
        assert!(errors.flush(&rt, AGES).await);
        let lines = shown.text();
        let line = format!(" cannot connect to {}: ", nobody.address());
        assert_eq!(lines.matches(&line).count(), 1, "{lines}");
    });
}
