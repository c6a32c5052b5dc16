//! The gateway on every runtime: what goes through, what it refuses, and how it ends.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use fourway_core::{AnyRuntime, AnyTask, BlockOn, Spawner, Timer, cancel::CancellationToken};
use fourway_hyper::{Drain, Server, client};
use fourway_net::{Net, TcpStream};
use fourway_testing::{Counter, Gate, on_every_runtime, run};
use futures_util::{AsyncReadExt, AsyncWriteExt, future::join_all};
use gateway::{Gateway, Log, Metrics, Settings, tcp};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    service::service_fn,
};

on_every_runtime! { erased
    bodies_go_both_ways
    an_answer_streams
    headers_of_one_hop
    too_late_is_504
    what_is_safe_is_tried_again
    no_upstream_is_502_and_then_503
    too_many_are_refused
    it_drains
    tcp_both_ways_and_each_end
    soak
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
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let gateway = Gateway::new(rt, settings, Log::none());
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

fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
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
        let gateway = Running::to(&rt, &[address]).await;
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

fn what_is_safe_is_tried_again(rt: AnyRuntime) {
    run(&rt, async {
        let asked = Counter::default();
        let upstream = upstream(&rt, Gate::default(), asked.clone()).await;
        // Looked at so late that the first stays in the turn.
        let settings = Settings {
            check_every: Duration::from_secs(3600),
            ..settings(&[nobody(), upstream])
        };
        let gateway = Running::with(&rt, settings).await;
        for _ in 0..4 {
            assert_eq!(gateway.get("/").await.status(), StatusCode::OK);
        }
        assert_eq!(asked.get(), 4);
        gateway.stop().await;
    });
}

fn no_upstream_is_502_and_then_503(rt: AnyRuntime) {
    run(&rt, async {
        let settings = Settings {
            check_every: Duration::from_millis(5),
            ..settings(&[nobody()])
        };
        let gateway = Running::with(&rt, settings).await;
        loop {
            let answer = gateway.get("/").await;
            match answer.status() {
                // Before it has been looked at.
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

async fn tcp_gateway(rt: &AnyRuntime, upstream: SocketAddr) -> (SocketAddr, Arc<Metrics>) {
    let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::<Metrics>::default();
    let (runtime, counted) = (rt.clone(), metrics.clone());
    rt.spawn_detached(async move {
        let limits = tcp::Limits {
            connections: 1000,
            connect_timeout: Duration::from_secs(30),
        };
        let stop = CancellationToken::new();
        tcp::serve(
            &runtime,
            listener,
            upstream.to_string(),
            limits,
            counted,
            &stop,
        )
        .await;
    });
    (address, metrics)
}

fn tcp_both_ways_and_each_end(rt: AnyRuntime) {
    run(&rt, async {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let (address, metrics) = tcp_gateway(&rt, listener.local_addr().unwrap()).await;
        let mut client = rt.connect_tcp(address).await.unwrap();
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
        while !metrics.to_string().contains("gateway_tcp_connections 0") {
            rt.sleep(Duration::from_millis(1)).await;
        }
    });
}

/// Connections that are cut, reset, stalled and served, at random; in the end none is left.
fn soak(rt: AnyRuntime) {
    let seconds = std::env::var("FOURWAY_SOAK_SECONDS");
    let seconds = seconds.ok().and_then(|seconds| seconds.parse().ok());
    let end = Instant::now() + Duration::from_secs_f64(seconds.unwrap_or(0.2));
    let echo = async |rt: &AnyRuntime| {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        rt.spawn_detached(async move {
            let rt = AnyRuntime::current().expect("this is a task");
            while let Ok((stream, _)) = listener.accept().await {
                rt.spawn_detached(async move {
                    let (read, mut write) = stream.into_split();
                    let _ = futures_util::io::copy(read, &mut write).await;
                });
            }
        });
        address
    };
    rt.block_on(async {
        let upstream = echo(&rt).await;
        let (address, metrics) = tcp_gateway(&rt, upstream).await;
        let clients = (0..16).map(async |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            while Instant::now() < end {
                misbehave(&rt, address, random.u8(..4)).await;
            }
        });
        join_all(clients).await;
        while !metrics.to_string().contains("gateway_tcp_connections 0") {
            rt.sleep(Duration::from_millis(1)).await;
        }
    });
}

async fn misbehave(rt: &AnyRuntime, address: SocketAddr, how: u8) {
    let Ok(mut stream) = rt.connect_tcp(address).await else {
        return;
    };
    let reset = |stream: &TcpStream| stream.set_linger(Some(Duration::ZERO)).unwrap();
    match how {
        0 => {
            stream.write_all(b"hello").await.unwrap();
            stream.close().await.unwrap();
            let mut back = String::new();
            stream.read_to_string(&mut back).await.unwrap();
            assert_eq!(back, "hello");
        }
        // Cut off in the middle.
        1 => {
            let _ = stream.write_all(&[0; 100_000]).await;
        }
        2 => {
            let _ = stream.write_all(&[0; 1000]).await;
            reset(&stream);
        }
        // Never reads what comes back, for a while.
        _ => {
            let writing = stream.write_all(&[0; 8_000_000]);
            let _ = rt.timeout(Duration::from_millis(10), writing).await;
            reset(&stream);
        }
    }
}
