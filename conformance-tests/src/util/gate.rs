//! A gate that sync and async code wait at: [`Gate`].

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use super::waiting::must;

/// Opened once; waited for from sync code or async code, any number of times.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    state: Mutex<(bool, Vec<Waker>)>,
    opened: Condvar,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Two handles on one gate.
    pub(crate) fn pair() -> (Self, Self) {
        let gate = Self::new();
        (gate.clone(), gate)
    }

    pub(crate) fn open(&self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        self.0.opened.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.0
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// Blocks the thread until the gate is open.
    #[track_caller]
    pub(crate) fn wait(&self) {
        assert!(self.wait_for(must()), "a gate was not opened in time");
    }

    /// Blocks the thread until the gate is open or the time is over.
    pub(crate) fn wait_for(&self, time: Duration) -> bool {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .0
            .opened
            .wait_timeout_while(state, time, |(open, _)| !*open)
            .unwrap_or_else(PoisonError::into_inner);
        state.0
    }

    /// Waits in async code, with a waker and no polling.
    pub(crate) async fn opened(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.0 {
                return Poll::Ready(());
            }
            if !state.1.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.1.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
