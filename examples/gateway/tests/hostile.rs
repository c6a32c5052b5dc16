//! Requests and answers that try to be taken for something else, on every runtime.

mod running;
mod shown;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use fourway_core::{AnyRuntime, Spawner, Timer};
use fourway_hyper::{Hyper, Io};
use fourway_net::{Net, TcpStream};
use fourway_testing::{AGES, on_every_runtime, run};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use gateway::Settings;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, Version, body::Bytes, client::conn::http2};

on_every_runtime! { erased
    a_request_has_one_host
    http_2_has_one_host_one_length_and_one_line_of_cookies
    codings_and_methods_that_end_here
    upgrades_and_expectations_end_here
    options_go_as_far_as_they_say
    a_malformed_body_is_no_failure_of_the_upstream
    a_get_keeps_its_body
    answers_that_are_none
    a_second_answer_is_nobodys
    answers_without_a_body
    trailers_end_here
    a_client_that_stops_in_the_middle_gets_408
    a_client_that_stops_after_an_early_answer_is_closed
    a_client_that_goes_on_after_an_early_answer_counts
    a_client_that_goes_has_a_line
}

/// An upstream that keeps what it reads, and answers each head by its path.
struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<String>>,
}

impl Upstream {
    async fn new(rt: &AnyRuntime) -> Self {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<String>>::default();
        let (runtime, writes) = (rt.clone(), seen.clone());
        rt.spawn_detached(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Errors concern only that connection.
                let serving = serve(stream, writes.clone());
                runtime.spawn_detached(async { drop(serving.await) });
            }
        });
        Self { address, seen }
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<String>>) -> io::Result<()> {
    let mut text = String::new();
    loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(());
        }
        let piece = str::from_utf8(&piece[..read]).unwrap();
        seen.lock().unwrap().push_str(piece);
        text.push_str(piece);
        while let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let path = head.split(' ').nth(1).unwrap_or_default();
            stream.write_all(answer(path).as_bytes()).await?;
            if path == "/half" {
                return Ok(());
            }
            text = rest.to_owned();
        }
    }
}

fn answer(path: &str) -> &'static str {
    match path {
        "/silent" => "",
        "/other-protocol" => "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        "/coded" => "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "/two-lengths" => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        "/half" => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "/twice" => {
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst\
             HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled"
        }
        "/longer" => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirst and more",
        "/head" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n",
        "/trailers" => {
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t, connection\r\n\r\n\
             5\r\nhello\r\n0\r\nx-t: 1\r\nconnection: close\r\n\r\n"
        }
        "/304" => "HTTP/1.1 304 Not Modified\r\ncontent-length: 100\r\n\r\n",
        "/204" => "HTTP/1.1 204 No Content\r\n\r\nsmuggled",
        _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    }
}

/// A gateway in front of one [`Upstream`].
struct Running<'a> {
    rt: &'a AnyRuntime,
    upstream: Upstream,
    gateway: running::Running,
}

impl<'a> Running<'a> {
    async fn new(rt: &'a AnyRuntime) -> Self {
        Self::with(rt, AGES).await
    }

    async fn with(rt: &'a AnyRuntime, timeout: Duration) -> Self {
        let upstream = Upstream::new(rt).await;
        let settings = Settings {
            upstreams: vec![upstream.address.to_string()],
            check_every: None,
            retries: 0,
            timeout,
            ..Settings::default()
        };
        Self {
            rt,
            upstream,
            gateway: running::Running::new(rt, settings).await,
        }
    }

    async fn connect(&self) -> TcpStream {
        self.rt.connect_tcp(self.gateway.address).await.unwrap()
    }

    async fn connect_http2(&self) -> http2::SendRequest<Full<Bytes>> {
        let made = http2::handshake(Hyper::new(self.rt.clone()), Io::new(self.connect().await));
        let (client, connection) = made.await.unwrap();
        self.rt.spawn_detached(async { drop(connection.await) });
        client
    }

