//! TCP on every runtime.

mod common;

use std::{
    future::IntoFuture,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    net::{Ipv6Addr, Shutdown, SocketAddr},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use common::{kind, listener, pair};
use fourway_core::Runtime;
use fourway_net::{ConnectError, Keepalive, Net, TcpListener, TcpStream};
use fourway_net_acceptance::addresses::{Nobody, Silent};
use fourway_testing::{on_every_runtime, poll_once, run};
use futures_util::{
    AsyncRead, AsyncReadExt, AsyncWriteExt, StreamExt,
    future::{join, join_all},
};

on_every_runtime! {
    what_is_sent_comes_back
    many_bytes_both_ways
    several_buffers_at_once
    an_empty_buffer_waits_for_nothing
    an_end_in_one_direction
    halves
    halves_of_two_streams
    looking_ahead
    the_peer_resets
    nobody_listens
    no_way_there
    each_address_is_tried
    a_silent_address_is_overtaken
    a_silent_address_takes_too_long
    names_are_looked_up
    not_an_endpoint
    an_accept_that_is_dropped
    a_read_that_is_dropped
    a_write_that_is_dropped
    a_connect_that_is_dropped
    many_accept
    incoming_connections
    a_peer_that_never_reads
    a_peer_that_always_reads
    a_peer_that_sends_without_end
    options
    values_that_do_not_fit
    to_std_and_back
    the_port_is_taken
}

/// Sends back what it receives.
async fn echo<R: Runtime>(rt: R, listener: TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        rt.spawn_detached(async move {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut buf).await {
                stream.write_all(&buf[..n]).await.unwrap();
            }
        });
    }
}

fn what_is_sent_comes_back<R: Runtime>(rt: R) {
    run(&rt, async {
        let (listener, address) = listener(&rt).await;
        rt.spawn_detached(echo(rt.clone(), listener));
        let clients = (0..50).map(async |i: u8| {
            let mut stream = rt.connect_tcp(address).await.unwrap();
            for _ in 0..20 {
                stream.write_all(&[i; 100]).await.unwrap();
                let mut back = [0; 100];
                stream.read_exact(&mut back).await.unwrap();
                assert_eq!(back, [i; 100]);
            }
        });
        join_all(clients).await;
    });
}

fn many_bytes_both_ways<R: Runtime>(rt: R) {
    const SIZE: usize = 4 << 20;
    run(&rt, async {
        let (listener, address) = listener(&rt).await;
        rt.spawn_detached(echo(rt.clone(), listener));
        let stream = rt.connect_tcp(address).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        let sent: Vec<u8> = (0..SIZE).map(|i| ((i * i) >> 8) as u8).collect();
        let mut back = Vec::new();
        let sending = async {
            write.write_all(&sent).await.unwrap();
            write.close().await.unwrap();
        };
        let ((), received) = join(sending, read.read_to_end(&mut back)).await;
        received.unwrap();
        assert!(back == sent, "other bytes came back");
    });
}

fn several_buffers_at_once<R: Runtime>(rt: R) {
    run(&rt, async {
        let (mut a, mut b) = pair(&rt).await;
        let bufs = [
            IoSlice::new(b"one "),
            IoSlice::new(b"two "),
            IoSlice::new(b"three"),
        ];
        assert_eq!(a.write_vectored(&bufs).await.unwrap(), 13);
        let (mut first, mut second) = ([0; 8], [0; 8]);
        let mut bufs = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(b.read_vectored(&mut bufs).await.unwrap(), 13);
        assert_eq!((&first, &second[..5]), (b"one two ", &b"three"[..]));
    });
}

