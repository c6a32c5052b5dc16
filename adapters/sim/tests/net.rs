//! The network between nodes of one simulation.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task, Timer, yield_now};
use fourway_sim::{
    self as sim, Check, Faults, Sim,
    net::{Network, Node},
};
use futures_util::{AsyncReadExt, AsyncWriteExt};

const MS: Duration = Duration::from_millis(1);

/// Answers each byte with the next one.
fn successor(node: &Node) {
    let listener = node.listen(7).unwrap();
    let inner = node.clone();
    node.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            inner
                .spawn(async move {
                    let mut buffer = [0; 4];
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        let answers: Vec<u8> = buffer[..length].iter().map(|n| n + 1).collect();
                        if stream.write_all(&answers).await.is_err() {
                            break;
                        }
                    }
                })
                .detach();
        }
    })
    .detach();
}

async fn ask(from: &Node, to: &Node, n: u8) -> io::Result<u8> {
    let mut stream = from.connect(to.address(7)).await?;
    stream.write_all(&[n]).await?;
    let mut answer = [0];
    match stream.read(&mut answer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(answer[0]),
    }
}

#[test]
fn streams_are_in_order_and_end() {
    Check::default().seeds(50).twice(true).run(|rt| {
        let network = Network::new(&rt);
        let (one, two) = (network.node("one"), network.node("two"));
        let listener = two.listen(7).unwrap();
        assert_eq!(two.listen(7).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let reader = two.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut all = Vec::new();
            let mut buffer = [0; 3];
            while let length @ 1.. = stream.read(&mut buffer).await.unwrap() {
                all.extend_from_slice(&buffer[..length]);
            }
            all
        });
        let to = two.address(7);
        one.clone()
            .spawn(async move {
                let mut stream = one.connect(to).await.unwrap();
                for n in 0..10 {
                    stream.write_all(&[n, n]).await.unwrap();
                }
            })
            .wait()
            .unwrap();
        let expected: Vec<u8> = (0..10).flat_map(|n| [n, n]).collect();
        assert_eq!(reader.wait().unwrap(), expected);
    });
}

