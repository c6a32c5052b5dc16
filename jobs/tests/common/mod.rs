//! What the tests share: runtimes to run on, and things that count.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "it is a part of each test, of which none uses all of it"
)]

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use fourway_core::{AnyRuntime, BlockOn, Timer};
use fourway_smol::Smol;
use fourway_std_thread::StdThread;
use fourway_tokio::Tokio;

/// Long enough for a machine that is busy with something else.
pub const AGES: Duration = Duration::from_secs(60);

/// Runs the test on every runtime that there is.
pub fn each(test: impl Fn(AnyRuntime)) {
    for (name, rt) in runtimes() {
        eprintln!("on {name}");
        test(rt);
    }
}

pub fn runtimes() -> Vec<(&'static str, AnyRuntime)> {
    let tokio = || Tokio::builder();
    vec![
        ("std-thread", AnyRuntime::new(StdThread::new().unwrap())),
        (
            "tokio, multi-thread",
            AnyRuntime::new(tokio().build().unwrap()),
        ),
        (
            "tokio, current-thread",
            AnyRuntime::new(tokio().current_thread().build().unwrap()),
        ),
        ("smol", AnyRuntime::new(Smol::builder().build().unwrap())),
    ]
}

/// Blocks on a test that must not take for ever.
pub fn run<F: Future>(rt: &AnyRuntime, future: F) -> F::Output {
    rt.block_on(rt.timeout(AGES, future))
        .expect("takes for ever")
}

#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicUsize>);

impl Counter {
    pub fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn sub(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    /// Raises it to `n` if it is less.
    pub fn max(&self, n: usize) {
        self.0.fetch_max(n, Ordering::SeqCst);
    }

    /// Counts when it is dropped.
    pub fn on_drop(&self) -> OnDrop {
        OnDrop(self.clone())
    }
}

#[derive(Debug)]
pub struct OnDrop(Counter);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// A gate that somebody opens, for tasks and threads to wait at.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<(bool, Vec<Waker>)>>, Arc<Condvar>);

impl Gate {
    pub fn open(&self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        self.1.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub async fn pass(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub fn wait(&self) {
        let end = Instant::now() + AGES;
        let mut state = self.0.lock().unwrap();
        while !state.0 {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "takes for ever");
            state = self.1.wait_timeout(state, left).unwrap().0;
        }
    }
}

/// Waits until it is so.
pub fn eventually(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + AGES;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
}

/// A panic that the hook does not print.
pub fn panic_quietly(payload: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(payload))
}
