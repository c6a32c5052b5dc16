//! A runtime that brings a network of its own: its sockets, and what they have no descriptor for.

use std::{
    collections::HashMap,
    future::{Future, ready},
    io,
    net::{Shutdown, SocketAddr},
    os::fd::AsFd,
    pin::pin,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use fourway_core::{AnyRuntime, BlockOn, Compose, Shutdown as _, Spawner, implement::Extensions};
use fourway_net::{
    Net, TcpListener, TcpStream, UdpSocket, is_forked, is_shutdown,
    provide::{self, Boxed, Datagrams, Listener, Network, Stream},
};
use fourway_testing::{forked, poll_once, runtimes};
use futures_util::{AsyncReadExt, AsyncWriteExt, StreamExt};

/// Connections that give back what is written to them, and datagrams that come back.
#[derive(Clone, Default)]
struct Mirror {
    closed: Arc<AtomicBool>,
    queues: Arc<Mutex<HashMap<SocketAddr, Pipe>>>,
}

type Pipe = Arc<Mutex<(Vec<u8>, Vec<Waker>)>>;

#[derive(Debug)]
struct End {
    closed: Arc<AtomicBool>,
    pipe: Pipe,
    at: SocketAddr,
    linger: Mutex<Option<Duration>>,
}

impl Mirror {
    fn end(&self, at: SocketAddr) -> End {
        let pipe = self.queues.lock().unwrap().entry(at).or_default().clone();
        End {
            closed: self.closed.clone(),
            pipe,
            at,
            linger: Mutex::default(),
        }
    }

    fn check(&self) -> io::Result<()> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(provide::shut_down()),
            false => Ok(()),
        }
    }
}

impl Network for Mirror {
    fn connect(&self, to: SocketAddr, _: Option<SocketAddr>) -> Boxed<Box<dyn Stream>> {
        let connects = match to.port() {
            1 => Err(io::ErrorKind::ConnectionRefused.into()),
            _ => self.check().map(|()| Box::new(self.end(to)) as _),
        };
        Box::pin(ready(connects))
    }

    fn listen(&self, on: SocketAddr) -> io::Result<Box<dyn Listener>> {
        self.check()?;
        Ok(Box::new(self.end(on)))
    }

    fn bind(&self, on: SocketAddr) -> io::Result<Box<dyn Datagrams>> {
        self.check()?;
        Ok(Box::new(self.end(on)))
    }

    fn resolve(&self, name: &str, port: u16) -> Boxed<Vec<SocketAddr>> {
        assert_eq!(name, "mirror");
        // The first one refuses.
        let addresses = [([1, 2, 3, 4], 1), ([1, 2, 3, 4], port)];
        Box::pin(ready(Ok(addresses.map(SocketAddr::from).into())))
    }

    fn close(&self) {
        assert!(!self.closed.swap(true, Ordering::AcqRel), "closed twice");
        for pipe in self.queues.lock().unwrap().values() {
            let wakers = std::mem::take(&mut pipe.lock().unwrap().1);
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl End {
    fn take(&self, cx: &mut Context<'_>, buf: &mut [u8], takes: bool) -> Poll<io::Result<usize>> {
        let mut pipe = self.pipe.lock().unwrap();
        if self.closed.load(Ordering::Acquire) {
            return Poll::Ready(Err(provide::shut_down()));
        }
        if pipe.0.is_empty() {
            pipe.1.push(cx.waker().clone());
            return Poll::Pending;
        }
        let length = buf.len().min(pipe.0.len());
        buf[..length].copy_from_slice(&pipe.0[..length]);
        if takes {
            pipe.0.drain(..length);
        }
        Poll::Ready(Ok(length))
    }

    fn put(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.pipe.lock().unwrap();
        pipe.0.extend_from_slice(bytes);
        let wakers = std::mem::take(&mut pipe.1);
        drop(pipe);
        wakers.into_iter().for_each(Waker::wake);
        Ok(bytes.len())
    }
}

impl Stream for End {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.take(cx, buf, true)
    }

    fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.take(cx, buf, false)
    }

    fn poll_write(&self, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.put(buf))
    }

    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        self.put(b".").map(drop)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }

    fn set_linger(&self, time: Option<Duration>) -> io::Result<()> {
        *self.linger.lock().unwrap() = time;
        Ok(())
    }
}

impl Listener for End {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Box<dyn Stream>, SocketAddr)>> {
        ready!(self.take(cx, &mut [0], false))?;
        let stream = End {
            closed: self.closed.clone(),
            pipe: self.pipe.clone(),
            at: self.at,
            linger: Mutex::default(),
        };
        Poll::Ready(Ok((Box::new(stream), self.at)))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }
}

impl Datagrams for End {
    fn poll_send(
        &self,
        _: &mut Context<'_>,
        datagram: &[u8],
        to: Option<SocketAddr>,
    ) -> Poll<io::Result<usize>> {
        assert!(to.is_none_or(|to| to == self.at));
        Poll::Ready(self.put(datagram))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.take(cx, buf, true).map_ok(|length| (length, self.at))
    }

    fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        self.take(cx, buf, false).map_ok(|length| (length, self.at))
    }

    fn connect(&self, _: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::NotConnected.into())
    }
}

fn each_runtime(test: impl Fn(AnyRuntime)) {
    // smol's global one would keep it for the other tests.
    each_of(
        &[
            "std-thread",
            "tokio, multi-thread",
            "smol, own",
            "ten lines",
        ],
        test,
    );
}

fn each_of(names: &[&str], test: impl Fn(AnyRuntime)) {
    for (_, rt) in runtimes()
        .into_iter()
        .filter(|(name, _)| names.contains(name))
    {
        assert!(install(&rt, Mirror::default()));
        test(rt);
    }
}

fn install(rt: &AnyRuntime, mirror: Mirror) -> bool {
    provide::install(&rt.extensions().expect("ours have them"), mirror)
}

async fn connect(rt: &AnyRuntime) -> TcpStream {
    rt.connect_tcp("mirror:7").await.unwrap()
}

fn refused<T: std::fmt::Debug>(result: io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), io::ErrorKind::Unsupported);
}

#[test]
fn its_sockets_are_the_networks() {
    each_runtime(|rt| {
        // Its names, its streams, and happy eyeballs around them.
        let (mut read, mut write) = rt.block_on(connect(&rt)).into_split();
        let text = rt.block_on(async {
            let pieces = [io::IoSlice::new(b""), io::IoSlice::new(b"hell")];
            assert_eq!(write.write_vectored(&pieces).await.unwrap(), 4);
            write.write_all(b"o").await.unwrap();
            drop(write);
            let mut text = [0; 6];
            assert_eq!(read.get_ref().peek(&mut text[..2]).await.unwrap(), 2);
            assert_eq!(read.get_ref().peer_addr().unwrap().port(), 7);
            read.read_exact(&mut text).await.unwrap();
            text
        });
        assert_eq!(&text, b"hello.");
        let refuses = rt.block_on(async { rt.connect_tcp(([1, 2, 3, 4], 1)).await });
        assert_eq!(
            refuses.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );

        rt.block_on(async {
            let listener = rt.listen_tcp(([1, 2, 3, 4], 8)).await.unwrap();
            let mut stream = rt.connect_tcp(([1, 2, 3, 4], 8)).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            let (mut accepted, _) = listener.accept().await.unwrap();
            accepted.read_exact(&mut [0]).await.unwrap();
            let socket = rt.bind_udp("mirror:9").await.unwrap();
            assert_eq!(socket.local_addr().unwrap().port(), 1);
            socket.connect(socket.local_addr().unwrap()).unwrap();
            socket.send(b"to").await.unwrap();
            assert_eq!(socket.peek_from(&mut [0; 9]).await.unwrap().0, 2);
            assert_eq!(socket.recv(&mut [0; 9]).await.unwrap(), 2);
        });
        // As the runtime of the tasks.
        let (_, other) = runtimes().swap_remove(0);
        let composed = Compose::new(rt.clone(), other);
        let port = rt.block_on(async {
            let stream = composed.connect_tcp("mirror:7").await.unwrap();
            stream.peer_addr().unwrap().port()
        });
        assert_eq!(port, 7);
    });
}

#[test]
fn options_are_kept_and_what_needs_the_system_is_refused() {
    each_runtime(|rt| {
        let stream = rt.block_on(async {
            let connect = rt.connect_tcp("mirror:7").nodelay(true);
            connect.recv_buffer_size(1 << 14).await.unwrap()
        });
        assert!(stream.nodelay().unwrap());
        stream.set_ttl(9).unwrap();
        assert_eq!(stream.ttl().unwrap(), 9);
        assert!(stream.recv_buffer_size().unwrap() >= 1 << 14);
        stream.set_linger(None).unwrap();
        // By the descriptor, which is none of the connection's.
        let option = socket2::SockRef::from(&stream);
        option.set_reuse_address(true).unwrap();
        assert!(option.peer_addr().is_err());
        assert!(stream.take_error().unwrap().is_none());
        assert!(format!("{stream:?}").contains("End"));
        refused(stream.into_std());

        let (listener, socket) = rt.block_on(async {
            let listener = rt.listen_tcp("mirror:7").await.unwrap();
            (listener, rt.bind_udp("mirror:7").await.unwrap())
        });
        let _ = listener.as_fd();
        // Nor does anything leave by the descriptor of one that needs no connection to send.
        let outside = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        outside.set_nonblocking(true).unwrap();
        let to = outside.local_addr().unwrap().into();
        let sent = socket2::SockRef::from(&socket).send_to(b"out", &to);
        assert!(sent.is_err(), "{sent:?}");
        let received = outside.recv(&mut [0; 3]).unwrap_err();
        assert_eq!(received.kind(), io::ErrorKind::WouldBlock);
        socket.set_broadcast(true).unwrap();
        refused(socket.join_multicast_v4([224, 0, 0, 251].into(), [0; 4].into()));
        refused(rt.block_on(socket.send_by(|_| Ok(()))));
        refused(rt.block_on(std::future::poll_fn(|cx| {
            socket.poll_recv_by(cx, |_| Ok(()))
        })));
        refused(socket.into_std());
        refused(listener.into_std());

        let system = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        refused(TcpListener::from_std(&rt, system));
        let system = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        refused(UdpSocket::from_std(&rt, system));
        refused(fourway_net::UnixStream::pair(&rt));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        refused(rt.listen_unix(&path));
        refused(rt.bind_unix_datagram(&path));
        // Nothing was made before it was refused.
        assert!(!path.exists());
        refused(rt.block_on(async { rt.connect_unix(&path).await }));
        refused(fourway_net::process::Command::new("true").spawn(&rt));
        refused(fourway_net::signal::Signals::new(
            &rt,
            [fourway_net::signal::SignalKind::USER2],
        ));
    });
}