    /// Sends a request whose connection is closed after it, and gives all of the answer.
    async fn say(&self, request: &str) -> String {
        loop {
            let mut stream = self.connect().await;
            // It may have answered before it reads all.
            let sent = stream.write_all(request.as_bytes()).await;
            let mut text = Vec::new();
            let read = stream.read_to_end(&mut text).await;
            // The end of a connection with unread bytes is a reset, which may overtake the answer:
            // ask again. `run` has a deadline.
            if !text.is_empty() || sent.and(read.map(drop)).is_ok() {
                return String::from_utf8(text).unwrap();
            }
        }
    }

    /// By this method.
    async fn ask(&self, method: &str, path: &str) -> String {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        self.say(&request).await
    }

    async fn until(&self, metric: &str) {
        self.gateway.until(self.rt, metric).await;
    }

    async fn until_logged(&self, text: &str) {
        self.gateway.until_logged(self.rt, text).await;
    }

    /// Stops the gateway, and gives its log.
    async fn stop(self) -> String {
        let (drain, log) = self.gateway.stop(self.rt).await;
        assert_eq!(drain.cut, 0);
        log
    }
}

fn a_request_has_one_host(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        let own = gateway.upstream.address.to_string();
        for (request, host) in [
            ("GET / HTTP/1.1\r\nHost: a.example\r\n", Some("a.example")),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n", Some("[::1]:80")),
            ("GET / HTTP/1.1\r\nHost:\r\n", Some("")),
            // The address counts.
            (
                "GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n",
                Some("b.example"),
            ),
            (
                "GET http://b.example/ HTTP/1.1\r\nHost: b.example\r\n",
                Some("b.example"),
            ),
            // It is not of one hop, whatever is said of it.
            (
                "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: host\r\n",
                Some("a.example"),
            ),
            ("GET / HTTP/1.0\r\n", Some(&*own)),
            ("GET / HTTP/1.1\r\n", None),
            (
                "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n",
                None,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n",
                None,
            ),
            ("GET / HTTP/1.1\r\nHost: a.example b.example\r\n", None),
            ("GET / HTTP/1.1\r\nHost: :80\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a.example:abc\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a.example:+80\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a.example:80:80\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a.example:65536\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a[::1]b\r\n", None),
            ("GET / HTTP/1.1\r\nHost: [::1]80\r\n", None),
            ("GET / HTTP/1.1\r\nHost: []\r\n", None),
            ("GET / HTTP/1.1\r\nHost: [zz]\r\n", None),
            ("GET / HTTP/1.1\r\nHost: [::1\r\n", None),
            ("GET http://[]/ HTTP/1.1\r\nHost: []\r\n", None),
            ("GET http://[zz]/ HTTP/1.1\r\nHost: [zz]\r\n", None),
            ("GET http://[::1/ HTTP/1.1\r\nHost: [::1\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a.example/\r\n", None),
            ("GET / HTTP/1.1\r\nHost: a.example@b.example\r\n", None),
            (
                "GET http://a.example@b.example/ HTTP/1.1\r\nHost: b.example\r\n",
                None,
            ),
        ] {
            let request = format!("{request}Connection: close\r\n\r\n");
            let answer = gateway.say(&request).await;
            let seen = gateway.upstream.take();
            let Some(host) = host else {
                assert!(answer.starts_with("HTTP/1.1 400 "), "{request}{answer}");
                assert_eq!(seen, "", "{request}");
                continue;
            };
            assert!(answer.contains(" 200 OK\r\n"), "{request}{answer}");
            let hosts: Vec<&str> = (seen.lines())
                .filter_map(|line| line.strip_prefix("host:"))
                .map(str::trim)
                .collect();
            assert_eq!(hosts, [host], "{request}{seen}");
        }
        gateway.stop().await;
    });
}

