//! Allocations, counted exactly: spawning and joining costs as much as with Tokio alone. One test,
//! so that nothing else allocates meanwhile.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use fourway_core::{BlockOn, Spawner, Task, Timer};
use fourway_testing::{Counting, drive, least, suspend_once};
use fourway_tokio::Tokio;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 500;

fn count(round: impl FnMut()) -> usize {
    least(ROUNDS, round)
}

fn compare(name: &str, rt: &Tokio) {
    for suspended in [false, true] {
        let future = move || async move {
            if suspended {
                suspend_once().await;
            }
            1_u64
        };
        let raw = count(|| {
            drive(rt.handle().spawn(future())).unwrap();
        });
        let ours = count(|| {
            drive(rt.spawn(future())).unwrap();
        });
        let raw_aborted = count(|| {
            let task = rt.handle().spawn(future());
            task.abort();
            let _ = drive(task);
        });
        let ours_aborted = count(|| {
            let _ = drive(rt.spawn(future()).cancel());
        });
        let detached = count(|| {
            rt.spawn(future()).detach();
            drive(rt.spawn(future())).unwrap();
        });
        println!(
            "{name}, suspended: {suspended}; in {ROUNDS} rounds: {raw} raw, {ours} ours; aborted: \
             {raw_aborted} raw, {ours_aborted} ours; {detached} with another one detached"
        );
        assert_eq!(
            raw, ROUNDS,
            "{name}: Tokio allocates the task and nothing else"
        );
        assert_eq!(ours, raw, "{name}");
        assert_eq!(ours_aborted, raw_aborted, "{name}: aborted");
        assert_eq!(detached, 2 * raw, "{name}: detached");
    }
    // The shared state of abort handles is made with the first of them.
    let with_handles = count(|| {
        let task = rt.spawn(async {});
        drop((task.abort_handle(), task.abort_handle()));
        drive(task).unwrap();
    });
    assert_eq!(with_handles, 2 * ROUNDS, "{name}: abort handles");

    // Blocking costs nothing once a thread has blocked before.
    rt.block_on(suspend_once());
    assert_eq!(count(|| rt.block_on(async {})), 0, "{name}");
    assert_eq!(count(|| rt.block_on(suspend_once())), 0, "{name}");

    // A timer that has to wait allocates, so that it can be forgotten in a forked child.
    // The driver has the waker of a task, or of a `block_on`, itself; and a slot in place of any
    // other, which may panic.
    let timers = |rt: &Tokio, cx: &mut Context<'_>| {
        let due = count(|| {
            assert!(pin!(rt.sleep(Duration::ZERO)).poll(cx).is_ready());
        });
        let waiting = count(|| {
            let sleep = pin!(rt.sleep(Duration::from_secs(3600)));
            assert!(sleep.poll(cx).is_pending());
        });
        (due, waiting)
    };
    let inner = rt.clone();
    let task = rt.spawn(poll_fn(move |cx| Poll::Ready(timers(&inner, cx))));
    assert_eq!(drive(task).unwrap(), (0, ROUNDS), "{name}: in a task");
    let root = poll_fn(|cx| Poll::Ready(timers(rt, cx)));
    assert_eq!(rt.block_on(root), (0, ROUNDS), "{name}: in a root");
    let plain = poll_fn(|cx| Poll::Ready(timers(rt, cx)));
    assert_eq!(
        fourway_adapt::run(plain),
        (0, ROUNDS),
        "{name}: on a plain thread"
    );
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(timers(rt, &mut cx), (0, 2 * ROUNDS), "{name}: by hand");
}

#[test]
fn spawning_and_joining_allocates_what_tokio_does() {
    let multi = Tokio::builder().worker_threads(1).build().unwrap();
    compare("multi-thread", &multi);
    let single = Tokio::builder().current_thread().build().unwrap();
    compare("current-thread", &single);
}
