//! Idle sockets take no processor time (NE-3), on any runtime.
//!
//! One test in its own process: it measures the processor time of the process.

mod common;

use std::time::Duration;

use common::listener;
use fourway_core::{BlockOn, Spawner, Timer};
use fourway_net::Net;
use fourway_testing::{run, runtimes};
use futures_util::{AsyncReadExt, future::join};
use rustix::time::{ClockId, clock_gettime};

/// The processor time of the whole process.
fn used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        used.tv_sec.unsigned_abs(),
        u32::try_from(used.tv_nsec).unwrap(),
    )
}

#[test]
fn idle_sockets_take_no_processor_time() {
    for (name, rt) in runtimes() {
        let tasks = run(&rt, async {
            let (listener, address) = listener(&rt).await;
            let mut tasks = Vec::new();
            for _ in 0..100 {
                let (a, b) = join(rt.connect_tcp(address).into_future(), listener.accept()).await;
                for mut stream in [a.unwrap(), b.unwrap().0] {
                    tasks.push(rt.spawn(async move { stream.read(&mut [0]).await }));
                }
            }
            tasks.push(rt.spawn(async move { listener.accept().await.map(|_| 0) }));
            tasks
        });
        // In the best of many slices the process uses almost no time. A busy thread would use all
        // of each slice, and a thread that polls each millisecond some of each.
        let slice = Duration::from_millis(50);
        let least = (0..20).map(|_| {
            rt.block_on(rt.sleep(slice / 2));
            let before = used();
            rt.block_on(rt.sleep(slice));
            used().saturating_sub(before)
        });
        let least = least.min().unwrap();
        println!("{name}: {least:?} of {slice:?}");
        assert!(
            least < slice / 50,
            "{name}: {least:?} of {slice:?} while nothing happens"
        );
        drop(tasks);
    }
}