fn http_2_has_one_host_one_length_and_one_line_of_cookies(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        let mut client = gateway.connect_http2().await;
        let mut send = async |request: hyper::http::request::Builder, body: &'static str| {
            let request = request
                .version(Version::HTTP_2)
                .body(Full::new(Bytes::from_static(body.as_bytes())))
                .unwrap();
            client
                .send_request(request)
                .await
                .map(|answer| answer.status())
        };
        let cookies = Request::get("http://a.example/")
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        assert_eq!(send(cookies, "").await.unwrap(), StatusCode::OK);
        let seen = gateway.upstream.take();
        assert!(seen.contains("\r\ncookie: a=1; b=2\r\n"), "{seen}");
        assert!(seen.contains("\r\nhost: a.example\r\n"), "{seen}");
        assert!(seen.contains("\r\nvia: 2.0 gateway\r\n"), "{seen}");

        let same = Request::get("http://a.example/").header("host", "A.example");
        assert_eq!(send(same, "").await.unwrap(), StatusCode::OK);
        let seen = gateway.upstream.take();
        assert_eq!(seen.matches("host: ").count(), 1, "{seen}");
        let other = Request::get("http://a.example/").header("host", "b.example");
        assert_eq!(send(other, "").await.unwrap(), StatusCode::BAD_REQUEST);

        let no_address = Request::get("http://[zz]/");
        assert_eq!(send(no_address, "").await.unwrap(), StatusCode::BAD_REQUEST);

        // A client may be cut off for them; they must not go on.
        let lengths = Request::post("http://a.example/")
            .header("content-length", "5")
            .header("content-length", "6");
        if let Ok(status) = send(lengths, "hello").await {
            assert_eq!(status, StatusCode::BAD_REQUEST);
        }
        assert_eq!(gateway.upstream.take(), "");
        drop(client);
        gateway.stop().await;
    });
}

fn codings_and_methods_that_end_here(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        let body = "5\r\nhello\r\n0\r\n\r\n";
        for (head, status) in [
            ("POST / HTTP/1.1\r\nTransfer-Encoding: CHUNKED\r\n", "200"),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n",
                "501",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
                "501",
            ),
            ("TRACE / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", "501"),
            (
                "OPTIONS * HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
                "200",
            ),
        ] {
            let request = format!("{head}host: x\r\nconnection: close\r\n\r\n{body}");
            let answer = gateway.say(&request).await;
            let status = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&status), "{head}{answer}");
            let seen = gateway.upstream.take();
            // The body of the request before may come late: the upstream answers by the head alone.
            let first = head.lines().next().unwrap();
            assert_eq!(seen.contains(first), status.contains("200"), "{head}{seen}");
        }
        gateway.stop().await;
    });
}

fn upgrades_and_expectations_end_here(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        for (headers, status) in [
            ("upgrade: websocket\r\nconnection: upgrade\r\n", "501"),
            ("upgrade: websocket\r\nconnection: x, Upgrade\r\n", "501"),
            // This asks for nothing.
            ("upgrade: websocket\r\n", "200"),
            ("upgrade: websocket\r\nconnection: upgrades\r\n", "200"),
            ("upgrade: h2c, WebSocket\r\nconnection: upgrade\r\n", "501"),
            ("upgrade: h2c\r\nconnection: upgrade\r\n", "200"),
            ("expect: 100-Continue\r\n", "200"),
            ("expect: y 100-continue\r\n", "417"),
            ("expect: 100-continue\r\nexpect: another\r\n", "417"),
        ] {
            let request =
                format!("GET / HTTP/1.1\r\nhost: x\r\n{headers}connection: close\r\n\r\n");
            let answer = gateway.say(&request).await;
            let begins = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&begins), "{headers}{answer}");
            let seen = gateway.upstream.take();
            assert_eq!(seen.is_empty(), status != "200", "{headers}{seen}");
            assert!(!seen.contains("upgrade"), "{headers}{seen}");
            assert!(!seen.contains("expect"), "{headers}{seen}");
        }
        // Nor does this: the version has no upgrades.
        let request =
            "GET / HTTP/1.0\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n";
        let answer = gateway.say(request).await;
        assert_eq!(answer.get(8..13), Some(" 200 "), "{answer}");
        assert!(!gateway.upstream.take().contains("upgrade"));
        // Who is refused is not asked for the body before.
        for (framing, status) in [
            ("content-length: 2", "100 Continue"),
            ("transfer-encoding: gzip, chunked", "501 "),
        ] {
            let mut stream = gateway.connect().await;
            let head = "POST /silent HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n";
            let request = format!("{head}{framing}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut first = vec![0; 9 + status.len()];
            stream.read_exact(&mut first).await.unwrap();
            assert_eq!(first, format!("HTTP/1.1 {status}").as_bytes());
        }
        gateway.stop().await;
    });
}