#[test]
fn it_is_closed_with_its_runtime() {
    each_of(&["std-thread", "tokio, multi-thread", "smol, own"], |rt| {
        // There is one.
        let second = Mirror::default();
        assert!(!install(&rt, second.clone()));
        assert!(!second.closed.load(Ordering::Acquire));
        let mut stream = rt.block_on(connect(&rt));
        let listener = rt.block_on(async { rt.listen_tcp("mirror:9").await.unwrap() });
        let waits = std::thread::spawn(move || {
            (
                fourway_adapt::block_on(stream.read(&mut [0]), None).unwrap(),
                stream,
            )
        });
        let accepts = std::thread::spawn(move || {
            // The listener, which has the reactor, does not keep the network open.
            fourway_adapt::block_on(listener.accept(), None)
                .unwrap()
                .err()
        });
        rt.shutdown(Duration::from_secs(60)).unwrap();
        let (read, _stream) = waits.join().unwrap();
        assert!(is_shutdown(&read.unwrap_err()));
        assert!(is_shutdown(&accepts.join().unwrap().unwrap()));
        let made = rt.block_on(async { rt.connect_tcp("mirror:7").await });
        assert!(is_shutdown(&made.unwrap_err()));
        assert!(!install(&rt, Mirror::default()));
    });
}

/// Operations that are all ready would keep the thread (FA-1, no task starves).
#[test]
fn ready_without_end_it_yields() {
    async fn yields(often: impl Future<Output = ()>) {
        let mut often = pin!(often);
        assert!(poll_once(often.as_mut()).await.is_pending());
        often.await;
    }
    macro_rules! each_yields {
        ($($op:expr),* $(,)?) => {
            $(yields(async {
                for _ in 0..1000 {
                    let result = $op.await;
                    assert!(result.is_ok());
                }
            })
            .await;)*
        };
    }
    each_of(&["std-thread"], |rt| {
        rt.block_on(async {
            let at = SocketAddr::from(([1, 2, 3, 4], 9));
            let socket = rt.bind_udp(at).await.unwrap();
            let mut buf = [0];
            each_yields!(
                socket.send(b"x"),
                socket.send_to(b"x", at),
                socket.peek_from(&mut buf),
                socket.recv(&mut buf),
                socket.recv_from(&mut buf),
            );
            let listener = rt.listen_tcp(at).await.unwrap();
            let mut stream = rt.connect_tcp(at).await.unwrap();
            each_yields!(
                stream.write(b"x"),
                stream.write_vectored(&[io::IoSlice::new(b"x")]),
                stream.peek(&mut buf),
                listener.accept(),
                async { listener.incoming().next().await.unwrap() },
                stream.read(&mut buf),
                async {
                    let mut bufs = [io::IoSliceMut::new(&mut buf)];
                    stream.read_vectored(&mut bufs).await
                },
            );
        });
    });
}

#[test]
fn a_forked_child_does_not_change_it() {
    each_of(&["std-thread"], |rt| {
        let stream = rt.block_on(connect(&rt));
        let stream = forked(stream, |stream| {
            assert!(is_forked(&stream.set_nodelay(true).unwrap_err()));
            assert!(is_forked(&stream.set_linger(None).unwrap_err()));
            assert!(!stream.nodelay().unwrap());
        });
        stream.set_nodelay(true).unwrap();
    });
}

#[test]
fn of_two_that_are_installed_at_once_one_is() {
    let extensions: Vec<_> = (0..5000).map(|_| Extensions::new()).collect();
    let barrier = Barrier::new(2);
    let installs = || {
        let at_once = |extensions| {
            barrier.wait();
            provide::install(extensions, Mirror::default())
        };
        extensions.iter().map(at_once).collect::<Vec<_>>()
    };
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(installs);
        (installs(), other.join().unwrap())
    });
    assert!(one.iter().zip(&other).all(|(one, other)| one != other));
}
