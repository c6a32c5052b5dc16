//! The network of a run, by the sockets of `fourway-net`.

mod crashes;

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Poll, Wake, Waker},
    time::Duration,
};

use fourway_core::{
    AnyRuntime, BlockOn, Offload, Runtime, Shutdown, Spawner, Task, Timer, task::Metadata,
    yield_now,
};
use fourway_net::{ConnectError, Net, TcpStream, is_shutdown};
use fourway_sim::{
    Check, FailureKind, Faults, Sim, Wait,
    net::{Network, Node},
};
use futures_util::{AsyncRead, AsyncReadExt, AsyncWriteExt};

const MS: Duration = Duration::from_millis(1);

/// Answers each byte with the next one.
async fn successor<R: Runtime>(rt: R) -> io::Result<()> {
    let listener = rt.listen_tcp("0.0.0.0:7").await?;
    loop {
        let (mut stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_shutdown(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        rt.spawn_detached(async move {
            let mut buffer = [0; 4];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                let answers: Vec<u8> = buffer[..length].iter().map(|n| n + 1).collect();
                if stream.write_all(&answers).await.is_err() {
                    break;
                }
            }
        });
    }
}

async fn ask<R: Runtime>(rt: &R, server: &str, n: u8) -> io::Result<u8> {
    let mut stream = rt.connect_tcp((server, 7)).await?;
    stream.write_all(&[n]).await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    Ok(answer[0])
}

/// As `ask`, of a server that may not have begun to listen.
async fn ask_until<R: Runtime>(rt: &R, server: &str, n: u8) -> io::Result<u8> {
    loop {
        match ask(rt, server, n).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            result => return result,
        }
    }
}

/// Two ends of a connection of the host with itself.
async fn pair<R: Runtime>(rt: &R) -> (TcpStream, TcpStream) {
    let listener = rt.listen_tcp("127.0.0.1:0").await.unwrap();
    let mine = rt.connect_tcp(listener.local_addr().unwrap()).await;
    (mine.unwrap(), listener.accept().await.unwrap().0)
}

/// Serves on `server`, and connects from the host.
fn connected(rt: &Sim, server: &Node) -> (TcpStream, TcpStream) {
    let inner = rt.clone();
    let listener = server.spawn(async move { inner.listen_tcp("[::]:8").await });
    let listener = listener.wait().unwrap().unwrap();
    rt.block_on(async {
        let mine = rt.connect_tcp(server.address(8)).await.unwrap();
        (mine, listener.accept().await.unwrap().0)
    })
}

