//! The parts of the programs: locks and channels that are right by themselves.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex},
    task::{Poll, Waker},
};

/// Fails without a word from the panic hook: it is on purpose.
pub(crate) fn wrong(what: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(what))
}

pub(crate) fn ensure(holds: bool, what: &'static str) {
    if !holds {
        wrong(what);
    }
}

/// A value under a lock, and the async waiters for its change.
pub(crate) struct Shared<T>(Arc<Mutex<(T, Vec<Waker>)>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new((value, Vec::new()))))
    }

    /// Looks at the value, or changes it. Wakes no waiter.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.lock().unwrap().0)
    }

    /// Changes the value, and wakes all waiters.
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.0.lock().unwrap();
        let result = f(&mut state.0);
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        result
    }

    /// Waits until there is something.
    pub(crate) async fn wait<R>(&self, mut f: impl FnMut(&mut T) -> Option<R>) -> R {
        poll_fn(|cx| {
            let mut state = self.0.lock().unwrap();
            match f(&mut state.0) {
                Some(result) => Poll::Ready(result),
                None => {
                    state.1.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// A mutex for async code.
#[derive(Clone)]
pub(crate) struct Lock(Shared<bool>);

pub(crate) struct Held(Shared<bool>);

impl Lock {
    pub(crate) fn new() -> Self {
        Self(Shared::new(false))
    }

    pub(crate) async fn lock(&self) -> Held {
        self.0
            .wait(|held| (!std::mem::replace(held, true)).then_some(()))
            .await;
        Held(self.0.clone())
    }

    pub(crate) fn try_lock(&self) -> Option<Held> {
        let free = self.0.with(|held| !std::mem::replace(held, true));
        free.then(|| Held(self.0.clone()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.change(|held| *held = false);
    }
}

/// A channel with a bound.
#[derive(Clone)]
pub(crate) struct Channel(Shared<VecDeque<u32>>, usize);

impl Channel {
    pub(crate) fn new(bound: usize) -> Self {
        Self(Shared::new(VecDeque::new()), bound)
    }

    pub(crate) async fn send(&self, message: u32) {
        let room =
            |queue: &mut VecDeque<u32>| (queue.len() < self.1).then(|| queue.push_back(message));
        self.0.wait(room).await;
        self.0.change(|_| ());
    }

    pub(crate) async fn receive(&self) -> u32 {
        let message = self.0.wait(VecDeque::pop_front).await;
        self.0.change(|_| ());
        message
    }

    pub(crate) fn try_receive(&self) -> Option<u32> {
        self.0.change(VecDeque::pop_front)
    }
}
