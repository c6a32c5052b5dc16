//! Forked children: sockets from before the fork, and the parent's afterwards.

mod common;

use std::{
    io::Write,
    os::unix::net::UnixStream,
    pin::pin,
    sync::{Arc, mpsc},
};

use common::{listener, pair};
use fourway_core::{Runtime, Spawner};
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
            assert!(is_shutdown(&rt.connect_tcp(address).await.unwrap_err()));
        });
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