/// What a program sees of its sockets, in words.
async fn tour<R: Runtime>(rt: R) -> Vec<String> {
    let mut seen = Vec::new();
    let listener = rt.listen_tcp("localhost:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = rt.listen_tcp(address).await.unwrap_err();
    seen.push(format!("taken: {:?}", taken.kind()));
    let connect = rt.connect_tcp(address).nodelay(true);
    let mut client = connect.timeout(Duration::from_secs(60)).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(client.peer_addr().unwrap(), address);
    assert_eq!(server.local_addr().unwrap(), address);
    assert_eq!(client.local_addr().unwrap(), peer);
    seen.push(format!("nodelay: {}", client.nodelay().unwrap()));
    client.set_ttl(7).unwrap();
    seen.push(format!("ttl: {}", client.ttl().unwrap()));
    client.set_keepalive(Some(Default::default())).unwrap();
    seen.push(format!("keepalive: {}", client.keepalive().unwrap()));

    client.write_all(b"question").await.unwrap();
    client.close().await.unwrap();
    let late = client.write_all(b"more").await.unwrap_err();
    seen.push(format!("after the end: {:?}", late.kind()));
    server.readable().await.unwrap();
    let mut first = [0];
    assert_eq!(server.peek(&mut first).await.unwrap(), 1);
    let (mut read, mut write) = server.into_split();
    let mut text = String::new();
    read.read_to_string(&mut text).await.unwrap();
    seen.push(format!("{} of {text}", first[0] as char));
    write.write_all(b"answer").await.unwrap();
    drop(write);
    text.clear();
    client.read_to_string(&mut text).await.unwrap();
    seen.push(text);
    drop(read);

    let mut doomed = rt.connect_tcp(address).await.unwrap();
    let (mut other, _) = listener.accept().await.unwrap();
    doomed.write_all(b"unread").await.unwrap();
    other.readable().await.unwrap();
    drop(other);
    let reset = doomed.read(&mut [0]).await.unwrap_err();
    seen.push(format!("unread: {:?}", reset.kind()));
    other = rt.connect_tcp(address).await.unwrap();
    doomed = listener.accept().await.unwrap().0;
    other.set_linger(Some(Duration::ZERO)).unwrap();
    drop(other);
    let reset = doomed.read(&mut [0]).await.unwrap_err();
    seen.push(format!("linger: {:?}", reset.kind()));
    drop(listener);
    let refused = rt.connect_tcp(address).await.unwrap_err();
    seen.push(format!("refused: {:?}", refused.kind()));
    let error = refused.get_ref().unwrap().downcast_ref::<ConnectError>();
    assert_eq!(error.unwrap().attempts()[0].0, address);

    let one = rt.bind_udp("127.0.0.1:0").await.unwrap();
    let two = rt.bind_udp("127.0.0.1:0").await.unwrap();
    let three = rt.bind_udp("127.0.0.1:0").await.unwrap();
    two.connect(one.local_addr().unwrap()).unwrap();
    assert_eq!(two.peer_addr().unwrap(), one.local_addr().unwrap());
    let unknown = one.peer_addr().unwrap_err();
    seen.push(format!("no peer: {:?}", unknown.kind()));
    three
        .send_to(b"stranger", two.local_addr().unwrap())
        .await
        .unwrap();
    one.send_to(b"friend", two.local_addr().unwrap())
        .await
        .unwrap();
    let mut buf = [0; 4];
    let (peeked, from) = two.peek_from(&mut buf).await.unwrap();
    assert_eq!(from, one.local_addr().unwrap());
    let length = two.recv(&mut buf).await.unwrap();
    seen.push(format!(
        "{peeked} {}",
        String::from_utf8_lossy(&buf[..length])
    ));
    two.send(b"yes").await.unwrap();
    let (length, from) = one.recv_from(&mut buf).await.unwrap();
    assert_eq!(from, two.local_addr().unwrap());
    seen.push(String::from_utf8_lossy(&buf[..length]).into_owned());
    // The unspecified address means the loopback.
    let port = one.local_addr().unwrap().port();
    two.connect(([0, 0, 0, 0], port).into()).unwrap();
    assert_eq!(two.peer_addr().unwrap(), one.local_addr().unwrap());
    two.send(b"ask").await.unwrap();
    one.recv_from(&mut buf).await.unwrap();
    one.send_to(b"said", from).await.unwrap();
    let length = two.recv(&mut buf).await.unwrap();
    seen.push(String::from_utf8_lossy(&buf[..length]).into_owned());

    let addresses = rt.resolve("localhost:80").await.unwrap();
    seen.push(format!(
        "{}",
        addresses.iter().any(|it| it.ip().is_loopback())
    ));
    let malformed = rt.resolve("localhost").await.unwrap_err();
    seen.push(format!("malformed: {:?}", malformed.kind()));
    seen
}

#[test]
fn a_program_sees_the_same_on_tokio_and_here() {
    let rt = fourway_tokio::Tokio::new().unwrap();
    let expected = rt.block_on(tour(rt.clone()));
    assert_eq!(expected.len(), 16, "{expected:?}");
    let again = expected.clone();
    Check::default().seeds(50).twice(true).run(move |rt| {
        assert_eq!(rt.block_on(tour(rt.clone())), expected);
    });
    // Through erased handles as well.
    Check::default().seeds(5).run(move |rt| {
        let erased = AnyRuntime::new(rt.clone());
        assert_eq!(rt.block_on(tour(erased)), again);
    });
}

#[test]
fn streams_are_in_order_and_end() {
    let pieces = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = pieces.clone();
    Check::default().seeds(50).twice(true).run(move |rt| {
        let (mut mine, mut theirs) = rt.block_on(pair(&rt));
        let reader = rt.spawn(async move {
            let (mut all, mut lengths) = (Vec::new(), Vec::new());
            let mut buffer = [0; 7];
            while let length @ 1.. = theirs.read(&mut buffer).await.unwrap() {
                all.extend_from_slice(&buffer[..length]);
                lengths.push(length);
            }
            (all, lengths)
        });
        rt.block_on(async {
            for n in 0..10 {
                mine.write_all(&[n, n]).await.unwrap();
            }
        });
        drop(mine);
        let expected: Vec<u8> = (0..10).flat_map(|n| [n, n]).collect();
        let (all, lengths) = reader.wait().unwrap();
        assert_eq!(all, expected);
        seen.lock().unwrap().extend(lengths);
    });
    // Neither what was written at a time, nor what is asked for, is what is read.
    let pieces = pieces.lock().unwrap();
    assert!(
        [1, 2, 3, 7].iter().all(|length| pieces.contains(length)),
        "{pieces:?}"
    );
}

#[test]
fn writing_waits_for_room() {
    Check::default().seeds(50).run(|rt| {
        Network::of(&rt).set_buffer(100);
        let (mut mine, mut theirs) = rt.block_on(pair(&rt));
        let writer = rt.spawn(async move { mine.write_all(&[7; 1000]).await.map(|()| mine) });
        rt.block_on(rt.sleep(1000 * MS));
        assert!(!writer.is_finished());
        let read = rt.block_on(async {
            let mut all = vec![0; 1000];
            theirs.read_exact(&mut all).await.map(|()| all)
        });
        assert_eq!(read.unwrap(), [7; 1000]);
        let mut mine = writer.wait().unwrap().unwrap();
        // Nobody reads any more: not even then does it wait for ever.
        let writer = rt.spawn(async move { mine.write_all(&[7; 1000]).await });
        rt.block_on(rt.sleep(1000 * MS));
        assert!(!writer.is_finished());
        drop(theirs);
        let error = writer.wait().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_larger_buffer_has_room_at_once() {
    Check::default().seeds(20).run(|rt| {
        let network = Network::of(&rt);
        network.set_buffer(100);
        let (mut mine, _theirs) = rt.block_on(pair(&rt));
        let writer = rt.spawn(async move { mine.write_all(&[7; 1000]).await });
        rt.block_on(rt.sleep(100 * MS));
        assert!(!writer.is_finished());
        network.set_buffer(1000);
        writer.wait().unwrap().unwrap();
    });
}

/// Nothing keeps these operations waiting, and yet others have a turn (FA-1, no task starves).
#[test]
fn operations_that_are_always_ready_let_the_time_pass() {
    Check::default().seeds(5).run(|rt| {
        Network::of(&rt).set_delay(MS / 10, MS / 5);
        rt.block_on(async {
            let socket = rt.bind_udp("127.0.0.1:0").await.unwrap();
            let nobody = ([127, 0, 0, 1], 1).into();
            let sends = async {
                loop {
                    socket.send_to(b"x", nobody).await.unwrap();
                }
            };
            let sent: Result<(), _> = rt.timeout(MS, sends).await;
            assert!(sent.is_err());

            // The peer has read all and is gone. The answer that says so takes a while.
            let (mut mine, theirs) = pair(&rt).await;
            drop(theirs);
            let writes = async { while mine.write_all(b"x").await.is_ok() {} };
            rt.timeout(10 * MS, writes).await.unwrap();
        });
    });
}

/// A stream that is dropped keeps no waker, and so no task (WA-3, lost tasks are destroyed).
#[test]
fn a_dropped_end_forgets_who_waited_there() {
    struct Counts;
    impl Wake for Counts {
        fn wake(self: Arc<Self>) {}
    }
    Sim::new(1).run(|rt| {
        Network::of(&rt).set_buffer(1);
        let (mut mine, _theirs) = rt.block_on(pair(&rt));
        let counts = Arc::new(Counts);
        let waker = Waker::from(counts.clone());
        rt.block_on(poll_fn(|_| {
            let cx = &mut std::task::Context::from_waker(&waker);
            assert!(pin!(mine.read(&mut [0])).poll(cx).is_pending());
            assert!(pin!(mine.write_all(b"12")).poll(cx).is_pending());
            Poll::Ready(())
        }));
        drop(waker);
        assert!(Arc::strong_count(&counts) > 1);
        drop(mine);
        assert_eq!(Arc::strong_count(&counts), 1);
    });
}

/// Both sides write before they read.
#[test]
fn a_deadlock_over_full_buffers_is_found() {
    let failure = Check::default().seeds(10).try_run(|rt| {
        Network::of(&rt).set_buffer(100);
        let (mine, theirs) = rt.block_on(pair(&rt));
        let talks = |mut stream: TcpStream| async move {
            stream.write_all(&[7; 1000]).await.unwrap();
            stream.read_exact(&mut [0; 1000]).await.unwrap();
        };
        let tasks = [rt.spawn(talks(mine)), rt.spawn(talks(theirs))];
        for task in tasks {
            task.wait().unwrap();
        }
    });
    let failure = failure.unwrap_err();
    let kind = &failure.kind;
    assert!(matches!(kind, FailureKind::Deadlock { .. }), "{failure}");
    // Each of the two, with its socket.
    let waits = failure.waiting.iter().flat_map(|waiting| &waiting.waits);
    let sockets = waits.filter(|wait| matches!(wait, Wait::Socket(_)));
    assert_eq!(sockets.count(), 2, "{failure}");
    assert!(
        failure.to_string().contains("for its socket 127.0.0.1:"),
        "{failure}"
    );
}

#[test]
fn datagrams_overtake_each_other_and_are_lost() {
    let orders = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = orders.clone();
    Check::default().seeds(50).run(move |rt| {
        let network = Network::of(&rt);
        network.set_loss(200);
        let (one, inner) = (network.node("one"), rt.clone());
        let to = rt.block_on(rt.bind_udp("0.0.0.0:2")).unwrap();
        let sends = one.spawn(async move {
            let from = inner.bind_udp("0.0.0.0:0").await.unwrap();
            for n in 0..3 {
                from.send_to(&[n], ([10, 0, 0, 1], 2).into()).await.unwrap();
            }
            from.local_addr().unwrap().port()
        });
        let port = sends.wait().unwrap();
        let order = rt.block_on(async {
            let (mut order, mut buf) = (Vec::new(), [0; 9]);
            while let Ok(received) = rt.timeout(100 * MS, to.recv_from(&mut buf)).await {
                let (length, sender) = received.unwrap();
                assert_eq!((length, sender), (1, one.address(port)));
                order.push(buf[0]);
            }
            order
        });
        seen.lock().unwrap().insert(order);
    });
    let orders = orders.lock().unwrap();
    assert!(orders.contains(&vec![0, 1, 2]), "{orders:?}");
    assert!(orders.iter().any(|order| order.len() < 3), "{orders:?}");
    assert!(orders.iter().any(|order| !order.is_sorted()), "{orders:?}");
}

#[test]
fn across_a_partition_streams_wait_and_datagrams_are_lost() {
    Check::default().seeds(50).run(|rt| {
        let network = Network::of(&rt);
        let (one, two) = (network.node("one"), network.node("two"));
        two.spawn(successor(rt.clone())).detach();
        let asks = |n| {
            let inner = rt.clone();
            one.spawn(async move { ask_until(&inner, "two", n).await })
        };
        assert_eq!(asks(1).wait().unwrap().unwrap(), 2);
        let inner = rt.clone();
        let to = two.spawn(async move { inner.bind_udp("0.0.0.0:2").await });
        let to = to.wait().unwrap().unwrap();
        network.part(&one, &two);
        let (inner, there) = (rt.clone(), two.address(2));
        let sends = one.spawn(async move {
            let socket = inner.bind_udp("0.0.0.0:0").await.unwrap();
            socket.send_to(&[1], there).await.unwrap();
        });
        sends.wait().unwrap();
        let waits = asks(5);
        rt.block_on(rt.sleep(5000 * MS));
        assert!(!waits.is_finished());
        // Others are not parted from it.
        assert_eq!(rt.block_on(ask(&rt, "two", 7)).unwrap(), 8);
        network.heal();
        assert_eq!(waits.wait().unwrap().unwrap(), 6);
        let lost = rt.block_on(rt.timeout(1000 * MS, to.recv(&mut [0])));
        assert!(lost.is_err());
    });
}

#[test]
fn connecting_across_a_partition_waits_for_its_end() {
    Check::default().seeds(20).run(|rt| {
        let network = Network::of(&rt);
        let (one, two) = (network.node("one"), network.node("two"));
        two.spawn(successor(rt.clone())).detach();
        assert_eq!(rt.block_on(ask_until(&rt, "two", 1)).unwrap(), 2);
        network.part(&one, &two);
        let inner = rt.clone();
        let asks = one.spawn(async move { ask(&inner, "two", 2).await });
        rt.block_on(rt.sleep(500 * MS));
        assert!(!asks.is_finished());
        network.heal();
        let begun = rt.now();
        assert_eq!(asks.wait().unwrap().unwrap(), 3);
        assert!(rt.now() - begun < 100 * MS);
        // A closure of a node that crashes does not wait for it.
        network.part(&one, &two);
        let inner = rt.clone();
        let waits = Arc::new(());
        let held = waits.clone();
        let starts = one.spawn(async move {
            let connects = inner.clone();
            let connect = move || {
                let _held = held;
                connects.block_on(ask(&connects, "two", 3)).map(drop)
            };
            inner.offload(connect).detach();
        });
        starts.wait().unwrap();
        rt.block_on(rt.sleep(500 * MS));
        assert_eq!(Arc::strong_count(&waits), 2);
        one.crash();
        rt.block_on(rt.sleep(500 * MS));
        assert_eq!(Arc::strong_count(&waits), 1);
    });
}

#[test]
fn a_partition_that_nobody_heals_is_a_deadlock() {
    let failure = Check::default().seeds(5).try_run(|rt| {
        let network = Network::of(&rt);
        network.part(&network.host(), &network.node("server"));
        let _ = rt.block_on(async { rt.connect_tcp("server:7").await });
    });
    let failure = failure.unwrap_err();
    let kind = &failure.kind;
    assert!(matches!(kind, FailureKind::Deadlock { .. }), "{failure}");
    assert!(
        failure.to_string().contains("for its socket 10.0.0.2:7"),
        "{failure}"
    );
}

#[test]
fn connecting_is_late_in_virtual_time() {
    Check::default().seeds(20).run(|rt| {
        let network = Network::of(&rt);
        let server = network.node("server");
        network.part(&network.host(), &server);
        let hour = Duration::from_secs(60 * 60);
        let begun = rt.now();
        let connect = rt.connect_tcp("server:7").timeout(hour);
        let error = rt.block_on(async { connect.await }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(rt.now() - begun >= hour && rt.now() - begun < 2 * hour);
    });
}

#[test]
fn addresses_without_a_node_a_listener_or_a_name_are_told_apart() {
    Check::default().seeds(20).run(|rt| {
        let network = Network::of(&rt);
        let server = network.node("server");
        let kind = |to: &str| {
            let error = rt.block_on(async { rt.connect_tcp(to).await }).unwrap_err();
            error.kind()
        };
        assert_eq!(kind("server:7"), io::ErrorKind::ConnectionRefused);
        assert_eq!(kind("10.9.9.9:7"), io::ErrorKind::HostUnreachable);
        assert_eq!(kind("192.168.0.1:7"), io::ErrorKind::HostUnreachable);
        assert_eq!(kind("[2001:db8::1]:7"), io::ErrorKind::NetworkUnreachable);
        assert_eq!(kind("nobody:7"), io::ErrorKind::NotFound);
        let foreign = rt.block_on(async { rt.listen_tcp(server.address(7)).await });
        assert_eq!(foreign.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
        let addresses = rt.block_on(async { rt.resolve("server:7").await });
        assert_eq!(addresses.unwrap(), [server.address(7)]);
        assert_eq!(
            (server.name().as_str(), server.ip().to_string().as_str()),
            ("server", "10.0.0.2")
        );
        // A second one of the name: happy eyeballs finds the one that answers.
        let second = network.node("server");
        second.spawn(successor(rt.clone())).detach();
        assert_eq!(rt.block_on(ask_until(&rt, "server", 1)).unwrap(), 2);
        network.part(&network.host(), &server);
        let begun = rt.now();
        assert_eq!(rt.block_on(ask(&rt, "server", 1)).unwrap(), 2);
        assert!(rt.now() - begun < 1000 * MS);
    });
}

#[test]
fn each_node_has_its_own_ports_and_loopback() {
    Check::default().seeds(20).run(|rt| {
        let network = Network::of(&rt);
        let nodes = [network.node("one"), network.node("two")];
        let asked = nodes.clone().map(|node| {
            let inner = rt.clone();
            node.spawn(async move {
                let any = inner.listen_tcp("[::]:7").await.unwrap();
                let taken = inner.listen_tcp("127.0.0.1:7").await.unwrap_err();
                assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
                let near = inner.listen_tcp("127.0.0.1:8").await.unwrap();
                for to in ["localhost:7", "[::1]:7", "0.0.0.0:7", "127.0.0.1:8"] {
                    let stream = inner.connect_tcp(to).await.unwrap();
                    assert!(stream.peer_addr().unwrap().ip().is_loopback());
                    let listener = if to.ends_with('7') { &any } else { &near };
                    let (_, peer) = listener.accept().await.unwrap();
                    assert_eq!(stream.local_addr().unwrap(), peer);
                    assert!(peer.ip().is_loopback());
                }
                (any, near)
            })
        });
        let _listeners = asked.map(|task| task.wait().unwrap());
        rt.block_on(async {
            let stream = rt.connect_tcp(nodes[0].address(7)).await.unwrap();
            assert_eq!(stream.local_addr().unwrap().ip(), network.host().ip());
            // The loopback is seen by nobody else.
            let error = rt.connect_tcp(nodes[0].address(8)).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
        // Closures and threads are where their starters are.
        let inner = rt.clone();
        let from = nodes[1].spawn(async move {
            let closure = inner.clone();
            let connects = inner.offload(move || {
                let stream = closure.block_on(async { closure.connect_tcp("one:7").await });
                stream.unwrap().local_addr().unwrap().ip()
            });
            connects.await.unwrap()
        });
        assert_eq!(from.wait().unwrap(), nodes[1].ip());
    });
}

#[test]
fn what_needs_the_system_is_refused() {
    Sim::new(1).run(|rt| {
        rt.block_on(async {
            let folder = std::env::temp_dir().join("fourway-sim-no-such-socket");
            let unix = rt.listen_unix(&folder).unwrap_err();
            assert_eq!(unix.kind(), io::ErrorKind::Unsupported);
            assert!(!folder.exists());
            let unix = rt.connect_unix(&folder).await.unwrap_err();
            assert_eq!(unix.kind(), io::ErrorKind::Unsupported);
            let system = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let error = fourway_net::UdpSocket::from_std(&rt, system).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            let socket = rt.bind_udp("127.0.0.1:0").await.unwrap();
            let error = socket.send_by(|_| Ok(())).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            let group = [224, 0, 0, 251].into();
            let error = socket.join_multicast_v4(group, [0, 0, 0, 0].into());
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::Unsupported);
            let error = pair(&rt).await.0.into_std().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        });
    });
}

/// As on other runtimes (NE-4, sockets and the lives of runtimes).
#[test]
fn after_the_shutdown_sockets_say_so() {
    Check::default().seeds(50).run(|rt| {
        let network = Network::of(&rt);
        let elsewhere = network.node("elsewhere");
        network.part(&network.host(), &elsewhere);
        let (mut mine, _theirs) = rt.block_on(pair(&rt));
        let listener = rt
            .block_on(async { rt.listen_tcp("0.0.0.0:7").await })
            .unwrap();
        let socket = rt
            .block_on(async { rt.bind_udp("0.0.0.0:7").await })
            .unwrap();
        let inner = rt.clone();
        // On threads, as the tasks go with the runtime.
        let reads = rt.thread(move || {
            let read = inner.block_on(mine.read(&mut [0]));
            assert!(is_shutdown(&read.unwrap_err()));
            let write = inner.block_on(mine.write(&[0]));
            assert!(is_shutdown(&write.unwrap_err()));
        });
        let inner = rt.clone();
        let accepts = rt.thread(move || {
            let accepted = inner.block_on(listener.accept());
            assert!(is_shutdown(&accepted.unwrap_err()));
        });
        let inner = rt.clone();
        let receives = rt.thread(move || {
            let received = inner.block_on(socket.recv(&mut [0]));
            assert!(is_shutdown(&received.unwrap_err()));
        });
        let inner = rt.clone();
        let connects = rt.thread(move || {
            let connect = inner.connect_tcp("elsewhere:7");
            let connected = inner.block_on(async { connect.await });
            assert!(is_shutdown(&connected.unwrap_err()));
        });
        rt.block_on(rt.sleep(1000 * MS));
        let begun = rt.now();
        rt.shutdown(1000 * MS).unwrap();
        for thread in [reads, accepts, receives, connects] {
            thread.wait().unwrap();
        }
        assert!(rt.now() - begun < MS);
        let made = rt.block_on(async { rt.listen_tcp("0.0.0.0:9").await });
        assert!(is_shutdown(&made.unwrap_err()));
    });
}

/// Dropped in the middle, a read has taken nothing (NE-1, nothing is lost by dropping).
#[test]
fn nothing_is_lost_by_dropping() {
    let late = Sim::builder().faults(Faults::none().cancel(200, ["reader"]));
    Check::default().seeds(100).with(late).run(|rt| {
        let (mut mine, theirs) = rt.block_on(pair(&rt));
        let (theirs, got) = (
            Arc::new(Mutex::new(theirs)),
            Arc::new(Mutex::new(Vec::new())),
        );
        rt.block_on(async {
            for n in 0..20 {
                mine.write_all(&[n]).await.unwrap();
            }
            mine.close().await.unwrap();
        });
        loop {
            let (stream, got) = (theirs.clone(), got.clone());
            let name = Metadata::caller().named("reader");
            let reader = rt.spawn_with(name, async move {
                let mut byte = [0];
                let read = poll_fn(|cx| {
                    let mut stream = stream.lock().unwrap();
                    Pin::new(&mut *stream).poll_read(cx, &mut byte)
                });
                let length = read.await.unwrap();
                got.lock().unwrap().extend_from_slice(&byte[..length]);
                yield_now().await;
                length
            });
            // Or else it was cancelled.
            if let Ok(0) = reader.wait() {
                break;
            }
        }
        assert!(got.lock().unwrap().iter().copied().eq(0..20));
    });
}

/// A request that is sent again, as its answer was lost, is done twice.
#[test]
fn a_protocol_that_does_things_twice_is_found() {
    let check = Check::default().seeds(200).shorten(false);
    let failure = check.try_run(|rt| {
        let network = Network::of(&rt);
        network.set_loss(50);
        let server = network.node("server");
        let done = Arc::new(AtomicUsize::new(0));
        let (counts, inner) = (done.clone(), rt.clone());
        server
            .spawn(async move {
                let socket = inner.bind_udp("0.0.0.0:1").await.unwrap();
                while let Ok((_, from)) = socket.recv_from(&mut [0; 2]).await {
                    counts.fetch_add(1, Relaxed);
                    socket.send_to(b"done", from).await.unwrap();
                }
            })
            .detach();
        rt.block_on(async {
            let socket = rt.bind_udp("0.0.0.0:0").await.unwrap();
            loop {
                socket.send_to(b"do", server.address(1)).await.unwrap();
                let answer = rt.timeout(50 * MS, socket.recv(&mut [0; 4])).await;
                if answer.is_ok() {
                    break;
                }
            }
        });
        if done.load(Relaxed) != 1 {
            std::panic::resume_unwind(Box::new("done twice"));
        }
    });
    assert!(failure.unwrap_err().to_string().contains("done twice"));
}
