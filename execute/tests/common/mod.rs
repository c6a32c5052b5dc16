//! What the tests share: runtimes to run on, and a gate to wait at.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "it is a part of each test, of which none uses all of it"
)]

use std::{
    future::{Future, poll_fn},
    sync::{Arc, Condvar, Mutex},
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use fourway_core::{AnyRuntime, Runtime};
use fourway_smol::Smol;
use fourway_std_thread::StdThread;
use fourway_tokio::Tokio;

/// Long enough for a machine that is busy with something else.
pub const AGES: Duration = Duration::from_secs(60);

pub fn std_thread() -> StdThread {
    StdThread::new().unwrap()
}

pub fn tokio() -> Tokio {
    Tokio::builder().build().unwrap()
}

pub fn tokio_current_thread() -> Tokio {
    Tokio::builder().current_thread().build().unwrap()
}

pub fn smol() -> Smol {
    Smol::builder().build().unwrap()
}

/// Each test on each runtime by its own type, and on one without its type.
#[macro_export]
macro_rules! on_every_runtime {
    // Without types: one copy of the code serves all, which is compiled in a fifth of the time.
    (erased $($test:ident)*) => {
        $crate::on_every_runtime!(@ any any_tokio any_current_thread any_smol: $($test)*);
    };
    (@: $($test:ident)*) => {};
    (@ $runtime:ident $($rest:ident)*: $($test:ident)*) => {
        mod $runtime {
            $( #[test] fn $test() { super::$test($crate::common::$runtime()); } )*
        }
        $crate::on_every_runtime!(@ $($rest)*: $($test)*);
    };
    ($($test:ident)*) => {
        $crate::on_every_runtime!(@ std_thread tokio tokio_current_thread smol any: $($test)*);
    };
}

pub fn any() -> AnyRuntime {
    AnyRuntime::new(std_thread())
}

pub fn any_tokio() -> AnyRuntime {
    AnyRuntime::new(tokio())
}

pub fn any_current_thread() -> AnyRuntime {
    AnyRuntime::new(tokio_current_thread())
}

pub fn any_smol() -> AnyRuntime {
    AnyRuntime::new(smol())
}

/// Blocks on a test that must not take for ever.
pub fn run<R: Runtime, F: Future>(rt: &R, future: F) -> F::Output {
    rt.block_on(rt.timeout(AGES, future))
        .expect("takes for ever")
}

/// A gate that somebody opens, for tasks and threads to wait at.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

/// Open? And who waits.
type State = (bool, Vec<Waker>);

impl Gate {
    pub fn open(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.0 = true;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        self.0.1.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub async fn pass(&self) {
        poll_fn(|cx| {
            let mut state = self.0.0.lock().unwrap();
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub fn wait(&self) {
        let (state, _) = self
            .0
            .1
            .wait_timeout_while(self.0.0.lock().unwrap(), AGES, |state| !state.0)
            .unwrap();
        assert!(state.0, "takes for ever");
    }
}

/// Waits until it is so.
pub fn eventually(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + AGES;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