fn an_empty_buffer_waits_for_nothing<R: Runtime>(rt: R) {
    run(&rt, async {
        let (mut a, mut b) = pair(&rt).await;
        // Before there are bytes, and when there are some.
        for _ in 0..2 {
            assert_eq!(a.read(&mut []).await.unwrap(), 0);
            assert_eq!(a.peek(&mut []).await.unwrap(), 0);
            assert_eq!(a.read_vectored(&mut []).await.unwrap(), 0);
            let mut none = [IoSliceMut::new(&mut []), IoSliceMut::new(&mut [])];
            assert_eq!(a.read_vectored(&mut none).await.unwrap(), 0);
            b.write_all(b"x").await.unwrap();
        }
        let mut buf = [0; 2];
        a.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"xx");
    });
}

fn an_end_in_one_direction<R: Runtime>(rt: R) {
    run(&rt, async {
        let (mut a, mut b) = pair(&rt).await;
        a.write_all(b"question").await.unwrap();
        a.close().await.unwrap();
        let mut question = String::new();
        b.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        b.write_all(b"answer").await.unwrap();
        drop(b);
        let mut answer = String::new();
        a.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        // Writing is over; ending it again is no error.
        assert_eq!(kind(a.write_all(b"more").await), io::ErrorKind::BrokenPipe);
        a.shutdown(Shutdown::Write).unwrap();
    });
}

fn halves<R: Runtime>(rt: R) {
    run(&rt, async {
        let (a, b) = pair(&rt).await;
        let (read_a, mut write_a) = a.into_split();
        let (mut read_b, write_b) = b.into_split();
        // Both at once, in separate tasks.
        let reading = rt.spawn(async move {
            let mut text = String::new();
            read_b.read_to_string(&mut text).await.unwrap();
            (text, read_b)
        });
        write_a.write_all(b"text").await.unwrap();
        // The peer reads an end.
        drop(write_a);
        let (text, read_b) = reading.await.unwrap();
        assert_eq!(text, "text");
        drop(read_a);
        // A forgotten half ends nothing, and the whole stream still works.
        let mut b = read_b.reunite(write_b).unwrap();
        assert_eq!(b.read(&mut [0]).await.unwrap(), 0);
        let (c, mut d) = pair(&rt).await;
        let (_read_c, write_c) = c.into_split();
        write_c.forget();
        let mut buf = [0];
        assert!(poll_once(pin!(d.read(&mut buf))).await.is_pending());
    });
}

fn halves_of_two_streams<R: Runtime>(rt: R) {
    run(&rt, async {
        let (a, b) = pair(&rt).await;
        let (read_a, write_a) = a.into_split();
        let (read_b, write_b) = b.into_split();
        let error = read_a.reunite(write_b).unwrap_err();
        let mut a = error.read.reunite(write_a).unwrap();
        let mut b = read_b.reunite(error.write).unwrap();
        a.write_all(b"!").await.unwrap();
        assert_eq!(b.read(&mut [0]).await.unwrap(), 1);
    });
}

fn looking_ahead<R: Runtime>(rt: R) {
    run(&rt, async {
        let (mut a, mut b) = pair(&rt).await;
        let mut buf = [0; 3];
        assert!(poll_once(pin!(b.peek(&mut buf))).await.is_pending());
        assert!(poll_once(pin!(b.readable())).await.is_pending());
        a.write_all(b"abc").await.unwrap();
        b.readable().await.unwrap();
        for _ in 0..2 {
            assert_eq!(b.peek(&mut buf).await.unwrap(), 3);
            assert_eq!(&buf, b"abc");
        }
        buf = [0; 3];
        b.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"abc");
    });
}

fn the_peer_resets<R: Runtime>(rt: R) {
    run(&rt, async {
        let (a, mut b) = pair(&rt).await;
        let reading = async {
            let mut buf = [0];
            b.read(&mut buf).await
        };
        let resetting = async {
            a.set_linger(Some(Duration::ZERO)).unwrap();
            drop(a);
        };
        let (read, ()) = join(reading, resetting).await;
        assert_eq!(kind(read), io::ErrorKind::ConnectionReset);
        b.shutdown(Shutdown::Both).unwrap();
        assert_eq!(kind(b.write(b"x").await), io::ErrorKind::BrokenPipe);
    });
}

