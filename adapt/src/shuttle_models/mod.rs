//! Models: small concurrent programs on the parts of this crate, run under many
//! schedules. See [`crate::sync`] for how, and `FOURWAY_MODEL_ITERATIONS`.
//!
//! A model fails if something panics, if an assertion does not hold, or if all
//! threads wait: that is what a lost wake-up, a stranded closure or a join that
//! never resolves look like.

#[cfg(feature = "async-task")]
mod async_task;
mod calls;
mod cancel;
mod help;
mod join;
mod local;
mod park;
mod pool;
mod timer;

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        // Not part of what is modelled: counting must not be a chance to change
        // threads.
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use crate::BoxFuture;
use crate::sync::{Condvar, Mutex, thread};

/// Counts uses, from any thread.
#[derive(Clone, Debug, Default)]
struct Count(Arc<AtomicUsize>);

impl Count {
    fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn sub(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Counts how often it is dropped.
#[derive(Debug)]
struct Dropped(Count);

impl Drop for Dropped {
    fn drop(&mut self) {
        // User code: others may run while it does.
        thread::yield_now();
        self.0.add();
    }
}

/// A future that is ready when some thread says so.
#[derive(Clone, Default)]
struct Event {
    state: Arc<Mutex<(bool, Option<Waker>)>>,
    polls: Count,
}

impl Event {
    fn set(&self) {
        let waker = {
            let mut state = self.state.lock().unwrap();
            state.0 = true;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes without a reason.
    fn poke(&self) {
        let waker = self.state.lock().unwrap().1.clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Event {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.polls.add();
        let waker = cx.waker().clone();
        let mut state = self.state.lock().unwrap();
        if state.0 {
            return Poll::Ready(());
        }
        let before = state.1.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

/// A queue for as many threads as a model likes.
struct Queue<T> {
    state: Mutex<(VecDeque<T>, bool)>,
    changed: Condvar,
}

impl<T> Queue<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new((VecDeque::new(), false)),
            changed: Condvar::new(),
        })
    }

    fn push(&self, value: T) {
        let mut state = self.state.lock().unwrap();
        if state.1 {
            drop(state);
            drop(value);
            return;
        }
        state.0.push_back(value);
        drop(state);
        self.changed.notify_one();
    }

    /// The next one; `None` once the queue is closed.
    fn pop(&self) -> Option<T> {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(value) = state.0.pop_front() {
                return Some(value);
            }
            if state.1 {
                return None;
            }
            state = self.changed.wait(state).unwrap();
        }
    }

    /// The rest is handed back.
    fn close(&self) -> VecDeque<T> {
        let mut state = self.state.lock().unwrap();
        state.1 = true;
        let left = std::mem::take(&mut state.0);
        drop(state);
        self.changed.notify_all();
        left
    }
}

/// An executor whose tasks live as long as there are references to them.
#[derive(Clone)]
struct Mini {
    ready: Arc<Queue<Arc<MiniTask>>>,
}

struct MiniTask {
    future: Mutex<Option<BoxFuture>>,
    // Also keeps a task from being queued twice.
    queued: crate::sync::atomic::AtomicBool,
    ready: Arc<Queue<Arc<MiniTask>>>,
}

impl Wake for MiniTask {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            self.ready.clone().push(self);
        }
    }
}

impl Mini {
    fn new() -> Self {
        Self {
            ready: Queue::new(),
        }
    }

    fn spawn(&self, future: BoxFuture) {
        let task = Arc::new(MiniTask {
            future: Mutex::new(Some(future)),
            queued: crate::sync::atomic::AtomicBool::new(false),
            ready: self.ready.clone(),
        });
        task.wake();
    }

    fn start(&self) -> thread::JoinHandle<()> {
        let ready = self.ready.clone();
        thread::spawn(move || {
            while let Some(task) = ready.pop() {
                task.queued.swap(false, Ordering::SeqCst);
                let Some(mut future) = task.future.lock().unwrap().take() else {
                    continue;
                };
                let waker = Waker::from(task.clone());
                if future
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
                {
                    *task.future.lock().unwrap() = Some(future);
                } else {
                    drop(future);
                }
            }
        })
    }

    fn close(&self) {
        drop(self.ready.close());
    }
}
