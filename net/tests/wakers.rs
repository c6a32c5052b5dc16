//! Wakers made by hand may panic, as those of timers may (TI-2, timers work anywhere). The thread that
//! calls them has other sockets to serve, and on Tokio such a panic would end the process.

mod common;

use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
};

use common::{listener, pair};
use fourway_core::Runtime;
use fourway_net::{Net, UnixDatagram, UnixListener, UnixStream};
use fourway_testing::{AGES, on_every_runtime, run};
use futures_util::{AsyncRead, AsyncReadExt, AsyncWriteExt, StreamExt};

on_every_runtime! {
    erased
    of_tcp_streams
    of_tcp_listeners
    of_udp_sockets
    of_unix_streams_and_listeners
    of_unix_datagrams
}

/// Says that it was called, and panics.
struct Panics(mpsc::Sender<()>);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
        panic!("expected: a waker that panics");
    }
}

/// Waits by `poll` with a waker that panics, until `act` has it called. Then the runtime goes on, and
/// `poll` is ready.
fn woken<R: Runtime, T>(
    rt: &R,
    poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    act: impl Future<Output = io::Result<()>>,
) {
    woken_when_full(rt, poll, |_| panic!("it does not wait"), act);
}

/// As `woken`, once `poll` is no longer ready. `output` gets what it gives before.
fn woken_when_full<R: Runtime, T>(
    rt: &R,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    mut output: impl FnMut(T),
    act: impl Future<Output = io::Result<()>>,
) {
    let (sender, called) = mpsc::channel();
    let panics = Arc::new(Panics(sender));
    let waker = Waker::from(panics.clone());
    let cx = &mut Context::from_waker(&waker);
    while let Poll::Ready(result) = poll(cx) {
        output(result.unwrap());
    }
    run(rt, act).unwrap();
    loop {
        called.recv_timeout(AGES).expect("the waker is called");
        // On the threads that it was called on, and by their reactor.
        run(rt, async {
            rt.spawn(async {}).await.unwrap();
            let (mut a, mut b) = UnixStream::pair(rt).unwrap();
            a.write_all(b"x").await.unwrap();
            b.read_exact(&mut [0]).await.unwrap();
        });
        // It may also be called for no reason.
        if let Poll::Ready(result) = poll(cx) {
            result.unwrap();
            break;
        }
    }
}

fn read<S: AsyncRead + Unpin>(
    socket: &mut S,
) -> impl FnMut(&mut Context<'_>) -> Poll<io::Result<usize>> {
    move |cx| Pin::new(&mut *socket).poll_read(cx, &mut [0; 8])
}

/// Polls a future.
fn polled<'a, T>(
    future: impl Future<Output = T> + 'a,
) -> impl FnMut(&mut Context<'_>) -> Poll<T> + 'a {
    let mut future = Box::pin(future);
    move |cx| future.as_mut().poll(cx)
}

fn of_tcp_streams<R: Runtime>(rt: R) {
    let (mut a, mut b) = run(&rt, pair(&rt));
    for _ in 0..2 {
        woken(&rt, read(&mut a), b.write_all(b"x"));
    }
    woken(&rt, polled(a.peek(&mut [0])), b.write_all(b"x"));
    run(&rt, a.read_exact(&mut [0])).unwrap();
    // Writing, which waits once the peer takes no more.
    let write = |cx: &mut Context<'_>| {
        futures_util::AsyncWrite::poll_write(Pin::new(&mut b), cx, &[0; 65536])
    };
    let written = Cell::new(0);
    let add = |count| written.set(written.get() + count);
    woken_when_full(&rt, write, add, async {
        a.read_exact(&mut vec![0; written.get()]).await
    });
}

fn of_tcp_listeners<R: Runtime>(rt: R) {
    let (listener, address) = run(&rt, listener(&rt));
    let connect = || async { rt.connect_tcp(address).await.map(drop) };
    woken(&rt, polled(listener.accept()), connect());
    let mut incoming = listener.incoming();
    let next = |cx: &mut Context<'_>| incoming.poll_next_unpin(cx).map(|it| it.unwrap());
    woken(&rt, next, connect());
}

fn of_udp_sockets<R: Runtime>(rt: R) {
    let (a, b) = run(&rt, async {
        let a = rt.bind_udp("127.0.0.1:0").await.unwrap();
        (a, rt.bind_udp("127.0.0.1:0").await.unwrap())
    });
    let to = a.local_addr().unwrap();
    let send = || async { b.send_to(b"x", to).await.map(drop) };
    woken(&rt, polled(a.recv_from(&mut [0])), send());
    let recv = |cx: &mut Context<'_>| a.poll_recv_by(cx, |socket| socket.recv(&mut [0]));
    woken(&rt, recv, send());
}

fn of_unix_streams_and_listeners<R: Runtime>(rt: R) {
    let (mut a, mut b) = UnixStream::pair(&rt).unwrap();
    woken(&rt, read(&mut a), b.write_all(b"x"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = run(&rt, async {
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        UnixListener::from_std(&rt, listener).unwrap()
    });
    let connect = || async { rt.connect_unix(&path).await.map(drop) };
    woken(&rt, polled(listener.accept()), connect());
    let mut incoming = listener.incoming();
    let next = |cx: &mut Context<'_>| incoming.poll_next_unpin(cx).map(|it| it.unwrap());
    woken(&rt, next, connect());
}

fn of_unix_datagrams<R: Runtime>(rt: R) {
    let (a, b) = UnixDatagram::pair(&rt).unwrap();
    let send = async { b.send(b"x").await.map(drop) };
    woken(&rt, polled(a.recv(&mut [0])), send);
}
