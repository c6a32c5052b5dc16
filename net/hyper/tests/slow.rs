//! Peers that send the head of a request or take an answer too slowly, on every runtime.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use fourway_core::{AnyRuntime, AnyTask, Spawner, Timer, cancel::CancellationToken};
use fourway_hyper::{Drain, Server, Timeout};
use fourway_net::{Net, TcpStream};
use fourway_testing::{on_every_runtime, run};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};

on_every_runtime! { erased
    a_head_that_does_not_end_gets_408
    who_is_idle_is_closed_without_a_word
    who_takes_nothing_is_cut_off
    who_takes_nothing_of_http2_is_cut_off
    a_stream_with_a_closed_window_is_reset_alone
    a_last_piece_that_is_not_taken_ends_the_connection
    who_takes_a_byte_now_and_then_is_cut_off
    a_full_socket_keeps_no_streams
    an_http2_peer_that_answers_no_ping_is_closed
    times_without_an_end
    no_time_reaches_hyper_as_it_is
}

const SOON: Option<Duration> = Some(Duration::from_millis(30));

type Told = Arc<Mutex<Vec<(SocketAddr, Timeout)>>>;

struct Running<'a> {
    rt: &'a AnyRuntime,
    address: SocketAddr,
    told: Told,
    stop: CancellationToken,
    task: AnyTask<Drain>,
}

impl<'a> Running<'a> {
    /// A server whose answers have this many bytes.
    async fn new(
        rt: &'a AnyRuntime,
        bytes: usize,
        set: impl FnOnce(Server<AnyRuntime>) -> Server<AnyRuntime>,
    ) -> Self {
        let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (told, stop) = (Told::default(), CancellationToken::new());
        let tells = told.clone();
        let server = Server::new(rt)
            .stop(&stop)
            .on_timeout(move |peer, timeout| tells.lock().unwrap().push((peer, timeout)));
        let body = Bytes::from(vec![b'x'; bytes]);
        let service = service_fn(move |_: Request<Incoming>| {
            let answer = Response::new(Full::new(body.clone()));
            async { Ok::<_, Infallible>(answer) }
        });
        let task = rt.spawn(set(server).serve(listener, service));
        Self {
            rt,
            address,
            told,
            stop,
            task,
        }
    }

    async fn connect(&self) -> TcpStream {
        self.rt.connect_tcp(self.address).await.unwrap()
    }

    async fn until_told(&self) -> (SocketAddr, Timeout) {
        loop {
            // `run` has a deadline.
            if let Some(told) = self.told.lock().unwrap().pop() {
                return told;
            }
            self.rt.sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) {
        assert_eq!(self.stop_telling().await, []);
    }

    /// Gives what was told, and not yet taken.
    async fn stop_telling(self) -> Vec<(SocketAddr, Timeout)> {
        self.stop.cancel();
        assert_eq!(self.task.await.unwrap().cut, 0);
        std::mem::take(&mut *self.told.lock().unwrap())
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// GET http / by the static table, and the authority x, in stream 1.
const ASK_HTTP2: [u8; 15] = [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'x'];
const ASK: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Reads one answer with a body of one byte. Nothing follows it before the next request.
async fn answered(stream: &mut TcpStream) {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\nx") {
        let mut piece = [0; 256];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "{text:?}");
        text.extend_from_slice(&piece[..read]);
    }
}

fn a_head_that_does_not_end_gets_408(rt: AnyRuntime) {
    run(&rt, async {
        for is_first in [true, false] {
            let mut limit = SOON;
            let (server, peer, text) = loop {
                let server = Running::new(&rt, 1, |server| server.head_timeout(limit)).await;
                let mut stream = server.connect().await;
                if !is_first {
                    stream.write_all(ASK).await.unwrap();
                    answered(&mut stream).await;
                }
                let sent = stream.write_all(&ASK[..20]).await;
                let mut text = String::new();
                let read = stream.read_to_string(&mut text).await;
                if text.is_empty() && !is_first {
                    // On a slow machine it was closed, as it was idle for too long: try again.
                    server.stop().await;
                    limit = limit.map(|limit| limit * 2);
                    continue;
                }
                sent.and(read).unwrap();
                break (server, stream.local_addr().unwrap(), text);
            };
            assert!(text.starts_with("HTTP/1.1 408 "), "{text:?}");
            assert!(text.contains("connection: close\r\n"), "{text:?}");
            assert_eq!(server.until_told().await, (peer, Timeout::Head));
            server.stop().await;
        }
    });
}

fn who_is_idle_is_closed_without_a_word(rt: AnyRuntime) {
    run(&rt, async {
        let server = Running::new(&rt, 1, |server| server.head_timeout(SOON)).await;
        let mut stream = server.connect().await;
        stream.write_all(ASK).await.unwrap();
        answered(&mut stream).await;
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        server.stop().await;
    });
}

const MUCH: usize = 64 << 20;

fn who_takes_nothing_is_cut_off(rt: AnyRuntime) {
    run(&rt, async {
        let server = Running::new(&rt, MUCH, |server| server.send_timeout(SOON)).await;
        let mut stream = server.connect().await;
        stream.write_all(ASK).await.unwrap();
        let peer = stream.local_addr().unwrap();
        assert_eq!(server.until_told().await, (peer, Timeout::Send));
        // The connection has ended before the peer took anything.
        let mut taken = Vec::new();
        let _ = stream.read_to_end(&mut taken).await;
        assert!(taken.len() < MUCH, "all of it");
        server.stop().await;
    });
}

fn who_takes_nothing_of_http2_is_cut_off(rt: AnyRuntime) {
    run(&rt, async {
        let server = Running::new(&rt, MUCH, |server| server.send_timeout(SOON)).await;
        let mut stream = server.connect().await;
        // Settings with the widest window for streams, and the same for the connection, so that the
        // socket is the limit.
        stream.write_all(PREFACE).await.unwrap();
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff];
        stream.write_all(&settings).await.unwrap();
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0];
        stream.write_all(&window).await.unwrap();
        stream.write_all(&ASK_HTTP2).await.unwrap();
        let peer = stream.local_addr().unwrap();
        assert_eq!(server.until_told().await, (peer, Timeout::Send));
        drop(stream);
        // Of the stream, of the connection, or of both.
        let mut others = server.stop_telling().await.into_iter();
        assert!(others.all(|told| told == (peer, Timeout::Send)));
    });
}