fn options_go_as_far_as_they_say(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        for (method, hops, status, passed) in [
            ("OPTIONS", "0", "204", None),
            ("OPTIONS", "000", "204", None),
            ("OPTIONS", "1", "200", Some("0")),
            ("OPTIONS", "10", "200", Some("9")),
            // More than can be read.
            (
                "OPTIONS",
                "99999999999999999999999",
                "200",
                Some("18446744073709551614"),
            ),
            ("OPTIONS", "", "400", None),
            ("OPTIONS", "-1", "400", None),
            ("OPTIONS", "1\r\nmax-forwards: 1", "400", None),
            ("GET", "0", "200", Some("0")),
        ] {
            let head = format!("{method} / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
            let answer = gateway
                .say(&format!("{head}max-forwards: {hops}\r\n\r\n"))
                .await;
            let status = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&status), "{method} {hops}: {answer}");
            let seen = gateway.upstream.take();
            match passed {
                Some(hops) => {
                    let line = format!("\r\nmax-forwards: {hops}\r\n");
                    assert!(seen.contains(&line), "{method} {hops}: {seen}");
                }
                None => assert_eq!(seen, "", "{method} {hops}"),
            }
        }
        gateway.stop().await;
    });
}

fn a_malformed_body_is_no_failure_of_the_upstream(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        let head = "POST /silent HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        for body in ["-2\r\nhi\r\n", "2\nhi\n", "2\r\nhi!\r\n", "2 2\r\nhi\r\n"] {
            let answer = gateway.say(&format!("{head}{body}0\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{body}{answer}");
        }
        gateway.stop().await;
    });
}

fn a_get_keeps_its_body(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        let head = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        for (framing, sent) in [
            ("content-length: 5\r\n\r\nhello", "\r\n\r\nhello"),
            (
                "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                "\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            ),
        ] {
            let mut stream = gateway.connect().await;
            let request = format!("{head}{framing}");
            stream.write_all(request.as_bytes()).await.unwrap();
            // It may come after the answer.
            while !gateway.upstream.seen.lock().unwrap().ends_with(sent) {
                rt.sleep(Duration::from_millis(1)).await;
            }
            gateway.upstream.take();
        }
        gateway.stop().await;
    });
}

fn answers_that_are_none(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        for path in ["/other-protocol", "/coded", "/two-lengths"] {
            let answer = gateway.ask("GET", path).await;
            assert!(answer.starts_with("HTTP/1.1 502 "), "{path}: {answer}");
        }
        // A client that has not got all of it can see that. It may get nothing, as hyper drops what it
        // has not yet written when the body fails.
        let half = gateway.ask("GET", "/half").await;
        let is_short = half.contains("content-length: 10\r\n");
        assert!(half.is_empty() || is_short, "{half}");
        let log = gateway.stop().await;
        let half = log.lines().last().unwrap();
        assert!(half.ends_with(" cut off"), "{log}");
    });
}

/// It does not answer a later request, of whomever.
fn a_second_answer_is_nobodys(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        for path in ["/twice", "/longer", "/204"] {
            for _ in 0..10 {
                let first = gateway.ask("GET", path).await;
                assert!(!first.contains("smuggled"), "{first}");
                assert!(!first.contains("more"), "{first}");
                let after = gateway.ask("GET", "/").await;
                // The connection to the upstream may be found to be broken as it is used.
                let is_ours = after.ends_with("\r\n\r\nok") || after.contains(" 502 ");
                assert!(is_ours, "after {path}: {after}");
            }
        }
        gateway.stop().await;
    });
}

