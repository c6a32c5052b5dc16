//! A program that only waits for blocking calls starts no thread.

#![cfg(all(feature = "std-thread", target_os = "linux"))]

use std::fs;

use fourway::{Ambient, prelude::*};

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

// The only test of its process, so no other code starts a thread.
#[test]
fn waiting_for_a_blocking_call() {
    let before = threads();
    let rt = Ambient;
    let call = rt.call_blocking(|| 20).map(|n| n * 2);
    assert_eq!(call.wait() + rt.call_blocking(|| 2).wait(), 42);
    assert_eq!(threads(), before);
}