/// The settings of a peer whose streams have a window of so many bytes.
fn with_window(bytes: u32) -> Vec<u8> {
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4];
    [PREFACE, &settings, &bytes.to_be_bytes()].concat()
}

/// Reads frames up to one of this kind and stream, and gives its payload.
async fn frame(stream: &mut TcpStream, kind: u8, of: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        if (head[3], head[8]) == (kind, of) {
            return payload;
        }
    }
}

const DATA: u8 = 0;
const RESET: u8 = 3;

fn a_stream_with_a_closed_window_is_reset_alone(rt: AnyRuntime) {
    run(&rt, async {
        // Enough for the stream with a window to send its bytes, also on a busy machine.
        let limit = Some(Duration::from_secs(2));
        let server = Running::new(&rt, 5, |server| server.send_timeout(limit)).await;
        let mut stream = server.connect().await;
        stream.write_all(&with_window(0)).await.unwrap();
        stream.write_all(&ASK_HTTP2).await.unwrap();
        let peer = stream.local_addr().unwrap();
        let cancelled = [0, 0, 0, 8];
        assert_eq!(frame(&mut stream, RESET, 1).await, cancelled);
        assert_eq!(server.until_told().await, (peer, Timeout::Send));
        // The next one has a window.
        let window = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0xff, 0xff];
        stream.write_all(&window).await.unwrap();
        let mut ask = ASK_HTTP2;
        ask[8] = 3;
        stream.write_all(&ask).await.unwrap();
        assert_eq!(frame(&mut stream, DATA, 3).await, b"xxxxx");
        drop(stream);
        server.stop().await;
    });
}

fn a_last_piece_that_is_not_taken_ends_the_connection(rt: AnyRuntime) {
    run(&rt, async {
        let server = Running::new(&rt, 5, |server| server.send_timeout(SOON)).await;
        let mut stream = server.connect().await;
        // hyper gives away all of the piece when there is room for a byte of it.
        stream.write_all(&with_window(1)).await.unwrap();
        stream.write_all(&ASK_HTTP2).await.unwrap();
        let peer = stream.local_addr().unwrap();
        assert_eq!(frame(&mut stream, DATA, 1).await, b"x");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(server.until_told().await, (peer, Timeout::Send));
        server.stop().await;
    });
}

fn who_takes_a_byte_now_and_then_is_cut_off(rt: AnyRuntime) {
    run(&rt, async {
        // Whatever it takes is too little. In this time it takes something, also on a busy machine.
        let limit = Some(Duration::from_secs(1));
        let server = Running::new(&rt, MUCH, |server| {
            server.send_timeout(limit).send_rate(u32::MAX)
        });
        let server = server.await;
        let mut stream = server.connect().await;
        stream.write_all(&with_window(1)).await.unwrap();
        // The connection's window never closes.
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0];
        stream.write_all(&window).await.unwrap();
        stream.write_all(&ASK_HTTP2).await.unwrap();
        let peer = stream.local_addr().unwrap();
        let taking = async {
            // Another byte for each byte.
            let window = [0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 1];
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await?;
                let length = usize::from(head[1]) << 8 | usize::from(head[2]);
                stream.read_exact(&mut vec![0; length]).await?;
                if head[3] == DATA {
                    stream.write_all(&window).await?;
                }
            }
        };
        let _: io::Result<()> = taking.await;
        assert_eq!(server.until_told().await, (peer, Timeout::Send));
        server.stop().await;
    });
}

