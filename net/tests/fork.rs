//! Forked children: sockets from before the fork, and the parent's afterwards.

mod common;

use std::{
    io::Write,
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr},
    os::unix::net::UnixStream,
    pin::pin,
    sync::{Arc, mpsc},
    time::Duration,
};

use common::{listener, pair};
use fourway_core::{Runtime, Shutdown as _, Spawner};
use fourway_net::{
    Net, is_forked, is_shutdown,
    process::{Command, Stdio},
    signal::{SignalKind, Signals},
};
use fourway_testing::{
    AGES, any_current_thread, any_smol, any_tokio, forked, poll_once, run, std_thread,
};
use futures_util::{AsyncReadExt, AsyncWriteExt};

#[test]
fn sockets_from_before_say_so_and_the_parents_go_on() {
    in_child_of(&std_thread());
    in_child_of(&any_tokio());
    in_child_of(&any_current_thread());
    in_child_of(&any_smol());
}

fn in_child_of<R: Runtime>(rt: &R) {
    let ((mut a, mut b), (listening, address)) =
        run(rt, async { (pair(rt).await, listener(rt).await) });
    // It waits at the moment of the fork, so that the poller is told of it.
    let mut buf = [0; 4];
    let mut read = Box::pin(a.read(&mut buf));
    rt.block_on(async {
        assert!(poll_once(read.as_mut()).await.is_pending());
        assert!(poll_once(pin!(listening.accept())).await.is_pending());
    });
    let sockets = (listening, b);
    let (sockets, read) = forked((sockets, read), |((listening, mut b), read)| {
        rt.block_on(async {
            assert!(is_forked(&read.await.unwrap_err()));
            assert!(is_forked(&listening.accept().await.unwrap_err()));
            assert!(is_forked(&b.write(b"x").await.unwrap_err()));
            // An empty buffer waits for nothing, but is the parent's, too.
            assert!(is_forked(&b.read(&mut []).await.unwrap_err()));
            assert!(is_forked(&b.read_vectored(&mut []).await.unwrap_err()));
            assert!(is_forked(&b.peek(&mut []).await.unwrap_err()));
            // Nothing is made on a runtime from before; on one of the child's that was shut down, the
            // reason is another one.
            for made in [
                rt.connect_tcp(address).await.map(drop),
                rt.listen_tcp("127.0.0.1:0").await.map(drop),
                rt.bind_udp("127.0.0.1:0").await.map(drop),
                rt.connect_unix("/nowhere").await.map(drop),
                rt.connect_tcp("localhost:1").await.map(drop),
                rt.reactor().map(drop),
            ] {
                let error = made.unwrap_err();
                assert!(is_forked(&error) && !is_shutdown(&error), "{error}");
            }
        });
        let own = std_thread();
        own.shutdown(AGES).unwrap();
        assert!(is_shutdown(&own.reactor().unwrap_err()));
        assert!(is_forked(&b.into_std().unwrap_err()));
        drop(listening);
    });
    let listening = sockets.0;
    b = sockets.1;
    run(rt, async {
        b.write_all(b"ping").await.unwrap();
        assert_eq!(read.await.unwrap(), 4);
        let stream = rt.connect_tcp(address).await.unwrap();
        let (_, peer) = listening.accept().await.unwrap();
        assert_eq!(peer, stream.local_addr().unwrap());
    });
}

/// The descriptors of a child are its own, but the connections that they refer to are the parent's:
/// `shutdown(2)` and `setsockopt(2)` act on these.
#[test]
fn what_would_change_the_parents_is_refused() {
    changed_in_child_of(&std_thread());
    changed_in_child_of(&any_tokio());
    changed_in_child_of(&any_current_thread());
    changed_in_child_of(&any_smol());
}