fn answers_without_a_body(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        let answer = gateway.ask("HEAD", "/head").await;
        assert!(answer.contains("\r\ncontent-length: 100\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        let answer = gateway.ask("GET", "/304").await;
        assert!(answer.starts_with("HTTP/1.1 304 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        let answer = gateway.ask("GET", "/204").await;
        assert!(!answer.contains("content-length"), "{answer}");
        assert!(!answer.contains("transfer-encoding"), "{answer}");
        gateway.stop().await;
    });
}

/// A client of HTTP/2 would take `connection` among them for an error.
fn trailers_end_here(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        let mut client = gateway.connect_http2().await;
        let request = Request::get("http://x/trailers").body(Full::default());
        let answer = client.send_request(request.unwrap()).await.unwrap();
        assert!(!answer.headers().contains_key("trailer"));
        let body = answer.into_body().collect().await.unwrap();
        assert!(body.trailers().is_none(), "{body:?}");
        assert_eq!(body.to_bytes(), "hello");
        drop(client);
        let answer = gateway.ask("GET", "/trailers").await;
        assert!(
            answer.contains("hello") && !answer.contains("x-t"),
            "{answer}"
        );
        let log = gateway.stop().await;
        assert_eq!(log.matches(" 200 5 bytes ").count(), 2, "{log}");
        assert!(!log.contains("cut off"), "{log}");
    });
}

fn a_client_that_stops_in_the_middle_gets_408(rt: AnyRuntime) {
    run(&rt, async {
        // Enough for the gateway to reach the upstream and to ask for the body, also on a busy
        // machine: otherwise the upstream is the one that is late.
        let gateway = Running::with(&rt, Duration::from_secs(2)).await;
        let request = "POST /silent HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhe";
        let answer = gateway.say(request).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        gateway.until("gateway_body_timeouts_total 1").await;
        // All of it, and the upstream is the one that is late.
        let request = "POST /silent HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                       content-length: 5\r\n\r\nhello";
        let answer = gateway.say(request).await;
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        gateway.until("gateway_timeouts_total 1").await;
        gateway.stop().await;
    });
}

fn a_client_that_stops_after_an_early_answer_is_closed(rt: AnyRuntime) {
    run(&rt, async {
        // Enough for the upstream to answer, as above.
        let gateway = Running::with(&rt, Duration::from_secs(2)).await;
        // The upstream answers by the head alone. The client keeps its side open.
        let request = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhe";
        let answer = gateway.say(request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        gateway.until("gateway_body_timeouts_total 1").await;
        gateway.until("gateway_requests_in_flight 0").await;
        gateway.stop().await;
    });
}

fn a_client_that_goes_on_after_an_early_answer_counts(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        let mut stream = gateway.connect().await;
        let request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhe";
        stream.write_all(request).await.unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\nok") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).await.unwrap(), 1);
            text.push(byte[0]);
        }
        // The answer has its line, so it is over. Its request is not.
        gateway.until_logged(" 200 2 bytes ").await;
        gateway.until("gateway_requests_in_flight 1").await;
        stream.write_all(b"llo").await.unwrap();
        gateway.until("gateway_requests_in_flight 0").await;
        drop(stream);
        gateway.stop().await;
    });
}

fn a_client_that_goes_has_a_line(rt: AnyRuntime) {
    run(&rt, async {
        let gateway = Running::new(&rt).await;
        let mut stream = gateway.connect().await;
        let request = b"GET /silent HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        while gateway.upstream.seen.lock().unwrap().is_empty() {
            rt.sleep(Duration::from_millis(1)).await;
        }
        drop(stream);
        gateway.until("gateway_requests_in_flight 0").await;
        let log = gateway.stop().await;
        assert!(log.contains(r#" "GET /silent" 499 0 bytes "#), "{log}");
        assert!(log.trim_end().ends_with(" cut off"), "{log}");
    });
}