fn a_full_socket_keeps_no_streams(rt: AnyRuntime) {
    run(&rt, async {
        // Less than it takes to read all, more than the socket is ever without room.
        let limit = Some(Duration::from_secs(1));
        let server = Running::new(&rt, MUCH, |server| {
            server.send_timeout(limit).send_rate(u32::MAX)
        });
        let server = server.await;
        let mut stream = server.connect().await;
        // All windows are wide. The first stream's bytes go through the socket while it is full,
        // and the other one waits beside it.
        stream.write_all(&with_window(0x7fff_ffff)).await.unwrap();
        let window = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0];
        stream.write_all(&window).await.unwrap();
        for id in [1, 3] {
            let mut ask = ASK_HTTP2;
            ask[8] = id;
            stream.write_all(&ask).await.unwrap();
        }
        let mut taken = 0;
        let mut piece = vec![0; 256 * 1024];
        // A slow reader, of which the socket is full; the end is a reset.
        while let Ok(read @ 1..) = stream.read(&mut piece).await {
            taken += read;
            rt.sleep(Duration::from_millis(5)).await;
        }
        assert!(taken < 2 * MUCH, "all of it");
        // Of each stream, or of the connection.
        while server.told.lock().unwrap().is_empty() {
            rt.sleep(Duration::from_millis(1)).await;
        }
        server.told.lock().unwrap().clear();
        drop(stream);
        server.stop.cancel();
        assert_eq!(server.task.await.unwrap().cut, 0);
    });
}

fn an_http2_peer_that_answers_no_ping_is_closed(rt: AnyRuntime) {
    run(&rt, async {
        let server = Running::new(&rt, 1, |server| {
            let interval = Duration::from_millis(30);
            server.ping_timeout(SOON).ping_interval(interval)
        });
        let server = server.await;
        let mut stream = server.connect().await;
        stream.write_all(PREFACE).await.unwrap();
        stream
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        stream.write_all(&ASK_HTTP2).await.unwrap();
        // The answer, a ping, and the end.
        let mut taken = Vec::new();
        stream.read_to_end(&mut taken).await.unwrap();
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
        assert!(taken.windows(9).any(|bytes| bytes == ping), "{taken:?}");
        server.stop().await;
    });
}

/// hyper adds them to the present time.
fn times_without_an_end(rt: AnyRuntime) {
    const NEVER: Option<Duration> = Some(Duration::MAX);
    run(&rt, async {
        let server = Running::new(&rt, 1, |server| {
            server
                .first_byte_timeout(NEVER)
                .head_timeout(NEVER)
                .send_timeout(NEVER)
                .ping_timeout(NEVER)
                .ping_interval(Duration::from_millis(30))
                .grace(Duration::MAX)
        });
        let server = server.await;
        let mut stream = server.connect().await;
        let ask = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        let mut taken = String::new();
        stream.read_to_string(&mut taken).await.unwrap();
        assert!(taken.starts_with("HTTP/1.1 200 "), "{taken:?}");
        // By HTTP/2, a second request after a ping.
        let mut stream = server.connect().await;
        stream.write_all(PREFACE).await.unwrap();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        stream.write_all(&settings).await.unwrap();
        stream.write_all(&ASK_HTTP2).await.unwrap();
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
        let mut taken = Vec::new();
        while !taken.windows(9).any(|bytes| bytes == ping) {
            let mut some = [0; 256];
            let read = stream.read(&mut some).await.unwrap();
            assert!(read > 0, "{taken:?}");
            taken.extend_from_slice(&some[..read]);
        }
        // It answers a ping of ours, and so goes on.
        let ask = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        stream.write_all(&ask).await.unwrap();
        let answer = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        while !taken.windows(17).any(|bytes| bytes == answer) {
            let mut some = [0; 256];
            let read = stream.read(&mut some).await.unwrap();
            assert!(read > 0, "{taken:?}");
            taken.extend_from_slice(&some[..read]);
        }
        drop(stream);
        server.stop().await;
    });
}

/// hyper adds each of its own to the present time, in the task of the connection.
fn no_time_reaches_hyper_as_it_is(rt: AnyRuntime) {
    run(&rt, async {
        let server = Running::new(&rt, 1, |server| {
            server.ping_interval(Duration::MAX).configure(|builder| {
                builder.http1().header_read_timeout(Duration::MAX);
                let mut http2 = builder.http2();
                http2.keep_alive_interval(Duration::MAX);
                http2.keep_alive_timeout(Duration::MAX);
            })
        });
        let server = server.await;
        let mut stream = server.connect().await;
        for _ in 0..2 {
            stream.write_all(ASK).await.unwrap();
            answered(&mut stream).await;
        }
        let mut stream = server.connect().await;
        stream.write_all(PREFACE).await.unwrap();
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        stream.write_all(&settings).await.unwrap();
        stream.write_all(&ASK_HTTP2).await.unwrap();
        let mut taken = Vec::new();
        // The end of the answer: the stream's last piece, of one byte.
        let last = [0, 0, 1, 0, 1, 0, 0, 0, 1, b'x'];
        while !taken.windows(last.len()).any(|bytes| bytes == last) {
            let mut some = [0; 256];
            let read = stream.read(&mut some).await.unwrap();
            assert!(read > 0, "{taken:?}");
            taken.extend_from_slice(&some[..read]);
        }
        drop(stream);
        server.stop().await;
    });
}