fn nobody_listens<R: Runtime>(rt: R) {
    run(&rt, async {
        let nobody = Nobody::new();
        let address = nobody.address();
        let error = rt.connect_tcp(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let inside = error.get_ref().unwrap().downcast_ref::<ConnectError>();
        assert_eq!(inside.unwrap().attempts()[0].0, address);
        assert!(error.to_string().contains(&address.to_string()));
    });
}

fn no_way_there<R: Runtime>(rt: R) {
    run(&rt, async {
        // Documentation addresses, which exist on no network. Behind some routers there is no
        // answer; then the connection times out, which is another error.
        let connect = rt.connect_tcp("[2001:db8::1]:9");
        let error = connect.timeout(Duration::from_millis(500)).await;
        let unreachable = [
            io::ErrorKind::NetworkUnreachable,
            io::ErrorKind::HostUnreachable,
            io::ErrorKind::AddrNotAvailable,
            io::ErrorKind::TimedOut,
        ];
        let kind = kind(error);
        assert!(unreachable.contains(&kind), "{kind}");
    });
}

fn each_address_is_tried<R: Runtime>(rt: R) {
    run(&rt, async {
        let (listener, address) = listener(&rt).await;
        let refuse = [Nobody::new(), Nobody::new()];
        let [first, second] = refuse.each_ref().map(Nobody::address);
        let connect = rt.connect_tcp(vec![first, second, address]);
        let (stream, accepted) = join(connect.into_future(), listener.accept()).await;
        assert_eq!(stream.unwrap().peer_addr().unwrap(), address);
        accepted.unwrap();
        let error = rt.connect_tcp(vec![first, second]).await.unwrap_err();
        let inside = error.get_ref().unwrap().downcast_ref::<ConnectError>();
        assert_eq!(inside.unwrap().attempts().len(), 2);
        assert_eq!(kind(rt.connect_tcp(vec![]).await), io::ErrorKind::NotFound);
    });
}

fn a_silent_address_is_overtaken<R: Runtime>(rt: R) {
    run(&rt, async {
        let silent = Silent::new();
        let (listener, address) = listener(&rt).await;
        let stream = rt
            .connect_tcp(vec![silent.address(), address])
            .attempt_delay(Duration::from_millis(10))
            .await;
        assert_eq!(stream.unwrap().peer_addr().unwrap(), address);
        listener.accept().await.unwrap();
    });
}

fn a_silent_address_takes_too_long<R: Runtime>(rt: R) {
    run(&rt, async {
        let silent = Silent::new();
        let nobody = Nobody::new();
        let refused = nobody.address();
        let error = rt
            .connect_tcp(vec![refused, silent.address()])
            .timeout(Duration::from_millis(50))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let inside = error.get_ref().unwrap().downcast_ref::<ConnectError>();
        assert_eq!(inside.unwrap().attempts()[0].0, refused);
    });
}

fn names_are_looked_up<R: Runtime>(rt: R) {
    run(&rt, async {
        let (listener, address) = listener(&rt).await;
        let connect = rt.connect_tcp(("localhost", address.port()));
        let (stream, accepted) = join(connect.into_future(), listener.accept()).await;
        stream.unwrap();
        accepted.unwrap();
        let addresses = rt.resolve("localhost:80").await.unwrap();
        assert!(
            addresses
                .iter()
                .all(|a| a.ip().is_loopback() && a.port() == 80)
        );
        assert!(rt.resolve("no-such-host.invalid:80").await.is_err());
    });
}

fn not_an_endpoint<R: Runtime>(rt: R) {
    run(&rt, async {
        let error = rt.connect_tcp("localhost").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("`localhost`"));
        // An empty list has the same error everywhere.
        let none = || Vec::<SocketAddr>::new();
        for kind in [
            kind(rt.connect_tcp(none()).await),
            kind(rt.listen_tcp(none()).await),
            kind(rt.bind_udp(none()).await),
        ] {
            assert_eq!(kind, io::ErrorKind::NotFound);
        }
        assert_eq!(rt.resolve(none()).await.unwrap(), []);
    });
}