fn changed_in_child_of<R: Runtime>(rt: &R) {
    let (mut peer, ours, udp) = run(rt, async {
        let (peer, ours) = pair(rt).await;
        (peer, ours, rt.bind_udp("127.0.0.1:0").await.unwrap())
    });
    let (unix_peer, unix) = fourway_net::UnixStream::pair(rt).unwrap();
    let mut unix_peer = unix_peer;
    let (a, b) = ours.into_split();
    let (c, d) = unix.into_split();
    let inherited = forked((a, b, c, d, udp), |(a, mut b, c, d, udp)| {
        let stream = a.get_ref();
        let datagrams = Ipv4Addr::new(224, 0, 0, 251);
        let any = Ipv4Addr::UNSPECIFIED;
        for refused in [
            stream.shutdown(Shutdown::Both),
            stream.take_error().map(drop),
            stream.set_nodelay(true),
            stream.set_ttl(3),
            stream.set_keepalive(None),
            stream.set_linger(Some(Duration::ZERO)),
            stream.set_recv_buffer_size(4096),
            stream.set_send_buffer_size(4096),
            c.get_ref().shutdown(Shutdown::Both),
            udp.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, 9))),
            udp.set_broadcast(true),
            udp.set_ttl(3),
            udp.join_multicast_v4(datagrams, any),
            udp.leave_multicast_v4(datagrams, any),
            udp.join_multicast_v6(Ipv6Addr::LOCALHOST, 0),
            udp.leave_multicast_v6(Ipv6Addr::LOCALHOST, 0),
            udp.set_recv_buffer_size(4096),
            udp.set_send_buffer_size(4096),
            rt.block_on(b.close()),
        ] {
            assert!(is_forked(&refused.unwrap_err()));
        }
        stream.peer_addr().unwrap();
        assert!(!stream.nodelay().unwrap());
        drop((b, d));
    });
    let (mut read, mut write, mut unix_read, mut unix_write, udp) = inherited;
    run(rt, async {
        assert!(!read.get_ref().nodelay().unwrap());
        assert!(udp.peer_addr().is_err(), "it has no peer");
        let mut buf = [0; 4];
        peer.write_all(b"ping").await.unwrap();
        read.read_exact(&mut buf).await.unwrap();
        write.write_all(b"pong").await.unwrap();
        peer.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"pong");
        unix_peer.write_all(b"ping").await.unwrap();
        unix_read.read_exact(&mut buf).await.unwrap();
        unix_write.write_all(b"pong").await.unwrap();
        unix_peer.read_exact(&mut buf).await.unwrap();
        assert_eq!(&buf, b"pong");
    });
}

#[test]
fn children_from_before_are_left_alone() {
    children_in_child_of(&std_thread());
    children_in_child_of(&any_tokio());
    children_in_child_of(&any_current_thread());
    children_in_child_of(&any_smol());
}

fn children_in_child_of<R: Runtime>(rt: &R) {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = command.kill_on_drop(true).spawn(rt).unwrap();
    let signals = Signals::new(rt, [SignalKind::USER1]).unwrap();
    let (mut child, signals) = forked((child, signals), |(mut child, mut signals)| {
        assert!(is_forked(&child.kill().unwrap_err()));
        assert!(is_forked(&child.try_wait().unwrap_err()));
        rt.block_on(async {
            assert!(is_forked(&child.wait().await.unwrap_err()));
            assert!(is_forked(&signals.recv().await.unwrap_err()));
        });
    });
    run(rt, async {
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"ping").await.unwrap();
        let stdout = child.stdout.as_mut().unwrap();
        stdout.read_exact(&mut [0; 4]).await.unwrap();
        drop(stdin);
        assert!(child.wait().await.unwrap().success());
    });
    drop(signals);
}

/// A source that is dropped in the child, without the sockets' own care, is watched on in the parent.
#[test]
fn a_watched_source_stays_the_parents() {
    use fourway_std_thread::{
        StdThread,
        reactor::{Listener, Reactor, Readiness},
    };

    struct Tells(mpsc::Sender<()>);

    impl Listener for Tells {
        fn ready(&self, readiness: Readiness) {
            if readiness.readable {
                let _ = self.0.send(());
            }
        }

        fn closed(&self) {}
    }

    let rt = StdThread::builder().worker_threads(1).build().unwrap();
    let reactor = rt.extensions().unwrap().get::<Reactor>().unwrap();
    for gives_it_back in [false, true] {
        let (source, mut peer) = UnixStream::pair().unwrap();
        source.set_nonblocking(true).unwrap();
        let (tells, told) = mpsc::channel();
        let watched = reactor.watch(source, Arc::new(Tells(tells))).unwrap();
        let watched = forked(watched, |watched| {
            if gives_it_back {
                drop(watched.into_inner().unwrap());
            } else {
                drop(watched);
            }
        });
        peer.write_all(b"x").unwrap();
        told.recv_timeout(AGES).expect("the parent is told");
        drop(watched);
    }
}
