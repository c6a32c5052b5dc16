//! Allocations, counted exactly: spawning and joining costs as much as with smol alone. One test,
//! so that nothing else allocates meanwhile.

use std::{
    pin::{Pin, pin},
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use fourway_core::{BlockOn, Spawner, Task, Timer};
use fourway_smol::Smol;
use fourway_testing::{Counting, drive, least, suspend_once};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROUNDS: usize = 500;

fn count(round: impl FnMut()) -> usize {
    least(ROUNDS, round)
}

/// Waits until smol's threads have woken up, made their queues and gone idle.
fn settle(mut round: impl FnMut()) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(200) {
        round();
    }
}

#[test]
fn spawning_and_joining_allocates_what_smol_does() {
    // An executor with one thread, as smol's users make it.
    let raw: &'static smol::Executor<'static> = Box::leak(Box::new(smol::Executor::new()));
    thread::spawn(|| async_io::block_on(raw.run(std::future::pending::<()>())));
    let own = Smol::builder().worker_threads(1).build().unwrap();
    let global = Smol::global();

    // Warm.
    settle(|| {
        drive(raw.spawn(suspend_once()));
        drive(smol::spawn(suspend_once()));
        drive(own.spawn(suspend_once())).unwrap();
        drive(global.spawn(suspend_once())).unwrap();
    });

    for suspended in [false, true] {
        let future = move || async move {
            if suspended {
                suspend_once().await;
            }
            1_u64
        };
        let raw_global = count(|| {
            drive(smol::spawn(future()));
        });
        let ours_global = count(|| {
            drive(global.spawn(future())).unwrap();
        });
        let raw_own = count(|| {
            drive(raw.spawn(future()));
        });
        let ours_own = count(|| {
            drive(own.spawn(future())).unwrap();
        });
        let detached = count(|| {
            let (a, b) = (global.spawn(future()), own.spawn(future()));
            a.detach();
            drive(b).unwrap();
        });
        println!(
            "suspended: {suspended}; in {ROUNDS} rounds: global {raw_global} raw, {ours_global} \
             ours; own {raw_own} raw, {ours_own} ours; {detached} with another one detached"
        );
        assert_eq!(ours_global, raw_global, "global executor");
        assert_eq!(ours_own, raw_own, "own executor");
    }

    // Blocking costs nothing once a thread has blocked before.
    own.block_on(suspend_once());
    assert_eq!(count(|| own.block_on(async {})), 0);
    assert_eq!(count(|| own.block_on(suspend_once())), 0);

    // A timer that is due costs nothing; one that waits, its slot.
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(
        count(|| {
            let mut sleep = pin!(own.sleep(Duration::ZERO));
            assert!(sleep.as_mut().poll(&mut cx).is_ready());
        }),
        0
    );
    let mut poll_long_sleep = || {
        let mut sleep = own.sleep(Duration::from_secs(3600));
        assert!(Pin::new(&mut sleep).poll(&mut cx).is_pending());
    };
    let waiting = count(&mut poll_long_sleep);
    let raw_waiting = count(|| {
        let mut timer = async_io::Timer::after(Duration::from_secs(3600));
        assert!(
            Pin::new(&mut timer)
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    });
    println!("a waiting timer, in {ROUNDS} rounds: {raw_waiting} raw, {waiting} ours");
    // The slot, to the nearest whole number: the reactor's map and its queue
    // allocate now and then, and not in the same rounds on both sides.
    assert!(
        waiting.abs_diff(raw_waiting + ROUNDS) < ROUNDS / 2,
        "a waiting timer allocates {waiting} times in {ROUNDS} rounds, smol's own {raw_waiting}"
    );
}
