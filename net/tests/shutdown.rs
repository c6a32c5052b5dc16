//! Sockets whose runtime has been shut down, and sockets of one runtime used by another.

mod common;

use std::{
    future::{Future, IntoFuture},
    io,
    pin::pin,
    task::Poll,
    thread,
    time::Duration,
};

use common::{listener, pair};
use fourway_core::{BlockOn, Runtime, Spawner};
use fourway_net::{Net, UnixDatagram, UnixStream, is_shutdown};
use fourway_testing::{any, any_current_thread, any_smol, any_tokio, on_every_runtime, run};
use futures_util::{AsyncReadExt, AsyncWriteExt, future::join_all};
use socket2::{Domain, SockAddr, Socket, Type};

on_every_runtime! {
    nothing_can_be_made
    nothing_can_be_done
    those_who_wait_are_told
    it_ends_with_the_last_handle
    dropped_afterwards
}

fn end<R: Runtime>(rt: &R) {
    let report = rt.shutdown(Duration::from_secs(60)).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

fn refused<T>(result: io::Result<T>) {
    let error = result.err().expect("it is refused");
    assert!(is_shutdown(&error), "{error}");
    assert!(error.to_string().contains("shut down"));
}

/// Another executor that drives the future.
fn outside<F: Future>(future: F) -> F::Output {
    run(&any(), future)
}

fn nothing_can_be_made<R: Runtime>(rt: R) {
    end(&rt);
    outside(async {
        refused(rt.connect_tcp("127.0.0.1:1").await);
        refused(rt.connect_tcp("localhost:1").await);
        refused(rt.listen_tcp("127.0.0.1:0").await);
        refused(rt.bind_udp("127.0.0.1:0").await);
        refused(rt.resolve("localhost:1").await);
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    refused(rt.listen_unix(&path));
    assert!(!path.exists());
    refused(rt.bind_unix_datagram(&path));
    assert!(!path.exists());
    refused(UnixStream::pair(&rt));
    refused(UnixDatagram::pair(&rt));
    refused(rt.reactor());
}

fn nothing_can_be_done<R: Runtime>(rt: R) {
    let ((mut a, mut b), (listener, _)) =
        run(&rt, async { (pair(&rt).await, listener(&rt).await) });
    let udp = run(&rt, rt.bind_udp("127.0.0.1:0").into_future()).unwrap();
    run(&rt, a.write_all(b"there")).unwrap();
    end(&rt);
    outside(async {
        refused(b.read(&mut [0; 8]).await);
        refused(b.write(b"x").await);
        refused(b.peek(&mut [0]).await);
        refused(listener.accept().await);
        refused(udp.recv_from(&mut [0]).await);
    });
    // Operations without a reactor go on.
    b.peer_addr().unwrap();
    // And the socket still works.
    let mut b = b.into_std().unwrap();
    let mut buf = [0; 5];
    io::Read::read_exact(&mut b, &mut buf).unwrap();
    assert_eq!(&buf, b"there");
}

fn those_who_wait_are_told<R: Runtime>(rt: R) {
    let ((_a, mut b), (listener, _)) = run(&rt, async { (pair(&rt).await, listener(&rt).await) });
    // A Unix socket whose queue is full.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let full = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    full.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    full.listen(0).unwrap();
    let mut in_queue = Vec::new();
    let mut waiting_for_room = None;
    run(&rt, async {
        loop {
            let mut connect = rt.connect_unix(&path).into_future();
            match fourway_testing::poll_once(connect.as_mut()).await {
                Poll::Ready(stream) => in_queue.push(stream.unwrap()),
                Poll::Pending => {
                    waiting_for_room = Some(connect);
                    return;
                }
            }
        }
    });
    let ender = rt.clone();
    let gate = fourway_testing::Gate::default();
    let waiting = gate.clone();
    let ending = thread::spawn(move || {
        gate.wait();
        end(&ender);
    });
    outside(async {
        let mut buf = [0];
        let accepting = join_all((0..3).map(|_| async { refused(listener.accept().await) }));
        let reading = async { refused(b.read(&mut buf).await) };
        let connecting = async { refused(waiting_for_room.unwrap().await) };
        let mut both = pin!(futures_util::future::join3(accepting, reading, connecting));
        assert!(fourway_testing::poll_once(both.as_mut()).await.is_pending());
        waiting.open();
        both.await;
    });
    ending.join().unwrap();
}

fn it_ends_with_the_last_handle<R: Runtime>(rt: R) {
    let (_a, mut b) = run(&rt, pair(&rt));
    drop(rt);
    outside(async { refused(b.read(&mut [0]).await) });
}

fn dropped_afterwards<R: Runtime>(rt: R) {
    let sockets = run(&rt, async { (pair(&rt).await, listener(&rt).await) });
    end(&rt);
    drop(sockets);
    // Also by a task that is destroyed at the shutdown.
}

#[test]
fn on_another_runtime() {
    for one in [any(), any_tokio(), any_current_thread(), any_smol()] {
        for other in [any(), any_tokio(), any_current_thread(), any_smol()] {
            let (mut a, mut b) = run(&one, pair(&one));
            let task = other.spawn(async move {
                let mut buf = [0; 4];
                a.read_exact(&mut buf).await.unwrap();
                a.write_all(&buf).await.unwrap();
            });
            run(&one, async {
                b.write_all(b"ping").await.unwrap();
                let mut buf = [0; 4];
                b.read_exact(&mut buf).await.unwrap();
                assert_eq!(&buf, b"ping");
                task.await.unwrap();
            });
            // The end of the other runtime does not affect it.
            end(&other);
            drop(one.block_on(pair(&one)));
        }
    }
}
