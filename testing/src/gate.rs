//! Waiting for another task or thread: [`Gate`].

use std::{
    future::poll_fn,
    sync::{Arc, Condvar, Mutex},
    task::{Poll, Waker},
};

use crate::AGES;

/// A gate for tasks and threads to wait at until it is opened. It stays open.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

/// Whether it is open, and the wakers of the waiters.
type State = (bool, Vec<Waker>);

impl Gate {
    /// Lets all pass.
    pub fn open(&self) {
        let (state, opened) = &*self.0;
        let mut state = state.lock().unwrap();
        state.0 = true;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        opened.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Is it open?
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.0.lock().unwrap().0
    }

    /// For tasks: waits until it is open.
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

    /// For threads: waits until it is open.
    ///
    /// # Panics
    ///
    /// If that takes longer than [`AGES`].
    pub fn wait(&self) {
        let (state, opened) = &*self.0;
        let (state, _) = opened
            .wait_timeout_while(state.lock().unwrap(), AGES, |state| !state.0)
            .unwrap();
        assert!(state.0, "takes for ever");
    }
}
