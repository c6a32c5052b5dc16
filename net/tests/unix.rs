//! Unix sockets on every runtime.

use std::{
    future::IntoFuture,
    io::{self, IoSlice, Write},
    mem::MaybeUninit,
    net::Shutdown,
    os::{fd::AsFd, unix::net},
    pin::pin,
    time::Duration,
};

use fourway_core::Runtime;
use fourway_net::{Net, UnixDatagram, UnixStream};
use fourway_testing::{on_every_runtime, poll_once, run};
use futures_util::{AsyncReadExt, AsyncWriteExt, StreamExt, future::join};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, SockAddr, Socket, Type};
use tempfile::tempdir;

on_every_runtime! {
    streams
    pairs_and_halves
    bytes_after_a_descriptor
    nobody_is_there
    not_a_path
    no_room_for_one_more
    datagrams
}

fn streams<R: Runtime>(rt: R) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("socket");
    run(&rt, async {
        let listener = rt.listen_unix(&path).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*path));
        let connect = rt.connect_unix(&path).into_future();
        let (a, b) = join(connect, listener.accept()).await;
        let (mut a, (mut b, _)) = (a.unwrap(), b.unwrap());
        a.write_all(b"question").await.unwrap();
        a.close().await.unwrap();
        let mut question = String::new();
        b.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        b.write_all(b"answer").await.unwrap();
        b.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        a.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
        // A dropped accept loses no connection.
        let mut accept = Box::pin(listener.accept());
        assert!(poll_once(accept.as_mut()).await.is_pending());
        let _stream = rt.connect_unix(&path).await.unwrap();
        drop(accept);
        listener.incoming().next().await.unwrap().unwrap();
        let listener = listener.into_std().unwrap();
        drop(listener);
    });
}

fn pairs_and_halves<R: Runtime>(rt: R) {
    run(&rt, async {
        let (a, b) = UnixStream::pair(&rt).unwrap();
        let (mut read, mut write) = b.into_split();
        let echo = rt.spawn(async move {
            let mut buf = [0; 4];
            read.read_exact(&mut buf).await.unwrap();
            write.write_all(&buf).await.unwrap();
            read.reunite(write).unwrap().into_std().unwrap()
        });
        let mut a = a;
        a.write_all(b"ping").await.unwrap();
        let mut buf = [0; 4];
        a.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"ping");
        drop(echo.await.unwrap());
        assert_eq!(a.read(&mut buf).await.unwrap(), 0);
    });
}

/// A read ends where a descriptor was sent, although more bytes are there, of which no further event
/// tells.
fn bytes_after_a_descriptor<R: Runtime>(rt: R) {
    run(&rt, async {
        for _ in 0..20 {
            let (peer, ours) = net::UnixStream::pair().unwrap();
            let sent = [peer.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            assert!(beside.push(SendAncillaryMessage::ScmRights(&sent)));
            let first = [IoSlice::new(b"ab")];
            sendmsg(&peer, &first, &mut beside, SendFlags::empty()).unwrap();
            (&peer).write_all(b"cd").unwrap();
            let mut ours = UnixStream::from_std(&rt, ours).unwrap();
            let (mut buf, mut text) = ([0; 100], Vec::new());
            while text.len() < 4 {
                let read = ours.read(&mut buf).await.unwrap();
                assert_ne!(read, 0);
                text.extend_from_slice(&buf[..read]);
            }
            assert_eq!(text, b"abcd");
        }
    });
}

fn nobody_is_there<R: Runtime>(rt: R) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("socket");
    run(&rt, async {
        let error = rt.connect_unix(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        drop(rt.listen_unix(&path).unwrap());
        let error = rt.connect_unix(&path).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = rt.listen_unix(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    });
}

/// What the system would take for another address.
fn not_a_path<R: Runtime>(rt: R) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("socket");
    run(&rt, async {
        let _listener = rt.listen_unix(&path).unwrap();
        let mut longer = path.into_os_string();
        longer.push("\0/another");
        for path in ["".as_ref(), "\0name".as_ref(), &*longer] {
            let error = rt.connect_unix(path).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert_eq!(error.raw_os_error(), None, "{path:?} got to the system");
            let error = rt.listen_unix(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let error = rt.bind_unix_datagram(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let socket = UnixDatagram::unbound(&rt).unwrap();
            let error = socket.send_to(b"x", path).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            let error = socket.connect(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    });
}

fn no_room_for_one_more<R: Runtime>(rt: R) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("socket");
    run(&rt, async {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let mut streams = Vec::new();
        loop {
            let connect = rt.connect_unix(&path).timeout(Duration::from_millis(20));
            match connect.await {
                Ok(stream) => streams.push(stream),
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    break;
                }
            }
        }
        let mut waits = rt.connect_unix(&path).into_future();
        assert!(poll_once(waits.as_mut()).await.is_pending());
        // Room for one.
        drop(socket.accept().unwrap());
        waits.await.unwrap();
    });
}

fn datagrams<R: Runtime>(rt: R) {
    let folder = tempdir().unwrap();
    let path = folder.path().join("socket");
    run(&rt, async {
        let (a, b) = UnixDatagram::pair(&rt).unwrap();
        let mut buf = [0; 8];
        assert!(poll_once(pin!(b.recv(&mut buf))).await.is_pending());
        a.send(b"one").await.unwrap();
        assert_eq!(b.recv(&mut buf).await.unwrap(), 3);
        let named = rt.bind_unix_datagram(&path).unwrap();
        assert_eq!(named.local_addr().unwrap().as_pathname(), Some(&*path));
        let sender = UnixDatagram::unbound(&rt).unwrap();
        sender.send_to(b"two", &path).await.unwrap();
        assert_eq!(named.recv_from(&mut buf).await.unwrap().0, 3);
        // It waits while the queue is full.
        sender.connect(&path).unwrap();
        let mut sent = 0;
        while poll_once(pin!(sender.send(b"x"))).await.is_ready() {
            sent += 1;
        }
        let receiving = async {
            for _ in 0..=sent {
                named.recv(&mut buf).await.unwrap();
            }
        };
        let (sending, ()) = join(sender.send(b"x"), receiving).await;
        sending.unwrap();
        named.into_std().unwrap();
    });
}
