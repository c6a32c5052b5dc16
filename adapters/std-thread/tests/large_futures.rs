//! Futures that are large beside a thread's stack, without optimization.

use std::{future, thread};

use fourway_core::{AnyRuntime, Spawner, Task};
use fourway_std_thread::StdThread;

const KILOBYTE: usize = 1024;

/// A future of 200 kB.
async fn large() -> u8 {
    let content = [7; 200 * KILOBYTE];
    future::ready(()).await;
    content[KILOBYTE]
}

fn on_a_stack_of_two_megabytes<T: Send + 'static>(
    f: impl FnOnce(AnyRuntime) -> T + Send + 'static,
) -> T {
    let runtime = StdThread::builder().worker_threads(1).build().unwrap();
    let runtime = AnyRuntime::new(runtime);
    let thread = thread::Builder::new().stack_size(2048 * KILOBYTE);
    thread.spawn(move || f(runtime)).unwrap().join().unwrap()
}

#[test]
fn a_large_future_is_spawned_without_its_type() {
    let output = on_a_stack_of_two_megabytes(|runtime| runtime.spawn(large()).wait());
    assert_eq!(output.unwrap(), 7);
}

#[test]
fn a_large_future_is_spawned_detached_without_its_type() {
    on_a_stack_of_two_megabytes(|runtime| runtime.spawn_detached(large()));
}