fn an_accept_that_is_dropped<R: Runtime>(rt: R) {
    run(&rt, async {
        let (listener, address) = listener(&rt).await;
        for _ in 0..20 {
            // It has waited, the connection is there, and it is not polled any more.
            let mut accept = Box::pin(listener.accept());
            assert!(poll_once(accept.as_mut()).await.is_pending());
            let stream = rt.connect_tcp(address).await.unwrap();
            drop(accept);
            let (_, peer) = listener.accept().await.unwrap();
            assert_eq!(peer, stream.local_addr().unwrap());
        }
    });
}

fn a_read_that_is_dropped<R: Runtime>(rt: R) {
    run(&rt, async {
        let (mut a, mut b) = pair(&rt).await;
        for i in 0..20 {
            let mut buf = [0; 16];
            let mut read = Box::pin(b.read(&mut buf));
            assert!(poll_once(read.as_mut()).await.is_pending());
            a.write_all(&[i]).await.unwrap();
            drop(read);
            assert_eq!(b.read(&mut buf).await.unwrap(), 1);
            assert_eq!(buf[0], i);
        }
    });
}

fn a_write_that_is_dropped<R: Runtime>(rt: R) {
    run(&rt, async {
        let (mut a, mut b) = pair(&rt).await;
        let chunk = [7; 64 * 1024];
        let mut sent = 0;
        // The last one is dropped, and has sent nothing.
        while let Poll::Ready(written) = poll_once(pin!(a.write(&chunk))).await {
            sent += written.unwrap();
        }
        drop(a);
        let mut received = Vec::new();
        b.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), sent);
    });
}

fn a_connect_that_is_dropped<R: Runtime>(rt: R) {
    run(&rt, async {
        let silent = Silent::new();
        for _ in 0..20 {
            let mut connect = rt.connect_tcp(silent.address()).into_future();
            assert!(poll_once(connect.as_mut()).await.is_pending());
        }
        // A future that was never polled has begun nothing.
        drop(rt.connect_tcp(silent.address()).into_future());
    });
}

fn many_accept<R: Runtime>(rt: R) {
    run(&rt, async {
        let (listener, address) = listener(&rt).await;
        let accepting = join_all((0..16).map(async |_| listener.accept().await.unwrap().1));
        let connecting = join_all((0..16).map(async |_| rt.connect_tcp(address).await.unwrap()));
        let (mut accepted, connected) = join(accepting, connecting).await;
        let mut peers: Vec<_> = connected.iter().map(|s| s.local_addr().unwrap()).collect();
        accepted.sort();
        peers.sort();
        assert_eq!(accepted, peers);
    });
}

fn incoming_connections<R: Runtime>(rt: R) {
    run(&rt, async {
        let (listener, address) = listener(&rt).await;
        let mut incoming = listener.incoming();
        let mut next = incoming.next();
        assert!(poll_once(Pin::new(&mut next)).await.is_pending());
        let stream = rt.connect_tcp(address).await.unwrap();
        let (_, peer) = incoming.next().await.unwrap().unwrap();
        assert_eq!(peer, stream.local_addr().unwrap());
    });
}

fn a_peer_that_never_reads<R: Runtime>(rt: R) {
    run(&rt, async {
        let (mut a, b) = pair(&rt).await;
        let writing = rt.spawn(async move {
            loop {
                if let Err(error) = a.write_all(&[0; 4096]).await {
                    return error.kind();
                }
            }
        });
        // It waits, and other sockets are served meanwhile.
        let (mut c, mut d) = pair(&rt).await;
        c.write_all(b"ping").await.unwrap();
        d.read_exact(&mut [0; 4]).await.unwrap();
        drop(b);
        let kind = writing.await.unwrap();
        assert!(
            matches!(
                kind,
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ),
            "{kind}"
        );
    });
}