#[test]
fn datagrams_overtake_each_other_and_are_lost() {
    let orders = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = orders.clone();
    Check::default().seeds(50).run(move |rt| {
        let network = Network::new(&rt);
        network.set_loss(200);
        let (one, two) = (network.node("one"), network.node("two"));
        let (from, to) = (one.datagrams(1).unwrap(), two.datagrams(2).unwrap());
        for n in 0..3 {
            from.send_to(&[n], to.address());
        }
        let order = rt.block_on(async {
            let mut order = Vec::new();
            while let Ok(received) = rt.timeout(100 * MS, to.receive()).await {
                let (message, sender) = received.unwrap();
                assert_eq!(sender, from.address());
                order.push(message[0]);
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
        let network = Network::new(&rt);
        let (one, two) = (network.node("one"), network.node("two"));
        successor(&two);
        assert_eq!(rt.block_on(ask(&one, &two, 1)).unwrap(), 2);
        let to = two.datagrams(2).unwrap();
        network.part(&one, &two);
        one.datagrams(1).unwrap().send_to(&[1], to.address());
        let waits = rt.block_on(rt.timeout(5000 * MS, ask(&one, &two, 3)));
        assert!(waits.is_err());
        let asks = {
            let (one, two) = (one.clone(), two.clone());
            rt.spawn(async move { ask(&one, &two, 5).await })
        };
        rt.block_on(rt.sleep(5000 * MS));
        assert!(!asks.is_finished());
        network.heal();
        assert_eq!(asks.wait().unwrap().unwrap(), 6);
        assert!(rt.block_on(rt.timeout(1000 * MS, to.receive())).is_err());
    });
}

#[test]
fn a_node_that_crashes_drops_its_tasks_and_resets_its_streams() {
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    Check::default().seeds(50).run(|rt| {
        let network = Network::new(&rt);
        let (one, two) = (network.node("one"), network.node("two"));
        let dropped = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let held = Counts(dropped.clone());
            two.spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            })
            .detach();
        }
        let listener = two.listen(8).unwrap();
        let accepts = two.spawn(async move { listener.accept().await });
        let mut stream = rt.block_on(one.connect(two.address(8))).unwrap();
        let _accepted = accepts.wait().unwrap().unwrap();
        two.crash();
        assert_eq!(dropped.load(Relaxed), 3);
        let error = rt.block_on(stream.read(&mut [0])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(rt.block_on(stream.write_all(b"1")).is_err());
        let refused = rt.block_on(ask(&one, &two, 1)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // It is there again.
        successor(&two);
        assert_eq!(rt.block_on(ask(&one, &two, 1)).unwrap(), 2);
    });
}

/// None of the node's units does anything after the crash: not those that were ready, that a fault
/// held up, or that others had started for it.
#[test]
fn a_crash_takes_effect_before_anybody_has_a_turn() {
    let late = Sim::builder().faults(Faults::none().slow(200, 5 * MS));
    Check::default().seeds(200).with(late).run(|rt| {
        let node = Network::new(&rt).node("busy");
        let steps = Arc::new(AtomicUsize::new(0));
        let busy = |rt: Sim, steps: Arc<AtomicUsize>| async move {
            loop {
                steps.fetch_add(1, Relaxed);
                yield_now().await;
                rt.sleep(MS / 10).await;
            }
        };
        let (inner, counts) = (rt.clone(), steps.clone());
        let parent = node.spawn(async move {
            // By the runtime's handle, as a library would that knows nothing of nodes.
            inner.spawn(busy(inner.clone(), counts.clone())).detach();
            let deeper = inner.clone();
            let closure = inner.offload(move || {
                let counts = counts.clone();
                deeper.spawn(busy(deeper.clone(), counts)).detach();
            });
            let _ = closure.await;
            busy(inner.clone(), Arc::default()).await;
        });
        rt.block_on(rt.sleep(3 * MS));
        node.crash();
        let before = steps.load(Relaxed);
        assert!(parent.is_finished() && parent.wait().unwrap_err().is_shutdown());
        rt.block_on(rt.sleep(50 * MS));
        assert_eq!(steps.load(Relaxed), before);
        assert_eq!(rt.status().executor.tasks, Some(0));
        // It is there again.
        assert_eq!(node.spawn(async { 1 }).wait().unwrap(), 1);
    });
}

#[test]
fn what_is_in_the_middle_of_something_ends_at_its_next_point() {
    Check::default().seeds(200).run(|rt| {
        let node = Network::new(&rt).node("busy");
        let (polls, runs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (in_poll, in_closure) = (polls.clone(), runs.clone());
        let inner = rt.clone();
        node.spawn(async move {
            let closure = inner.offload(move || {
                for _ in 0..100 {
                    in_closure.fetch_add(1, Relaxed);
                    sim::point();
                }
            });
            closure.detach();
            for _ in 0..100 {
                in_poll.fetch_add(1, Relaxed);
                sim::point();
            }
            std::future::pending::<()>().await;
        })
        .detach();
        for _ in 0..20 {
            sim::point();
        }
        node.crash();
        let before = (polls.load(Relaxed), runs.load(Relaxed));
        rt.block_on(rt.sleep(MS));
        assert_eq!((polls.load(Relaxed), runs.load(Relaxed)), before);
        let status = rt.status();
        assert_eq!((status.executor.tasks, status.pool.running), (Some(0), 0));
    });
}

#[test]
fn a_task_that_crashes_its_own_node_starts_nothing_any_more() {
    Check::default().seeds(50).run(|rt| {
        let node = Network::new(&rt).node("suicidal");
        let ran = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..2)
            .map(|way| {
                let (inner, itself, ran) = (rt.clone(), node.clone(), ran.clone());
                node.spawn(async move {
                    itself.crash();
                    let ran_too = ran.clone();
                    if way == 0 {
                        inner
                            .spawn(async move { ran_too.fetch_add(1, Relaxed) })
                            .detach();
                    } else {
                        yield_now().await;
                    }
                    ran.fetch_add(1, Relaxed);
                })
            })
            .collect();
        for task in tasks {
            let error = task.wait().unwrap_err();
            assert!(error.is_shutdown() || error.is_panic(), "{error}");
        }
        rt.block_on(rt.sleep(MS));
        assert_eq!(ran.load(Relaxed), 0);
    });
}

/// A closure that the node had in line does not run on the node that is there after it.
#[test]
fn closures_that_have_not_begun_go_with_the_node_and_their_slots_are_free() {
    let one = Sim::builder().offload_limit(1);
    Check::default().seeds(100).with(one).run(|rt| {
        let node = Network::new(&rt).node("busy");
        let crashed = Arc::new(AtomicBool::new(false));
        let (inner, is_late) = (rt.clone(), crashed.clone());
        node.spawn(async move {
            for _ in 0..3 {
                let is_late = is_late.clone();
                inner
                    .offload(move || assert!(!is_late.load(Relaxed)))
                    .detach();
            }
            std::future::pending::<()>().await;
        })
        .detach();
        for _ in 0..rt.seed() % 10 {
            sim::point();
        }
        crashed.store(true, Relaxed);
        node.crash();
        assert_eq!(rt.status().pool.queued, 0);
        assert_eq!(rt.offload(|| 1).wait().unwrap(), 1);
        rt.block_on(rt.sleep(MS));
        assert_eq!(rt.status().pool.running, 0);
    });
}

#[test]
fn a_stream_that_nobody_has_accepted_is_reset() {
    Check::default().seeds(50).run(|rt| {
        let network = Network::new(&rt);
        let (one, two) = (network.node("one"), network.node("two"));
        let crashes = rt.seed() % 2 == 0;
        let listener = two.listen(8).unwrap();
        let mut stream = rt.block_on(one.connect(two.address(8))).unwrap();
        rt.block_on(stream.write_all(b"1")).unwrap();
        if rt.seed() % 3 == 0 {
            network.part(&one, &two);
        }
        if crashes {
            two.crash();
        } else {
            drop(listener);
        }
        network.heal();
        let read = rt.block_on(stream.read(&mut [0]));
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(rt.block_on(stream.write_all(b"2")).is_err());
    });
}

/// A request that is sent again, as its answer was lost, is done twice.
#[test]
fn a_protocol_that_does_things_twice_is_found() {
    let check = Check::default().seeds(200).shorten(false);
    let failure = check.try_run(|rt| {
        let network = Network::new(&rt);
        network.set_loss(50);
        let (client, server) = (network.node("client"), network.node("server"));
        let done = Arc::new(AtomicUsize::new(0));
        let (counts, socket) = (done.clone(), server.datagrams(1).unwrap());
        server
            .spawn(async move {
                while let Ok((_, from)) = socket.receive().await {
                    counts.fetch_add(1, Relaxed);
                    socket.send_to(b"done", from);
                }
            })
            .detach();
        let (to, socket) = (server.address(1), client.datagrams(1).unwrap());
        rt.block_on(async {
            loop {
                socket.send_to(b"do", to);
                if rt.timeout(50 * MS, socket.receive()).await.is_ok() {
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
