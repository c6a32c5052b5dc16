//! Streams as they are, under many schedules, with consumers that are cancelled half-way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use fourway_core::{BlockOn, Call, Spawner, Task, Timer, yield_now};
use fourway_sim::{Check, Faults, Sim};
use fourway_streams::{Items, Streams, generate};

const MS: Duration = Duration::from_millis(1);
const COUNT: u32 = 40;

/// The numbers from 0, made in one of the ways there are. `made`: how many have been.
fn numbers(rt: &Sim, way: u64, made: &Arc<AtomicU32>) -> Items<u32> {
    let counts = made.clone();
    let iterator = move || {
        (0..COUNT).inspect(move |_| {
            counts.fetch_add(1, Relaxed);
        })
    };
    let (counts, inner) = (made.clone(), rt.clone());
    let body = generate(async move |mut to| {
        for number in 0..COUNT {
            match number % 16 {
                3 => yield_now().await,
                9 => inner.sleep(MS).await,
                _ => {}
            }
            counts.fetch_add(1, Relaxed);
            to.send(number).await;
        }
    });
    match way % 6 {
        0 => rt.stream_blocking(iterator),
        1 => rt.stream_blocking(iterator).spawn(),
        2 => rt.stream_blocking(iterator).read_ahead(3).spawn(),
        3 => rt.stream(body),
        4 => rt.stream(body).spawn(),
        _ => rt.stream(body).read_ahead(2).spawn(),
    }
}

/// As many items as there are before it is cancelled; each at its place.
async fn consume(rt: Sim, mut items: Items<u32>, taken: Arc<AtomicU32>) {
    while let Some(number) = items.next().await {
        assert_eq!(taken.fetch_add(1, Relaxed), number, "not at its place");
        if number % 7 == 0 {
            rt.sleep(MS).await;
        }
    }
}

fn streams(rt: Sim) {
    let consumers: Vec<_> = (0..3)
        .map(|n| {
            let (made, taken) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
            let items = numbers(&rt, rt.seed() + n, &made);
            let consumes = consume(rt.clone(), items, taken.clone());
            (rt.spawn_named("consumer", consumes), made, taken)
        })
        .collect();
    // Sync code beside them, which is never cancelled.
    let made = Arc::default();
    let all = numbers(&rt, rt.seed() / 6, &made).into_iter();
    assert!(all.eq(0..COUNT));
    let all = numbers(&rt, rt.seed() / 6 + 1, &made).collect();
    assert!(all.wait().into_iter().eq(0..COUNT));
    for (task, made, taken) in consumers {
        let ended = task.wait();
        // Producers stop at their next item.
        rt.block_on(rt.sleep(100 * MS));
        let stopped = made.load(Relaxed);
        rt.block_on(rt.sleep(100 * MS));
        assert_eq!(made.load(Relaxed), stopped, "a producer goes on");
        let taken = taken.load(Relaxed);
        assert!(taken <= stopped);
        match ended {
            Ok(()) => assert_eq!((taken, stopped), (COUNT, COUNT)),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
    }
}

fn simulated(seeds: u64, faults: Faults) {
    let builder = Sim::builder().faults(faults).offload_limit(2);
    let builder = builder.deny_leftovers(true);
    Check::default().seeds(seeds).with(builder).run(streams);
}

#[test]
fn items_come_in_order_and_producers_stop_when_consumers_are_cancelled() {
    simulated(1000, Faults::none().cancel(30, ["consumer"]));
}

#[test]
fn and_if_some_are_late() {
    simulated(200, Faults::none().slow(100, 3 * MS).jitter(MS));
}