/// A read of an endless stream lets a time limit around it fire: in a task and in `block_on`.
fn a_peer_that_sends_without_end<R: Runtime>(rt: R) {
    let (mut stream, other) = run(&rt, pair(&rt));
    // Ready at each read, even if the other side's thread does not run.
    let other = other.into_std().unwrap();
    other.set_nonblocking(false).unwrap();
    let sending = std::thread::spawn(move || {
        let mut other = other;
        while other.write_all(&[0; 100_000]).is_ok() {}
    });
    let clock = rt.clone();
    let mut reading = async move || {
        let endless = async {
            // One byte at a time, so that it is never drained.
            while stream.read(&mut [0]).await.unwrap() > 0 {}
        };
        clock.timeout(Duration::from_millis(20), endless).await
    };
    run(&rt, reading()).unwrap_err();
    let task = rt.spawn(async move { reading().await });
    run(&rt, task).unwrap().unwrap_err();
    sending.join().unwrap();
}

fn a_peer_that_always_reads<R: Runtime>(rt: R) {
    let (mut stream, other) = run(&rt, pair(&rt));
    let other = other.into_std().unwrap();
    other.set_nonblocking(false).unwrap();
    let reading = std::thread::spawn(move || {
        let (mut other, mut buf) = (other, vec![0; 1 << 20]);
        while let Ok(1..) = other.read(&mut buf) {}
    });
    run(&rt, async {
        let endless = async {
            loop {
                stream.write_all(b"!").await.unwrap();
            }
        };
        let never: Result<(), _> = rt.timeout(Duration::from_millis(20), endless).await;
        never.unwrap_err();
    });
    drop(stream);
    reading.join().unwrap();
}

