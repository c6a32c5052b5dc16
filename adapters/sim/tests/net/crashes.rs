//! Nodes that crash.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use fourway_core::{BlockOn, Offload, Shutdown, Spawner, Task, Timer, yield_now};
use fourway_net::{Net, is_shutdown};
use fourway_sim::{self as sim, Check, Faults, Sim, net::Network};
use futures_util::{AsyncReadExt, AsyncWriteExt};

use super::{MS, ask, ask_until, connected, successor};

#[test]
fn a_node_that_crashes_drops_its_tasks_and_resets_its_streams() {
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    Check::default().seeds(50).run(|rt| {
        let two = Network::of(&rt).node("two");
        let dropped = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let held = Counts(dropped.clone());
            two.spawn(async move {
                let _held = held;
                std::future::pending::<()>().await;
            })
            .detach();
        }
        let (mut stream, mut accepted) = connected(&rt, &two);
        two.crash();
        assert_eq!(dropped.load(Relaxed), 3);
        let error = rt.block_on(stream.read(&mut [0])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(rt.block_on(stream.write_all(b"1")).is_err());
        assert!(rt.block_on(accepted.read(&mut [0])).is_err());
        let refused = rt.block_on(ask(&rt, "two", 1)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // It is there again.
        two.spawn(successor(rt.clone())).detach();
        assert_eq!(rt.block_on(ask_until(&rt, "two", 1)).unwrap(), 2);
    });
}

/// Its peers are reset, whose runtime is not over.
#[test]
fn a_crashed_nodes_own_sockets_are_shut_down() {
    Check::default().seeds(20).run(|rt| {
        let network = Network::of(&rt);
        let two = network.node("two");
        let (mut stream, mut accepted) = connected(&rt, &two);
        two.crash();
        rt.block_on(async {
            let mut buf = [0];
            assert!(is_shutdown(&accepted.read(&mut buf).await.unwrap_err()));
            assert!(is_shutdown(&accepted.write(b"1").await.unwrap_err()));
            assert!(is_shutdown(&accepted.close().await.unwrap_err()));
            let reset = stream.read(&mut buf).await.unwrap_err();
            assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
            let reset = stream.write(b"1").await.unwrap_err();
            assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);

            // The work that has this one is on no node, and goes on.
            let socket = rt.bind_udp("127.0.0.1:0").await.unwrap();
            network.host().crash();
            let nobody = ([127, 0, 0, 1], 1).into();
            assert!(is_shutdown(&socket.recv(&mut buf).await.unwrap_err()));
            assert!(is_shutdown(
                &socket.send_to(b"1", nobody).await.unwrap_err()
            ));
            assert!(is_shutdown(&socket.connect(nobody).unwrap_err()));
        });
    });
}

/// None of the node's units does anything after the crash: not those that were ready, that a fault
/// held up, or that others had started for it.
#[test]
fn a_crash_takes_effect_before_anybody_has_a_turn() {
    let late = Sim::builder().faults(Faults::none().slow(200, 5 * MS));
    Check::default().seeds(200).with(late).run(|rt| {
        let node = Network::of(&rt).node("busy");
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
        let node = Network::of(&rt).node("busy");
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
        let node = Network::of(&rt).node("suicidal");
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
        let node = Network::of(&rt).node("busy");
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
        let network = Network::of(&rt);
        let (two, inner) = (network.node("two"), rt.clone());
        let crashes = rt.seed() % 2 == 0;
        let listener = two.spawn(async move { inner.listen_tcp("0.0.0.0:8").await });
        let listener = listener.wait().unwrap().unwrap();
        let mut stream = rt
            .block_on(async { rt.connect_tcp(two.address(8)).await })
            .unwrap();
        rt.block_on(stream.write_all(b"1")).unwrap();
        if rt.seed() % 3 == 0 {
            network.part(&network.host(), &two);
        }
        if crashes {
            two.crash();
            let accepted = rt.block_on(listener.accept());
            assert!(is_shutdown(&accepted.unwrap_err()));
        } else {
            drop(listener);
        }
        network.heal();
        let read = rt.block_on(stream.read(&mut [0]));
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert!(rt.block_on(stream.write_all(b"2")).is_err());
    });
}