fn options<R: Runtime>(rt: R) {
    run(&rt, async {
        let listener = rt
            .listen_tcp("127.0.0.1:0")
            .backlog(16)
            .reuse_address(true)
            .reuse_port(true)
            .recv_buffer_size(16 * 1024)
            .send_buffer_size(16 * 1024)
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let again = rt.listen_tcp(address).reuse_port(true).await.unwrap();
        drop(again);
        let stream = rt
            .connect_tcp(address)
            .nodelay(true)
            .keepalive(Keepalive::new().idle(Duration::from_secs(60)).retries(3))
            .from(([127, 0, 0, 1], 0).into())
            .recv_buffer_size(8 * 1024)
            .send_buffer_size(8 * 1024)
            .await
            .unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(stream.keepalive().unwrap());
        stream.set_nodelay(false).unwrap();
        stream.set_keepalive(None).unwrap();
        assert!(!stream.nodelay().unwrap());
        assert!(!stream.keepalive().unwrap());
        stream.set_ttl(17).unwrap();
        assert_eq!(stream.ttl().unwrap(), 17);
        stream.set_recv_buffer_size(32 * 1024).unwrap();
        assert!(stream.recv_buffer_size().unwrap() >= 32 * 1024);
        stream.set_send_buffer_size(32 * 1024).unwrap();
        assert!(stream.send_buffer_size().unwrap() >= 32 * 1024);
        assert!(stream.take_error().unwrap().is_none());
        let other = rt
            .connect_tcp(address)
            .from((Ipv6Addr::LOCALHOST, 0).into());
        let error = other.await.unwrap_err();
        assert!(error.to_string().contains("no IPv6 address"), "{error}");
        // An option without a method here.
        let options = socket2::SockRef::from(&stream);
        assert_eq!(options.r#type().unwrap(), socket2::Type::STREAM);
    });
}

fn values_that_do_not_fit<R: Runtime>(rt: R) {
    // Cast to 32 bits, each of these would be next to nothing.
    const SIZES: [usize; 3] = [1 << 32, (1 << 32) + 4096, usize::MAX];
    run(&rt, async {
        let (listener, address) = listener(&rt).await;
        let stream = rt.connect_tcp(address).await.unwrap();
        let (recv, send) = (16 << 10, 16 << 10);
        for bytes in SIZES {
            let connect = rt.connect_tcp(address).recv_buffer_size(bytes);
            let connected = connect.send_buffer_size(bytes).await.unwrap();
            stream.set_recv_buffer_size(bytes).unwrap();
            stream.set_send_buffer_size(bytes).unwrap();
            for stream in [&stream, &connected] {
                assert!(stream.recv_buffer_size().unwrap() > recv);
                assert!(stream.send_buffer_size().unwrap() > send);
            }
            let listen = rt.listen_tcp("127.0.0.1:0").recv_buffer_size(bytes);
            let listener = listen.send_buffer_size(bytes).await.unwrap();
            let options = socket2::SockRef::from(&listener);
            assert!(options.recv_buffer_size().unwrap() > recv);
            assert!(options.send_buffer_size().unwrap() > send);
            let udp = rt.bind_udp("127.0.0.1:0").await.unwrap();
            udp.set_recv_buffer_size(bytes).unwrap();
            udp.set_send_buffer_size(bytes).unwrap();
            let options = socket2::SockRef::from(&udp);
            assert!(options.recv_buffer_size().unwrap() > recv);
            assert!(options.send_buffer_size().unwrap() > send);
        }
        for time in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
            let keepalive = Keepalive::new().idle(time).interval(time);
            for retries in [0, u32::MAX] {
                let keepalive = keepalive.retries(retries);
                stream.set_keepalive(Some(keepalive)).unwrap();
                rt.connect_tcp(address).keepalive(keepalive).await.unwrap();
            }
        }
        let options = socket2::SockRef::from(&stream);
        let lingers = [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(1500), 2),
            (Duration::from_secs((1 << 32) + 1), i32::MAX as u64),
            (Duration::MAX, i32::MAX as u64),
        ];
        for (time, seconds) in lingers {
            stream.set_linger(Some(time)).unwrap();
            assert_eq!(
                options.linger().unwrap(),
                Some(Duration::from_secs(seconds))
            );
        }
        stream.set_linger(None).unwrap();
        drop(listener);
    });
}

fn to_std_and_back<R: Runtime>(rt: R) {
    run(&rt, async {
        let (a, mut b) = pair(&rt).await;
        let mut a = a.into_std().unwrap();
        b.write_all(b"ping").await.unwrap();
        let mut buf = [0; 4];
        // It blocks, as those of the standard library do.
        let blocking = rt.offload(move || {
            a.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"ping");
            a.write_all(b"pong").unwrap();
            a
        });
        let mut a = blocking.await.unwrap();
        let mut buf = [0; 4];
        b.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"pong");
        a.set_nonblocking(false).unwrap();
        a.write_all(b"!").unwrap();
        let mut a = TcpStream::from_std(&rt, a).unwrap();
        b.read_exact(&mut [0]).await.unwrap();
        assert!(poll_once(pin!(a.read(&mut [0; 1]))).await.is_pending());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::from_std(&rt, listener).unwrap();
        assert!(poll_once(pin!(listener.accept())).await.is_pending());
        listener.into_std().unwrap();
    });
}

fn the_port_is_taken<R: Runtime>(rt: R) {
    run(&rt, async {
        let (_listener, address) = listener(&rt).await;
        let error = rt.listen_tcp(address).await;
        assert_eq!(kind(error), io::ErrorKind::AddrInUse);
    });
}

/// The traits are there for generic users, through a box as well.
#[allow(dead_code, reason = "it compiles")]
fn is_a_stream(stream: TcpStream, cx: &mut Context<'_>) {
    let mut boxed: Box<dyn AsyncRead + Send + Sync + Unpin> = Box::new(stream);
    let _ = Pin::new(&mut boxed).poll_read(cx, &mut []);
}
